"""Bad days: cameras, disks and stainers that fail. Nothing that was received is lost without being named."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper
from pymmcore_plus import CMMCorePlus
from pymmcore_plus.mda import FinishReason

import livestain
from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.errors import EngineError, RunError
from livestain.frames import Key
from livestain.session.intake import FULL
from livestain.session.recorder import GONE
from livestain.session.session import Session
from livestain.settings import SessionSettings
from livestain.sources.camera import held_core, make_core
from livestain.store.ledger import read_rows
from livestain.store.planes import PlaneStore
from livestain.store.read import open_run
from tests.conftest import stainer_pids
from tests.models import small_generator, write_test_model
from tests.session.pieces import (
    PATIENCE_S,
    SHAPE,
    Counts,
    Feed,
    await_that,
    break_engine,
    camera,
    check_closed,
    check_planes,
    frame,
    raw_plane,
    stain_planes,
    stain_rows,
    timed,
)
from tests.store.pieces import small_disk


@contextmanager
def attached(model: Path, record: Path | None, **options: Any) -> Iterator[tuple[CMMCorePlus, Session]]:
    with make_core(camera()) as core, livestain.attach(core, model, record, **options) as session:
        yield core, session


@contextmanager
def fed(model: Path, record: Path, **options: Any) -> Iterator[tuple[Session, Feed]]:
    """A session in a thread whose source delivers what the test tells it to."""
    with Session(model, record, SessionSettings(**{"isolate": False, **options})) as session:
        yield session, Feed(session)


# -- the stainer -------------------------------------------------------------------------------------------------------


def the_stainer() -> psutil.Process:
    await_that(stainer_pids)
    (pid,) = stainer_pids()
    return psutil.Process(pid)


def kill(stainer: psutil.Process, ledger: Path) -> None:
    stainer.kill()


def hang(stainer: psutil.Process, ledger: Path) -> None:
    stainer.suspend()


def kill_in_a_row(stainer: psutil.Process, ledger: Path) -> None:
    """As a power cut may leave the ledger: with half a line at its end."""
    stainer.suspend()
    with ledger.open("ab") as file:
        file.write(b'{"v":1,"p":0,"t":9')
    stainer.kill()


ENDS = {"killed": kill, "hanging": hang, "killed in the middle of a row": kill_in_a_row}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_a_stainer_that_ends_is_started_again_once_and_no_frame_feels_it(
    end: Callable[[psutil.Process, Path], None], model_folder: Path, tmp_path: Path
) -> None:
    with attached(model_folder, tmp_path / "thread", isolate=False) as (core, _):
        core.mda.run(timed(60))
    with attached(model_folder, tmp_path / "run") as (core, session):
        thread = core.run_mda(timed(60, 0.05))
        session.wait((0, 3, 0), PATIENCE_S)
        stainer = the_stainer()
        end(stainer, tmp_path / "run" / "stains" / "livestain-test-model" / "ledger.jsonl")
        thread.join()
        await_that(lambda: not stainer.is_running() or stainer.status() == psutil.STATUS_ZOMBIE)
    check_closed(tmp_path / "run", received=60, saved=60, failed=0, unstained=0, behind=0)
    assert sum("is started again" in text for text in session.status.warnings) == 1
    rows, _ = read_rows(tmp_path / "run" / "stains" / "livestain-test-model" / "ledger.jsonl")
    assert sum("open" in row for row in rows) == 2
    assert sum("state" in row for row in rows) == 60
    # The same stain after a restart as without one.
    for key in stain_rows(tmp_path / "run"):
        np.testing.assert_array_equal(stain_planes(tmp_path / "run", key), stain_planes(tmp_path / "thread", key))


def raises_once(error: Exception) -> Callable[[int], None]:
    left = [error]

    def at_7(number: int) -> None:
        if number == 7 and left:
            raise left.pop()

    return at_7


def raises_always(error: Exception) -> Callable[[int], None]:
    def from_7(number: int) -> None:
        if number >= 7:
            raise error

    return from_7


BROKEN: dict[str, tuple[Callable[[int], None], dict[str, int], str]] = {
    "an engine error at frame 7": (raises_once(EngineError("no luck")), {"unstained": 1, "behind": 0}, "no luck"),
    # Two planes of every life are stained before its third failure in a row ends it.
    "an engine error from frame 7 on": (
        raises_always(EngineError("no luck")),
        {"unstained": 9, "behind": 30 - 3 * 6 - 9},
        "staining is off",
    ),
    "an unexpected error at frame 7": (raises_once(RuntimeError("oh")), {"unstained": 0, "behind": 0}, "started again"),
    "an unexpected error from frame 7 on": (
        raises_always(RuntimeError("oh")),
        {"unstained": 0, "behind": 30 - 3 * 6},
        "staining is off",
    ),
}


@pytest.mark.parametrize(("before", "expected", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_an_engine_that_raises_costs_stains_and_no_frame(
    before: Callable[[int], None],
    expected: dict[str, int],
    words: str,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Whatever this CPU has: only f32 can every backend go on in.
    monkeypatch.setattr(OpenVinoEngine, "precisions", classmethod(lambda cls, model: ("f32",)))
    break_engine(monkeypatch, before)
    with attached(model_folder, tmp_path / "run", isolate=False) as (core, session):
        core.mda.run(timed(30, 0.0))
    check_closed(tmp_path / "run", received=30, saved=30, failed=0, **expected)
    assert any(words in text for text in session.status.warnings)


def treacherous_generator() -> onnx.ModelProto:
    """A generator that gives NaN for frames with a large dark part."""
    model = small_generator()
    graph = model.graph
    graph.output[0].name, stains = "answer", "stains"
    constants = {"axes": np.array([1, 2, 3], np.int64), "dark": np.float32(-0.2), "nan": np.float32(np.nan)}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["contrast", "axes"], ["mean"], keepdims=1),
            helper.make_node("Less", ["mean", "dark"], ["is_dark"]),
            helper.make_node("Where", ["is_dark", "nan", stains], ["answer"]),
        ]
    )
    for node in graph.node:
        node.output[:] = ["inner" if name == "stains" else name for name in node.output]
        node.input[:] = ["inner" if name == "stains" else name for name in node.input]
        node.output[:] = ["stains" if name == "answer" else name for name in node.output]
    graph.output[0].CopyFrom(helper.make_tensor_value_info("stains", TensorProto.FLOAT, ["n", 2, "y", "x"]))
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_model_that_gives_nan_gives_no_stain(backend: str, tmp_path: Path) -> None:
    def half_dark(k: int) -> Counts:
        image = frame(k)
        image[:, : SHAPE[1] * 2 // 5] = 50
        return image

    model = write_test_model(tmp_path / "model", generator=treacherous_generator())
    with fed(model, tmp_path / "run", backend=backend) as (_, feed):
        feed.put(frame(0), frame(1), half_dark(2), frame(3))
        feed.end()
    check_closed(tmp_path / "run", saved=4, unstained=1, behind=0)
    assert "not finite" in stain_rows(tmp_path / "run")[Key(0, 2, 0)]["reason"]


# -- the disk ----------------------------------------------------------------------------------------------------------


def stop_store(monkeypatch: pytest.MonkeyPatch, allow: Callable[[], object]) -> None:
    """Let ``allow`` take its time before each plane."""
    begin = PlaneStore.begin

    def begin_later(store: PlaneStore, *passed: Any) -> Any:
        allow()
        return begin(store, *passed)

    monkeypatch.setattr(PlaneStore, "begin", begin_later)


SMALL_INTAKE = {"intake_min_bytes": 1 << 16, "intake_max_bytes": 1 << 16}
"""Room for two frames."""


@pytest.mark.parametrize(("when_full", "burst"), [("skip", False), ("skip", True), ("wait", True), ("wait", False)])
def test_a_disk_that_stands_still_costs_frames_that_are_named(
    when_full: str, burst: bool, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    stop_store(monkeypatch, go_on.wait)
    with fed(model_folder, tmp_path / "run", when_full=when_full, **SMALL_INTAKE) as (_, feed):
        feed.put(frame(0), frame(1), burst=burst)
        began_s = time.monotonic()
        feed.put(frame(2), frame(3), burst=burst)
        waited_s = time.monotonic() - began_s
        go_on.set()
        feed.end()
    check_closed(tmp_path / "run", received=4, saved=2, failed=2)
    rows = open_run(tmp_path / "run").rows()
    assert [row["reason"] for row in rows] == ["", "", FULL, FULL]
    # Only a software-timed acquisition waits, and not for a recorder that does not advance.
    waits = when_full == "wait" and not burst
    assert waited_s >= 0.5 if waits else waited_s < 0.5


@pytest.mark.parametrize(("when_full", "failed"), [("wait", False), ("skip", True)])
def test_a_slow_disk_makes_a_software_timed_acquisition_wait_when_asked(
    when_full: str, failed: bool, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_store(monkeypatch, lambda: threading.Event().wait(0.05))
    with fed(model_folder, tmp_path / "run", when_full=when_full, **SMALL_INTAKE) as (_, feed):
        feed.put(*(frame(k) for k in range(8)))
        feed.end()
    counters = check_closed(tmp_path / "run", received=8)
    assert (counters["failed"] > 0) == failed


def test_frames_in_flight_at_the_end_are_saved(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    stop_store(monkeypatch, go_on.wait)
    with fed(model_folder, tmp_path / "run", planes_in_flight=4) as (_, feed):
        feed.put(*(frame(k) for k in range(9)))
        feed.end()
        go_on.set()
    check_closed(tmp_path / "run", received=9, saved=9, behind=0, unstained=0)


@pytest.mark.parametrize("slow_s", [0.0, 0.1], ids=["fast disk", "slow disk"])
def test_a_burst_of_large_frames_is_never_broken(
    slow_s: float, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_store(monkeypatch, lambda: threading.Event().wait(slow_s))
    flat = [np.full((2048, 2048), 1000 + k, np.uint16) for k in range(4)]
    large = camera(lambda k: flat[k % 4], shape=(2048, 2048), exposure_ms=15)
    # Nothing is stained, so that the test shows the acquisition and the disk alone.
    with make_core(large) as core, livestain.attach(core, model_folder, tmp_path / "run", channel="none"):
        core.mda.run(timed(200, 0.0))
        assert core.mda.status.finish_reason is FinishReason.COMPLETED
    counters = check_closed(tmp_path / "run", received=200)
    rows = open_run(tmp_path / "run").rows()
    assert [row["n"] for row in rows] == list(range(200))
    assert {row["reason"] for row in rows if row["state"] == "failed"} <= {FULL}
    assert counters["saved"] >= 8
    assert (counters["failed"] > 0) == (slow_s > 0)
    np.testing.assert_array_equal(raw_plane(tmp_path / "run", (0, 1, 0)), flat[1])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not delete what is open")
@pytest.mark.parametrize("isolate", [True, False], ids=["process", "thread"])
def test_a_run_folder_deleted_in_mid_run_is_a_loss_that_is_named(
    isolate: bool, model_folder: Path, tmp_path: Path
) -> None:
    with attached(model_folder, tmp_path / "run", isolate=isolate) as (core, session):
        thread = core.run_mda(timed(60, 0.05))
        await_that(lambda: session.status.counters.saved >= 5)
        delete(tmp_path / "run")
        thread.join()
    counters = session.status.counters
    assert (counters.received, counters.saved, counters.failed, counters.waiting) == (60, 0, 60, 0)
    assert counters.labelfree == counters.behind == 0
    assert GONE in session.status.warnings


def delete(folder: Path) -> None:
    """Delete a folder that others are writing to."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def test_a_read_only_disk_is_refused_before_the_start(model_folder: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=4m") as disk, make_core(camera()) as core:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(RunError, match="cannot be used to record a run"):
            livestain.attach(core, model_folder, disk / "run", isolate=False)


