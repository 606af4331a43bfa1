"""Where a command that stains live shows itself: a window where one is possible, else the terminal alone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from livestain.cli.options import tell
from livestain.errors import UserError
from livestain.view.app import hearing_the_end, probe, run_with_window

if TYPE_CHECKING:
    from livestain.session.session import Session
    from livestain.view.shell import Shell


class Stage(Protocol):
    """What a command tells while it works, and how it is told to end."""

    stop: threading.Event
    """Set when the work is to end early (Ctrl-C, or the window's question): what was received is saved."""

    def say(self, text: str) -> None:
        """Tell the step that begins."""
        ...

    def show(self, session: Session) -> None:
        """Show a session from now on."""
        ...

    def interruptible(self) -> AbstractContextManager[None]:
        """Within, Ctrl-C sets `stop` and raises nothing."""
        ...


class Terminal:
    """No window: steps are not told, Ctrl-C is heard here. Main thread only."""

    def __init__(self, why_no_window: str = "") -> None:
        self.stop = threading.Event()
        self._why = why_no_window

    def say(self, text: str) -> None:
        """Tell nothing: the command's own lines suffice."""

    def show(self, session: Session) -> None:
        """Say why there is no window, where one was not refused by the user."""
        if self._why:
            tell(f"no window: {self._why}")

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Hear Ctrl-C once: held down, it would cost frames while what was received is being saved."""

        def interrupt() -> None:
            # First of all: a second one inside `set` would wait for itself.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            self.stop.set()

        with hearing_the_end(interrupt):
            yield


def on_stage(view: bool | None, work: Callable[[Stage], int]) -> int:
    """Run ``work`` beside a window or not; returns its exit code.

    Parameters
    ----------
    view
        False: no window; None: a window where one is possible, else one line that says why not.

    Raises
    ------
    UserError
        A window was asked for (True) and none is possible.
    """
    if view is False:
        return work(Terminal())
    why = probe()
    if why and view:
        raise UserError(f"no window can be opened: {why}; leave out --view to go on without")
    return work(Terminal(why)) if why else run_with_window(lambda shell: _telling_of_window(shell, work))


def _telling_of_window(shell: Shell, work: Callable[[Stage], int]) -> int:
    """Run ``work``, and say in the end that the window keeps the program."""
    try:
        return work(shell)
    finally:
        if shell.is_open:
            tell("The window is still open: close it to end.")
