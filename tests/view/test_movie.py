"""Movies: every time point in its place, the mark in every frame, no half file, whatever goes wrong."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("qtpy")
import av
from PIL import Image
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from livestain.errors import StoreFullError, UserError
from livestain.frames import Key
from livestain.store.run import add_note
from livestain.view.movie import GIF_FRAMES, MovieJob, MoviePlan, check_movie, same_look, write_movie
from livestain.view.movie_dialog import MovieDialog
from livestain.view.picture import MARK, LayerInfo
from livestain.view.recorded import RecordedRun
from livestain.view.state import MODES, Mode, ViewState
from tests.store.pieces import small_disk
from tests.store.recording import Recording

AMBER = (255, 193, 7)
EXTENT = (2, 300, 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A run of 6 time points: 3 failed to be recorded, 4 has no stain, 5 a failed one."""
    made = Recording(tmp_path / "run")
    for t in range(6):
        made.raw(t, elapsed_ms=2000.0 * t, state="failed" if t == 3 else "ok", reason="disk too slow" if t == 3 else "")
    for t in range(3):
        made.stain(t)
    made.stain(5, state="failed")
    return made.end().path


@pytest.fixture
def run(path: Path, qtbot: QtBot) -> RecordedRun:
    return RecordedRun(path)


@pytest.fixture
def state(run: RecordedRun) -> ViewState:
    return ViewState(run.layers)


Frames = list[npt.NDArray[np.uint8]]


def frames_of(path: Path) -> Frames:
    if path.suffix == ".mp4":
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with Image.open(path) as image:
        shown = []
        for index in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(index)
            shown.append(np.asarray(image.convert("RGB")))
        return shown


def amber(frame: npt.NDArray[np.uint8]) -> int:
    return int((np.abs(frame.astype(int) - AMBER) < 30).all(axis=2).sum())


def test_a_stain_is_never_filmed_as_a_measured_layer_of_a_window_that_has_others(
    run: RecordedRun, state: ViewState, tmp_path: Path
) -> None:
    layers = [view.info for view in state.views]
    last = layers[-1]
    assert last.kind == "virtual"
    live = ViewState((replace(layers[0], name="frame"), *[LayerInfo("new", "measured", "00B8FF")] * 9, last))
    live.set_layer(10, color="FF8C00")
    for index in range(1, len(layers)):
        state.set_layer(index, visible=False)
    state.set_layer(len(layers) - 1, visible=True, color="FF8C00")
    assert same_look(live, layers).settings() == state.settings()
    films = [
        frames_of(write_movie(tmp_path / f"{name}.gif", run, shown, MoviePlan(0, 1)) or Path())
        for name, shown in {"a": live, "b": state}.items()
    ]
    np.testing.assert_array_equal(films[0], films[1])


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
@pytest.mark.parametrize("mode", MODES)
def test_every_frame_of_a_movie_with_a_stain_is_marked_and_none_is_left_out(
    run: RecordedRun, state: ViewState, tmp_path: Path, ending: str, mode: Mode
) -> None:
    state.set_mode(mode)
    done: list[int] = []
    written = write_movie(
        tmp_path / f"a{ending}", run, state, MoviePlan(0, 5, fps=4), progress=done.append
    )  # fmt: skip
    assert written == tmp_path / f"a{ending}"
    frames = frames_of(written)
    assert (len(frames), done) == (6, [1, 2, 3, 4, 5, 6])
    # More amber than words of the legend can have.
    assert [amber(frame) > 1500 for frame in frames] == [True, True, True, False, False, False]
    assert all(frame.shape == frames[0].shape for frame in frames)
    assert [side % 2 for side in frames[0].shape[:2]] == [0, 0]
    # The frame that was not recorded is dark and says so; the one before is a picture.
    assert np.median(frames[3]) < 30 < np.median(frames[2])
    assert not any(path.name.endswith(".part") for path in tmp_path.iterdir())


def test_frames_are_those_of_their_time_points(run: RecordedRun, state: ViewState, tmp_path: Path) -> None:
    whole = frames_of(write_movie(tmp_path / "a.gif", run, state, MoviePlan(0, 2)) or Path())
    part = frames_of(write_movie(tmp_path / "b.gif", run, state, MoviePlan(1, 2)) or Path())
    apart = [np.abs(part[0].astype(int) - frame).mean() for frame in whole]
    assert np.argmin(apart) == 1


