"""Which precision may be used: the gate of every shipped model in every backend and precision, and what it gains.

    python benchmarks/gates.py [--quick] [--rounds 12] [--side 512]                             (about 2 minutes)

Times are ratios of medians of the same rounds, in processor time of one thread: other programs do not count. There is
no NVIDIA card here: for TensorRT the table says whether the engine builds, in which time and size; beside it stands the
gate of the very network that it is built from (float16 or bfloat16 written into the graph, int8 with float16 around) as
the CPU computes it. int8 is calibrated with ``calibration/specimen``, and for the model of real cells with its training
images (``LIVESTAIN_REAL_DATA`` names the folder of sets); without them that part is left out.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
from common import Report, arguments
from compare_data import NUCLEI_BF, find_data

from livestain.bench.turns import take_turns
from livestain.contrast import Field, estimate_background, normalise
from livestain.engine.backends.base import BaseEngine
from livestain.engine.backends.onnxruntime import OnnxRuntimeEngine
from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.engine.gate import BRIGHT_RMS_MAX, check_engine, compare
from livestain.engine.generators import generator_for, is_quantised
from livestain.engine.graph import FULL_SCALE, compose
from livestain.engine.protocol import GateResult, Precision
from livestain.engine.quantise import quantise, read_calibration, store_quantised
from livestain.engine.tensorrt.build import GENERATIONS, Shapes, build_plan, load_builder, targets_of
from livestain.errors import LivestainError
from livestain.model import Model, read_model, shipped_models

SPECIMEN = Path(__file__).parents[1] / "calibration" / "specimen"
BASE = "openvino f32"
CPU: tuple[type[BaseEngine], ...] = (OpenVinoEngine, OnnxRuntimeEngine)
PRECISIONS: tuple[Precision, ...] = ("f32", "f16", "bf16", "int8")


def main(asked: argparse.Namespace) -> int:
    report = Report("gates", asked)
    for name, folder in shipped_models().items():
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
            # A copy: a quantised network beside the shipped one would be used from then on.
            copy = shutil.copytree(folder, Path(work) / name, ignore=shutil.ignore_patterns("compiled"))
            model = read_model(copy)
            add_int8(model)
            judge_engines(report, name, model, asked)
            judge_typed_graphs(report, name, model)
            build_plans(report, name, model)
    return report.finish()


def add_int8(model: Model) -> None:
    """Quantise the model; without frames to calibrate with, say so and leave int8 out."""
    try:
        several = len(model.card.training["contrast_constants"]) > 1  # experiments, each on its own scale
        contrasts = trained() if several else read_calibration(SPECIMEN, model)
    except KeyError:
        print(f"{model.id}: no int8, LIVESTAIN_REAL_DATA does not name the folder of its training images")
        return
    store_quantised(model, quantise(model.generator(), contrasts), contrasts, "benchmarks/gates.py")
    print(f"{model.id}: int8 over {len(contrasts)} frames")


def trained() -> list[Field]:
    """Return the contrast of the images that brightfield-nuclei learned from, each with the constant of its group."""
    constants = read_model("brightfield-nuclei").card.training["contrast_constants"]
    with tempfile.TemporaryDirectory() as work:
        pairs = find_data(NUCLEI_BF, Path(work)).pairs
    contrasts = []
    for pair in pairs:
        frame = pair.label_free()
        contrasts.append(np.ascontiguousarray(normalise(frame, estimate_background(frame), constants[pair.group])))
    return contrasts


def judge_engines(report: Report, name: str, model: Model, asked: argparse.Namespace) -> None:
    """The engines of this machine: through the gate, then in turns on one frame."""
    engines = {
        f"{adapter.backend} {precision}": adapter(model, precision, 1)
        for adapter in CPU
        for precision in adapter.precisions(model)
    }
    gates = {which: check_engine(engine, model) for which, engine in engines.items()}
    calls = dict(stain_calls(engines, model, asked.side))
    turns = take_turns(calls, 2 if asked.quick else asked.rounds, dict.fromkeys(calls, 3))
    for which, gate in gates.items():
        times = np.median(turns[BASE].cpu_ms) / np.median(turns[which].cpu_ms)
        report.add(f"{name}, {which}", figures(gate) | {"times_openvino_f32": times})
        if not which.endswith("int8"):
            report.check(f"{name}, {which}: bright RMS", gate.bright_rms, at_most=BRIGHT_RMS_MAX)
        engines[which].close()


def stain_calls(engines: dict[str, BaseEngine], model: Model, side: int) -> Iterator[tuple[str, Callable[[], object]]]:
    frame, _, black = model.gate_frame()
    wide = np.tile(frame, (-(-side // frame.shape[0]), -(-side // frame.shape[1])))[:side, :side]
    constant = model.card.contrast.constant
    shade = estimate_background(wide, black).shade(constant)
    for which, engine in engines.items():
        yield which, lambda engine=engine: engine.stain(wide, shade, black, 1 / constant)


def judge_typed_graphs(report: Report, name: str, model: Model) -> None:
    """The networks that TensorRT engines are built from, computed on the CPU."""
    for precision in typed(model):
        network = generator_for(model, precision, halves=True)
        run = by_openvino if precision == "bf16" else by_onnxruntime
        counts = np.rint(np.clip(run(network, model.test_input())[0], 0, 1) * FULL_SCALE).astype(np.uint16)
        gate = compare(counts, model.test_output()[0], full=False)
        report.add(f"{name}, network of tensorrt {precision} on the CPU", figures(gate))


def build_plans(report: Report, name: str, model: Model) -> None:
    """Build for all named generations; where one refuses the precision, without it."""
    module = load_builder()
    for precision in ("f32", *typed(model)):
        graph = compose(generator_for(model, precision, halves=True), model.card.stride, "bytes", "uint16")
        for names in (GENERATIONS, GENERATIONS[1:]):
            targets = targets_of(module, names)
            what = f"{name}, tensorrt {precision} for {' '.join(names)}"
            try:
                plan = build_plan(module, graph, targets=targets, shapes=Shapes(), bit="uint16")
            except LivestainError as error:
                print(f"{what}: {error}")
                report.add(what, {"builds": 0})
            else:
                report.add(what, {"builds": 1, "MB": len(plan.data) / 1e6, "s": plan.seconds})
                break
    print(f"{name}, tensorrt: gate not run, no GPU here")


def typed(model: Model) -> Sequence[Precision]:
    """The reduced precisions that there are of this model."""
    return [each for each in PRECISIONS[1:] if each != "int8" or is_quantised(model)]


def figures(gate: GateResult) -> dict[str, float]:
    return {
        "bright_rms_percent": 100 * gate.bright_rms,
        "dark_rms_1e-3": 1e3 * gate.dark_rms,
        "max_abs_1e-3": 1e3 * gate.max_abs,
        "passed": gate.passed,
    }


def by_onnxruntime(network: onnx.ModelProto, contrast: Field) -> Field:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])
    stains: Field = session.run(None, {"contrast": contrast})[0]
    return stains


def by_openvino(network: onnx.ModelProto, contrast: Field) -> Field:
    core = openvino.Core()
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    stains: Field = core.compile_model(core.read_model(network.SerializeToString(), b""), "CPU", hint)(contrast)[0]
    return stains


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="turns of each engine")
    parser.add_argument("--side", type=int, default=512, help="height and width of the frame that is timed, px")
    sys.exit(main(parser.parse_args()))
