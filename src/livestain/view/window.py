"""The live window: the picture in the middle, layers and state at its side, what to do above, numbers below."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSettings, Qt, QTimer, Signal
from qtpy.QtGui import QCloseEvent, QHideEvent, QKeyEvent, QResizeEvent, QShowEvent
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QDockWidget,
    QLineEdit,
    QMainWindow,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from livestain.frames import Key
from livestain.view import theme
from livestain.view.bars import MOST, Bars
from livestain.view.canvas import Canvas, Cursor
from livestain.view.closing import CloseQuestion
from livestain.view.deeds import Deeds
from livestain.view.layers import LayerDock
from livestain.view.link import SessionLink
from livestain.view.live import LiveFeed
from livestain.view.log_dock import LogDock
from livestain.view.memory import Memory
from livestain.view.moments import place_text
from livestain.view.picture import Feed, Picture
from livestain.view.readings import Level, age_text, cursor_texts, latency_text, rate_text
from livestain.view.recorded import RunFeed
from livestain.view.state import Mode, ViewState
from livestain.view.status_bar import StatusFields
from livestain.view.status_dock import StatusDock
from livestain.view.timeline import Timeline
from livestain.view.toolbar import Toolbar

if TYPE_CHECKING:
    from livestain.session.session import Session

log = logging.getLogger(__name__)

CPU_PAINTS_PER_S = 15.0
"""Paints a second beside an engine on the CPU, which needs the cores more."""

_ON_CPU = ("openvino", "onnxruntime")
_LOOK_MS = 500
_INPUT = "input:"
"""How the session's warnings about the input begin."""
_STALE_S = 1.0
_NARROW_PX, _LOW_PX = 760, 420
_MODES: tuple[Mode, ...] = ("composite", "split", "curtain")
_OF_SLIDERS = (Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Home, Qt.Key.Key_End)
_TEXTS = (QLineEdit, QPlainTextEdit, QAbstractSpinBox)


