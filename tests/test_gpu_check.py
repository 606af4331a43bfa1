"""What of the card's benchmark can be proven without a card: its file, its ring, its network, its words."""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livestain.engine.graph import FULL_SCALE
from livestain.engine.opening import open_backend
from livestain.model import read_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ENGINES = Path(__file__).parents[1] / "engines"
MODELS = ("demo-nuclei-membrane", "brightfield-nuclei")
SIDE = 128
STATE = "NVIDIA H200, 580.159, {used} MiB, 143771 MiB, {clock} MHz, 1980 MHz, 3201 MHz, {warm}, 120.5 W, 5, 16, {why}"


@pytest.fixture(scope="module", autouse=True)
def modules() -> Iterator[None]:
    """The modules of the benchmark, which are no part of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield
    for name in [name for name in sys.modules if name.startswith("gpu_")]:
        del sys.modules[name]


def load(name: str) -> Any:
    return importlib.import_module(name)


def asked(tmp_path: Path, **changes: Any) -> argparse.Namespace:
    settings: dict[str, Any] = {
        "device": "cuda", "quick": False, "results": tmp_path / "found.json",
        "only": None, "list": False, "minutes": 8.5,
    }  # fmt: skip
    return argparse.Namespace(**{**settings, **changes})


def steps_taken(monkeypatch: pytest.MonkeyPatch, found: dict[str, Any] | None = None) -> list[str]:
    """Let every step answer at once; the names of those that were taken are noted in the list returned."""
    taken: list[str] = []

    def take(name: str, *_: object) -> dict[str, Any]:
        taken.append(name)
        return {"device": "card", "rows": [{"what": name}]} if found is None else found

    monkeypatch.setattr(load("gpu_check"), "run_step", take)
    return taken


# -- the file of results -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "quick"), [("cpu", True), ("cpu", False), ("cuda", True)])
def test_what_is_no_measurement_of_a_card_never_enters_its_file(tmp_path: Path, device: str, quick: bool) -> None:
    check = load("gpu_check")
    path = check.results_path(asked(tmp_path, device=device, quick=quick, results=None), tmp_path)
    assert path.parent == tmp_path
    with pytest.raises(SystemExit, match="give another --results"):
        check.results_path(asked(tmp_path, device=device, quick=quick, results=check.RESULTS), tmp_path)


def test_steps_that_stand_in_the_file_are_not_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check, taken = load("gpu_check"), steps_taken(monkeypatch)
    check.Check(asked(tmp_path), tmp_path).go_on()
    assert taken == list(check.STEPS)
    check.Check(asked(tmp_path), tmp_path).go_on()
    assert taken == list(check.STEPS)
    check.Check(asked(tmp_path, only=["gate"]), tmp_path).go_on()
    assert taken == [*check.STEPS, "gate"]


def test_no_step_is_begun_that_would_not_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check, taken = load("gpu_check"), steps_taken(monkeypatch)
    check.Check(asked(tmp_path, minutes=20 / 60), tmp_path).go_on()
    assert taken == ["versions"]


def test_a_reason_stands_in_the_file_as_a_number_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = load("gpu_check")
    steps_taken(monkeypatch, {"device": "card", "reason": "refused"})
    check.Check(asked(tmp_path, only=["tensorrt"]), tmp_path).go_on()
    assert json.loads((tmp_path / "found.json").read_text("utf-8"))["steps"] == {"tensorrt": {"reason": "refused"}}


def test_without_a_usable_card_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = load("gpu_check")
    steps_taken(monkeypatch, {"stop": "another program holds it"})
    with pytest.raises(SystemExit, match="another program holds it; nothing written"):
        check.Check(asked(tmp_path), tmp_path).go_on()
    assert not list(tmp_path.iterdir())


def test_results_of_two_cards_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = load("gpu_check")
    steps_taken(monkeypatch)
    check.Check(asked(tmp_path, only=["gate"]), tmp_path).go_on()
    steps_taken(monkeypatch, {"device": "another", "rows": []})
    with pytest.raises(SystemExit, match="holds results of card, this is another"):
        check.Check(asked(tmp_path, only=["limits"]), tmp_path).go_on()


def test_a_step_that_dies_says_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    died = subprocess.CompletedProcess([], -11, stdout="Fatal: Segmentation fault\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: died)
    found = load("gpu_check").run_step("gate", asked(tmp_path), tmp_path / "answer.json", 100.0)
    assert found == {"reason": "ended with exit code -11: Fatal: Segmentation fault"}


@pytest.mark.parametrize(
    ("left_s", "found"), [(1000.0, {"reason": "did not end within 400 s"}), (100.0, None)], ids=["hangs", "time over"]
)
def test_a_step_that_does_not_end_is_recorded_only_if_it_had_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_s: float, found: object
) -> None:
    def hang(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired("step", timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    assert load("gpu_check").run_step("gate", asked(tmp_path), tmp_path / "answer.json", left_s) == found


def test_a_step_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    check = load("gpu_check")
    found = check.run_step("versions", asked(tmp_path, device="cpu", quick=True), tmp_path / "answer.json", 100.0)
    assert found["device"] == "cpu"
    assert [row["what"] for row in found["rows"]] == ["system", "packages", "torch"]
    without = check.run_step("versions", asked(tmp_path, quick=True), tmp_path / "answer.json", 100.0)
    assert "finds no NVIDIA card" in without["stop"]


# -- the steps ---------------------------------------------------------------------------------------------------------


def test_a_step_without_its_library_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    load("gpu_steps").answer("tensorrt", "cpu", True, tmp_path / "answer.json")
    found = json.loads((tmp_path / "answer.json").read_text("utf-8"))
    assert found["reason"].startswith("ModuleNotFoundError: import of tensorrt_rtx")
    assert found["device"] == "cpu"


def test_a_card_that_another_program_fills_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = load("torch").cuda
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "mem_get_info", lambda: (100 << 20, 8000 << 20))
    load("gpu_steps").answer("limits", "cuda", True, tmp_path / "answer.json")
    assert json.loads((tmp_path / "answer.json").read_text("utf-8")) == {
        "stop": "RuntimeError: 100 of 8000 MiB are free on the card, 4096 are needed: another program holds it"
    }


def test_the_driver_says_what_held_the_clocks_down() -> None:
    lines = [
        STATE.format(used=900, clock=345, warm=30, why="0x0000000000000001"),
        STATE.format(used=21000, clock=1980, warm=61, why="0x0000000000000000"),
        STATE.format(used=20000, clock=1700, warm=72, why="0x0000000000000024"),
        "NVIDIA H200, 580",
    ]
    assert load("gpu_card").summarise(lines) == {
        "sm_mhz": [345, 1980], "temperature_c": 72, "memory_used_mib": 21000, "n": 3,
        "held_down_by": ["power limit", "too warm (driver)"],
    }  # fmt: skip


def test_calls_are_timed_in_turns_and_the_first_of_each_is_not_counted() -> None:
    clock, order = load("gpu_clock"), list[str]()
    times = clock.interleave({name: lambda name=name: order.append(name) for name in "ab"}, "cpu", 0.0)
    a_turn = 2 * clock.IN_A_ROW
    assert order == (["a"] * a_turn + ["b"] * a_turn) * clock.LEAST_TURNS
    assert times["a"].numbers()["n"] == clock.LEAST_TURNS * (clock.IN_A_ROW - 1)


def test_the_work_of_a_frame_is_that_of_its_convolutions() -> None:
    work = load("gpu_work")
    cost = work.cost(work.live_generator, SIDE)
    # 74.5 GFLOP at 2048 px, and all layers shrink alike.
    assert cost.flop == pytest.approx(74.49e9 * (SIDE / 2048) ** 2, rel=1e-3)
    assert work.cost(work.live_generator, 2 * SIDE).moved == 4 * cost.moved


@pytest.mark.parametrize("name", MODELS)
def test_torch_computes_the_stains_of_the_engine(name: str) -> None:
    torch, work = load("torch"), load("gpu_work")
    net = load("gpu_gate").shipped_generator(ENGINES / name)
    frame = work.frame_counts(SIDE)
    ours = work.call_of(work.StainFrame(net, SIDE), "f32")(work.on_device(frame, "cpu"))[0]
    shade = np.full((SIDE // 8, SIDE // 8), 1 / (work.CONSTANT * work.MEAN_COUNTS), np.float32)
    engine = open_backend(read_model(ENGINES / name), "onnxruntime", threads=1)
    stains = engine.stain(frame, shade, 0.0, 1 / work.CONSTANT)
    engine.close()
    assert ours.dtype == torch.int16
    difference = np.abs(ours.numpy().view(np.uint16).astype(int) - stains.astype(int))
    assert difference.max() <= 1e-4 * FULL_SCALE


@pytest.mark.parametrize("name", MODELS)
def test_shipped_weights_pass_the_gate_in_torch(name: str) -> None:
    rows = load("gpu_gate").gate_rows(ENGINES / name, ("f32", "bf16"), "cpu")
    assert [(row["precision"], row["passed"]) for row in rows] == [("f32", True), ("bf16", True)]
    assert rows[0]["max_abs"] < rows[1]["max_abs"]


# -- the ring ----------------------------------------------------------------------------------------------------------


def road_of(frames: list[Any], lost: int | None = None) -> Any:
    """A road without a card that doubles counts; frame number ``lost`` is left out and those after it move up."""
    module, calls = load("gpu_frames"), load("gpu_calls").HostCalls()
    size = frames[0].nbytes
    ring = module.Ring(calls, size, size, 0)
    ran: list[Any] = []

    def run(stream: int) -> None:
        given = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(ring.inputs)).view(np.uint16).copy()
        ran.append(given)
        doubled = 2 * ran[-1 if lost is None or len(ran) <= lost else -2]
        ctypes.memmove(ring.outputs, doubled.ctypes.data, size)

    return module.Road(ring, (size, size), run)


def seven_frames() -> list[Any]:
    return [np.random.default_rng(seed).integers(0, 10_000, 64).astype(np.uint16) for seed in range(7)]


def test_frames_come_back_in_order_and_one_mixed_up_is_found_out() -> None:
    counts = seven_frames()
    frames, wanted = [each.view(np.uint8) for each in counts], [(2 * each).view(np.uint8) for each in counts]
    assert road_of(frames).check(frames, wanted) == 0.0
    assert road_of(frames, lost=4).check(frames, wanted) > load("gpu_frames").SAME


def test_stains_of_different_frames_differ_by_more_than_is_tolerated() -> None:
    work, frames = load("gpu_work"), load("gpu_frames")
    call = work.call_of(work.build(work.live_generator, "f32", SIDE, "cpu"), "f32")
    one, other = (call(work.on_device(work.frame_counts(SIDE, seed), "cpu")) for seed in (0, 1))
    assert frames.relative_rms(frames.as_bytes(one.numpy()), frames.as_bytes(other.numpy())) > 3 * frames.SAME


def test_every_frame_comes_back_at_a_pace_and_without_one() -> None:
    frames = [each.view(np.uint8) for each in seven_frames()]
    road = road_of(frames)
    found = road.sustained(frames, 20, host=True)
    live = road.paced(frames, 20, 1000.0)
    assert found["n"] == live["n"] == 20
    assert 0 < live["frame_per_s"] <= 1100
    assert live["p50_ms"] <= live["p99_ms"] <= live["max_ms"]


def test_the_ring_of_the_step_returns_the_stains_of_the_network() -> None:
    steps = load("gpu_steps")
    rows = load("gpu_frames").frame_rows(steps.Setup("cpu", True), "f32", SIDE)
    (order,) = [row for row in rows if row["what"] == "order"]
    assert order["relative_rms_to_network"] == 0.0
    assert order["through"] == "host memory, no card"
