"""The live feed: what a window shows of a session, and what it never shows."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from livestain.frames import Key
from livestain.session.session import Session
from livestain.settings import parse_settings
from livestain.stainer.half import half_size
from livestain.view.live import NOT_THERE, LiveFeed
from livestain.view.picture import LATE, LIVE, NO_STAIN_YET, SKIPPED, Feed, Picture
from tests.session.pieces import SHAPE, await_that, break_engine, check_closed, frame, stain_planes, stain_rows
from tests.session.source import Source, watched

CHANNELS = ("BF", "GFP")


class Window:
    """Takes every picture at once, as a quick window would."""

    def __init__(self, feed: LiveFeed) -> None:
        self.feed: Feed = feed
        self.pictures: list[Picture] = []
        self.pixels_um: list[float] = []
        feed.start(self._wake)

    def _wake(self) -> None:
        picture = self.feed.take()
        assert picture is not None
        self.pixels_um.append(self.feed.pixel_um)
        self.pictures.append(picture)

    def showing(self, t: int, state: str = "") -> Picture:
        """Wait until a picture of this time point is shown whose stains are in this state."""
        await_that(lambda: any(p.key.t == t and p.states[-1] == state for p in list(self.pictures)))
        return [p for p in self.pictures if p.key.t == t and p.states[-1] == state][-1]


@contextmanager
def window(session: Session, channels: tuple[str, ...] = ()) -> Iterator[Window]:
    feed = LiveFeed(session, channels)
    try:
        shown = Window(feed)
        await_that(lambda: feed in session._viewers)
        yield shown
    finally:
        feed.close()


def check_pair(picture: Picture, run: Path) -> None:
    """Check that all of a picture is of its key, at full and half size."""
    await_that(lambda: picture.key in stain_rows(run))  # it is shown before it is on disk
    image, *stains = picture.planes
    assert image is not None
    np.testing.assert_array_equal(image, frame(picture.key.t))
    np.testing.assert_array_equal(stains, stain_planes(run, picture.key))
    for plane, half in zip(picture.planes, picture.halves, strict=True):
        assert plane is not None
        np.testing.assert_array_equal(half_size(plane), half)
    assert picture.states == ("", "", "")
    assert picture.live


@pytest.mark.parametrize("isolate", [False, True], ids=["thread", "process"])
def test_a_stain_is_shown_on_its_own_frame(isolate: bool, model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "run", isolate=isolate) as source, window(source.session) as shown:
        stains = [source.stain() for _ in range(3)]
        last = shown.showing(stains[-1].key.t)
        assert last.input == stains[-1].input
        assert last.received_s == stains[-1].received_s
        assert last.time_s > 0
        assert (shown.feed.pixel_um, shown.feed.caution) == (0.65, "random weights, for tests only")
    stained = [picture for picture in shown.pictures if picture.states[-1] == ""]
    assert stained
    for picture in stained:
        check_pair(picture, tmp_path / "run")


# -- no stain ----------------------------------------------------------------------------------------------------------


def check_unstained(picture: Picture) -> None:
    image, *stains = picture.planes
    np.testing.assert_array_equal(image, frame(picture.key.t))
    np.testing.assert_array_equal(picture.halves[0], half_size(frame(picture.key.t)))
    assert stains == [None, None]
    assert picture.input is None


def test_the_newest_frame_is_shown_while_the_engine_warms_up(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    hold_engine(monkeypatch, go_on)
    with watched(model_folder, tmp_path / "run", first=False) as source, window(source.session) as shown:
        try:
            for t in range(3):
                source.put()
                check_unstained(shown.showing(t, "the engine is warming up"))
        finally:
            go_on.set()


def test_while_staining_is_off_frames_are_shown_as_they_come_and_then_stained_ones_again(
    model_folder: Path, tmp_path: Path
) -> None:
    with watched(model_folder, tmp_path / "run") as source, window(source.session) as shown:
        source.session.set_staining(False)
        for _ in range(3):
            check_unstained(shown.showing(source.put().t, "staining is off"))
        source.session.set_staining(True)
        stain = source.stain()
        check_pair(shown.showing(stain.key.t), tmp_path / "run")


def test_a_frame_whose_stain_is_late_is_shown_without_and_then_with_it(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    go_on.set()
    break_engine(monkeypatch, lambda number: go_on.wait())
    monkeypatch.setattr("livestain.view.live._PATIENCE_S", 0.1)
    with watched(model_folder, tmp_path / "run") as source, window(source.session) as shown:
        source.stain()
        go_on.clear()
        try:
            key = source.put()
            check_unstained(shown.showing(key.t, NO_STAIN_YET))
        finally:
            go_on.set()
        source.stain()
        check_pair(shown.showing(source.t - 1), tmp_path / "run")


def test_a_run_without_a_label_free_channel_shows_what_it_has(model_folder: Path, tmp_path: Path) -> None:
    settings = parse_settings(isolate=False, fsync=False)
    with (
        Session(model_folder, tmp_path / "run", settings) as session,
        Source(session, None, CHANNELS) as source,
        window(session) as shown,
    ):
        assert [layer.kind for layer in shown.feed.layers] == [
            "label-free",
            "measured",
            "measured",
            "virtual",
            "virtual",
        ]
        source.put(channel="GFP")
        picture = shown.showing(0, "this run has no label-free channel")
    assert [plane is not None for plane in picture.planes] == [False, False, True, False, False]
    assert picture.shape == SHAPE


# -- measured channels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", CHANNELS)
def test_measured_planes_join_the_stain_of_their_key_whichever_comes_first(
    first: str, model_folder: Path, tmp_path: Path
) -> None:
    with (
        watched(model_folder, tmp_path / "run", first=False, channels=CHANNELS) as source,
        window(source.session) as shown,
    ):
        source.stain()
        for t in range(source.t, source.t + 3):
            for channel in (first, *(set(CHANNELS) - {first})):
                source.put(frame(100 + t if channel == "GFP" else t), t=t, channel=channel)
            await_that(partial(whole_at, shown, t))
    for picture in shown.pictures:
        image, measured, *_ = picture.planes
        np.testing.assert_array_equal(image, frame(picture.key.t))
        if measured is not None:
            np.testing.assert_array_equal(measured, frame(100 + picture.key.t))
            np.testing.assert_array_equal(picture.halves[1], half_size(measured))
        assert picture.states[1] == ("" if measured is not None else NOT_THERE)


def whole_at(shown: Window, t: int) -> bool:
    return any(p.key.t == t and p.planes[1] is not None for p in list(shown.pictures))


def test_planes_of_two_runs_are_never_shown_together(model_folder: Path, tmp_path: Path) -> None:
    settings = parse_settings(isolate=False, fsync=False)
    with Session(model_folder, tmp_path / "run", settings) as session:
        with Source(session, channels=CHANNELS) as source:
            session.want_pictures("this test", True)
            with window(session) as shown:
                stain = source.stain()
                shown.showing(stain.key.t)
                source.intake.end()
                with Source(session, channels=CHANNELS) as following:
                    following.put(t=stain.key.t, channel="GFP")
                    await_that(lambda: "GFP" in session.latest_frames())
                    following.put(t=stain.key.t + 1)
                    await_that(lambda: shown.pictures[-1].key.t == stain.key.t + 1)
        session.want_pictures("this test", False)
    assert not any(p.planes[1] is not None for p in shown.pictures if p.planes[2] is not None)


def test_the_pixel_size_changes_with_the_first_picture_of_a_run_of_other_binning(
    model_folder: Path, tmp_path: Path
) -> None:
    settings = parse_settings(isolate=False, fsync=False)
    session = Session(model_folder, tmp_path / "run", settings)
    with session, Source(session) as source, window(session) as shown:
        shown.showing(source.stain().key.t)
        source.intake.end()
        seen = len(shown.pictures)
        with Source(session, pixel_um=1.3) as following:
            await_that(lambda: shown.feed.title == "run_002")
            assert shown.feed.pixel_um == 0.65, "the picture is still of the first run"
            following.put()
            await_that(lambda: len(shown.pictures) > seen)
    assert set(shown.pixels_um[:seen]) == {0.65}
    assert set(shown.pixels_um[seen:]) == {1.3}


def test_a_channel_that_nobody_named_is_recorded_and_not_shown(
    model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "livestain.view.live")
    with watched(model_folder, tmp_path / "run") as source, window(source.session) as shown:
        source.put(t=1, channel="GFP")
        await_that(lambda: "channel 'GFP' was not known" in caplog.text)
        assert [layer.name for layer in shown.feed.layers] == ["BF", "nuclei", "membrane"]
    check_closed(tmp_path / "run", saved=2)


LAYERS: dict[str, tuple[str | None, tuple[str, ...], tuple[str, ...] | None, list[str]]] = {
    "nothing known": (None, (), None, ["label-free: frame"]),
    "named by option": ("BF", (), None, ["label-free: BF"]),
    "one planned": (None, ("BF",), None, ["label-free: BF"]),
    "two planned": ("BF", ("GFP", "BF"), None, ["label-free: BF", "measured: GFP"]),
    "a run has begun": ("BF", (), CHANNELS, ["label-free: BF", "measured: GFP"]),
    "the run knows better": ("BF", ("X",), CHANNELS, ["label-free: BF", "measured: GFP"]),
}


@pytest.mark.parametrize(("option", "planned", "run", "expected"), LAYERS.values(), ids=LAYERS.keys())
def test_layers_are_what_is_known_when_the_window_is_made(
    option: str | None,
    planned: tuple[str, ...],
    run: tuple[str, ...] | None,
    expected: list[str],
    model_folder: Path,
    tmp_path: Path,
) -> None:
    settings = parse_settings(isolate=False, fsync=False, channel=option)
    with Session(model_folder, tmp_path / "run", settings) as session:
        if run is not None:
            Source(session, channels=run).intake.end()
        layers = LiveFeed(session, planned).layers
    assert [layer.label for layer in layers] == [*expected, "virtual: nuclei", "virtual: membrane"]
    assert [layer.limits for layer in layers[-2:]] == [(0.0, 65535.0)] * 2
    assert [layer.color for layer in layers[-2:]] == ["00E676", "FF00FF"]
    assert {layer.top for layer in layers[:-2]} == {4095 if run else 65535}
    assert len({layer.color for layer in layers}) == len(layers)


# -- the window's wishes -----------------------------------------------------------------------------------------------


def test_nothing_is_made_for_a_window_that_is_hidden(model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "run") as source, window(source.session) as shown:
        shown.showing(source.stain().key.t)
        shown.feed.pause(True)
        await_that(lambda: not source.session._viewers)
        before = len(shown.pictures)
        hidden = source.stain()
        assert hidden.image is None
        assert len(shown.pictures) == before
        shown.feed.pause(False)
        await_that(lambda: source.session._viewers)
        check_pair(shown.showing(source.stain().key.t), tmp_path / "run")


@pytest.mark.parametrize("opened", ["again", "late"])
def test_a_window_that_missed_the_end_shows_the_last_stain(opened: str, model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "run") as source:
        session = source.session
        if opened == "late":
            last = source.stain()
            end(source)
            with window(session) as shown:
                check_pair(shown.showing(last.key.t), tmp_path / "run")
            return
        with window(session) as shown:
            shown.feed.pause(True)
            await_that(lambda: not session._viewers)
            last = source.stain()
            end(source)
            shown.feed.pause(False)
            check_pair(shown.showing(last.key.t), tmp_path / "run")


def end(source: Source) -> None:
    source.intake.end()
    source.session.close()
    assert source.session.latest_frames() == {}


def test_two_windows_show_the_same_and_one_may_go(model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "run") as source, window(source.session) as shown:
        with window(source.session) as other:
            assert len(source.session._viewers) == 2
            key = source.stain().key
            assert shown.showing(key.t).planes[0] is other.showing(key.t).planes[0]
        assert len(source.session._viewers) == 1
        key = source.stain().key
        check_pair(shown.showing(key.t), tmp_path / "run")
        assert not any(picture.key == key for picture in other.pictures)


def test_a_closed_window_leaves_nothing_with_the_session(model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "run") as source:
        connected = len(source.session.stained)
        with window(source.session) as shown:
            pass
        shown.feed.close()
        assert len(source.session.stained) == connected
        assert not source.session._viewers
        LiveFeed(source.session).close()  # never started


def test_another_place_is_followed_when_it_is_asked_for(model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "run") as source, window(source.session) as shown:
        shown.feed.show(Key(1, 0, 2))
        assert source.session.followed == (1, 2)
        source.put()
        key = source.stain(p=1, z=2).key
        assert shown.showing(key.t).key == key
        assert shown.feed.extent() == (2, source.t, 3)
    assert {(p.key.p, p.key.z) for p in shown.pictures if p.key.t >= 1} == {(1, 2)}


def test_marks_say_what_became_of_each_time_point(model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "run") as source, window(source.session) as shown:
        source.session.set_staining(False)
        off = source.put().t
        source.session.set_staining(True)
        live = source.stain().key.t
        marks = partial(shown.feed.marks, 0, 0)
        await_that(lambda: len(marks()) > live and marks()[live] == LIVE and marks()[off] == SKIPPED)
        assert marks()[0] in (LIVE, LATE)


# -- bad days ----------------------------------------------------------------------------------------------------------


def test_a_run_folder_that_is_gone_is_told_and_a_session_that_ends_is_not(model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "kept") as source, window(source.session) as shown:
        source.intake.end()
        source.session.close()
        shown.feed.marks(0, 0)
        await_that(lambda: len(shown.feed.marks(0, 0)) == 1)
        assert shown.feed.problem == ""
        shutil.rmtree(tmp_path / "kept")
        await_that(lambda: shown.feed.problem)
    assert "kept is gone (deleted, renamed, or its disk removed)" in shown.feed.problem


def test_an_error_in_making_a_picture_is_shown_and_the_next_picture_comes(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(model_folder, tmp_path / "run") as source, window(source.session) as shown:
        with monkeypatch.context() as broken:
            broken.setattr(source.session, "latest_frames", lambda: 1 / 0)
            await_that(lambda: shown.feed.problem)
            assert "division by zero" in shown.feed.problem
        check_pair(shown.showing(source.stain().key.t), tmp_path / "run")
        await_that(lambda: not shown.feed.problem)


def hold_engine(monkeypatch: pytest.MonkeyPatch, go_on: threading.Event) -> None:
    """Let no engine open before it is told to."""
    from livestain.engine.opening import open_backend

    def opened(*passed: object, **named: object) -> object:
        go_on.wait()
        return open_backend(*passed, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("livestain.stainer.loop.open_backend", opened)
