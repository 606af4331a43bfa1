"""The application around a command: the work on a thread of its own, Qt on the main thread, and what passes between.

Imports nothing heavy: the starting window is there before anything else is loaded.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING

from qtpy.QtCore import QEventLoop, QLocale, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QApplication, QLabel, QProgressBar, QVBoxLayout, QWidget

from livestain.errors import LivestainError
from livestain.view import theme
from livestain.view.app import hearing_the_end
from livestain.view.closing import CloseQuestion
from livestain.view.memory import Memory

if TYPE_CHECKING:
    from livestain.session.session import Session
    from livestain.view.window import Window

log = logging.getLogger(__name__)

_TICK_MS = 100
_MATTERS = 100
_STOPPING = "stopping: what was received is being saved"


def application() -> QApplication:
    """Return the one application, made if need be: name, look, decimal points in every language."""
    app = QApplication.instance()
    if app is None:
        app = QApplication([sys.argv[0]])
    QLocale.setDefault(QLocale.c())
    app.setApplicationName("livestain")
    app.setApplicationDisplayName("livestain")
    theme.apply(app, Memory(None).dark)
    return app


class Shell(QObject):
    """What the work of a command tells its window, from any thread, and how the window ends the work.

    Attributes
    ----------
    stop
        Set when the work should end early: what was received is saved.
    """

    _said = Signal(str)
    _shown = Signal(object)
    _ended = Signal()

    def __init__(self) -> None:
        super().__init__()
        # Qt's queued events would bring the frames to the main thread; psygnal's run where they are emitted.
        os.environ.setdefault("PYMM_SIGNALS_BACKEND", "psygnal")
        self.stop = threading.Event()
        self._loop = QEventLoop()
        self._starting = StartingWindow()
        self._window: Window | None = None
        self._session: Session | None = None
        self._working = True
        self._code = 0
        self._error: BaseException | None = None
        self._interrupted = False
        for told, slot in ((self._said, self._starting.say), (self._shown, self._open), (self._ended, self._finish)):
            told.connect(slot, Qt.ConnectionType.QueuedConnection)

    # -- for the work, on any thread -------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Tell what is being done, while there is no picture yet."""
        self._said.emit(text)

    def show(self, session: Session) -> None:
        """Open the window on a session."""
        import livestain.view.live
        import livestain.view.window  # noqa: F401 - here, where nobody waits: the main thread keeps painting

        self._shown.emit(session)

    @property
    def is_open(self) -> bool:
        """Whether the window is there, so that the program does not end with the work."""
        return self._window is not None and self._loop.isRunning()

    def interruptible(self) -> AbstractContextManager[None]:
        """Ctrl-C sets `stop` all the time here."""
        return nullcontext()

    # -- on the main thread ----------------------------------------------------------------------------------------

    def run(self, work: Callable[[Shell], int]) -> int:
        """Run the work; returns its exit code when it has ended and the window is closed."""
        thread = threading.Thread(target=self._work, args=(work,), name="livestain-work")
        self._starting.stop_asked.connect(self.stop.set)
        self._starting.left.connect(self._loop.quit)
        with hearing_the_end(self._interrupt), errors_told(self._tell):
            self._starting.show()
            thread.start()
            with _ticking(self._tick):
                self._loop.exec()
            if thread.is_alive():
                self._let_go_of_lost_screen()
            while thread.is_alive():  # the window was closed or lost, the work goes on
                thread.join(_TICK_MS / 1000)
                self._heed()
        for window in (self._starting, self._window):
            if window is not None:
                window.deleteLater()
        if self._error is not None:
            raise self._error
        return self._code

    def _work(self, work: Callable[[Shell], int]) -> None:
        try:
            self._code = work(self)
        except BaseException as error:  # noqa: BLE001 - raised again on the main thread
            self._error = error
        self._ended.emit()

    def _open(self, session: Session) -> None:
        from livestain.view.live import LiveFeed
        from livestain.view.window import Window

        if not self._loop.isRunning():
            return
        self._starting.say("opening the window ...")
        window = Window(LiveFeed(session), session=session)
        window.stop_asked.connect(self.stop.set)
        window.run_asked.connect(self._open_run)
        window.closed.connect(self._loop.quit)
        self._window, self._session = window, session
        window.show()
        self._starting.hide()

    def _let_go_of_lost_screen(self) -> None:
        """Go on without a window that nobody closed: Qt ends its loops when the X server is gone."""
        if not any(window.isVisible() for window in (self._starting, self._window) if window is not None):
            return
        log.warning("the screen is gone: the run goes on without its window")
        if self._window is not None:
            self._window.feed.close()

    def _finish(self) -> None:
        self._working = False
        self._starting.done()
        if self._window is None:
            self._loop.quit()
            return
        # Brings scipy, which the starting window would have to wait for.
        from livestain.view.readings import finished_text

        reports = self._session.report() if self._session is not None else ()
        text, level = finished_text(reports, self._error, stopped=self.stop.is_set())
        self._window.take_back(_STOPPING)
        self._window.finish(text, level)

    def _open_run(self) -> None:
        """Put a window of the run that has ended, with its time bar, in the place of the live one."""
        from livestain.view.recorded import RunFeed
        from livestain.view.window import Window

        live = self._window
        if live is None or live.run is None:
            return
        try:
            feed = RunFeed(live.run)
        except LivestainError as error:
            live.tell(str(error), "red")
            return
        live.closed.disconnect(self._loop.quit)
        live.close()  # first: what was chosen there is taken over
        live.deleteLater()
        self._window = window = Window(feed, run=feed.path)
        window.closed.connect(self._loop.quit)
        window.show()

    def _tell(self, text: str) -> None:
        if self._window is not None:
            self._window.tell(text, "amber")
        else:
            self._starting.say(text)

    def _interrupt(self) -> None:
        # Called between any two steps of Python, also inside `stop.set`: only noted here.
        self._interrupted = True

    def _tick(self) -> None:
        self._heed()
        if self._interrupted and not self._working and self._window is not None:
            self._window.close()

    def _heed(self) -> None:
        if self._interrupted and self._working and not self.stop.is_set():
            self.stop.set()
            self._tell(_STOPPING)
            self._interrupted = False


