"""The histogram of one layer with its limits as handles and its gamma as a curve."""

from __future__ import annotations

from typing import Literal

import numpy as np
from qtpy.QtCore import QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

from livestain.view import theme
from livestain.view.counting import Histogram, Span
from livestain.view.state import LayerView

Handle = Literal["low", "high"]

REACH_PX = 10
"""A handle is taken when the mouse is pressed at most this far from it."""

_PLOT_PX, _LABEL_PX, _INSET_PX = 48, 14, 5
_CURVE = np.linspace(0.0, 1.0, 33)


class HistogramPlot(QWidget):
    """Shows how often each brightness occurs; the limits are dragged with the mouse.

    Nothing of pyqtgraph is needed, imported or made before the first histogram arrives.

    Signals
    -------
    limits_dragged(float, float)
        The limits that the user drags to, in counts; nothing here changes until `set_view` says so.
    released()
        A handle was let go: another span may fit better now.
    """

    limits_dragged = Signal(float, float)
    released = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._view: LayerView | None = None
        self._histogram: Histogram | None = None
        self._held: Handle | None = None
        self._plot: _Plot | None = None
        self._message = QLabel(self)
        self._message.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._message.setStyleSheet(f"color: {theme.ON_IMAGE}; background: transparent;")
        self._message.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)

    @property
    def span(self) -> Span | None:
        """What is shown, from and to in counts; None before the first histogram."""
        return self._histogram.span if self._histogram is not None else None

    def set_view(self, view: LayerView) -> None:
        """Show these limits, gamma and colour."""
        self._view = view
        self._draw()

    def set_histogram(self, histogram: Histogram) -> None:
        """Show another histogram; while a handle is held the span stays, so that the handle stays under the mouse."""
        held = self._histogram
        if self._held is not None and held is not None:
            histogram = Histogram(held.span, histogram.edges, histogram.heights)
        self._histogram = histogram
        if self._plot is None:
            self._plot = _Plot(self)
            self._place()
        self._draw()

    def set_message(self, text: str) -> None:
        """Show a few words instead of a histogram, such as why there is no plane; empty: the histogram again."""
        self._message.setText(text)
        if self._plot is not None:
            self._plot.widget.setVisible(not text)

    def x_of(self, counts: float) -> float:
        """Return where a value is shown, in px from the left of this widget."""
        low, high = self.span or (0.0, 1.0)
        return _INSET_PX + (counts - low) / (high - low) * self._wide()

    def counts_at(self, x: float) -> float:
        """Return the value shown at a place, in counts."""
        low, high = self.span or (0.0, 1.0)
        return low + (x - _INSET_PX) / self._wide() * (high - low)

    def handle_at(self, x: float) -> Handle | None:
        """Return the limit whose handle is within reach, the nearer one; None where there is none, or it is locked."""
        if self._view is None or self._view.locked or self._histogram is None:
            return None
        low, high = (abs(x - self.x_of(limit)) for limit in self._view.limits)
        if min(low, high) > REACH_PX:
            return None
        return "low" if low < high or (low == high and x < self.x_of(self._view.limits[0])) else "high"

    # -- Qt --------------------------------------------------------------------------------------------------------

    def sizeHint(self) -> QSize:  # noqa: N802  # Qt's name
        """Return the size wished for, in px."""
        return QSize(240, _PLOT_PX + _LABEL_PX)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802  # Qt's name
        """Take the handle within reach."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._held = self.handle_at(event.position().x())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802  # Qt's name
        """Drag the handle that is held; show by the cursor where one can be taken."""
        x = event.position().x()
        if self._held is not None and self._view is not None:
            low, high = self._view.limits
            value = self.counts_at(min(max(x, _INSET_PX), self.width() - _INSET_PX))
            low, high = (min(value, high - 1), high) if self._held == "low" else (low, max(value, low + 1))
            self.limits_dragged.emit(low, high)
        near = self._held or self.handle_at(x)
        self.setCursor(Qt.CursorShape.SplitHCursor if near else Qt.CursorShape.ArrowCursor)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802  # Qt's name
        """Let go of the handle."""
        if event.button() == Qt.MouseButton.LeftButton and self._held is not None:
            self._held = None
            self.released.emit()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802  # Qt's name
        """Paint the ground, and below it the ends of the span."""
        painter = QPainter(self)
        painter.fillRect(self._ground(), QColor(theme.IMAGE))
        if self.span is not None:
            font = painter.font()
            font.setPixelSize(10)
            painter.setFont(font)
            painter.setPen(QColor(theme.current().muted))
            below = QRectF(0, _PLOT_PX, self.width(), _LABEL_PX)
            middle = Qt.AlignmentFlag.AlignVCenter
            painter.drawText(below, Qt.AlignmentFlag.AlignLeft | middle, f"{self.span[0]:.0f}")
            painter.drawText(below, Qt.AlignmentFlag.AlignRight | middle, f"{self.span[1]:.0f}")
        painter.end()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802  # Qt's name
        """Keep the plot and the message on the ground."""
        self._place()

    def _place(self) -> None:
        ground = self._ground().toRect()
        self._message.setGeometry(ground)
        if self._plot is not None:
            self._plot.widget.setGeometry(ground)
            self._draw()

    def _ground(self) -> QRectF:
        return QRectF(0, 0, self.width(), _PLOT_PX)

    def _wide(self) -> int:
        return max(int(self.width()) - 2 * _INSET_PX, 1)

    def _draw(self) -> None:
        if self._plot is not None and self._histogram is not None and self._view is not None:
            self._plot.draw(self._histogram, self._view, (self.counts_at(0), self.counts_at(self.width())))
        self.update()


class _Plot:
    """The pyqtgraph part: a picture only, the mouse goes through it."""

    def __init__(self, parent: QWidget) -> None:
        import pyqtgraph as pg

        self.widget = pg.GraphicsView(parent, background=theme.IMAGE)
        self.widget.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._box = pg.ViewBox(enableMouse=False, enableMenu=False, defaultPadding=0)
        self.widget.setCentralItem(self._box)
        self._bars = pg.PlotCurveItem(fillLevel=0)
        self._gamma = pg.PlotCurveItem()
        self._lines = [pg.InfiniteLine(angle=90), pg.InfiniteLine(angle=90)]
        for item in (self._bars, self._gamma, *self._lines):
            self._box.addItem(item, ignoreBounds=True)
        for line in self._lines:
            line.addMarker("^", 0.0, 9)
        self.widget.show()

    def draw(self, histogram: Histogram, view: LayerView, across: Span) -> None:
        """Show everything; ``across`` is what the left and right edges stand for, in counts."""
        self._box.setRange(xRange=across, yRange=(-0.06, 1.08), padding=0)
        color = QColor(f"#{view.color}")
        faint = QColor(color)
        faint.setAlpha(110)
        no_line = QPen(Qt.PenStyle.NoPen)
        self._bars.setData(histogram.edges, histogram.heights, stepMode="center", pen=no_line, brush=faint)
        low, high = view.limits
        self._gamma.setData(low + _CURVE * (high - low), _CURVE**view.gamma, pen=self._pen(theme.ON_IMAGE, 1.0))
        pen = self._pen(theme.DARK.muted if view.locked else theme.ON_IMAGE, 1.5)
        for line, limit in zip(self._lines, view.limits, strict=True):
            line.setPen(pen)
            line.setValue(limit)

    def _pen(self, color: str, width_px: float) -> QPen:
        pen = QPen(QColor(color), width_px * self.widget.devicePixelRatioF())
        pen.setCosmetic(True)
        return pen
