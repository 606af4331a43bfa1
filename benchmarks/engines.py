"""What the engines are worth: against torch and the paper's network, and what our steps around the network cost.

    python benchmarks/engines.py [--quick] [--rounds 20] [--side 512] [--threads 1]             (about 3 minutes)

All of it is ratios of medians of the same rounds. With another program on one of two cores that does not hold for
torch, whose threads spin while they wait for each other: 640 ms a frame there, 60 ms alone. ``--threads 1`` compares
one thread of each, which a busy machine does not spoil. The paper's generator (ResNet-9, 64 maps) has random weights
and frozen statistics, and stands in the same runtime graph in the same engine. The bare network is compiled by OpenVINO
with the same settings and gets contrast: what it does not need is what our steps before and after it cost, copies
included.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino
import torch
from common import Report, arguments

from livestain.bench.acquisition import one_frame
from livestain.bench.engines import EACH, measure, open_engines
from livestain.bench.result import Table
from livestain.bench.turns import Turns, spread, take_turns
from livestain.contrast import estimate_background
from livestain.engine.opening import find_adapter
from livestain.engine.protocol import Engine, Given, Precision
from livestain.model import Model, read_model
from livestain.model.files import ModelFile
from livestain.train.cycle_networks import ResnetGenerator
from livestain.train.export import export_onnx

TIMES = {
    "bf16": {"torch eager f32": 5.0, "onnxruntime f32": 2.5},
    "f32": {"torch eager f32": 1.8, "onnxruntime f32": 1.1},
}
TIMES_PAPER = 40.0
AROUND_SHARE = 0.15


def main(asked: argparse.Namespace) -> int:
    report = Report("engines", asked)
    model = read_model(asked.model)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    with open_engines(model, ("openvino", "onnxruntime"), asked.threads) as opened:
        table = measure(model, opened, asked.side, asked.rounds * EACH, ("torch", "compile"), say=print)
        compare(report, table)
        fastest: Precision = "bf16" if "openvino bf16" in opened.engines else "f32"
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            stand_in = paper_model(model, Path(folder))
            paper = find_adapter("openvino")(stand_in, fastest, asked.threads)
            found = in_turns(opened.engines[f"openvino {fastest}"], paper, model, fastest, asked)
            paper.close()
    against_paper(report, found, fastest)
    return report.finish()


def compare(report: Report, table: Table) -> None:
    """Note each engine, and how many times faster OpenVINO is than others."""
    ms = {row.name: row.ms["p50_ms"] for row in table.rows}
    for row in table.rows:
        more = {} if row.of_matrix_rate is None else {"of_matrix_rate": row.of_matrix_rate}
        report.add(row.name, {**row.ms, "cpu_ms": row.cpu_ms, row.unit: row.rate, **more})
    for name, why in table.missing.items():
        print(f"not measured: {name}: {why}")
    cpu_ms = {row.name: row.cpu_ms for row in table.rows}
    for precision, least in TIMES.items():
        ours = f"openvino {precision}"
        for other, times in least.items():
            if ours in ms:
                found = {"wall": ms[other] / ms[ours], "processor_time": cpu_ms[other] / cpu_ms[ours]}
                report.add(f"{other} / {ours}", found)
                report.check(f"{ours} is times faster than {other}", found["wall"], at_least=times)


def paper_model(model: Model, folder: Path) -> Model:
    """Return the model with the paper's generator in place of its own."""
    torch.manual_seed(0)
    net = ResnetGenerator(1, len(model.stains)).eval()
    example = model.test_input()
    with torch.no_grad():
        net.freeze([torch.from_numpy(example)])
    path = folder / "paper.onnx"
    export_onnx(net, path, example[:, :, :112, :112].copy(), net.stride)
    return replace(
        model, id="paper", folder=folder, weights=ModelFile(path, hashlib.sha256(path.read_bytes()).hexdigest())
    )


def in_turns(
    engine: Engine, paper: Engine, model: Model, precision: Precision, asked: argparse.Namespace
) -> dict[str, Turns]:
    """Time the engine, its network alone, and the paper's."""
    frame, constant = one_frame(asked.side), model.card.contrast.constant
    given = Given(frame, estimate_background(frame).shade(constant), 0.0, 1 / constant)
    request = bare_network(model, precision, asked)
    contrast = np.random.default_rng(0).uniform(-0.3, 0.3, (1, 1, asked.side, asked.side)).astype(np.float32)

    def stain_with(which: Engine) -> npt.NDArray[np.uint16]:
        return which.stain(given.image, given.shade, given.black, given.offset)

    def bare() -> None:
        request.get_input_tensor(0).data[...] = contrast
        request.infer()

    calls = {"whole": lambda: stain_with(engine), "bare": bare, "paper": lambda: stain_with(paper)}
    return take_turns(calls, max(2, asked.rounds // 2), {"whole": EACH, "bare": EACH, "paper": 1})


def bare_network(model: Model, precision: Precision, asked: argparse.Namespace) -> openvino.InferRequest:
    """Return the network alone, as the engine compiles it."""
    core = openvino.Core()
    network = core.read_model(model.generator().SerializeToString(), b"")
    network.reshape([1, 1, asked.side, asked.side])
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision, "ENABLE_CPU_PINNING": False}
    if asked.threads:
        settings["INFERENCE_NUM_THREADS"] = asked.threads
    return core.compile_model(network, "CPU", settings).create_infer_request()


def against_paper(report: Report, found: dict[str, Turns], precision: Precision) -> None:
    names = {"whole": "openvino {}, again", "bare": "its network alone", "paper": "the paper's ResNet-9, openvino {}"}
    for key, turns in found.items():
        report.add(names[key].format(precision), spread(turns.all_ms))
    whole, bare, paper = (found[key].median_ms for key in ("whole", "bare", "paper"))
    report.check("the paper's network takes times longer on the same engine", paper / whole, at_least=TIMES_PAPER)
    if precision == "bf16":
        report.check("share of our steps before and after the network", 1 - bare / whole, at_most=AROUND_SHARE)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=None, help="turns of five frames: 20, or 4 with --quick")
    parser.add_argument("--side", type=int, default=512, help="frames are side x side px")
    parser.add_argument("--threads", type=int, default=None, help="threads of each; without: what each takes by itself")
    asked = parser.parse_args()
    asked.rounds = asked.rounds or (4 if asked.quick else 20)
    sys.exit(main(asked))