def test_a_full_disk_is_refused_before_the_start(model_folder: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=4m") as disk, make_core(camera()) as core:  # noqa: SIM117
        with pytest.raises(RunError, match="takes no data"):
            livestain.attach(core, model_folder, disk / "run", isolate=False)


def test_a_disk_that_fills_up_loses_what_does_not_fit_and_says_so(model_folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 65536, (512, 512), np.uint16) for _ in range(70)]
    with small_disk(tmp_path / "disk", "size=24m") as disk:
        session = Session(model_folder, disk / "run", SessionSettings(isolate=False, fsync=False))
        feed = Feed(session)
        feed.put(*noise)
        feed.end()
        session.close()
        counters = session.status.counters
        assert counters.received == 70
        assert counters.saved + counters.failed == 70
        assert counters.failed >= 20
        assert counters.saved >= 20
        assert sum((counters.live, counters.late, counters.unstained, counters.behind)) == counters.labelfree
        assert any("the disk is full" in text for text in session.status.warnings)
        check_planes(disk / "run")


# -- the camera --------------------------------------------------------------------------------------------------------

GOOD = frame(0)
ODD: dict[str, tuple[list[Counts], dict[str, int], str]] = {
    "colour": ([np.zeros((*SHAPE, 3), np.uint8)], {"saved": 0, "failed": 1}, "one grey plane is needed"),
    "float": ([GOOD.astype(np.float32)], {"saved": 0, "failed": 1}, "float32: uint8 or uint16 is needed"),
    "32 bit": ([GOOD.astype(np.uint32)], {"saved": 0, "failed": 1}, "uint32: uint8 or uint16 is needed"),
    "another shape in mid-run": (
        [GOOD, GOOD[:-2], frame(1)],
        {"saved": 2, "failed": 1, "unstained": 0},
        "110 x 128 px uint16 in a run of 112 x 128 px uint16",
    ),
    "another dtype in mid-run": (
        [GOOD, (GOOD >> 8).astype(np.uint8)],
        {"saved": 1, "failed": 1, "unstained": 0},
        "112 x 128 px uint8 in a run of 112 x 128 px uint16",
    ),
    "colour after grey": ([GOOD, np.zeros((*SHAPE, 3), np.uint8)], {"saved": 1, "failed": 1}, "one grey plane"),
    "grey after colour": ([np.zeros((*SHAPE, 3), np.uint8), GOOD], {"saved": 1, "failed": 1}, "one grey plane"),
    "8 bit": ([(GOOD >> 4).astype(np.uint8)], {"saved": 1, "failed": 0, "unstained": 0}, ""),
    "not contiguous": ([np.repeat(GOOD, 2, 1)[:, ::2]], {"saved": 1, "failed": 0, "unstained": 0}, ""),
}


