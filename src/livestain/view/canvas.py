"""The picture of a window: draws its state, zooms, pans, and tells what is under the cursor."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QResizeEvent, QWheelEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from livestain.view import overlays
from livestain.view.overlays import Tags
from livestain.view.picture import Picture
from livestain.view.render import Renderer
from livestain.view.state import ViewState
from livestain.view.theme import IMAGE
from livestain.view.viewport import Viewport, curtain_at, view_size

log = logging.getLogger(__name__)

PAINTS_PER_S = 30.0
ZOOM_STEP = 1.25
"""Factor for one notch of the wheel."""
_CURTAIN_GRIP = 8.0
"""Logical px to each side of the curtain that take hold of it."""


class Cursor(NamedTuple):
    """What is under the cursor: the image px from its left upper corner, and the count of each layer (None: not there).

    A layer that is switched off has its value too.
    """

    x: int
    y: int
    values: tuple[int | None, ...]


class Canvas(QWidget):
    """Shows a `ViewState`; belongs to the GUI thread.

    The wheel zooms about the cursor, dragging pans, a double click fits the image into the window; the curtain is
    dragged at its handle. Both panes of the split mode show the same part. An exception while painting is told to
    ``report`` once, and its text stands in place of the picture until the state changes.

    ``cursor_moved(Cursor | None)``: None outside the image. ``curtain_moved(float)``: dragged to this share.
    ``view_changed()``: zoom, or the part of the image that is seen. ``painted(Picture)``: for the first time on the
    screen.
    """

    cursor_moved = Signal(object)
    curtain_moved = Signal(float)
    view_changed = Signal()
    painted = Signal(object)

    def __init__(
        self, state: ViewState, parent: QWidget | None = None, report: Callable[[str], None] = log.error
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self._state = state
        self._report = report
        self._renderer = Renderer()
        self._tags = Tags()
        self._view: Viewport | None = None
        self._fitted = True
        self._drag_from: QPointF | None = None
        self._curtain_held = False
        self._cursor_at: QPointF | None = None
        self._painted: Picture | None = None
        self._failure = ""
        self._reported = ""
        self._rate: float | None = PAINTS_PER_S
        self._last_paint_s = 0.0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self.update)
        self.setMouseTracking(True)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(96, 96)
        for event in (state.layer_changed, state.layout_changed, state.picture_changed):
            event.connect(self._state_changed)

    # -- for the window --------------------------------------------------------------------------------------------

    @property
    def zoom(self) -> float:
        """Device px for one image px; 0 while there is no picture."""
        return self._view.scale if self._view is not None else 0.0

    @property
    def is_fitted(self) -> bool:
        """Whether the whole image is shown, and will be after a change of size."""
        return self._fitted

    def fit(self) -> None:
        """Show the whole image, also after a change of size."""
        self._fitted = True
        self._look(self._view)

    def one_to_one(self) -> None:
        """Show one image px on one px of the screen, about the present middle."""
        if self._view is not None:
            self._fitted = False
            self._look(self._view.scaled(1.0))

    def zoom_by(self, factor: float) -> None:
        """Zoom about the middle."""
        if self._view is not None:
            self._zoom(factor, self._view.width / 2, self._view.height / 2)

    def set_pixel_um(self, pixel_um: float) -> None:
        """Set the pixel size in um for the scale bar; 0: not known, no bar."""
        self._tell(replace(self._tags, pixel_um=pixel_um))

    def set_caption(self, text: str) -> None:
        """Set time and place, written into the left lower corner."""
        self._tell(replace(self._tags, caption=text))

    def set_stale(self, seconds: float) -> None:
        """Say that no new frame came for so many seconds (grey border); 0: all is well."""
        self._tell(replace(self._tags, stale_s=seconds))

    def set_max_rate(self, paints_per_s: float | None) -> None:
        """Paint at most so often: 30/s to begin with, 15/s does well beside an engine on the CPU; None: no limit."""
        self._rate = paints_per_s

    # -- Qt ----------------------------------------------------------------------------------------------------------

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name, as all below)
        """Return a size that leaves room for the docks on a small laptop."""
        return QSize(740, 640)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the state."""
        self._last_paint_s = time.perf_counter()
        painter = QPainter(self)
        try:
            self._paint(painter)
        # The edge to Qt: an exception that leaves a paint event ends the program with PyQt, and repeats without end.
        except Exception as error:  # noqa: BLE001
            self._fail(error)
            self._paint_failure(painter)
        finally:
            painter.end()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Keep the middle, or the whole image, in view."""
        super().resizeEvent(event)
        self._look(self._view)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Zoom about the cursor."""
        notches = event.angleDelta().y() / 120
        if self._view is not None and notches:
            self._zoom(ZOOM_STEP**notches, *self._in_pane(event.position()))
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Take hold of the curtain or of the image."""
        if event.button() == Qt.MouseButton.LeftButton and self._view is not None:
            self._curtain_held = self._on_curtain(event.position())
            self._drag_from = event.position()
            self._choose_cursor(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Move what is held, and tell what is under the cursor."""
        at, before = event.position(), self._drag_from
        self._cursor_at = at
        if before is not None and self._view is not None:
            self._drag_from = at
            if self._curtain_held:
                self._move_curtain(at)
            else:
                self._pan(at - before)
        self._choose_cursor(at)
        self._tell_cursor()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Let go."""
        self._drag_from, self._curtain_held = None, False
        self._choose_cursor(event.position())

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Fit the image into the window."""
        if event.button() == Qt.MouseButton.LeftButton and not self._on_curtain(event.position()):
            self.fit()

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802
        """Tell that nothing is under the cursor."""
        self._cursor_at = None
        self.cursor_moved.emit(None)

    # -- painting ----------------------------------------------------------------------------------------------------

    def _paint(self, painter: QPainter) -> None:
        if self._failure:
            self._paint_failure(painter)
            return
        self._look_again()
        width, height, ratio = self._device_size()
        tags = replace(self._tags, frozen=self._state.frozen)
        painter.drawImage(0, 0, self._renderer.image(self._state, self._view, width, height, ratio, tags))
        picture = self._state.picture
        if picture is not None and picture is not self._painted:
            self._painted = picture
            self.painted.emit(picture)

    def _paint_failure(self, painter: QPainter) -> None:
        whole = QRectF(self.rect())
        painter.fillRect(whole, QColor(IMAGE))
        overlays.draw_text(painter, whole, self._failure)

    def _fail(self, error: Exception) -> None:
        self._failure = f"the picture cannot be drawn: {type(error).__name__}: {error}"
        if self._failure != self._reported:
            self._reported = self._failure
            log.debug("painting failed", exc_info=error)
            self._report(self._failure)

    def _state_changed(self, *_: object) -> None:
        self._failure = ""
        self._look_again()
        self._schedule()
        self._tell_cursor()

    def _tell(self, tags: Tags) -> None:
        if tags != self._tags:
            self._tags = tags
            self._schedule()

    def _schedule(self) -> None:
        """Paint soon, however often this is called: at most `set_max_rate` times a second."""
        if self._rate is None:
            self.update()
        elif not self._timer.isActive():
            wait_s = self._last_paint_s + 1 / self._rate - time.perf_counter()
            self._timer.start(max(0, round(wait_s * 1000)))

    # -- the part that is seen ---------------------------------------------------------------------------------------

    def _device_size(self) -> tuple[int, int, float]:
        ratio = self.devicePixelRatioF()
        return max(round(self.width() * ratio), 1), max(round(self.height() * ratio), 1), ratio

    def _look_again(self) -> None:
        """Follow a change of the image's size, of the mode, or of the screen."""
        view = self._legal_view(self._view)
        if view != self._view:
            self._view = view
            self.view_changed.emit()

    def _look(self, view: Viewport | None) -> None:
        view = self._legal_view(view)
        if view != self._view:
            self._view = view
            self.view_changed.emit()
            self._schedule()
            self._tell_cursor()

    def _legal_view(self, view: Viewport | None) -> Viewport | None:
        shape = self._state.picture.shape if self._state.picture is not None else (0, 0)
        if not min(shape):
            return None
        width, height, _ = self._device_size()
        width, height = view_size(self._state.mode, len(self._state.panes()), width, height)
        if view is None or self._fitted or view.shape != shape:
            self._fitted = True
            return Viewport.fit(shape, width, height)
        return view.resized(width, height)

    def _zoom(self, factor: float, x: float, y: float) -> None:
        if self._view is not None:
            self._fitted = False
            self._look(self._view.zoomed(factor, x, y))

    def _pan(self, by: QPointF) -> None:
        if self._view is not None and not by.isNull():
            ratio = self.devicePixelRatioF()
            moved = self._view.panned(by.x() * ratio, by.y() * ratio)
            if moved != self._view:
                self._fitted = False
                self._look(moved)

    def _in_pane(self, at: QPointF) -> tuple[float, float]:
        """Return the device px within the pane at a logical place in the widget."""
        ratio = self.devicePixelRatioF()
        x, y = at.x() * ratio, at.y() * ratio
        width = self._view.width if self._view is not None else 0
        second = self._device_size()[0] - width
        return (x - second if self._is_split() and x >= second else x), y

    def _is_split(self) -> bool:
        return self._state.mode == "split" and len(self._state.panes()) == 2

    # -- the cursor --------------------------------------------------------------------------------------------------

    def _on_curtain(self, at: QPointF) -> bool:
        if self._view is None or self._state.mode != "curtain" or len(self._state.panes()) < 2:
            return False
        hangs_at = curtain_at(self._state.curtain, self._view) / self.devicePixelRatioF()
        return bool(abs(at.x() - hangs_at) <= _CURTAIN_GRIP)

    def _move_curtain(self, at: QPointF) -> None:
        if self._view is not None:
            columns = self._view.columns
            self._state.set_curtain((at.x() * self.devicePixelRatioF() - columns.start) / max(columns.size, 1))
            self.curtain_moved.emit(self._state.curtain)

    def _choose_cursor(self, at: QPointF) -> None:
        if self._curtain_held or (self._drag_from is None and self._on_curtain(at)):
            self.setCursor(Qt.CursorShape.SplitHCursor)
        elif self._drag_from is not None:
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
        else:
            self.setCursor(Qt.CursorShape.CrossCursor)

    def _tell_cursor(self) -> None:
        if self._cursor_at is not None:
            self.cursor_moved.emit(self._under(self._cursor_at))

    def _under(self, at: QPointF) -> Cursor | None:
        picture = self._state.picture
        place = self._view.pixel_at(*self._in_pane(at)) if self._view is not None else None
        if picture is None or place is None:
            return None
        planes = (plane if plane is not None and plane.shape == picture.shape else None for plane in picture.planes)
        return Cursor(*place, tuple(None if plane is None else int(plane[place[1], place[0]]) for plane in planes))