def test_an_mp4_says_how_its_colours_are_meant_and_what_it_is(
    run: RecordedRun, state: ViewState, tmp_path: Path
) -> None:
    written = write_movie(tmp_path / "a.mp4", run, state, MoviePlan(0, 2, fps=12.5))
    with av.open(str(written)) as container:
        stream = container.streams.video[0]
        context: Any = stream.codec_context
        assert (context.pix_fmt, int(context.colorspace), int(context.color_range)) == ("yuv420p", 1, 1)
        assert float(stream.average_rate or 0) == 12.5
        assert container.metadata["comment"] == MARK


def test_a_movie_that_begins_without_a_stain_is_still_called_virtual(
    run: RecordedRun, state: ViewState, tmp_path: Path
) -> None:
    written = write_movie(tmp_path / "a.mp4", run, state, MoviePlan(4, 5))
    with av.open(str(written)) as container:
        assert container.metadata["comment"] == MARK


def test_a_gif_keeps_the_colours_of_layers_and_mark_and_is_small(
    run: RecordedRun, state: ViewState, tmp_path: Path
) -> None:
    frames = frames_of(write_movie(tmp_path / "a.gif", run, state, MoviePlan(0, 2)) or Path())
    assert max(frames[0].shape) <= 640
    for color in (AMBER, (0x00, 0xE6, 0x76), (0xFF, 0x00, 0xFF)):
        assert (np.abs(frames[0].astype(int) - color) < 9).all(axis=2).any()  # Pillow looks colours up in steps of 8


def test_the_state_of_the_window_stays_as_it_is(run: RecordedRun, state: ViewState, tmp_path: Path) -> None:
    state.set_layer(1, gamma=2.0, color="0096FF", limits=(100, 2000), locked=True)
    state.set_layer(2, visible=False)
    state.set_mode("curtain")
    state.set_curtain(0.25)
    before = (state.views, state.picture)
    look = same_look(state)
    write_movie(tmp_path / "a.gif", run, state, MoviePlan(0, 1))
    assert (state.views, state.picture) == before
    assert [(v.color, v.gamma, v.visible, v.limits) for v in look.views] == [
        (v.color, v.gamma, v.visible, v.limits) for v in state.views
    ]
    assert (look.mode, look.curtain) == ("curtain", 0.25)


@pytest.mark.parametrize(
    ("name", "plan", "words"),
    [
        ("a.avi", MoviePlan(0, 9), "no known ending"),
        ("a.mp4", MoviePlan(5, 4), "time points 5 to 4"),
        ("a.mp4", MoviePlan(-1, 4), "time points -1 to 4"),
        ("a.mp4", MoviePlan(0, 300), "the run has 0 to 299"),
        ("a.mp4", MoviePlan(0, 9, fps=0), "0 frames a second"),
        ("a.mp4", MoviePlan(0, 9, fps=51), "1 to 50"),
        ("a.gif", MoviePlan(0, GIF_FRAMES), "a GIF of 201 frames"),
        ("nowhere/a.mp4", MoviePlan(0, 9), "does not exist"),
        ("there.mp4", MoviePlan(0, 9), "exists already"),
    ],
    ids=str,
)
def test_what_cannot_be_made_is_said_before(tmp_path: Path, name: str, plan: MoviePlan, words: str) -> None:
    (tmp_path / "there.mp4").write_text("mine")
    with pytest.raises(UserError, match=words):
        check_movie(tmp_path / name, plan, EXTENT)


