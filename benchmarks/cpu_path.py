"""What would make the CPU path faster, each idea beside what is done today: kept only where it saves 5 % of a frame.

    python benchmarks/cpu_path.py [--quick] [--only threads copies ...] [--rounds 24]        (about 15 minutes)

``copies``: the camera's frame given to OpenVINO without a copy, and stains in memory that is kept. ``streams``: late
planes by two engines of one thread each against one of two. ``half``: the half-size stains of a viewer as a second
output of the graph. ``shade``: the light of the field upsampled by OpenVINO itself, as it was before we did it.
``activation``: SiLU, which the shipped network of real nuclei has, against ReLU. ``threads``:
stains a second and the recorder's lag with 1, 2 and all threads, in a whole session at a camera's pace.
All in turns, the order alternating; a ratio is that of two turns side by side, of wall time and of the process's CPU
time, which a busy machine blurs least; the load stands beside them.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import onnx
import openvino
import psutil
from common import Report, acquire, arguments, ready_camera, scratch, wait_until_ready
from onnx import TensorProto, helper

import livestain
from livestain.contrast import Field, estimate_background
from livestain.engine.backends import openvino as adapter
from livestain.engine.backends.base import Job
from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.engine.protocol import Precision
from livestain.frames import Counts, Stain
from livestain.model import Model, read_model
from livestain.sources.camera import PythonCamera, make_core
from livestain.stainer.half import half_size

PAYS = 0.05
SIDES = (512, 1024, 2048)
TURN_S = 0.25
CASES = ((512, 50.0), (2048, 5.0))
"""Side of the frames, px, and the camera's pace, frame/s."""

SILU_MODEL = "brightfield-nuclei"
BESIDE = """
import sys
from livestain.stainer import worker
worker.lower_priority()
from livestain.stainer import loop
opened = loop.open_backend
loop.open_backend = lambda *given, **more: opened(*given, **{**more, "threads": THREADS})
worker.main()
"""
"""A stainer whose engine computes with so many threads."""

Call = Callable[[], object]
Pair = tuple[float, float]
Given = tuple[Counts, Field, float, float]


def main(asked: argparse.Namespace) -> int:
    report = Report("cpu_path", asked)
    with scratch(asked.folder) as folder:
        bench = Bench(report, copied(read_model(asked.model), folder / "model"), asked)
        for way in asked.only:
            bench.run(way)
    return report.finish()


def copied(model: Model, folder: Path) -> Model:
    """Return the model in a folder of its own: what is tried here does not belong into its compiled engines."""
    shutil.copytree(model.folder, folder, ignore=shutil.ignore_patterns("compiled"))
    return read_model(folder)


