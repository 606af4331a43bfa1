"""A stainer seen from the session: a child process, or a thread where nothing may be spawned."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from livestain.errors import LivestainError
from livestain.stainer.job import Geometry, Job, Message, last_words
from livestain.stainer.slots import Slot, frame_parts, make_file, remove_file, result_parts

log = logging.getLogger(__name__)

OnMessage = Callable[[Message], None]
OnExit = Callable[[str], None]

_LAST_WORDS_S = 1.0


class Stainer(Protocol):
    """One life of a stainer. ``on_message`` and ``on_exit`` are called on a thread of its own, ``on_exit`` last."""

    def send(self, message: Message) -> None:
        """Tell it something; never blocks for long, and nothing happens if it is gone."""
        ...

    def prepare(self, geometry: Geometry, stains: int) -> tuple[Slot, Slot]:
        """Make a fresh pair of slots (frame, stains) and tell the stainer."""
        ...

    def kill(self) -> None:
        """End it at once, as far as that is possible."""
        ...

    def memory_bytes(self) -> int:
        """Resident memory beyond that of this process."""
        ...

    def cpu_s(self) -> float | None:
        """CPU seconds it has used if it wants to run at this moment; None when it sleeps, is stopped or gone."""
        ...


class StainerProcess:
    """A stainer as a child process at low priority; ``errors`` is the file for what native libraries print."""

    def __init__(self, job: Job, errors: Path | None, on_message: OnMessage, on_exit: OnExit) -> None:
        self._on_message, self._on_exit = on_message, on_exit
        self._files: list[Path] = []
        self._slots: list[Slot] = []
        self._send_lock = threading.Lock()
        job = job.model_copy(update={"parent_pid": os.getpid()})
        with contextlib.ExitStack() as stack:
            stderr: Any = stack.enter_context(errors.open("ab")) if errors is not None else subprocess.DEVNULL
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "livestain.stainer", job.model_dump_json()],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, **_own_group(),
            )  # fmt: skip
        self.pid = self._process.pid
        self._listener = threading.Thread(target=self._listen, name="livestain-results", daemon=True)
        self._listener.start()
        threading.Thread(target=self._await_exit, name="livestain-stainer-exit", daemon=True).start()

    def send(self, message: Message) -> None:
        """Write one line to its stdin."""
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        stdin = self._process.stdin
        with self._send_lock, contextlib.suppress(OSError, ValueError):  # gone: `on_exit` tells
            if stdin is not None:
                stdin.write(line)
                stdin.flush()

    def prepare(self, geometry: Geometry, stains: int) -> tuple[Slot, Slot]:
        """Make slots in shared memory; their files go when the child has mapped them."""
        parts = frame_parts(geometry.shape, geometry.dtype), result_parts(geometry.shape, geometry.dtype, stains)
        frame, result = make_file(parts[0], "frame"), make_file(parts[1], "stain")
        self._files = [frame, result]
        pair = Slot(parts[0], frame), Slot(parts[1], result)
        self._slots = list(pair)
        geometry_text = geometry.model_dump(mode="json")
        self.send({"do": "frames", "geometry": geometry_text, "slots": [str(frame), str(result)]})
        return pair

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    def memory_bytes(self) -> int:
        """Resident memory of the child; 0 when it is gone."""
        import psutil

        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(self.pid).memory_info().rss)
        return 0

    def cpu_s(self) -> float | None:
        """CPU seconds of the child; on Windows, which does not tell who sleeps, always."""
        import psutil

        with contextlib.suppress(psutil.Error):
            child = psutil.Process(self.pid)
            if child.status() == psutil.STATUS_RUNNING:
                times = child.cpu_times()
                return float(times.user + times.system)
        return None

    def _listen(self) -> None:
        stdout = self._process.stdout
        if stdout is not None:
            with stdout:
                for line in stdout:
                    if not line.endswith(b"\n"):
                        return  # killed while it spoke
                    message = json.loads(line)
                    if message["is"] == "mapped":
                        self._remove_files()
                    self._on_message(message)

    def _await_exit(self) -> None:
        """Tell that the process has ended; its pipe may be held open by something that a library has forked."""
        code = self._process.wait()
        self._listener.join(_LAST_WORDS_S)
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._on_exit(f"exit code {code}")
        for slot in self._slots:
            slot.close()
        self._remove_files()

    def _remove_files(self) -> None:
        for path in self._files:
            remove_file(path)


class StainerThread:
    """The same stainer as a thread of this process: no isolation, cannot be killed; for tests and notebooks."""

    def __init__(self, job: Job, on_message: OnMessage, on_exit: OnExit) -> None:
        self._job, self._on_message, self._on_exit = job, on_message, on_exit
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._wake = threading.Event()
        threading.Thread(target=self._run, name="livestain-stainer", daemon=True).start()

    def send(self, message: Message) -> None:
        """Put it into the inbox."""
        self._inbox.put(message)
        self._wake.set()

    def prepare(self, geometry: Geometry, stains: int) -> tuple[Slot, Slot]:
        """Make slots in memory."""
        shape, dtype = geometry.shape, geometry.dtype
        pair = Slot(frame_parts(shape, dtype)), Slot(result_parts(shape, dtype, stains))
        self.send({"do": "frames", "geometry": geometry.model_dump(), "slots": pair})
        return pair

    def kill(self) -> None:
        """Ask it to end after the plane in hand."""
        self.send({"do": "quit"})

    def memory_bytes(self) -> int:
        """Nothing beyond this process."""
        return 0

    def cpu_s(self) -> float | None:
        """Not known of a thread."""
        return None

    def _run(self) -> None:
        from livestain.stainer.loop import StainLoop

        end = "ended"
        try:
            StainLoop(self._job, self._inbox, self._wake, self._on_message).run()
        except LivestainError as error:
            end = str(error)
            self._on_message(last_words(error))
        except Exception as error:
            log.exception("the stainer thread failed")
            end = repr(error)
        self._on_exit(end)


def _own_group() -> dict[str, Any]:
    """Ctrl-C is the parent's business; on Windows the child also starts below normal priority and without a console."""
    if sys.platform == "win32":
        flags = (
            subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.BELOW_NORMAL_PRIORITY_CLASS | subprocess.CREATE_NO_WINDOW
        )
        return {"creationflags": flags}
    return {"process_group": 0}
