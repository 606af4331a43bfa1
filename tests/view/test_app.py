"""Whether a window is possible, and a command's work beside one: how it begins, ends, is stopped and left alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QSettings, QTimer
from qtpy.QtWidgets import QApplication

from livestain.errors import UserError
from livestain.session.status import Counters
from livestain.view import app as app_module
from livestain.view import window as window_module
from livestain.view.app import missing_libraries_line, probe, run_with_window
from livestain.view.shell import Shell
from tests.view.doubles import FeedDouble, SessionDouble
from tests.view.runs import stained_run

PATIENCE_MS = 20_000
ROOT = Path(__file__).parents[2]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As a desktop has it."""
    monkeypatch.setenv("DISPLAY", ":0")
    for name in ("QT_QPA_PLATFORM", app_module.FORCE, "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(app_module, "_does_not_start", lambda: "")
    return monkeypatch


def test_where_there_is_a_screen_a_window_is_possible(screen: pytest.MonkeyPatch) -> None:
    assert probe() == ""


@pytest.mark.skipif("not sys.platform.startswith('linux')", reason="Windows and macOS always have a display")
def test_without_a_display_the_reason_is_one_line(screen: pytest.MonkeyPatch) -> None:
    screen.delenv("DISPLAY")
    assert probe() == "there is no display (DISPLAY is not set)"


@pytest.mark.parametrize("platform", ["offscreen", "minimal", "offscreen:size=800x600"])
def test_a_platform_that_shows_nothing_is_no_display_unless_forced(platform: str, screen: pytest.MonkeyPatch) -> None:
    screen.setenv("QT_QPA_PLATFORM", platform)
    assert "shows nothing" in probe()
    screen.setenv(app_module.FORCE, "force")
    assert probe() == ""


MISSING = {
    "the extra": ({"qtpy", "pyqtgraph", "PySide6", "PyQt6"}, f"qtpy, pyqtgraph not installed: {app_module.INSTALL}"),
    "the binding": ({"PySide6", "PyQt6"}, f"no Qt is installed: {app_module.INSTALL}"),
}


@pytest.mark.parametrize(("gone", "words"), MISSING.values(), ids=MISSING.keys())
def test_what_is_not_installed_is_named_with_what_brings_it(
    gone: set[str], words: str, screen: pytest.MonkeyPatch
) -> None:
    screen.setattr("importlib.util.find_spec", lambda name: None if name in gone else object())
    assert probe().startswith(words)


@pytest.mark.parametrize(("python", "refused"), [((3, 11), True), ((3, 12), False)])
def test_pyside_6_12_0_is_refused_below_python_3_12(
    python: tuple[int, int], refused: bool, screen: pytest.MonkeyPatch
) -> None:
    screen.setenv("QT_API", "pyside6")
    screen.setattr("importlib.util.find_spec", lambda _: object())
    screen.setattr(app_module, "_version", lambda _: "6.12.0")
    screen.setattr(sys, "version_info", python)
    assert ("PySide6 6.12.0" in probe()) == refused


LDD = """\tlinux-vdso.so.1 (0x00007ffd)
\tlibxcb-cursor.so.0 => not found
\tlibxkbcommon-x11.so.0 => not found
\tlibEGL.so.1 => not found
\tlibglib-2.0.so.0 => not found
\tlibc.so.6 => /lib/libc.so.6 (0x00007f)
\tlibEGL.so.1 => not found
"""


def test_missing_libraries_are_named_with_their_packages() -> None:
    assert missing_libraries_line(LDD) == (
        "Qt lacks libEGL.so.1, libglib-2.0.so.0, libxcb-cursor.so.0, libxkbcommon-x11.so.0: on Debian and Ubuntu apt "
        "install libegl1 libglib2.0-0 libxcb-cursor0 libxkbcommon-x11-0"
    )
    assert missing_libraries_line("\tlibc.so.6 => /lib/libc.so.6\n") == ""


def test_qt_that_cannot_start_ends_a_child_process_only(screen: pytest.MonkeyPatch) -> None:
    screen.undo()
    screen.setenv("DISPLAY", ":0")
    screen.setenv("QT_QPA_PLATFORM", "nonsense")
    assert "Qt does not start" in probe()


def test_importing_the_commands_loads_no_qt() -> None:
    code = "import sys, livestain.cli; print([m for m in sys.modules if m.startswith(('qtpy', 'PySide6', 'PyQt6'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_the_starting_window_needs_nothing_heavy() -> None:
    heavy = ("scipy", "tensorstore", "onnx", "pymmcore_plus", "openvino", "pyqtgraph")
    code = f"import sys, livestain.cli, livestain.view.shell; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


# -- the work beside the window ----------------------------------------------------------------------------------------


@pytest.fixture
def session(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionDouble:
    """A session whose window shows a feed of doubles, and keeps its settings here."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("livestain.view.live.LiveFeed", lambda _: FeedDouble())
    return SessionDouble(model_folder, tmp_path)


@pytest.fixture
def shell(qtbot: QtBot) -> Shell:
    return Shell()


def soon(condition: Callable[[], object], deed: Callable[[], object]) -> None:
    """Do something on the GUI thread as soon as a condition holds."""

    def look() -> None:
        if condition():
            timer.stop()
            timer.deleteLater()
            deed()

    timer = QTimer(QApplication.instance())
    timer.timeout.connect(look)
    timer.start(10)


def window_open(shell: Shell) -> Callable[[], bool]:
    return lambda: shell._window is not None and bool(shell._window.isVisible())


def test_work_that_shows_nothing_ends_the_program_with_its_code(shell: Shell) -> None:
    assert shell.run(lambda _: 3) == 3


def test_an_error_of_the_work_is_raised_again(shell: Shell) -> None:
    def work(_: Shell) -> int:
        raise UserError("no such model")

    with pytest.raises(UserError, match="no such model"):
        shell.run(work)


def test_a_window_with_a_status_line_is_there_before_the_work_has_ended(shell: Shell, qtbot: QtBot) -> None:
    go_on, seen = threading.Event(), []

    def work(stage: Shell) -> int:
        stage.say("loading the microscope core ...")
        go_on.wait(20)
        return 0

    def look() -> None:
        seen.append(shell._starting.isVisible())
        go_on.set()

    soon(lambda: "microscope core" in shell._starting.text, look)
    assert shell.run(work) == 0
    assert seen == [True]


def test_after_the_work_the_window_stays_until_it_is_closed(shell: Shell, session: SessionDouble) -> None:
    said: list[str] = []

    def work(stage: Shell) -> int:
        stage.show(session.as_session())
        counters = Counters(received=5, saved=5, labelfree=5, live=5)
        session.say(state="closed", planned=5, counters=counters, run="RUN")
        return 0

    def look() -> None:
        assert shell._window is not None
        said.extend(shell._window.bars.texts)
        shell._window.close()

    soon(lambda: shell._window is not None and shell._window.bars.texts, look)
    assert shell.run(work) == 0
    assert said == ["Finished: 5 of 5 frames saved, 5 stained; nothing lost; RUN"]


@pytest.mark.parametrize(("button", "stopped"), [("go_on", False), ("stop", True)])
def test_the_work_goes_on_or_stops_as_the_answer_says(
    button: str, stopped: bool, shell: Shell, session: SessionDouble
) -> None:
    heard: list[bool] = []
    closed = threading.Event()

    def work(stage: Shell) -> int:
        stage.show(session.as_session())
        closed.wait(20)
        heard.append(stage.stop.is_set())
        return 130 if heard[0] else 0

    def close() -> None:
        assert shell._window is not None
        shell._window.closed.connect(closed.set)
        shell._window.close()
        getattr(shell._window._question, button).click()

    soon(window_open(shell), close)
    assert shell.run(work) == (130 if stopped else 0)
    assert heard == [stopped]


def test_ctrl_c_stops_the_work_and_a_second_one_closes_the_window(shell: Shell, session: SessionDouble) -> None:
    told: list[str] = []

    def work(stage: Shell) -> int:
        stage.show(session.as_session())
        assert stage.stop.wait(20)
        assert told_of_stopping.wait(20)
        session.say(state="closed")
        return 130

    def bars() -> tuple[str, ...]:
        return shell._window.bars.texts if shell._window is not None else ()

    def again() -> None:
        told.extend(bars())
        signal.raise_signal(signal.SIGINT)

    told_of_stopping = threading.Event()
    soon(window_open(shell), lambda: signal.raise_signal(signal.SIGINT))
    soon(lambda: "stopping: what was received is being saved" in bars(), told_of_stopping.set)
    soon(lambda: not shell._working, again)
    before = signal.getsignal(signal.SIGINT)
    assert shell.run(work) == 130
    assert [text.split(" planned")[0] for text in told] == ["Stopped: 11 of 20"]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_qt_starts_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[Shell] = []

    def work(stage: Shell) -> int:
        worked.append(stage)
        return 0

    def starts() -> None:
        with contextlib.suppress(KeyboardInterrupt):  # as Qt does with what is raised within its own calls
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("livestain.view.shell.application", starts)
    with pytest.raises(KeyboardInterrupt):
        run_with_window(work)
    assert not worked


def test_a_run_that_has_ended_is_opened_in_the_place_of_the_live_window(
    shell: Shell, session: SessionDouble
) -> None:  # fmt: skip
    assert session.run is not None
    session.run = stained_run(session.run / "run")
    seen: list[object] = []

    def work(stage: Shell) -> int:
        stage.show(session.as_session())
        session.say(state="closed")
        return 0

    def ask() -> None:
        live = shell._window
        assert live is not None
        seen.extend((shell.is_open, live.actions_by_name["staining"].isEnabled(), live.timeline))
        live.actions_by_name["open"].trigger()
        assert shell._window is not live

    def recorded() -> bool:
        return shell._window is not None and shell._window.timeline is not None

    def close() -> None:
        assert shell._window is not None
        seen.append(shell._window.run)
        shell._window.close()

    soon(lambda: shell._window is not None and shell._window.actions_by_name["open"].isVisible(), ask)
    soon(recorded, close)
    assert shell.run(work) == 0
    assert seen == [True, False, None, session.run]


def test_ctrl_c_is_heard_after_the_window_was_left(shell: Shell, session: SessionDouble) -> None:
    def work(stage: Shell) -> int:
        stage.show(session.as_session())
        return 130 if stage.stop.wait(20) else 0

    def leave() -> None:
        assert shell._window is not None
        shell._window.close()
        shell._window._question.go_on.click()
        signal.raise_signal(signal.SIGINT)

    soon(window_open(shell), leave)
    assert shell.run(work) == 130


def test_a_window_that_cannot_be_made_does_not_end_the_work(
    shell: Shell, session: SessionDouble, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a slip in the window")

    monkeypatch.setattr(window_module, "Window", broken)
    go_on = threading.Event()

    def work(stage: Shell) -> int:
        stage.show(session.as_session())
        assert go_on.wait(20)
        return 0

    soon(lambda: "a slip in the window" in shell._starting.text, go_on.set)
    assert shell.run(work) == 0
    assert any("a slip in the window" in record.getMessage() for record in caplog.records)


def test_closing_the_starting_window_asks_too(shell: Shell) -> None:
    def work(stage: Shell) -> int:
        return 130 if stage.stop.wait(20) else 0

    def close() -> None:
        shell._starting.close()
        shell._starting._question.stop.click()

    soon(shell._starting.isVisible, close)
    assert shell.run(work) == 130


def test_the_demo_beside_its_window_saves_and_stains_everything(model_folder: Path, tmp_path: Path) -> None:
    code = (
        "import livestain.view.shell as shell\n"
        "finish = shell.Shell._finish\n"
        "def close(self):\n"
        "    finish(self)\n"
        "    print('shown', self._window.state.picture is not None)\n"
        "    self._window.close()\n"
        "shell.Shell._finish = close\n"
        "from livestain.cli import main; main()"
    )
    command = [sys.executable, "-P", "-c", code, "demo", "--model", str(model_folder), "--output", "run"]
    command += ["--size", "96", "--frames", "8", "--fps", "4", "--view"]
    environment = {
        **os.environ, "QT_QPA_PLATFORM": "offscreen", app_module.FORCE: "force", "XDG_CONFIG_HOME": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "shown True" in done.stdout
    assert "Recorded  8 of 8 frames" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_window_of_a_recorded_run_is_shown_until_closed(qtbot: QtBot, tmp_path: Path) -> None:
    settings = QSettings(str(tmp_path / "a.ini"), QSettings.Format.IniFormat)
    window = window_module.Window(FeedDouble(), settings=settings)
    soon(window.isVisible, window.close)
    assert app_module.show_window(lambda: window) == 0