@pytest.mark.parametrize(("images", "expected", "words"), ODD.values(), ids=ODD.keys())
def test_an_odd_frame_is_a_failed_row_with_the_reason(
    images: list[Counts], expected: dict[str, int], words: str, model_folder: Path, tmp_path: Path
) -> None:
    with fed(model_folder, tmp_path / "run") as (session, feed):
        feed.put(*images)
        feed.end()
    check_closed(tmp_path / "run", received=len(images), **{"behind": 0, **expected})
    failed = [row for row in open_run(tmp_path / "run").rows() if row["state"] == "failed"]
    assert len(failed) == expected["failed"]
    assert all(words in row["reason"] for row in failed)
    assert all(any(row["reason"] in text for text in session.status.warnings) for row in failed)


UNSTAINABLE = {
    "too small": (np.full((95, 200), 1000, np.uint16), "at least 96 x 96 is needed"),
    "dark": (np.zeros(SHAPE, np.uint16), "no usable background"),
    "saturated": (np.full(SHAPE, 65535, np.uint16), "no usable background"),
}


@pytest.mark.parametrize(("image", "words"), UNSTAINABLE.values(), ids=UNSTAINABLE.keys())
@pytest.mark.parametrize("planned", [True, False], ids=["known before", "unknown before"])
def test_a_frame_that_cannot_be_stained_is_recorded_and_its_stain_a_failed_row(
    image: Counts, words: str, planned: bool, model_folder: Path, tmp_path: Path
) -> None:
    form = ((image.shape[0], image.shape[1]), "uint16") if planned else None
    with Session(model_folder, tmp_path / "run", SessionSettings(isolate=False), form) as session:
        feed = Feed(session)
        feed.put(image, image)
        feed.end()
    check_closed(tmp_path / "run", saved=2, unstained=2, behind=0)
    assert all(words in row["reason"] for row in stain_rows(tmp_path / "run").values())


