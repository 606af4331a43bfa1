"""Whether a window is possible here, and a command's work beside one; imports Qt only when one is opened."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from livestain.errors import UserError
from livestain.settings import pip_install

if TYPE_CHECKING:
    from qtpy.QtWidgets import QApplication, QWidget

    from livestain.view.shell import Shell

INSTALL = pip_install("livestain[view]")
FORCE = "LIVESTAIN_VIEW"
"""Environment variable; ``force`` opens windows also where nobody can see them (tests)."""

_BLIND = ("offscreen", "minimal", "minimalegl", "vnc")
_BINDINGS = {"pyside6": "PySide6", "pyqt6": "PyQt6"}
_START = "from qtpy.QtWidgets import QApplication; QApplication([])"
_LIMIT_S = 60.0
# Named against Debian's rule (name and version of the library, in small letters).
_PACKAGES = {"libglib-2.0.so.0": "libglib2.0-0", "libgthread-2.0.so.0": "libglib2.0-0"}


def probe() -> str:
    """Return why no window can be opened here, in one line; empty when one can.

    Qt ends the process when it cannot start, so it is tried in a child process; blocks for about a second, or not at
    all where the answer is plain (not installed, no display).
    """
    return _not_installed() or _no_display() or _does_not_start()


@contextmanager
def hearing_the_end(heard: Callable[[], object]) -> Iterator[None]:
    """Call ``heard`` on Ctrl-C, and when the system asks the program to end (log-out, shut-down); main thread only."""
    with ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, lambda *_: heard()))
        yield


def run_with_window(work: Callable[[Shell], int]) -> int:
    """Run ``work`` on a thread of its own beside a window; return its exit code, or raise what it raised.

    A window with a status line is there at once; ``work`` tells its steps by `Shell.say`, shows a session by
    `Shell.show` and ends early when `Shell.stop` is set (Ctrl-C, or the answer to the question on closing). When it
    has ended the window stays until it is closed. Main thread only; `probe` first. Ctrl-C before there is any window
    raises `KeyboardInterrupt`.
    """
    _choose_binding()
    pressed: list[bool] = []
    # Heard from here on: an exception within one of Qt's own calls would be swallowed, and Ctrl-C with it.
    with hearing_the_end(lambda: pressed.append(True)):
        from livestain.view.shell import Shell, application

        app = application()
        shell = Shell()
        if pressed:
            raise KeyboardInterrupt
        code = shell.run(work)
    del app  # Qt keeps no reference of its own
    return code


def show_window(make: Callable[[], QWidget]) -> int:
    """Show the window that ``make`` returns, until it is closed; returns 0. Main thread only; `probe` first."""
    _choose_binding()
    from livestain.view.shell import application, show_until_closed

    app = application()
    show_until_closed(make())
    del app  # as above
    return 0


def headless_application() -> QApplication:
    """Return an application for pictures in files, which needs no display; keep it as long as they are drawn.

    Raises `UserError` when Qt is not installed or cannot be loaded.
    """
    why = _not_installed()
    if why:
        raise UserError(f"no picture can be drawn: {why}")
    try:
        from qtpy.QtWidgets import QApplication

        from livestain.view.shell import application
    except ImportError as error:  # qtpy's errors are of this family too
        raise UserError(f"no picture can be drawn, Qt does not load ({error}): {INSTALL}") from error
    if sys.platform.startswith("linux") and QApplication.instance() is None:
        # An argument, not the environment: what is started from here keeps its display. Elsewhere there is always one.
        return QApplication([sys.argv[0], "-platform", "offscreen"])
    return application()


def _not_installed() -> str:
    missing = [name for name in ("qtpy", "pyqtgraph") if importlib.util.find_spec(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed: {INSTALL}"
    binding = _choose_binding()
    if not binding:
        return f"no Qt is installed: {INSTALL}"
    if binding == "pyside6" and sys.version_info < (3, 12) and _version("PySide6_Essentials") == "6.12.0":
        return "PySide6 6.12.0 ends Python below 3.12 after some minutes: " + pip_install("PySide6_Essentials!=6.12.0")
    return ""


def _choose_binding() -> str:
    """Return the binding that is used, told to qtpy too (which would take PyQt6 first); empty when there is none."""
    asked = os.environ.get("QT_API", "").lower()
    found = [api for api, package in _BINDINGS.items() if importlib.util.find_spec(package) is not None]
    binding = asked if asked in found else next(iter(found), "")
    if binding:
        os.environ["QT_API"] = binding
    return binding


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _no_display() -> str:
    platform = os.environ.get("QT_QPA_PLATFORM", "").split(":")[0]
    if os.environ.get(FORCE) == "force":
        return ""
    if platform in _BLIND:
        return f"QT_QPA_PLATFORM={platform} shows nothing"
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display (DISPLAY is not set)"
    return ""


def _does_not_start() -> str:
    hidden = 0
    if sys.platform == "win32":
        hidden = subprocess.CREATE_NO_WINDOW
    command = [sys.executable, "-P", "-c", _START]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_LIMIT_S,
            check=False, creationflags=hidden,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"Qt did not start within {_LIMIT_S:g} s"
    if done.returncode == 0:
        return ""
    return missing_libraries_line(_ldd()) or f"Qt does not start: {_last_line(done.stderr) or done.returncode}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Qt follows its reason by a list of plugins.
    reasons = [line for line in lines if line.startswith("qt.qpa") or "could not connect to display" in line]
    return next(iter(reasons), lines[-1] if lines else "")


def _ldd() -> str:
    """What ldd says of the libraries of the platform plugin; empty where there is no ldd."""
    if not sys.platform.startswith("linux"):
        return ""
    platform = os.environ.get("QT_QPA_PLATFORM", "").split(":")[0] or (
        "xcb" if os.environ.get("DISPLAY") else "wayland"
    )
    spec = importlib.util.find_spec(_BINDINGS[_choose_binding()])
    root = Path(next(iter(spec.submodule_search_locations or [""]))) if spec else Path()
    said = []
    for plugin in sorted(root.glob(f"Qt*/plugins/platforms/libq{platform}*.so")):
        try:
            done = subprocess.run(["ldd", str(plugin)], capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        except OSError:
            return ""
        said.append(done.stdout)
    return "\n".join(said)


def missing_libraries_line(ldd: str) -> str:
    """Return the libraries that an output of ldd calls not found, with what brings them; empty when there is none."""
    missing = sorted({line.split()[0] for line in ldd.splitlines() if "not found" in line and "=>" in line})
    if not missing:
        return ""
    packages = " ".join(dict.fromkeys(_PACKAGES.get(name) or _debian_package(name) for name in missing))
    return f"Qt lacks {', '.join(missing)}: on Debian and Ubuntu apt install {packages}"


def _debian_package(library: str) -> str:
    """``libxcb-cursor.so.0`` -> ``libxcb-cursor0``; ``libxkbcommon-x11.so.0`` -> ``libxkbcommon-x11-0``."""
    name, _, version = library.partition(".so.")
    dash = "-" if re.search(r"\d$", name) else ""
    return f"{name.lower()}{dash}{version}"
