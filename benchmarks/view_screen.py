"""A screen for benchmarks and pictures of the window: a virtual one of known size where there is one, else none."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from livestain.view.app import FORCE, probe

_FIRST_DISPLAY = 98
_LIMIT_S = 20.0


@contextmanager
def screen(width: int, height: int) -> Iterator[str]:
    """Yield what a window will be shown on, in words.

    Qt must not be imported before, and its application be gone at the end.

    Linux: a virtual X server of ``width`` x ``height`` px (Xvfb), where it is not installed nothing that can be seen.
    Elsewhere: the screen that is there.
    """
    if sys.platform != "linux":
        yield _checked("the screen of this machine")
    elif shutil.which("Xvfb") is None:
        os.environ |= {"QT_QPA_PLATFORM": "offscreen", FORCE: "force"}
        yield _checked("offscreen, Xvfb is not installed")
    else:
        server, display = _start(f"{width}x{height}x24")
        os.environ |= {"QT_QPA_PLATFORM": "xcb", "DISPLAY": display}
        try:
            yield _checked(f"Xvfb {width}x{height}, xcb")
        finally:
            server.terminate()
            server.wait(_LIMIT_S)


def _checked(where: str) -> str:
    """Also tells qtpy which binding to take."""
    why = probe()
    if why:
        raise SystemExit(f"no window is possible: {why}")
    return f"{where}, {os.environ['QT_API']}"


def _start(size: str) -> tuple[subprocess.Popen[bytes], str]:
    for number in itertools.count(_FIRST_DISPLAY):
        reading, writing = os.pipe()
        command = ["Xvfb", f":{number}", "-screen", "0", size, "-nolisten", "tcp", "-displayfd", str(writing)]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL, pass_fds=[writing])
        os.close(writing)
        with os.fdopen(reading) as told:
            if told.readline():  # it writes its number when it is ready, and ends where the number is taken
                return server, f":{number}"
        server.wait(_LIMIT_S)
    raise AssertionError