def test_a_colour_camera_gets_rows_with_the_reason_and_its_acquisition_goes_on(
    model_folder: Path, tmp_path: Path
) -> None:
    with held_core(CMMCorePlus()) as core:
        core.loadSystemConfiguration()
        core.setProperty("Camera", "PixelType", "32bitRGB")
        with livestain.attach(core, model_folder, tmp_path / "run", isolate=False) as session:
            core.mda.run(timed(2))
            assert core.mda.status.finish_reason is FinishReason.COMPLETED
    check_closed(tmp_path / "run", received=2, failed=2)
    assert any("set the camera to monochrome" in text for text in session.status.warnings)


def test_a_frame_that_cannot_be_placed_is_a_failed_row(model_folder: Path, tmp_path: Path) -> None:
    with fed(model_folder, tmp_path / "run") as (_, feed):
        feed.intake.put(frame(0), "no number", time.monotonic_ns(), burst=False)
        feed.put(frame(1))
        feed.end()
    check_closed(tmp_path / "run", received=2, saved=1, failed=1, unstained=0)
    reasons = [row["reason"] for row in open_run(tmp_path / "run").rows() if row["state"] == "failed"]
    assert len(reasons) == 1
    assert open_run(tmp_path / "run").channels == ("measured: BF", "virtual: nuclei", "virtual: membrane")


def test_a_frame_that_breaks_the_recorder_is_a_failed_row(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter(range(9))

    def break_second() -> None:
        if next(numbers) == 1:
            raise MemoryError("no memory")

    stop_store(monkeypatch, break_second)
    with Session(model_folder, tmp_path / "run", SessionSettings(isolate=False)) as session:
        feed = Feed(session, channel="not stained")
        feed.put(frame(0), frame(1), frame(2))
        feed.end()
    check_closed(tmp_path / "run", received=3, saved=2, failed=1)
    assert "MemoryError('no memory')" in open_run(tmp_path / "run").rows()[1]["reason"]
