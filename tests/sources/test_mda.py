"""Frames of an acquisition get the right place, with either kind of signals, and the core is left as it was."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psygnal
import pytest
import useq
from pymmcore_plus import CMMCorePlus

from livestain.errors import ChannelError
from livestain.session.intake import Intake
from livestain.session.session import Session
from livestain.sources.camera import held_core, make_core
from livestain.sources.mda import (
    Places,
    attach,
    core_cameras,
    label_free_channel,
    sequence_channels,
)
from livestain.store.read import open_run
from tests.session.pieces import PATIENCE_S, camera, check_closed, frame, raw_plane, timed

BACKENDS = ["psygnal", "qt"]
NOTE = "time point {} of this place was recorded already"

Placed = tuple[int, int, int, str]


def place_all(events: Iterable[useq.MDAEvent], cameras: tuple[str, ...] = ("Cam",)) -> list[Placed]:
    """Place every frame; several cameras deliver one each an event, as the engine of pymmcore-plus has it."""
    places = Places()
    placed = []
    for event in events:
        for i, name in enumerate(cameras):
            index = {**event.index, "cam": i} if len(cameras) > 1 else event.index
            place = places.place(event.model_copy(update={"index": index}), name)
            placed.append((*place.key, place.channel))
    return placed


GRID = {"rows": 1, "columns": 2}
BF_EVERY_DAPI_EVERY_3 = ["BF", {"config": "DAPI", "acquire_every": 3}]
TABLE: dict[str, tuple[dict[str, Any], list[Placed]]] = {
    "one frame": ({"channels": ["BF"]}, [(0, 0, 0, "BF")]),
    "time": ({"time_plan": {"interval": 0, "loops": 2}}, [(0, 0, 0, "Cam"), (0, 1, 0, "Cam")]),
    "sections": ({"z_plan": {"range": 2, "step": 1}}, [(0, 0, z, "Cam") for z in range(3)]),
    "channels": ({"channels": ["BF", "DAPI"]}, [(0, 0, 0, "BF"), (0, 0, 0, "DAPI")]),
    "positions": ({"stage_positions": [(0, 0), (1, 1)]}, [(0, 0, 0, "Cam"), (1, 0, 0, "Cam")]),
    "grid x position x z x channel": (
        {
            "axis_order": "tpgcz",
            "stage_positions": [(0, 0), (9, 9)],
            "grid_plan": GRID,
            "channels": ["BF", "DAPI"],
            "z_plan": {"range": 1, "step": 1},
        },
        [(p, 0, z, c) for p in range(4) for c in ("BF", "DAPI") for z in range(2)],
    ),
    "a grid of its own for one position": (
        {"stage_positions": [(0, 0), {"x": 1, "y": 1, "sequence": {"grid_plan": GRID}}, (5, 5)]},
        [(p, 0, 0, "Cam") for p in range(4)],
    ),
    "sections of its own for one position": (
        {"stage_positions": [{"x": 0, "y": 0, "sequence": {"z_plan": {"range": 2, "step": 1}}}, (1, 1)]},
        [(0, 0, 0, "Cam"), (0, 0, 1, "Cam"), (0, 0, 2, "Cam"), (1, 0, 0, "Cam")],
    ),
    "channels of its own for one position": (
        {"channels": ["BF"], "stage_positions": [(0, 0), {"x": 1, "y": 1, "sequence": {"channels": ["DAPI"]}}]},
        [(0, 0, 0, "BF"), (1, 0, 0, "DAPI")],
    ),
    "a channel that is left out at times": (
        {"time_plan": {"interval": 0, "loops": 4}, "channels": BF_EVERY_DAPI_EVERY_3},
        [(0, 0, 0, "BF"), (0, 0, 0, "DAPI"), (0, 1, 0, "BF"), (0, 2, 0, "BF"), (0, 3, 0, "BF"), (0, 3, 0, "DAPI")],
    ),
}


@pytest.mark.parametrize(("plan", "expected"), TABLE.values(), ids=TABLE.keys())
def test_every_index_has_its_place(plan: dict[str, Any], expected: list[Placed]) -> None:
    assert place_all(useq.MDASequence(**plan)) == expected


@pytest.mark.parametrize(("plan", "expected"), TABLE.values(), ids=TABLE.keys())
def test_the_camera_belongs_to_the_channel_where_there_are_several(
    plan: dict[str, Any], expected: list[Placed]
) -> None:
    doubled = [
        (p, t, z, (f"{channel} " if channel != "Cam" else "") + name)
        for p, t, z, channel in expected
        for name in ("Left", "Right")
    ]
    assert place_all(useq.MDASequence(**plan), ("Left", "Right")) == doubled


EVENTS: dict[str, tuple[list[dict[str, Any]], list[Placed]]] = {
    "bare events count on": ([{}, {}, {}], [(0, t, 0, "Cam") for t in range(3)]),
    "each channel of bare events counts for itself": (
        [{"channel": "BF"}, {"channel": "DAPI"}, {"channel": "BF"}],
        [(0, 0, 0, "BF"), (0, 0, 0, "DAPI"), (0, 1, 0, "BF")],
    ),
    "positions without a time count for themselves": (
        [{"index": {"p": 1}}, {"index": {"p": 0}}, {"index": {"p": 1}}],
        [(0, 0, 0, "Cam"), (1, 0, 0, "Cam"), (0, 1, 0, "Cam")],
    ),
    "positions are numbered as they come": (
        [{"index": {"p": 7, "g": 3}}, {"index": {"p": 0, "g": 9}}, {"index": {"p": 7, "g": 3, "t": 4}}],
        [(0, 0, 0, "Cam"), (1, 0, 0, "Cam"), (0, 4, 0, "Cam")],
    ),
    "a repeated time point goes to the next free one": (
        [{"index": {"t": 0}}, {"index": {"t": 1}}, {"index": {"t": 0}}, {"index": {"t": 2}}],
        [(0, 0, 0, "Cam"), (0, 1, 0, "Cam"), (0, 2, 0, "Cam"), (0, 3, 0, "Cam")],
    ),
    "a gap is filled by what is repeated": (
        [{"index": {"t": 0}}, {"index": {"t": 2}}, {"index": {"t": 0}}, {"index": {"t": 0}}],
        [(0, 0, 0, "Cam"), (0, 2, 0, "Cam"), (0, 1, 0, "Cam"), (0, 3, 0, "Cam")],
    ),
    "far time points": ([{"index": {"t": 100_000}}, {}], [(0, 100_000, 0, "Cam"), (0, 100_001, 0, "Cam")]),
}


@pytest.mark.parametrize(("events", "expected"), EVENTS.values(), ids=EVENTS.keys())
def test_events_from_an_iterator_have_their_place(events: list[dict[str, Any]], expected: list[Placed]) -> None:
    assert place_all(useq.MDAEvent(**event) for event in events) == expected


def test_only_a_frame_that_was_moved_says_why() -> None:
    places = Places()
    notes = [places.place(useq.MDAEvent(index={"t": t}), "Cam").note for t in (3, 3, 4, 9)]
    assert notes == ["", NOTE.format(3), NOTE.format(4), ""]


CHANNELS: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]] = {
    "none": ({}, ("Cam",), ("Cam",)),
    "some": ({"channels": ["BF", "DAPI"]}, ("Cam",), ("BF", "DAPI")),
    "two cameras": ({}, ("A", "B"), ("A", "B")),
    "two cameras and channels": ({"channels": ["BF", "DAPI"]}, ("A", "B"), ("BF A", "BF B", "DAPI A", "DAPI B")),
    "one position has its own": (
        {"channels": ["BF"], "stage_positions": [(0, 0), {"sequence": {"channels": ["DAPI"]}}]},
        ("Cam",),
        ("BF", "DAPI"),
    ),
    "every position has its own": (
        {"channels": ["BF"], "stage_positions": [{"sequence": {"channels": ["DAPI"]}}]},
        ("Cam",),
        ("DAPI",),
    ),
    "one position has channels, the others none": (
        {"stage_positions": [(0, 0), {"sequence": {"channels": ["DAPI"]}}]},
        ("Cam",),
        ("Cam", "DAPI"),
    ),
}


@pytest.mark.parametrize(("plan", "cameras", "expected"), CHANNELS.values(), ids=CHANNELS.keys())
def test_a_sequence_tells_its_channels(
    plan: dict[str, Any], cameras: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    sequence = useq.MDASequence(**plan)
    assert sequence_channels(sequence, cameras) == expected
    placed = place_all(sequence, cameras)
    assert {channel for *_, channel in placed} <= set(expected)


CHOICES: dict[str, tuple[tuple[str, ...] | None, str | None, str]] = {
    "the only one": (("BF",), None, "BF"),
    "the one asked for": (("BF", "DAPI"), "DAPI", "DAPI"),
    "asked for, the sequence does not say": (None, "BF", "BF"),
}
REFUSED: dict[str, tuple[tuple[str, ...] | None, str | None, str]] = {
    "two and none named": (("BF", "DAPI"), None, r"2 channels .*--channel.*'BF', 'DAPI'"),
    "unknown": (("BF", "DAPI"), "Bright", r"'Bright' is not recorded.*'BF', 'DAPI'"),
    "unknown beside one": (("BF",), "bf", r"'bf' is not recorded.*'BF'"),
    "not said and none named": (None, None, r"does not say.*--channel"),
}


@pytest.mark.parametrize(("channels", "asked", "expected"), CHOICES.values(), ids=CHOICES.keys())
def test_the_label_free_channel_is_chosen(channels: tuple[str, ...] | None, asked: str | None, expected: str) -> None:
    assert label_free_channel(channels, asked) == expected


@pytest.mark.parametrize(("channels", "asked", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_an_unclear_label_free_channel_is_an_error(
    channels: tuple[str, ...] | None, asked: str | None, words: str
) -> None:
    with pytest.raises(ChannelError, match=words):
        label_free_channel(channels, asked)


# -- in a real core ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=BACKENDS)
def signals(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either kind of signals that a host may have chosen."""
    backend: str = request.param
    if backend == "qt":
        # Imported, that is all it needs; an application object would change the signals of every later test.
        pytest.importorskip("qtpy.QtCore", exc_type=ImportError, reason="no Qt: would show the same with its signals")
    monkeypatch.setenv("PYMM_SIGNALS_BACKEND", backend)
    return backend