@dataclass(frozen=True)
class Bench:
    """All that is tried."""

    report: Report
    model: Model
    asked: argparse.Namespace

    def run(self, way: str) -> None:
        """Try one idea, at every precision and size."""
        if way == "threads":
            self.threads()
            return
        for precision in OpenVinoEngine.precisions(self.model)[-2:]:
            for side in SIDES[:1] if self.asked.quick else SIDES:
                getattr(self, way)(precision, side)

    def copies(self, precision: Precision, side: int) -> None:
        """Frames without a copy; stains in memory that is kept."""
        given = frame_of(side, self.model)
        today = OpenVinoEngine(self.model, precision)
        with patch.object(adapter, "_program", share_frame):
            shared = OpenVinoEngine(self.model, precision)
            shared.stain(*given)
        with patch.object(adapter, "_program", keep_stains):
            kept = OpenVinoEngine(self.model, precision)
            kept.stain(*given)
        for what, other in {"frame shared": shared, "stains kept": kept}.items():
            if not np.array_equal(today.stain(*given), other.stain(*given)):
                raise RuntimeError(f"{what}: other stains at {precision}")
            self.compare(f"{what}, {precision}, {side} px", partial(today.stain, *given), partial(other.stain, *given))

    def streams(self, precision: Precision, side: int) -> None:
        """Two engines of one thread, each with every second plane."""
        given = frame_of(side, self.model)
        both, pair = OpenVinoEngine(self.model, precision, 2), [OpenVinoEngine(self.model, precision, 1) for _ in "ab"]
        with ThreadPoolExecutor(2) as pool:
            self.compare(
                f"2 x 1 thread against 1 x 2, {precision}, {side} px",
                lambda: [both.stain(*given) for _ in pair],
                lambda: list(pool.map(lambda engine: engine.stain(*given), pair)),
            )

    def half(self, precision: Precision, side: int) -> None:
        """The half-size stains as a second output of the graph."""
        given = frame_of(side, self.model)
        today, halves = OpenVinoEngine(self.model, precision), list[Counts]()
        with patch.object(adapter, "_program", partial(half_program, halves)):
            other = WithHalf(self.model, precision)
            other.stain(*given)
        worst = int(np.abs(halves[-1].astype(int) - half_size(today.stain(*given))).max())
        if worst > 1:
            raise RuntimeError(f"the graph's half-size stains are off by {worst} counts at {precision}")
        self.compare(
            f"half size in the graph, {precision}, {side} px",
            lambda: half_size(today.stain(*given)),
            partial(other.stain, *given),
        )

    def shade(self, precision: Precision, side: int) -> None:
        """The shade upsampled by the library's own operator."""
        given = frame_of(side, self.model)
        today = OpenVinoEngine(self.model, precision)
        with patch.object(adapter, "_upsample_in_two_steps", lambda model: None), patch.object(adapter, "_METHOD", 1):
            other = OpenVinoEngine(self.model, precision)
            other.stain(*given)
        worst = int(np.abs(other.stain(*given).astype(int) - today.stain(*given)).max())
        if precision == "f32" and worst > 1:
            raise RuntimeError(f"our upsampling is off by {worst} counts")
        name = f"the library's own upsampling, {precision}, {side} px"
        self.compare(name, partial(today.stain, *given), partial(other.stain, *given))

    def activation(self, precision: Precision, side: int) -> None:
        """ReLU in place of SiLU, in the network of real nuclei."""
        folder = self.model.folder.parent / SILU_MODEL
        model = read_model(folder) if folder.exists() else copied(read_model(SILU_MODEL), folder)
        given = frame_of(side, model)
        today, other = (OpenVinoEngine(model, precision) for _ in "ab")
        other._generator = with_relu(model.generator())
        self.compare(f"ReLU, {precision}, {side} px", partial(today.stain, *given), partial(other.stain, *given))

    def threads(self) -> None:
        """Whole sessions at a camera's pace, the engine with 1, 2 and all threads."""
        for side, per_s in CASES[:1] if self.asked.quick else CASES:
            camera = ready_camera(side, exposure_ms=0.0)
            found: dict[str, list[dict[str, float]]] = {"1": [], "2": [], "None": []}
            for turn in range(self.asked.sessions):
                order = list(found) if turn % 2 else list(reversed(found))
                for threads in order:
                    with scratch(self.asked.folder) as folder:
                        found[threads].append(self.record(camera, folder / "run", threads, per_s))
            for threads, runs in found.items():
                names = set.intersection(*(set(run) for run in runs))  # no engine where nothing was stained in time
                row = {name: statistics.median(run[name] for run in runs) for name in runs[0] if name in names}
                name = f"session, {side} px at {per_s:g}/s, threads {threads.replace('None', 'all')}"
                self.report.add(name, {**row, "n": len(runs), "load": load()})

    def record(self, camera: PythonCamera, run: Path, threads: str, per_s: float) -> dict[str, float]:
        """Record for some seconds; return live stains a second, and what the acquisition and the recorder took."""
        frames, live_s = int(per_s * self.asked.seconds), list[float]()

        def note(stain: object) -> None:
            if isinstance(stain, Stain):
                live_s.append(time.perf_counter())

        with make_core(camera) as core, threads_of_stainer(threads):
            session = livestain.attach(core, self.model.folder, run, backend="openvino")
            session.stained.connect(note)
            wait_until_ready(session)
            times = acquire(core, frames, 1 / per_s)
            status = session.status
            session.close(drain=False)
        row = {
            # From the first to the last: before it the engine was made ready for this size.
            "live_per_s": (len(live_s) - 1) / (live_s[-1] - live_s[0]) if len(live_s) > 1 else 0.0,
            "frames_per_s": (frames - 1) / (times[-1] - times[0]),
            "interval_p99_ms": float(np.percentile(1e3 * np.diff(times), 99)),
            "saved_p50_ms": status.latency_ms["saved"][0],
            "saved_p99_ms": status.latency_ms["saved"][2],
        }
        return row | {f"{stage}_p50_ms": status.latency_ms[stage][0] for stage in ("engine", "total") if live_s}

    def compare(self, what: str, today: Call, other: Call) -> None:
        """Note the time of ``other`` in times of ``today``, turn by turn; of the process's CPU time, too."""
        calls = max(1, round(TURN_S / times_s(today, 2)[0]))
        times_s(other, 2)
        before, after = list[Pair](), list[Pair]()
        for turn in range(self.asked.rounds):
            order = [(today, before), (other, after)]
            for call, times in reversed(order) if turn % 2 else order:
                times.append(times_s(call, calls))
        ratios, of_cpu = (np.array(after) / np.array(before)).T
        low, middle, high = np.percentile(ratios, (25, 50, 75))
        today_ms = 1e3 * statistics.median(wall for wall, _ in before)
        row = {"ratio_p50": middle, "p25": low, "p75": high, "cpu_ratio_p50": float(np.median(of_cpu))}
        saved = float(middle <= 1 - PAYS and high < 1)  # on a busy machine a median alone is soon 5 % off
        self.report.add(what, {**row, "today_p50_ms": today_ms, "n": len(ratios), "load": load(), "pays": saved})


def frame_of(side: int, model: Model) -> Given:
    """Return a frame of the specimen with what an engine needs beside it."""
    image = np.empty((side, side), np.uint16)
    ready_camera(side, exposure_ms=0.0, count=1).snap(image)
    constant = model.card.contrast.constant
    return image, estimate_background(image).shade(constant), 0.0, 1 / constant