class Window(QMainWindow):
    """Shows a feed: a live session, or a run on disk. Belongs to the GUI thread; closing it ends nothing but itself.

    Parameters
    ----------
    feed
        Delivers the pictures; closed with the window.
    session
        The session behind a live feed: its state is shown, staining can be switched, closing asks.
    run
        The run folder of a feed from disk.
    settings
        Where to keep what the user chose; None: the user's settings file.

    ``stop_asked()``: the user wants the run to stop. ``run_asked()``: to see the run that has ended, with its time bar.
    ``closed()``: the window is gone.
    """

    stop_asked = Signal()
    run_asked = Signal()
    closed = Signal()
    _woken = Signal()

    def __init__(
        self,
        feed: Feed,
        *,
        session: Session | None = None,
        run: Path | None = None,
        settings: QSettings | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.feed, self.session = feed, session
        self.link = SessionLink(session) if session is not None else None
        self.state = ViewState(feed.layers)
        self._run = run
        self._memory = Memory(settings)
        self._dark = self._memory.dark
        self._shown = 0
        self._hidden = True
        self._leaving = False
        self._docks_away = False
        theme.apply(QApplication.instance(), self._dark)
        self._build()
        self._connect()
        if not self._memory.restore(self, self.state):
            self.resizeDocks([self.layers, self.status_dock], [505, 235], Qt.Orientation.Vertical)
        for dock in (self.layers, self.status_dock):
            dock.setVisible(not self._docks_away)  # kept from a small window, whose size may not have come back
        self.log_dock.hide()  # what was asked of another run
        self._show_layout()
        self._look()
        feed.start(self._woken.emit)

    # -- for others ------------------------------------------------------------------------------------------------

    @property
    def run(self) -> Path | None:
        """The run folder that is shown or recorded into; None when there is none (yet)."""
        return self.session.run if self.session is not None else self._run

    @property
    def caption(self) -> str:
        """Place and time of the picture shown."""
        picture = self.state.picture
        if picture is None:
            return ""
        extent = self.feed.extent()
        return place_text(picture.key, extent, picture.time_s, self.feed.interval_s, of=self._of_how_many(extent[1]))

    def tell(self, text: str, level: Level = "amber") -> None:
        """Show a bar with a text."""
        self.bars.tell(text, level)

    def take_back(self, text: str) -> None:
        """Remove the bar with a text that is true no more."""
        self.bars.take_back(text)

    def finish(self, text: str, level: Level) -> None:
        """Say that the work is done; closing does not ask any more, and the run can be opened."""
        if self.link is not None and self.session is not None:
            self.link.status = self.session.status
            self.actions_by_name["staining"].setEnabled(False)
            self.actions_by_name["open"].setVisible(self.run is not None)
        self._leaving = True
        self.tell(text, level)
        self._look()

    # -- parts -----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        needs = {name for name, there in (("session", self.session), ("run", self.session or self._run)) if there}
        needs.add("recorded" if isinstance(self.feed, RunFeed) else "live")
        self.toolbar = Toolbar(needs, self)
        self.addToolBar(self.toolbar)
        self.actions_by_name = self.toolbar.actions_by_name
        if self.session is not None:
            self.actions_by_name["open"].setVisible(False)
        self.bars = Bars(self)
        self.canvas = Canvas(self.state, self, report=self._report)
        self.canvas.set_pixel_um(self.feed.pixel_um)
        self.timeline = Timeline(self.feed, self.state) if isinstance(self.feed, RunFeed) else None
        self._question = CloseQuestion(self)
        self._build_docks()
        self._build_centre()
        self.fields = StatusFields(self)
        self.statusBar().addWidget(self.fields, 1)
        self.statusBar().setSizeGripEnabled(False)
        self.deeds = Deeds(self)
        # Set, or Qt would not let the window become so small that the docks are put away.
        self.setMinimumSize(360, 240)
        self.resize(1280, 800)
        self.setWindowTitle(self.feed.title)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._look)

    def _build_docks(self) -> None:
        right, below = Qt.DockWidgetArea.RightDockWidgetArea, Qt.DockWidgetArea.BottomDockWidgetArea
        recorded = self.feed if isinstance(self.feed, RunFeed) else None
        known = self.session.model.card.contrast if self.session is not None else None
        if recorded is not None:
            known = recorded.contrast
        self.layers = LayerDock(self.state)
        self.layers.setObjectName("layers")
        self.status_dock = StatusDock(self.feed.caution, known, self)
        self.log_dock = LogDock(self, recorded.path / "log.txt" if recorded is not None else None)
        feature = QDockWidget.DockWidgetFeature
        for dock in (self.layers, self.status_dock):
            # Not closable: nothing in the window would bring them back.
            dock.setFeatures(feature.DockWidgetMovable | feature.DockWidgetFloatable)
            self.addDockWidget(right, dock)
        self.addDockWidget(below, self.log_dock)
        self.log_dock.hide()
        self.setCorner(Qt.Corner.BottomRightCorner, right)

    def _build_centre(self) -> None:
        centre = QWidget(self)
        layout = QVBoxLayout(centre)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.bars)
        layout.addWidget(self.canvas, 1)
        if self.timeline is not None:
            layout.addWidget(self.timeline)
        self.setCentralWidget(centre)

    def _connect(self) -> None:
        actions = self.actions_by_name
        for name in _MODES:
            actions[name].triggered.connect(_calling(self.state.set_mode, name))
        simple = {
            "fit": self.canvas.fit, "one_to_one": self.canvas.one_to_one, "theme": self._switch_theme,
            **(self.timeline.by_name if self.timeline is not None else {}), **self.deeds.by_name,
            "close": self.close, "open": self.run_asked.emit,
        }  # fmt: skip
        for each, deed in simple.items():
            if each in actions:
                actions[each].triggered.connect(_calling(deed))
        for each, switch in (("freeze", self._freeze), ("staining", self._stain), ("full", self._full_screen)):
            if each in actions:
                actions[each].triggered.connect(switch)
        actions["log"].toggled.connect(self.log_dock.setVisible)
        self.log_dock.visibilityChanged.connect(actions["log"].setChecked)
        self.addActions(list(actions.values()))
        self.bars.log_asked.connect(self.log_dock.show)
        self.toolbar.follow.changed.connect(self._follow)
        self.canvas.cursor_moved.connect(self._show_cursor)
        self.canvas.view_changed.connect(lambda: self.fields.show_zoom(self.canvas.zoom))
        self._question.answered.connect(self._answered)
        self._woken.connect(self._take, Qt.ConnectionType.QueuedConnection)
        self.state.layout_changed.connect(self._show_layout)
        alone = self.toolbar.widgetForAction(actions["alone"])
        if alone is not None:
            alone.pressed.connect(lambda: self.state.set_alone(True))
            alone.released.connect(lambda: self.state.set_alone(False))
        QApplication.instance().installEventFilter(self)

    # -- what comes ------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        picture = self.feed.take()
        if picture is None:
            return
        self._shown += 1
        self.state.set_picture(picture)
        self.canvas.set_pixel_um(self.feed.pixel_um)
        if not self.state.frozen:
            self.canvas.set_caption(self.caption)
        if self.link is not None:
            # Or the picture would be ahead of the counters, which come once a second.
            self.link.recount()
            self.status_dock.show_counters(self.link.status.counters, closed=self.link.status.state == "closed")

    def _look(self) -> None:
        """Twice a second: the numbers, the age, what to warn of."""
        picture = self.state.picture
        status = self.link.status if self.link is not None else None
        age_ms = self._age_ms() if status is not None and status.state == "recording" else None
        values = {"age": f"age {age_text(age_ms)}" if age_ms is not None else "", "shown": self._shown_text()}
        if status is not None:
            self.status_dock.show_status(status, age_ms)
            self.bars.tell_all(self._warnings(status.warnings))
            self.actions_by_name["staining"].setChecked(status.staining)
            values["rate"] = f"{rate_text(status)} frame/s"
            values["latency"] = latency_text(status)
            self.canvas.set_stale(self._stale_s(age_ms))
            if status.engine.get("backend") in _ON_CPU:
                self.canvas.set_max_rate(CPU_PAINTS_PER_S)
        else:
            self._look_at_run(picture)
        self.fields.show_values(values)
        self._look_at_feed()

    def _warnings(self, warnings: Sequence[str]) -> list[str]:
        """Return what bars should say; doubts about the input stand in the status dock where there is room for it."""
        return [text for text in warnings if self._docks_away or not text.startswith(_INPUT)]

    def _look_at_run(self, picture: Picture | None) -> None:
        check = picture.input if picture is not None else None
        if not isinstance(self.feed, RunFeed):
            self.status_dock.show_recorded(check, {})
            return
        history = self.feed.history
        self.status_dock.show_recorded(check, self.feed.facts, history.counters(), closed=history.closed)
        self.bars.tell_all(self._warnings(self.feed.warnings))

    def _look_at_feed(self) -> None:
        if self.feed.problem:
            self.tell(self.feed.problem, "red")
        self.canvas.set_pixel_um(self.feed.pixel_um)
        self.setWindowTitle(self.feed.title)
        positions, _, sections = self.feed.extent()
        self.toolbar.follow.set_extent(positions, sections)
        self.toolbar.show_follow(self.feed.is_live and (positions > 1 or sections > 1))

    def _of_how_many(self, time_points: int) -> str:
        """Return what time points are counted against while more may come; empty: those there are."""
        if self.link is None or not isinstance(self.feed, LiveFeed) or self.link.status.state == "closed":
            return ""
        planned = self.feed.time_points
        return str(planned) if planned >= time_points else f"{time_points} so far"

    def _shown_text(self) -> str:
        if not isinstance(self.feed, LiveFeed):
            return ""
        return f"shown {self._shown}  not shown {self.feed.not_shown}"

    def _age_ms(self) -> float | None:
        picture = self.state.picture
        if picture is None or picture.received_s is None:
            return None
        return 1000 * (time.monotonic() - picture.received_s)

    def _stale_s(self, age_ms: float | None) -> float:
        """Seconds without a new frame, where that is more than the plan explains; else 0."""
        late = age_ms is not None and age_ms / 1000 > max(_STALE_S, 1.5 * self.feed.interval_s)
        return age_ms / 1000 if late and age_ms is not None and not self.state.frozen else 0.0

    def _show_cursor(self, cursor: Cursor | None) -> None:
        feed = self.feed
        self.fields.show_cursor(cursor_texts(*cursor, feed.layers, feed.pixel_um) if cursor is not None else ())

    def _show_layout(self) -> None:
        self.actions_by_name[self.state.mode].setChecked(True)
        if "freeze" in self.actions_by_name:
            self.actions_by_name["freeze"].setChecked(self.state.frozen)
        self.actions_by_name["theme"].setText("Light" if theme.current().dark else "Dark")

    def _report(self, text: str) -> None:
        log.error("%s", text)
        self.tell(text)

    # -- what is asked for -----------------------------------------------------------------------------------------

    def _freeze(self, frozen: bool) -> None:
        self.state.set_frozen(frozen)
        self._pause()

    def _stain(self, on: bool) -> None:
        if self.session is not None:
            self.session.set_staining(on)

    def _follow(self, place: tuple[int, int] | None) -> None:
        if self.session is not None:
            self.session.follow(place)
        if place is not None:
            self.feed.show(Key(place[0], 0, place[1]))

    def _switch_theme(self) -> None:
        self._dark = not theme.current().dark
        theme.apply(QApplication.instance(), self._dark)
        self._memory.keep_dark(self._dark)
        self._show_layout()

    def _full_screen(self, on: bool) -> None:
        if on:
            self.showFullScreen()
        else:
            self.showNormal()

    def _pause(self) -> None:
        live_frozen = self.feed.is_live and self.state.frozen
        self.feed.pause(self._hidden or live_frozen)

    # -- Qt --------------------------------------------------------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Hear B held and let go, wherever the focus is but in a text."""
        kind = event.type()
        if kind == QEvent.Type.KeyPress and isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_B:
            if self.isActiveWindow() and not isinstance(QApplication.focusWidget(), _TEXTS):
                self.state.set_alone(True)
        elif kind == QEvent.Type.KeyRelease and isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_B:
            if not event.isAutoRepeat():
                self.state.set_alone(False)
        elif kind == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent) and event.key() in _OF_SLIDERS:
            if isinstance(QApplication.focusWidget(), QAbstractSlider):
                event.accept()  # the slider that somebody tabbed to moves, not the time
                return True
        elif kind == QEvent.Type.WindowDeactivate and watched is self:
            self.state.set_alone(False)
        return False

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Go on."""
        self._set_hidden(False)
        super().showEvent(event)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Cost nothing."""
        self._set_hidden(True)
        super().hideEvent(event)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """A minimised window costs nothing."""
        if event.type() == QEvent.Type.WindowStateChange:
            self._set_hidden(self.isMinimized() or not self.isVisible())
            self.actions_by_name["full"].setChecked(self.isFullScreen())
        super().changeEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave the room of a small window to the image."""
        low = event.size().height() < _LOW_PX
        small = low or event.size().width() < _NARROW_PX
        if small != self._docks_away:
            self._docks_away = small
            for dock in (self.layers, self.status_dock):
                dock.setVisible(not small)
        self.bars.set_most(1 if low else MOST)
        super().resizeEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """Ask while a run goes on; nothing ends by closing unless the user says so."""
        if self._leaving or self.link is None or self.link.status.state == "closed":
            self._leave()
            event.accept()
            return
        event.ignore()
        self._question.ask(self._what_goes_on())

    def _what_goes_on(self) -> str:
        if self.link is None:
            return ""
        self.link.recount()
        c, planned = self.link.status.counters, self.link.status.planned
        of = f" of {planned}" if planned else ""
        return f"The run goes on: {c.received}{of} frames received, {c.live + c.late} stained."

    def _answered(self, stop: bool) -> None:
        if stop:
            self.stop_asked.emit()
        self._leaving = True
        self.close()

    def _leave(self) -> None:
        self._timer.stop()
        QApplication.instance().removeEventFilter(self)
        self._memory.keep(self, self.state)
        self.feed.close()
        self.log_dock.release()
        if self.link is not None:
            self.link.close()
            self.link = None
        self.closed.emit()

    def _set_hidden(self, hidden: bool) -> None:
        if hidden == self._hidden:
            return
        self._hidden = hidden
        if hidden:
            self._timer.stop()
        else:
            self._timer.start(_LOOK_MS)
            self._look()  # the picture may be hours old
        self._pause()


def _calling(deed: Callable[..., object], *passed: object) -> Callable[..., None]:
    """Return a slot that ignores what the signal passes: the bindings differ in that."""

    def slot(*_: object) -> None:
        deed(*passed)

    return slot
