"""``livestain view`` without a display: pictures and movies of runs; mistakes are one line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("qtpy")
import av
from PIL import Image
from pytestqt.qtbot import QtBot

from tests.cli.demos import LIVESTAIN
from tests.conftest import Livestain
from tests.store.recording import Recording


@pytest.fixture
def run(tmp_path: Path, qtbot: QtBot) -> Path:
    """Four time points, stained but for the last; t 1 was not recorded."""
    made = Recording(tmp_path / "run")
    for t in range(4):
        made.raw(t, state="failed" if t == 1 else "ok", reason="disk too slow" if t == 1 else "")
    for t in (0, 2):
        made.stain(t)
    return made.end().path


@pytest.mark.parametrize("mode", ["composite", "split", "curtain"])
def test_a_snapshot_is_one_picture_and_nothing_else(run: Path, tmp_path: Path, livestain: Livestain, mode: str) -> None:
    out = tmp_path / "out.png"
    done = livestain("view", run, "--snapshot", out, "--time", 2, "--mode", mode, "--size", "640x400")
    assert (done.code, done.out, done.err) == (
        0,
        f"{out}\n",
        "note: measured: GFP is not in the picture: not recorded\n",
    )
    with Image.open(out) as image:
        assert image.size == (640, 400)
        assert image.text["Mode"] == mode  # type: ignore[attr-defined]
        assert image.text["Run"] == "run"  # type: ignore[attr-defined]


def test_the_newest_time_point_is_taken_and_what_is_missing_is_told(
    run: Path, tmp_path: Path, livestain: Livestain
) -> None:
    done = livestain("view", run, "--snapshot", tmp_path / "out.png")
    assert done.code == 0
    assert "virtual: nuclei is not in the picture: no stain yet" in done.err
    with Image.open(tmp_path / "out.png") as image:
        assert image.text["Place"] == "p0 t3 z0"  # type: ignore[attr-defined]


def test_a_movie_of_a_range(run: Path, tmp_path: Path, livestain: Livestain) -> None:
    done = livestain("view", run, "--movie", tmp_path / "out.mp4", "--from", 1, "--to", 3, "--fps", 4)
    assert (done.code, done.out, done.err) == (0, f"{tmp_path / 'out.mp4'}\n", "")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(list(container.decode(video=0))) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--snapshot", "a.png", "--time", 4], "--time 4 is outside the run"),
        (["--snapshot", "a.png", "--time", -1], "0 to 3 are there"),
        (["--snapshot", "a.png", "--position", 1], "--position 1 is outside the run"),
        (["--snapshot", "a.png", "--z", 7], "--z 7 is outside the run"),
        (["--snapshot", "a.png", "--time", 1], "cannot be shown: not recorded: disk too slow"),
        (["--snapshot", "a.png", "--size", "big"], "--size big is not possible: WIDTHxHEIGHT"),
        (["--snapshot", "a.png", "--size", "100x800"], "200 to 8192 px"),
        (["--snapshot", "a.png", "--size", "1280x800x3"], "WIDTHxHEIGHT"),
        (["--snapshot", "a.png", "--mode", "film"], "--mode film is unknown: choose one of composite, split, curtain"),
        (["--snapshot", "a.jpg"], "a.jpg has no known ending: choose .png"),
        (["--snapshot", "there.png"], "there.png exists already"),
        (["--snapshot", "nowhere/a.png"], "nowhere does not exist"),
        (["--size", "1280x800"], "--size is for a snapshot"),
        (["--fps", 5], "are for a movie"),
        (["--movie", "a.avi"], "choose .mp4 or .gif"),
        (["--movie", "there.gif"], "there.gif exists already"),
        (["--movie", "a.mp4", "--from", 3, "--to", 2], "time points 3 to 2"),
        (["--movie", "a.mp4", "--to", 4], "the run has 0 to 3"),
        (["--movie", "a.mp4", "--fps", 0], "0 frames a second"),
        (["--movie", "a.mp4", "--from", 1, "--to", 1], "nothing was recorded"),
        (["--snapshot", "a.png", "--movie", "a.webm"], "choose .mp4 or .gif"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    run: Path, tmp_path: Path, livestain: Livestain, monkeypatch: pytest.MonkeyPatch, words: list[object], told: str
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    for name in ("there.png", "there.gif"):
        Path(name).write_text("mine")
    done = livestain("view", run, *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert told in done.err
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["there.gif", "there.png"]


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path, livestain: Livestain, qtbot: QtBot) -> None:
    done = livestain("view", tmp_path, "--snapshot", tmp_path / "a.png")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "is no run: choose the folder that holds run.json and raw" in done.err


def test_without_a_display_the_window_is_refused_and_pictures_are_named(run: Path, livestain: Livestain) -> None:
    done = livestain("view", run)
    assert done.code == 2
    assert done.err.startswith("error: no window can be opened: QT_QPA_PLATFORM=offscreen shows nothing")
    assert "--snapshot" in done.err


def test_a_process_without_any_display_makes_a_snapshot(run: Path, tmp_path: Path) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("QT_", "DISPLAY", "WAYLAND"))}
    command = [*LIVESTAIN, "view", str(run), "--snapshot", str(tmp_path / "a.png")]
    done = subprocess.run(command, env=bare, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").exists()