class StartingWindow(QWidget):
    """What is there at once: the name of the program and what is being done."""

    stop_asked = Signal()
    left = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setWindowTitle("livestain")
        self.setFixedSize(460, 120)
        name = QLabel("livestain")
        font = name.font()
        font.setPointSizeF(font.pointSizeF() * 1.4)
        name.setFont(font)
        self._step = QLabel("starting ...")
        self._step.setWordWrap(True)
        bar = QProgressBar()
        bar.setRange(0, 0)
        bar.setTextVisible(False)
        bar.setFixedHeight(4)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        for part in (name, self._step, bar):
            layout.addWidget(part)
        self._done = False
        self._question = CloseQuestion(self)
        self._question.answered.connect(self._leave)

    @property
    def text(self) -> str:
        """What is being done."""
        return str(self._step.text())

    def say(self, text: str) -> None:
        """Show what is being done."""
        self._step.setText(text)

    def done(self) -> None:
        """Close without a question."""
        self._done = True
        self.close()

    def closeEvent(self, event: object) -> None:  # noqa: N802
        """Ask, as long as something is being started."""
        if self._done or not self.isVisible():
            event.accept()  # type: ignore[attr-defined]
            return
        event.ignore()  # type: ignore[attr-defined]
        self._question.ask("The run is being started.")

    def _leave(self, stop: bool) -> None:
        if stop:
            self.stop_asked.emit()
        self.hide()
        self.left.emit()


def show_until_closed(window: QWidget) -> None:
    """Show a window and return when it is closed; Ctrl-C closes it, errors in slots are logged and told in it."""
    loop = QEventLoop()
    window.closed.connect(loop.quit)
    pressed: list[bool] = []
    window.show()
    with (
        hearing_the_end(lambda: pressed.append(True)),
        errors_told(lambda text: window.tell(text, "amber")),
        _ticking(lambda: window.close() if pressed else None),
    ):
        loop.exec()
    window.deleteLater()


@contextmanager
def errors_told(tell: Callable[[str], None]) -> Iterator[None]:
    """Let an error that nobody caught be logged and told instead of ending the program; each matter is logged once."""
    logged: set[str] = set()

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        text = f"an error in the window ({kind.__name__}: {error}); recording is not touched by it"
        if text not in logged and len(logged) < _MATTERS:
            logged.add(text)
            log.error("%s", text, exc_info=(kind, error, trace))
        tell(text)

    before, sys.excepthook = sys.excepthook, hook
    try:
        yield
    finally:
        sys.excepthook = before


@contextmanager
def _ticking(tick: Callable[[], object]) -> Iterator[None]:
    """Call ``tick`` ten times a second: Python hears a signal only when Qt lets it run."""
    timer = QTimer()
    timer.timeout.connect(tick)
    timer.start(_TICK_MS)
    try:
        yield
    finally:
        timer.stop()