@contextmanager
def demo_core(side: int = 512) -> Iterator[CMMCorePlus]:
    """The demo devices of Micro-Manager."""
    with held_core(CMMCorePlus()) as core:
        core.loadSystemConfiguration()
        core.setProperty("Camera", "OnCameraCCDXSize", side)
        core.setProperty("Camera", "OnCameraCCDYSize", side)
        core.setExposure(1)
        yield core


def listeners(core: CMMCorePlus) -> dict[str, int]:
    """How many slots are connected to each signal of an acquisition."""
    names = ("sequenceStarted", "eventStarted", "frameReady", "sequenceFinished", "sequenceCanceled")
    if isinstance(core.mda.events, psygnal.SignalGroup):
        return {name: len(getattr(core.mda.events, name)) for name in names}
    events: Any = core.mda.events
    signatures = {meta.name().data().decode(): meta.methodSignature().data().decode() for meta in _methods(events)}
    return {name: events.receivers("2" + signatures[name]) for name in names}


def _methods(events: Any) -> list[Any]:
    meta = events.metaObject()
    return [meta.method(i) for i in range(meta.methodCount())]


def state_of(core: CMMCorePlus) -> dict[str, Any]:
    return {
        "listeners": listeners(core),
        "engine": core.mda.engine,
        "camera": core.getCameraDevice(),
        "exposure": core.getExposure(),
        "buffer": core.getCircularBufferMemoryFootprint(),
        "shutter": core.getAutoShutter(),
        "properties": {
            (device, name): core.getProperty(device, name)
            for device in core.getLoadedDevices()
            for name in core.getDevicePropertyNames(device)
        },
    }


