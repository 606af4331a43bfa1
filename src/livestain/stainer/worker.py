"""The stainer as a process of its own: pipes, priority, and the end when its parent is gone.

Nothing heavy is imported before the priority is lowered, since library threads inherit it.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import Any

_PARENT_POLL_S = 0.25
_END_S = 2.0
_GONE = 4


def lower_priority() -> None:
    """Let the acquisition go first (on Windows the session starts us below normal already)."""
    if sys.platform != "win32":
        os.nice(19)


class _Pipes:
    """Our stdin as messages, our stdout as messages; whatever libraries print goes to stderr."""

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.wake = threading.Event()
        self.gone = threading.Event()
        self._out = os.dup(1)
        os.dup2(2, 1)

    def say(self, message: dict[str, Any]) -> None:
        line = json.dumps(message, separators=(",", ":")) + "\n"
        try:
            os.write(self._out, line.encode())
        except OSError:
            self._leave()

    def listen(self) -> None:
        """Read messages until the end of stdin; then the parent is gone."""
        # Not sys.stdin: its lock would stop whatever a library forks, and the end of the interpreter.
        rest = b""
        while data := os.read(0, 65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.inbox.put(json.loads(line))
            self.wake.set()
        self._leave()

    def watch(self, parent_pid: int) -> None:
        """Notice the end of the parent even while a copy of it holds our stdin open."""
        while _is_alive(parent_pid):
            time.sleep(_PARENT_POLL_S)
        self._leave()

    def _leave(self) -> None:
        """Finish the plane in hand and what waits for the disk, for at most two seconds; no ``close`` row."""
        if not self.gone.is_set():
            self.gone.set()
            self.inbox.put({"do": "quit"})
            self.wake.set()
            threading.Timer(_END_S, os._exit, (_GONE,)).start()


class _Forward(logging.Handler):
    """Sends our log records to the session, which alone writes the log of the run."""

    def __init__(self, pipes: _Pipes) -> None:
        super().__init__(logging.INFO)
        self._pipes = pipes

    def emit(self, record: logging.LogRecord) -> None:
        self._pipes.say({"is": "log", "level": record.levelno, "text": record.getMessage()})


def _is_alive(parent_pid: int) -> bool:
    if sys.platform != "win32":
        return os.getppid() == parent_pid
    import psutil

    return psutil.pid_exists(parent_pid)


def main() -> None:
    """Run as ``python -m livestain.stainer JOB``, JOB being a `livestain.stainer.job.Job` as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lower_priority()
    pipes = _Pipes()
    pipes.say({"is": "hello", "pid": os.getpid()})
    parent_pid = json.loads(sys.argv[1])["parent_pid"]
    threading.Thread(target=pipes.listen, daemon=True).start()
    threading.Thread(target=pipes.watch, args=(parent_pid,), daemon=True).start()

    from livestain.errors import LivestainError
    from livestain.stainer.job import Job, last_words
    from livestain.stainer.loop import StainLoop

    logging.getLogger("livestain").addHandler(_Forward(pipes))
    logging.getLogger("livestain").setLevel(logging.INFO)
    code = 0
    try:
        StainLoop(Job.model_validate_json(sys.argv[1]), pipes.inbox, pipes.wake, pipes.say).run()
    except LivestainError as error:
        pipes.say(last_words(error))
        code = 1
    except Exception:  # noqa: BLE001 - the edge of the process: recorded in the run's file of errors, and the session starts another
        traceback.print_exc()
        code = 1
    # The engine's own teardown takes 0.1 to 0.3 s and everything is on disk: leave without it.
    sys.stderr.flush()
    os._exit(_GONE if pipes.gone.is_set() else code)
