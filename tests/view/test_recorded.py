"""A run on disk as the window sees it: growing, damaged, gone; read only."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from livestain.errors import RunError
from livestain.frames import Key
from livestain.model.description import read_description
from livestain.stainer.half import half_size
from livestain.store.run import RunFolder, image_path
from livestain.view.picture import FAILED, LATE, LIVE, NO_STAIN_YET, UNSTAINED, Picture
from livestain.view.recorded import RecordedRun, RunFeed
from livestain.view.state import auto_limits
from tests.store.pieces import SHAPE, plane
from tests.store.recording import Recording

LIMIT_S = 20.0


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """Three label-free planes, the first stained live, the second late."""
    made = Recording(tmp_path / "run")
    for t in range(3):
        made.raw(t, elapsed_ms=5000.0 * t)
    made.stain(0)
    made.stain(1, live=False)
    return made


@pytest.fixture
def open_feed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Shown]]:
    """Open feeds that look at their ledgers a hundred times a second, and close them."""
    monkeypatch.setattr("livestain.view.recorded._POLL_S", 0.01)
    opened: list[Shown] = []

    def open_one(path: Path) -> Shown:
        opened.append(Shown(RunFeed(path)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.feed.close()


class Shown:
    """A feed and what came out of it."""

    def __init__(self, feed: RunFeed) -> None:
        self.feed = feed
        self.pictures: list[Picture] = []
        self._woken = threading.Event()

    def start(self) -> None:
        self.feed.start(self._woken.set)

    def wait(self, fits: Callable[[Picture], bool]) -> Picture:
        """Wait for a picture that fits."""
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            self._woken.wait(0.1)
            self._woken.clear()
            picture = self.feed.take()
            if picture is not None:
                self.pictures.append(picture)
                if fits(picture):
                    return picture
        raise AssertionError(f"no such picture among {[(p.key, p.states) for p in self.pictures]}")

    def wait_until(self, true: Callable[[], bool]) -> None:
        until = time.monotonic() + LIMIT_S
        while not true():
            assert time.monotonic() < until
            self._woken.wait(0.01)


OpenFeed = Callable[[Path], Shown]


def test_layers_come_from_the_metadata_with_colours_ranges_and_kinds(recording: Recording) -> None:
    run = RecordedRun(recording.end().path)
    assert [(layer.label, layer.color, layer.top, layer.limits, layer.first) for layer in run.layers] == [
        ("label-free: BF", "FFFFFF", 4095, None, auto_limits(plane(0))),
        ("measured: GFP", "00B8FF", 65535, None, None),
        ("virtual: nuclei", "00E676", 65535, (0, 65535), None),
        ("virtual: membrane", "FF00FF", 65535, (0, 65535), None),
    ]
    assert (run.pixel_um, run.interval_s, run.growing, run.title) == (0.325, 5.0, True, "run")


def test_the_newest_models_stains_come_first_and_others_carry_their_models_name(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 4e9)
    recording.stain(1, "better")
    run = RecordedRun(recording.end().path)
    assert [layer.name for layer in run.layers[2:]] == ["nuclei", "membrane", "nuclei (unet)", "membrane (unet)"]
    run.history.update()
    assert run.picture(Key(0, 0, 0)).states[2:] == (NO_STAIN_YET, NO_STAIN_YET, "", "")
    assert run.history.marks(0, 0).tolist() == [UNSTAINED, LIVE, UNSTAINED]


def test_a_picture_has_the_planes_of_one_key_and_their_halves(recording: Recording) -> None:
    recording.raw(1, c=1)
    run = RecordedRun(recording.end().path)
    run.history.update()
    picture = run.picture(Key(0, 1, 0))
    expected = [plane(100), plane(101), plane(5010), plane(5011)]
    for found, half, wanted in zip(picture.planes, picture.halves, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(half, half_size(wanted))
    assert (picture.key, picture.shape, picture.time_s, picture.live) == (Key(0, 1, 0), SHAPE, 5.0, False)


def test_what_is_not_there_says_why_layer_by_layer(recording: Recording) -> None:
    recording.raw(3, state="failed", reason="disk too slow")
    recording.stain(2, state="failed")
    run = RecordedRun(recording.end().path)
    run.history.update()
    states = {t: run.picture(Key(0, t, 0)).states for t in range(5)}
    assert states[0] == ("", "not recorded", "", "")
    assert states[2] == ("", "not recorded", "failed", "failed")
    assert states[3][0] == "not recorded: disk too slow"
    assert states[4] == ("not recorded", "not recorded", NO_STAIN_YET, NO_STAIN_YET)
    assert run.picture(Key(7, 0, 0)).shape == (0, 0)
    assert run.history.marks(0, 0).tolist() == [LIVE, LATE, FAILED, FAILED]


@pytest.mark.parametrize("damage", ["cut", "emptied"])
def test_a_damaged_plane_is_named_and_the_other_layers_stay(recording: Recording, damage: str) -> None:
    run = recording.end()
    file = image_path(run.path / "stains" / "unet", 0) / "0" / "c" / "1" / "0" / "0" / "0" / "0"
    file.write_bytes(file.read_bytes()[:-3] if damage == "cut" else b"")
    opened = RecordedRun(run.path)
    opened.history.update()
    picture = opened.picture(Key(0, 1, 0))
    assert picture.states[2].startswith("damaged: ")
    assert (picture.states[0], picture.states[3]) == ("", "")
    assert picture.planes[3] is not None


def test_warnings_and_the_training_of_the_model_are_those_of_the_run(recording: Recording, model_folder: Path) -> None:
    recording.folder.write_state(force=True, warnings=["the pixel size is not known"])
    path = recording.end().path
    assert RecordedRun(path).contrast is None
    shutil.copytree(model_folder, path / "stains" / "unet" / "model", dirs_exist_ok=True)
    run = RecordedRun(path)
    assert run.warnings == ("the pixel size is not known",)
    assert run.contrast == read_description(model_folder).config.livestain.contrast


def test_a_run_without_stains_and_one_without_run_json_open_all_the_same(tmp_path: Path) -> None:
    made = Recording(tmp_path / "run")
    made.raw(0)
    path = made.end().path
    (path / "run.json").unlink()
    run = RecordedRun(path)
    run.history.update()
    assert [layer.kind for layer in run.layers] == ["label-free", "measured"]
    assert (run.growing, run.caution) == (False, "")
    assert run.picture(Key(0, 0, 0)).states == ("", "not recorded")


def test_no_run_and_a_run_without_a_frame_are_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run"):
        RecordedRun(tmp_path)
    folder = RunFolder.create(tmp_path / "run", {})
    with pytest.raises(RunError, match="when its first frame is recorded"):
        RecordedRun(folder.path)
    folder.close()


def test_a_finished_run_begins_at_its_newest_time_point_and_shows_what_is_asked_for(
    recording: Recording, open_feed: OpenFeed
) -> None:
    path = recording.end().path
    recording.folder.write_state(force=True, closed=1.0)
    shown = open_feed(path)
    shown.start()
    assert shown.wait(lambda _: True).key == Key(0, 2, 0)
    assert not shown.feed.following
    shown.feed.show(Key(0, 1, 0))
    picture = shown.wait(lambda picture: picture.key.t == 1)
    np.testing.assert_array_equal(picture.planes[2], plane(5010))
    assert shown.feed.extent() == (1, 3, 1)
    assert shown.feed.marks(0, 0).tolist() == [LIVE, LATE, UNSTAINED]


def test_of_several_requests_the_newest_wins(
    recording: Recording, open_feed: OpenFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recording.end().path
    recording.folder.write_state(force=True, closed=1.0)
    read, begun, go = RecordedRun.picture, threading.Event(), threading.Event()

    def slow(run: RecordedRun, key: Key) -> Picture:
        begun.set()
        assert go.wait(LIMIT_S)
        return read(run, key)

    monkeypatch.setattr(RecordedRun, "picture", slow)
    shown = open_feed(path)
    shown.start()
    assert begun.wait(LIMIT_S)
    for t in (1, 2, 1, 2):
        shown.feed.show(Key(0, t, 0))
    go.set()
    shown.wait(lambda picture: picture.key.t == 2)
    assert Key(0, 1, 0) not in [picture.key for picture in shown.pictures]


def test_a_growing_run_is_followed_and_a_late_stain_comes_to_its_plane(
    recording: Recording, open_feed: OpenFeed
) -> None:
    shown = open_feed(recording.folder.path)
    assert shown.feed.following
    shown.start()
    shown.wait(lambda picture: picture.key.t == 2)
    recording.raw(3)
    shown.wait(lambda picture: picture.key.t == 3 and picture.states[2] == NO_STAIN_YET)
    recording.stain(3, live=False)
    shown.wait(lambda picture: picture.key.t == 3 and picture.states[2] == "")
    assert shown.feed.marks(0, 0).tolist() == [LIVE, LATE, UNSTAINED, LATE]
    recording.end()


def test_without_following_the_picture_stays_while_the_run_grows(recording: Recording, open_feed: OpenFeed) -> None:
    shown = open_feed(recording.folder.path)
    shown.feed.follow(False)
    shown.start()
    shown.wait(lambda picture: picture.key.t == 2)
    recording.raw(3)
    shown.wait_until(lambda: shown.feed.extent()[1] == 4)
    assert {picture.key.t for picture in shown.pictures} == {2}
    shown.feed.follow(True)
    shown.wait(lambda picture: picture.key.t == 3)
    recording.end()


def test_a_run_that_disappears_is_said_and_the_last_picture_stays(recording: Recording, open_feed: OpenFeed) -> None:
    path = recording.end().path
    shown = open_feed(path)
    shown.start()
    shown.wait(lambda picture: picture.key.t == 2)
    shutil.rmtree(path)
    shown.wait_until(lambda: bool(shown.feed.problem))
    assert "is gone" in shown.feed.problem
    before = len(shown.pictures)
    shown.feed.show(Key(0, 1, 0))
    shown.wait_until(lambda: shown.feed._wanted is None)
    assert shown.feed.take() is None
    assert len(shown.pictures) == before


def test_stains_that_begin_after_the_opening_are_told(recording: Recording, open_feed: OpenFeed) -> None:
    shown = open_feed(recording.folder.path)
    shown.start()
    shown.wait(lambda picture: picture.key.t == 2)
    assert shown.feed.problem == ""
    recording.stain(0, "better")
    shown.wait_until(lambda: "stains of better have begun" in shown.feed.problem)
    recording.end()


def test_a_run_that_comes_back_is_shown_again(recording: Recording, open_feed: OpenFeed) -> None:
    path = recording.end().path
    shown = open_feed(path)
    shown.start()
    shown.wait(lambda picture: picture.key.t == 2)
    away = path.rename(path.with_name("away"))
    shown.wait_until(lambda: bool(shown.feed.problem))
    away.rename(path)
    shown.wait_until(lambda: not shown.feed.problem)
    shown.feed.follow(False)
    shown.feed.show(Key(0, 0, 0))
    assert shown.wait(lambda picture: picture.key.t == 0).planes[0] is not None


def test_a_paused_feed_reads_nothing_until_it_goes_on(
    recording: Recording, open_feed: OpenFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Key] = []
    read = RecordedRun.picture

    def counted(run: RecordedRun, key: Key) -> Picture:
        reads.append(key)
        return read(run, key)

    monkeypatch.setattr(RecordedRun, "picture", counted)
    shown = open_feed(recording.folder.path)
    shown.feed.pause(True)
    shown.start()
    shown.feed.show(Key(0, 1, 0))
    assert shown.feed.extent() == (0, 0, 0)
    assert (reads, shown.feed.take()) == ([], None)
    shown.feed.pause(False)
    shown.wait(lambda picture: picture.key.t == 2)
    recording.end()


def test_nothing_in_the_run_is_written_or_locked(recording: Recording, open_feed: OpenFeed) -> None:
    path = recording.end().path
    before = {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in path.rglob("*")}
    shown = open_feed(path)
    shown.start()
    shown.wait(lambda picture: picture.key.t == 2)
    assert {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in path.rglob("*")} == before


def test_a_thousand_positions_open_and_are_shown(tmp_path: Path, open_feed: OpenFeed) -> None:
    made = Recording(tmp_path / "run")
    made.raw(0)
    template = image_path(made.folder.raw, 0)
    for p in range(1, 1000):
        shutil.copytree(template, image_path(made.folder.raw, p))
        place = {"n": p, "p": p, "t": 0, "z": 0, "c": 0}
        made.ledgers["raw"].row({"v": 1, **place, "kind": "measured", "state": "ok", "crc32": ""})
    shown = open_feed(made.end().path)
    shown.start()
    shown.feed.show(Key(999, 0, 0))
    assert shown.wait(lambda picture: picture.key.p == 999).planes[0] is not None
    shown.wait_until(lambda: shown.feed.extent() == (1000, 1, 1))