def times_s(call: Call, calls: int) -> Pair:
    """Return how long a call takes over so many of them: by the wall clock, and of the process's CPU time, s."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        call()
    return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls


def load() -> float:
    """Return how many threads wanted a core in the last minute."""
    return psutil.getloadavg()[0]


def share_frame(requests: Sequence[Any], result: tuple[int, ...]) -> Any:
    """Return a program as today's but for the frame, which OpenVINO reads where it lies."""
    first, last = requests[0], requests[-1]

    def run(image: Counts, shade: Field, black: Any, offset: Any) -> tuple[npt.NDArray[np.uint16], float]:
        first.set_tensor("frame", openvino.Tensor(image[None, None], shared_memory=True))
        for name, array in {"shade": shade[None, None], "black": black, "offset": offset}.items():
            first.get_tensor(name).data[...] = array
        stains = np.empty(result, np.uint16)
        last.set_tensor("stains", openvino.Tensor(stains, shared_memory=True))
        for request in requests:
            request.infer()
        return stains[0], float(last.get_tensor("check").data.flat[0])

    return run


def keep_stains(requests: Sequence[Any], result: tuple[int, ...]) -> Any:
    """Return a program as today's but for the stains, which lie in the same memory every time."""
    kept = np.empty(result, np.uint16)
    requests[-1].set_tensor("stains", openvino.Tensor(kept, shared_memory=True))

    def run(image: Counts, shade: Field, black: Any, offset: Any) -> tuple[npt.NDArray[np.uint16], float]:
        given = {"frame": image[None, None], "shade": shade[None, None], "black": black, "offset": offset}
        for name, array in given.items():
            requests[0].get_tensor(name).data[...] = array
        for request in requests:
            request.infer()
        return kept[0], float(requests[-1].get_tensor("check").data.flat[0])

    return run


class WithHalf(OpenVinoEngine):
    """An engine whose graph has the half-size stains as an output, too."""

    def _compile(self, job: Job) -> Any:
        graph = job.graph.graph
        pooled = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "count_include_pad": 0}
        graph.node.append(helper.make_node("AveragePool", ["stain counts"], ["half means"], **pooled))
        graph.node.append(helper.make_node("Round", ["half means"], ["half counts"]))
        graph.node.append(helper.make_node("Cast", ["half counts"], ["half"], to=TensorProto.UINT16))
        graph.output.append(helper.make_tensor_value_info("half", TensorProto.UINT16, [1, job.stains, "h/2", "w/2"]))
        return super()._compile(job)


def half_program(halves: list[Counts], requests: list[Any], result: tuple[int, ...]) -> Any:
    """Return a program as today's that leaves the half-size stains of the last frame in a list."""
    run = todays_program(requests, result)
    *stack, height, width = result

    def both(*given: Any) -> Any:
        half = np.empty((*stack, -(-height // 2), -(-width // 2)), np.uint16)
        requests[-1].set_tensor("half", openvino.Tensor(half, shared_memory=True))
        found = run(*given)
        halves[:] = [half[0]]
        return found

    return both


todays_program = adapter._program


def with_relu(generator: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network with each ``x sigmoid(x)`` replaced by ``max(x, 0)``: other stains, but as much work as ReLU.

    Raises
    ------
    RuntimeError
        It has none.
    """
    graph = generator.graph
    squeezed = {node.output[0]: node for node in graph.node if node.op_type == "Sigmoid"}
    replaced = 0
    for node in graph.node:
        gates = [name for name in node.input if name in squeezed] if node.op_type == "Mul" else []
        if gates and squeezed[gates[0]].input[0] in node.input:
            source = squeezed[gates[0]].input[0]
            node.CopyFrom(helper.make_node("Relu", [source], list(node.output), name=node.name))
            graph.node.remove(squeezed[gates[0]])
            replaced += 1
    if not replaced:
        raise RuntimeError(f"{SILU_MODEL} has no SiLU to be replaced")
    onnx.checker.check_model(generator)
    return generator


@contextmanager
def threads_of_stainer(threads: str) -> Iterator[None]:
    """Let the stainers that begin in this block compute with so many threads."""
    begin = subprocess.Popen

    def popen(command: list[str], **more: Any) -> subprocess.Popen[bytes]:
        code = BESIDE.replace("THREADS", threads)
        return begin([*command[:2], "-c", code, command[-1]], **more)

    with patch("livestain.session.stainers.subprocess.Popen", popen):
        yield


if __name__ == "__main__":
    ways = ("copies", "streams", "half", "shade", "activation", "threads")
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=ways, default=list(ways))
    parser.add_argument("--rounds", type=int, default=None, help="pairs of turns: 24, or 4 with --quick")
    parser.add_argument("--sessions", type=int, default=None, help="sessions of each kind: 4, or 1 with --quick")
    parser.add_argument("--seconds", type=float, default=None, help="of each session: 8, or 4 with --quick")
    asked = parser.parse_args()
    asked.rounds = asked.rounds or (4 if asked.quick else 24)
    asked.sessions = asked.sessions or (1 if asked.quick else 4)
    asked.seconds = asked.seconds or (4.0 if asked.quick else 8.0)
    sys.exit(main(asked))
