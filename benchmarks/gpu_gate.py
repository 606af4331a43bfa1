"""The gate on the card: the shipped generators in torch, in each precision, against their expected stains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from gpu_work import DTYPES, Precision, with_tf32
from onnx import numpy_helper
from torch import nn

from livestain.engine.gate import compare
from livestain.engine.graph import FULL_SCALE
from livestain.train.networks import LinearGenerator

Row = dict[str, object]
Stains = npt.NDArray[np.uint16]


def shipped_generator(folder: Path) -> nn.Module:
    """Return the network of a shipped model in torch, with the weights of its ONNX file."""
    graph = onnx.load(folder / "generator.onnx").graph
    weights = {each.name.removeprefix("net."): numpy_helper.to_array(each).copy() for each in graph.initializer}
    net = LinearGenerator(len(weights["head.bias"]) // 4, 16)
    net.load_state_dict({name: torch.from_numpy(weights[name]) for name in net.state_dict()})
    return net.eval().requires_grad_(False)


def gate_rows(folder: Path, precisions: tuple[Precision, ...], device: str) -> list[Row]:
    """Return one row for each precision: the figures of `livestain.engine.gate` on the model's test frame."""
    contrast = torch.from_numpy(np.load(folder / "test_input.npy"))
    expected = np.load(folder / "test_output.npy")[0]
    rows: list[Row] = []
    for precision in precisions:
        net = shipped_generator(folder).to(device, DTYPES[precision], memory_format=torch.channels_last)
        stain = with_tf32(_quantised(net, DTYPES[precision]), precision == "tf32")
        found = compare(stain(contrast.to(device)), expected, full=precision == "f32")
        rows.append(
            {
                "what": f"gate, {folder.name}",
                "precision": precision,
                "side": contrast.shape[-1],
                "n": 1,
                "bright_rms": found.bright_rms,
                "dark_rms": found.dark_rms,
                "max_abs": found.max_abs,
                "passed": found.passed,
            }
        )
    return rows


def _quantised(net: nn.Module, dtype: torch.dtype) -> Callable[[torch.Tensor], Stains]:
    def stain(contrast: torch.Tensor) -> Stains:
        share = net(contrast.to(dtype)).float().clamp(0, 1)
        return np.asarray((share[0] * FULL_SCALE).round().cpu().numpy(), np.uint16)

    return stain
