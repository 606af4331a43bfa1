"""With a window or without: what the commands say about it, and how Ctrl-C is heard where there is none."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from livestain.cli import stage as stage_module
from livestain.cli.stage import Stage, Terminal, on_stage
from livestain.errors import UserError
from tests.conftest import Livestain
from tests.session.pieces import check_closed


def short_demo(model: Path, run: Path) -> list[object]:
    return ["demo", "--model", model, "--output", run, "--frames", 2, "--size", 96, "--fps", 20]


def test_without_a_display_the_demo_goes_on_and_says_why_in_one_line(
    model_folder: Path, tmp_path: Path, livestain: Livestain
) -> None:
    done = livestain(*short_demo(model_folder, tmp_path / "run"))
    assert done.code == 0
    assert [line for line in done.err.splitlines() if "window" in line] == [
        "no window: QT_QPA_PLATFORM=offscreen shows nothing"
    ]
    check_closed(tmp_path / "run", received=2, saved=2)


def test_no_view_says_nothing_about_windows(model_folder: Path, tmp_path: Path, livestain: Livestain) -> None:
    done = livestain(*short_demo(model_folder, tmp_path / "run"), "--no-view")
    assert done.code == 0
    assert "window" not in done.err


@pytest.mark.parametrize("command", ["demo", "run"])
def test_a_window_that_is_asked_for_and_not_possible_is_a_mistake_before_anything_is_made(
    command: str, model_folder: Path, tmp_path: Path, livestain: Livestain
) -> None:
    done = livestain(command, "--model", model_folder, "--output", tmp_path / "run", "--frames", 1, "--view")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: no window can be opened: QT_QPA_PLATFORM=offscreen shows nothing; leave out --view to go on without\n"
    )
    assert not (tmp_path / "run").exists()


def work(_: Stage) -> int:
    return 7


class Beside(Terminal):
    """Stands for a window that is open, or was closed, when the work ends."""

    def __init__(self, is_open: bool) -> None:
        super().__init__()
        self.is_open = is_open


@pytest.mark.parametrize("is_open", [True, False])
def test_where_a_window_is_possible_the_work_runs_beside_it(
    is_open: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage_module, "probe", lambda: "")
    monkeypatch.setattr(stage_module, "run_with_window", lambda given: 100 + given(Beside(is_open)))
    assert (on_stage(None, work), on_stage(True, work), on_stage(False, work)) == (107, 107, 7)
    assert capsys.readouterr().err.count("still open: close it to end") == 2 * is_open


def test_a_window_that_was_refused_is_not_even_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> str:
        raise AssertionError("asked for a display")

    monkeypatch.setattr(stage_module, "probe", never)
    assert on_stage(False, work) == 7


def test_an_impossible_window_is_refused_only_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "probe", lambda: "no screen")
    assert on_stage(None, work) == 7
    with pytest.raises(UserError, match="no window can be opened: no screen"):
        on_stage(True, work)


def test_ctrl_c_sets_the_stop_once_and_is_as_before_afterwards() -> None:
    terminal = Terminal()
    before = signal.getsignal(signal.SIGINT)
    with terminal.interruptible():
        assert not terminal.stop.is_set()
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        assert terminal.stop.is_set()
    assert signal.getsignal(signal.SIGINT) is before
