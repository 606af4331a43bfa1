"""Run a sequence on a core of our own with livestain attached, show how it goes, sum it up."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from livestain.cli.options import tell
from livestain.cli.stage import Stage
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
_LISTEN_S = 0.05
_BEGIN_S = 0.005


def acquire(
    core: CMMCorePlus,
    sequence: useq.MDASequence,
    stage: Stage,
    *,
    model: str,
    record: Path,
    channel: str | None = None,
    backend: Backend = "auto",
    fsync: bool = True,
    as_json: bool = False,
    source: str = "",
    engine_wait_s: float = 0.0,
    camera_failure: Callable[[], LivestainError | None] = lambda: None,
) -> int:
    """Acquire, stain and record; blocks until all is stained, and returns the exit code of the command.

    The first frame waits for the engine, at most ``engine_wait_s``: for an acquisition that nobody's cells depend on.
    ``stage.stop`` (Ctrl-C) stops the acquisition, saves what was received and leaves planes without a stain for later.
    """
    from pymmcore_plus import configure_logging

    from livestain.sources.mda import attach, planned_planes

    configure_logging(stderr_level="ERROR")  # each frame is a line of its log otherwise
    with (
        stage.interruptible(),
        attach(
            core, model, record, channel=channel, backend=backend, fsync=fsync, when_full="wait", source=source
        ) as session,
    ):
        _announce(session, planned_planes(sequence))
        _await_engine(session, stage, engine_wait_s)
        with Display(session) as display:
            done = _run_shown(core, sequence, session, stage, display) and _close_shown(session, display, stage.stop)
            if not done:
                core.mda.cancel()
                _stop(session, display)
    failure = camera_failure()
    code = _exit_code(session, core, failure) if done else INTERRUPTED
    _print_summary(session, core, failure, as_json)
    return code


def _announce(session: Session, planned: int) -> None:
    tell(f"Recording to {session.run}{_risk(session.frames_at_risk, planned)}")


def _risk(held: int | None, planned: int) -> str:
    """What a crash may cost, where that is less than everything planned."""
    if held is None or 0 < planned <= held:
        return ""
    return f" (saved as they come: a crash costs at most the newest {held}{f' of {planned}' if planned else ''} frames)"


def _await_engine(session: Session, stage: Stage, limit_s: float) -> None:
    """Wait until the engine is ready, will not come, or the time is up."""
    if limit_s <= 0 or session.status.engine:
        return
    text = "waiting for the engine ..."
    tell(text)
    stage.say(text)
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s and not stage.stop.wait(_LISTEN_S):
        status = session.status
        if status.engine or not status.staining:
            return


def _run_shown(core: CMMCorePlus, sequence: useq.MDASequence, session: Session, stage: Stage, display: Display) -> bool:
    """Acquire; False when stopped before the end."""
    if stage.stop.is_set():
        return False
    running = core.run_mda(sequence)
    while session.sequence is None and running.is_alive():
        running.join(_BEGIN_S)  # a window asks for the channels and the pixel size of the run
    stage.show(session)
    return _wait_shown(running, display, stage.stop)


def _close_shown(session: Session, display: Display, stop: threading.Event) -> bool:
    """Close on a thread beside, so that what is left is shown; False when stopped before the end."""
    closing = threading.Thread(target=session.close, name="livestain-close", daemon=True)
    closing.start()
    return _wait_shown(closing, display, stop)


def _wait_shown(thread: threading.Thread, display: Display, stop: threading.Event) -> bool:
    """Wait for a thread and show how it goes; False when stopped first."""
    update_s = 0.0
    while thread.is_alive():
        if stop.is_set():
            return False
        thread.join(_LISTEN_S)
        if time.monotonic() >= update_s:
            update_s = time.monotonic() + _REFRESH_S
            display.update()
    return True


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
    return {"completed": "", "canceled": "stopped"}.get(name, name)


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