def test_the_core_is_left_exactly_as_found(signals: str, model_folder: Path, tmp_path: Path) -> None:
    with demo_core() as core:
        core.mda.run(timed(1))  # what an acquisition itself changes is not ours
        found = state_of(core)
        with attach(core, model_folder, tmp_path / "run", isolate=False):
            assert listeners(core) != found["listeners"]
            core.mda.run(timed(2))
        assert state_of(core) == found


def test_frames_are_taken_on_the_acquisition_thread_and_saved_bit_for_bit(
    signals: str, model_folder: Path, tmp_path: Path
) -> None:
    with make_core(camera()) as core:
        assert isinstance(core.mda.events, psygnal.SignalGroup) == (signals == "psygnal")
        with attach(core, model_folder, tmp_path / "run", isolate=False):
            core.run_mda(timed(5)).join(PATIENCE_S)
    check_closed(tmp_path / "run", received=5, saved=5, behind=0, unstained=0)
    for t in range(5):
        np.testing.assert_array_equal(raw_plane(tmp_path / "run", (0, t, 0)), frame(t))


FAULTS = {
    "raises": lambda image: 1 // 0,
    "writes into the image": lambda image: image.fill(0),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("first", [True, False], ids=["connected before us", "connected after us"])
def test_another_listener_that_is_faulty_changes_nothing(
    signals: str, first: bool, fault: Any, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if signals == "qt":
        monkeypatch.setattr("sys.excepthook", lambda *_: None)
        if first and fault is FAULTS["writes into the image"]:
            pytest.skip("Qt calls slots in the order of their connection: what is written before us is what we get")
    with make_core(camera()) as core:
        if first:
            core.mda.events.frameReady.connect(fault)
        with attach(core, model_folder, tmp_path / "run", isolate=False):
            if not first:
                core.mda.events.frameReady.connect(fault)
            core.mda.run(timed(4))
    check_closed(tmp_path / "run", received=4, saved=4)
    for t in range(4):
        np.testing.assert_array_equal(raw_plane(tmp_path / "run", (0, t, 0)), frame(t))


def test_two_runs_of_one_session_go_to_two_folders(signals: str, model_folder: Path, tmp_path: Path) -> None:
    with make_core(camera()) as core, attach(core, model_folder, tmp_path / "run", isolate=False) as session:
        core.mda.run(timed(3))
        core.mda.run(timed(2))
    check_closed(tmp_path / "run", received=3, saved=3)
    check_closed(tmp_path / "run_002", received=2, saved=2)
    assert [status.counters.received for status in session.report()] == [3, 2]
    assert [Path(status.run).name for status in session.report()] == ["run", "run_002"]
    np.testing.assert_array_equal(raw_plane(tmp_path / "run_002", (0, 0, 0)), frame(3))


def test_a_listener_is_not_lost_to_the_garbage_collector(signals: str, model_folder: Path, tmp_path: Path) -> None:
    def attached(core: CMMCorePlus) -> Session:
        return attach(core, model_folder, tmp_path / "run", isolate=False)

    with make_core(camera()) as core, attached(core) as session:
        gc.collect()
        core.mda.run(timed(2))
        assert session.status.counters.received == 2


def test_a_frame_in_hand_when_the_session_closes_is_saved(
    signals: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_core(camera()) as core:
        session = attach(core, model_folder, tmp_path / "run", isolate=False)
        closing = threading.Thread(target=session.close)
        put = Intake.put

        def put_slowly(intake: Intake, image: Any, *rest: Any, **more: Any) -> None:
            if intake.received == 2:
                closing.start()
                closing.join(0.3)
            put(intake, image, *rest, **more)

        monkeypatch.setattr(Intake, "put", put_slowly)
        core.mda.run(timed(6))
        closing.join(PATIENCE_S)
    check_closed(tmp_path / "run", received=3, saved=3)


SEVERAL = useq.MDASequence(
    axis_order="tpcz",
    time_plan={"interval": 0, "loops": 2},
    stage_positions=[(0, 0), (10, 10)],
    channels=["FITC", "DAPI"],
    z_plan={"range": 1, "step": 1},
)


def test_channels_positions_and_sections_of_a_real_configuration(
    signals: str, model_folder: Path, tmp_path: Path
) -> None:
    with demo_core(128) as core, attach(core, model_folder, tmp_path / "run", channel="DAPI", isolate=False):
        core.mda.run(SEVERAL)
    check_closed(tmp_path / "run", received=16, saved=16, labelfree=8, behind=0, unstained=0)
    run = open_run(tmp_path / "run")
    assert run.channels == ("measured: DAPI", "measured: FITC", "virtual: nuclei", "virtual: membrane")
    assert run.positions == (0, 1)
    for position in run.positions:
        assert run.array("measured: FITC", position).shape[:2] == (2, 2)
        assert run.array("virtual: nuclei", position).shape[:2] == (2, 2)


UNCLEAR = {"not named": (None, "2 channels"), "unknown": ("BF", "'BF' is not recorded")}


@pytest.mark.parametrize(("channel", "words"), UNCLEAR.values(), ids=UNCLEAR.keys())
def test_without_a_clear_channel_all_is_recorded_and_nothing_stained(
    channel: str | None, words: str, model_folder: Path, tmp_path: Path
) -> None:
    with (
        demo_core(128) as core,
        attach(core, model_folder, tmp_path / "run", channel=channel, isolate=False) as session,
    ):
        core.mda.run(SEVERAL)
    check_closed(tmp_path / "run", received=16, saved=16, labelfree=0)
    assert any("nothing is stained" in text and words in text for text in session.status.warnings)
    assert open_run(tmp_path / "run").channels == ("measured: FITC", "measured: DAPI")


@pytest.mark.filterwarnings("ignore:.*enerator.*")
def test_an_iterator_of_events_is_recorded_and_stained_when_its_channel_is_named(
    model_folder: Path, tmp_path: Path
) -> None:
    with make_core(camera()) as core, attach(core, model_folder, tmp_path / "run", channel="BF", isolate=False):
        core.mda.run(useq.MDAEvent() for _ in range(3))
    check_closed(tmp_path / "run", received=3, saved=3, labelfree=3, behind=0, unstained=0)


def two_cameras(core: CMMCorePlus) -> None:
    """A multi-camera of two demo cameras."""
    for name in ("Left", "Right"):
        core.loadDevice(name, "DemoCamera", "DCam")
        core.initializeDevice(name)
        core.setProperty(name, "PixelType", "16bit")
        core.setProperty(name, "OnCameraCCDXSize", 128)
        core.setProperty(name, "OnCameraCCDYSize", 128)
    core.loadDevice("Both", "Utilities", "Multi Camera")
    core.initializeDevice("Both")
    core.setProperty("Both", "Physical Camera 1", "Left")
    core.setProperty("Both", "Physical Camera 2", "Right")
    core.setCameraDevice("Both")
    core.setExposure(1)


@pytest.mark.parametrize("interval_s", [0.01, 0.0], ids=["software-timed", "burst"])
def test_each_camera_of_a_multi_camera_is_a_channel(interval_s: float, model_folder: Path, tmp_path: Path) -> None:
    with demo_core(128) as core:
        two_cameras(core)
        assert core_cameras(core) == ("Left", "Right")
        with attach(core, model_folder, tmp_path / "run", channel="Right", isolate=False):
            core.mda.run(timed(3, interval_s))
    check_closed(tmp_path / "run", received=6, saved=6, labelfree=3, behind=0, unstained=0)
    assert open_run(tmp_path / "run").channels[:2] == ("measured: Right", "measured: Left")


def test_a_camera_that_is_loaded_and_not_used_is_no_channel(model_folder: Path, tmp_path: Path) -> None:
    with demo_core(128) as core:
        core.loadDevice("Spare", "DemoCamera", "DCam")
        core.initializeDevice("Spare")
        with attach(core, model_folder, tmp_path / "run", isolate=False):
            core.mda.run(timed(2, 0.01))
    check_closed(tmp_path / "run", received=2, saved=2, labelfree=2, behind=0, unstained=0)
    assert open_run(tmp_path / "run").channels[0] == "measured: Camera"
