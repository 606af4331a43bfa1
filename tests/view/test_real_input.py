"""The program on a real screen, with a real mouse and keyboard, and with nothing of OpenGL there.

Xvfb is the screen, xdotool the hands; where they are not installed the tests say so and are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from qtpy import API

from livestain.store.ledger import read_rows
from tests.cli.demos import LIVESTAIN
from tests.session.pieces import await_that
from tests.view.pictures import AMBER
from tests.view.runs import stained_run

_FIRST_DISPLAY, _DISPLAYS = 97, 30
_LIMIT_S = 60.0
_HERE = Path(__file__).parent
_MISSING = [tool for tool in ("Xvfb", "xdotool") if shutil.which(tool) is None]

pytestmark = pytest.mark.skipif(
    bool(_MISSING), reason=f"{' and '.join(_MISSING)} not there: would show the window under a real mouse and keyboard"
)

Pixels = npt.NDArray[np.uint8]


class Screen:
    """A screen of 1280 x 800 px in memory, whose pixels lie in a file."""

    def __init__(self, display: str, folder: Path) -> None:
        self._file = folder / "Xvfb_screen0"
        elsewhere = ("QT_QPA_PLATFORM", "WAYLAND_DISPLAY", "LIVESTAIN_VIEW")
        self.environment = {name: value for name, value in os.environ.items() if name not in elsewhere}
        self.environment |= {"DISPLAY": display, "QT_API": API, "XDG_CONFIG_HOME": str(folder)}

    def pixels(self) -> Pixels:
        """Return (Y, X, 3) uint8: red, green, blue. The file is an X window dump: a head, its colours, the pixels."""
        data = self._file.read_bytes()
        head = np.frombuffer(data, ">u4", 25)
        size, width, height, line, colors = (int(head[i]) for i in (0, 4, 5, 12, 19))
        rows = np.frombuffer(data, np.uint8, line * height, size + 12 * colors).reshape(height, line)
        return rows[:, : 4 * width].reshape(height, width, 4)[..., 2::-1]

    def count(self, which: Callable[[Pixels], npt.NDArray[np.bool_]]) -> int:
        return int(which(self.pixels().astype(np.int16)).sum())

    def do(self, *words: object) -> None:
        """Run xdotool."""
        subprocess.run(["xdotool", *map(str, words)], env=self.environment, check=True, timeout=_LIMIT_S)

    def focus(self, title: str) -> None:
        """Give the keyboard to a window, as a window manager does with a new one; waits for it."""
        self.do("search", "--sync", "--onlyvisible", "--name", title, "windowfocus")

    @contextmanager
    def program(self, *words: object) -> Iterator[subprocess.Popen[str]]:
        """Run a command of livestain on this screen; it is killed if it has not ended by itself."""
        command = [*LIVESTAIN, *map(str, words)]
        with subprocess.Popen(
            command, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()


def amber(pixels: Pixels) -> npt.NDArray[np.bool_]:
    """Where the mark of virtual stains is, or another amber thing."""
    return np.asarray(np.all(pixels == AMBER, axis=-1))


def green(pixels: Pixels) -> npt.NDArray[np.bool_]:
    return np.asarray(pixels[..., 1] > pixels[..., 0] + 20)


def lit(pixels: Pixels) -> npt.NDArray[np.bool_]:
    return np.asarray(np.any(pixels > 0, axis=-1))


POINTER_PX = 1000
"""More than the pointer of the mouse, which is on the screen even when there is no window."""


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    """A screen that knows no OpenGL: the window must not need it."""
    with own_screen(tmp_path_factory.mktemp("screen")) as (screen, _):
        yield screen


@contextmanager
def own_screen(folder: Path) -> Iterator[tuple[Screen, subprocess.Popen[bytes]]]:
    """Give a screen and its X server."""
    for number in range(_FIRST_DISPLAY, _FIRST_DISPLAY + _DISPLAYS):
        server = _start_server(number, folder)
        if server is not None:
            with server:
                yield Screen(f":{number}", folder), server
                server.terminate()
            return
    pytest.fail(f"no display of :{_FIRST_DISPLAY} and the {_DISPLAYS} after it is free")


def _start_server(number: int, folder: Path) -> subprocess.Popen[bytes] | None:
    """Return an X server that is ready; None where the display is taken."""
    reader, writer = os.pipe()
    options = ["-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset", "-extension", "GLX"]
    server = subprocess.Popen(
        ["Xvfb", f":{number}", *options, "-fbdir", str(folder), "-displayfd", str(writer)],
        pass_fds=[writer],
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        is_ready = told.readline()  # its number when it is ready, nothing when it ends; all of it, or it dies of that
    if is_ready:
        return server
    server.wait(_LIMIT_S)
    return None


@pytest.mark.timeout(150)
def test_mouse_and_keyboard_do_what_a_person_means_by_them(screen: Screen, tmp_path: Path) -> None:
    # The widgets are in a process of their own, since Qt can have one platform only in a process.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", f"qt_api={API}",
               "--basetemp", str(tmp_path / "inner"), str(_HERE / "on_screen.py")]  # fmt: skip
    environment = {**screen.environment, "QT_QPA_PLATFORM": "xcb"}
    done = subprocess.run(
        command, env=environment, cwd=_HERE.parents[1], capture_output=True, text=True, timeout=140, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_run_is_opened_looked_at_and_closed(screen: Screen, tmp_path: Path) -> None:
    with screen.program("view", stained_run(tmp_path / "seen-run")) as viewer:
        await_that(lambda: screen.count(green) > 100_000 or viewer.poll() is not None, _LIMIT_S)
        marked = screen.count(amber)
        screen.focus("seen-run")
        screen.do("keydown", "b")
        await_that(lambda: screen.count(green) < 20_000 and screen.count(amber) < marked - 2000, _LIMIT_S)
        screen.do("keyup", "b")
        await_that(lambda: screen.count(green) > 100_000 and screen.count(amber) == marked, _LIMIT_S)
        screen.do("key", "ctrl+w")
        assert viewer.communicate(timeout=_LIMIT_S) == ("", "")
    assert viewer.returncode == 0
    await_that(lambda: screen.count(lit) < POINTER_PX, _LIMIT_S)


@pytest.mark.timeout(150)
def test_closing_the_window_of_a_demo_goes_on_without_it_until_ctrl_c(
    screen: Screen, model_folder: Path, tmp_path: Path
) -> None:
    ledger = tmp_path / "demo-run" / "raw" / "ledger.jsonl"
    options = ["--model", model_folder, "--output", tmp_path / "demo-run", "--size", 96, "--frames", 100_000]
    with screen.program("demo", *options) as demo:
        await_that(lambda: screen.count(amber) > 3000 or demo.poll() is not None, _LIMIT_S)
        screen.focus("demo-run")
        screen.do("key", "ctrl+w")
        screen.focus("Close the window")
        screen.do("key", "Return")
        await_that(lambda: screen.count(lit) < POINTER_PX, _LIMIT_S)
        seen = len(recorded(ledger))
        await_that(lambda: len(recorded(ledger)) >= seen + 3 or demo.poll() is not None, _LIMIT_S)
        demo.send_signal(signal.SIGINT)
        report, said = demo.communicate(timeout=_LIMIT_S)
    assert demo.returncode == 130, said
    times = recorded(ledger)
    assert times == list(range(len(times)))
    assert f"{len(times)} of {len(times)} frames" in report


@pytest.mark.timeout(150)
def test_a_demo_whose_screen_dies_goes_on_without_its_window(model_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "demo-run"
    with own_screen(tmp_path) as (screen, server):
        options = ["--model", model_folder, "--output", run, "--size", 96, "--frames", 100_000]
        with screen.program("demo", *options) as demo:
            await_that(lambda: screen.count(amber) > 3000 or demo.poll() is not None, _LIMIT_S)
            server.kill()
            server.wait(_LIMIT_S)
            seen = len(recorded(run / "raw" / "ledger.jsonl"))
            await_that(lambda: len(recorded(run / "raw" / "ledger.jsonl")) > seen + 5 or demo.poll() is not None)
            demo.send_signal(signal.SIGINT)
            report, said = demo.communicate(timeout=_LIMIT_S)
    assert demo.returncode == 130, said
    times = recorded(run / "raw" / "ledger.jsonl")
    assert times == list(range(len(times)))
    assert f"{len(times)} of {len(times)} frames" in report
    assert "the screen is gone: the run goes on without its window" in (run / "log.txt").read_text(encoding="utf-8")


def recorded(ledger: Path) -> list[object]:
    """The time points with an ``ok`` row."""
    return [row["t"] for row in read_rows(ledger)[0] if row.get("state") == "ok"]
