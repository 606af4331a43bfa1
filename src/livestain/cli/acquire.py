"""Run a sequence on a core of our own with livestain attached, show how it goes, sum it up."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from livestain.cli.summary import summary_lines
from livestain.cli.table import Display
from livestain.errors import LivestainError
from livestain.settings import Backend

if TYPE_CHECKING:
    import useq
    from pymmcore_plus import CMMCorePlus

    from livestain.session.session import Session

INCOMPLETE = 3
INTERRUPTED = 130
_REFRESH_S = 0.5


def acquire(
    core: CMMCorePlus,
    sequence: useq.MDASequence,
    *,
    model: str,
    record: Path,
    channel: str | None = None,
    backend: Backend = "auto",
    fsync: bool = True,
    as_json: bool = False,
    source: str = "",
    camera_failure: Callable[[], LivestainError | None] = lambda: None,
) -> int:
    """Acquire, stain and record; blocks until all is stained, and returns the exit code of the command.

    Ctrl-C stops the acquisition, saves what was received and leaves planes without a stain for later.
    """
    from pymmcore_plus import configure_logging

    from livestain.sources.mda import attach

    configure_logging(stderr_level="ERROR")  # each frame is a line of its log otherwise
    interrupted = False
    with (
        _interrupted_once(),
        attach(
            core, model, record, channel=channel, backend=backend, fsync=fsync, when_full="wait", source=source
        ) as session,
    ):
        _announce(session)
        with Display(session) as display:
            try:
                _run_shown(core, sequence, display)
                _close_shown(session, display)
            except KeyboardInterrupt:
                interrupted = True
                core.mda.cancel()
                _stop(session, display)
    failure = camera_failure()
    code = INTERRUPTED if interrupted else _exit_code(session, core, failure)
    _print_summary(session, core, failure, as_json)
    return code


@contextmanager
def _interrupted_once() -> Iterator[None]:
    """Let Ctrl-C through once: held down, it would cost frames while what was received is being saved."""

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _announce(session: Session) -> None:
    if session.frames_at_risk is not None:
        typer.echo(
            f"Recording to {session.run} (frames wait for the disk in memory, at most {session.frames_at_risk}: "
            "no more can be lost in a crash)",
            err=True,
        )


def _run_shown(core: CMMCorePlus, sequence: useq.MDASequence, display: Display) -> None:
    thread = core.run_mda(sequence)
    while thread.is_alive():
        thread.join(_REFRESH_S)
        display.update()


def _close_shown(session: Session, display: Display) -> None:
    """Close on a thread beside, so that what is left is shown and Ctrl-C is heard."""
    closing = threading.Thread(target=session.close, name="livestain-close", daemon=True)
    closing.start()
    while closing.is_alive():
        closing.join(_REFRESH_S)
        display.update()


def _stop(session: Session, display: Display) -> None:
    """Save what was received."""
    display.say("stopping: what was received is being saved")
    session.close(drain=False)


def _exit_code(session: Session, core: CMMCorePlus, failure: LivestainError | None) -> int:
    lost = sum(status.counters.lost for status in session.report())
    return INCOMPLETE if lost or failure is not None or _stopped_by(core) else 0


def _stopped_by(core: CMMCorePlus) -> str:
    """How the acquisition ended, if not as planned."""
    reason = core.mda.status.finish_reason
    name = str(getattr(reason, "value", reason) or "")
    return "" if name == "completed" else name


def _print_summary(session: Session, core: CMMCorePlus, failure: LivestainError | None, as_json: bool) -> None:
    statuses = session.report()
    ended = _stopped_by(core)
    if as_json:
        runs: list[dict[str, Any]] = [asdict(status) for status in statuses]
        note = {"acquisition": ended or "completed", "camera": str(failure) if failure else ""}
        typer.echo(json.dumps({**note, "runs": runs}, indent=1))
        return
    if failure is not None:
        typer.echo(f"The camera failed: {failure}")
    if ended:
        typer.echo(f"The acquisition ended before its plan was done: {ended}")
    for status in statuses:
        for line in summary_lines(status):
            typer.echo(line)