def test_a_range_in_which_nothing_was_recorded_is_refused(run: RecordedRun, state: ViewState, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was recorded"):
        write_movie(tmp_path / "a.mp4", run, state, MoviePlan(3, 3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_cancelled_movie_leaves_no_file(run: RecordedRun, state: ViewState, tmp_path: Path, ending: str) -> None:
    done: list[int] = []
    written = write_movie(
        tmp_path / f"a{ending}", run, state, MoviePlan(0, 5), progress=done.append, cancelled=lambda: len(done) >= 2
    )
    assert (written, len(done)) == (None, 2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_full_disk_is_said_and_leaves_no_file(
    run: RecordedRun, state: ViewState, tmp_path: Path, ending: str
) -> None:
    with small_disk(tmp_path / "disk", "size=8k") as disk:
        with pytest.raises(StoreFullError, match="free space"):
            write_movie(disk / f"a{ending}", run, state, MoviePlan(0, 5))
        assert list(disk.iterdir()) == []


def test_a_note_stands_in_a_second_of_the_movie(run: RecordedRun, path: Path, state: ViewState, tmp_path: Path) -> None:
    plan = MoviePlan(0, 5, fps=2.0)
    plain = write_movie(tmp_path / "a.gif", run, state, plan)
    add_note(path, "drug added", Key(0, 2, 0))
    noted = write_movie(tmp_path / "b.gif", run, state, plan)
    assert plain is not None
    assert noted is not None
    pairs = zip(frames_of(plain), frames_of(noted), strict=True)
    differ = [np.count_nonzero(np.ptp([a, b], axis=0) > 60) > 100 for a, b in pairs]  # the palettes differ a little
    assert differ == [False, False, True, True, False, False]


def test_a_job_works_beside_the_window_and_tells_how_far_it_is(path: Path, state: ViewState, tmp_path: Path) -> None:
    job = MovieJob(tmp_path / "a.gif", path, state, MoviePlan(0, 5))
    job.join()
    assert (job.done, job.total, job.written, job.problem) == (6, 6, tmp_path / "a.gif", "")
    failed = MovieJob(tmp_path / "a.gif", path, state, MoviePlan(0, 5))
    failed.join()
    assert failed.written is None
    assert "exists already" in failed.problem


def test_the_dialog_says_what_it_would_be_or_why_it_cannot_be(
    path: Path, state: ViewState, run: RecordedRun, qtbot: QtBot
) -> None:
    run.history.update()
    state.set_picture(run.picture(Key(0, 1, 0)))
    dialog = MovieDialog(path, state, (1, 6, 1))
    qtbot.addWidget(dialog)
    assert dialog.path == path / "export" / "run.mp4"
    assert (dialog.file.text(), dialog.where.toolTip()) == ("run.mp4", str(path / "export"))
    assert "6 frames, 0.6 s" in dialog.told.text()
    dialog.first.setValue(5)
    dialog.last.setValue(2)
    assert "time points 5 to 2" in dialog.told.text()
    assert not dialog.save.isEnabled()
    dialog.first.setValue(1)
    dialog.fps.setValue(4)
    dialog.kind.setCurrentIndex(1)
    assert not (path / "export").exists()
    with qtbot.waitSignal(dialog.written, timeout=20_000) as written:
        dialog.save.click()
    assert written.args == [str(path / "export" / "run.gif")]
    assert len(frames_of(path / "export" / "run.gif")) == 2
    assert (dialog.file.text(), dialog.save.isEnabled()) == ("run.gif", False)
    dialog.fps.setValue(5)
    assert (dialog.file.text(), dialog.save.isEnabled()) == ("run_002.gif", True)


def test_a_dialog_that_is_cancelled_or_closed_leaves_no_file(
    path: Path, state: ViewState, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    read = RecordedRun.picture

    def slow(run: RecordedRun, key: Key, *, halves: bool = True) -> Any:
        assert go.wait(20)
        return read(run, key, halves=halves)

    monkeypatch.setattr(RecordedRun, "picture", slow)
    for end in ("cancel", "close", "escape"):
        go.clear()
        dialog = MovieDialog(path, state, (1, 6, 1))
        qtbot.addWidget(dialog)
        dialog.show()
        dialog.save.click()
        assert dialog.save.text() == "Cancel"
        assert dialog.job is not None
        if end == "cancel":
            dialog.save.click()
        go.set()
        if end == "cancel":
            told = dialog.told
            qtbot.waitUntil(lambda: "no file was written" in told.text(), timeout=20_000)  # noqa: B023 (called here)
        elif end == "close":
            dialog.close()
        else:
            QTest.keyClick(dialog, Qt.Key.Key_Escape)
        assert not dialog.isVisible() or end == "cancel"
        assert not dialog.job.running
        assert not list(path.parent.rglob("*.mp4*"))
