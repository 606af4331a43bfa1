"""The generator of the demo model: a half-resolution U-Net, trained with batch norm, frozen, folded, and exported.

A network whose normalisation looks at the frame in hand is unfit for a live picture (DESIGN 6 and 7): one bright object
would change distant cells. So after four fifths of the training the statistics are taken once, over calibration frames,
and folded into the convolutions; the last fifth trains the plain network that is shipped.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional

STRIDE = 16
"""Height and width of the input are multiples of this: the stem halves once, the levels below three times."""

OPSET = 20
PARITY = 1e-5
WEIGHT_DECAY = 1e-3
CHECKPOINT_STEPS = 1000

Array = npt.NDArray[np.float32]


class _Conv(nn.Sequential):
    """Convolution, batch norm while training, ReLU."""

    def __init__(self, inputs: int, outputs: int, side: int = 3, stride: int = 1, pad: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, side, stride, pad, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())

    def fold(self) -> None:
        """Fold the frozen statistics into the convolution: ``w' = w g / sd``, ``b' = b - mean g / sd``."""
        conv, norm = self[0], self[1]
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        conv.weight = nn.Parameter((conv.weight * scale.reshape(-1, 1, 1, 1)).detach())
        conv.bias = nn.Parameter((norm.bias - norm.running_mean * scale).detach())
        self[1] = nn.Identity()


class _Up(nn.Module):
    """Join the doubled lower level with the skip of its own level."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(2 * width, width, 1)
        self.block = nn.Sequential(_Conv(2 * width, width), _Conv(width, width))

    def forward(self, low: Tensor, skip: Tensor) -> Tensor:
        # Narrowed before doubling: a 1 x 1 convolution and nearest doubling commute, and this order costs a quarter.
        up = functional.interpolate(self.narrow(low), scale_factor=2.0, mode="nearest")
        joined: Tensor = self.block(torch.cat([up, skip], 1))
        return joined


class Generator(nn.Module):
    """Contrast (N, 1, Y, X) float32 in [-1, 1] -> stains (N, S, Y, X) float32 in 0..1; Y and X multiples of 16.

    A 6 x 6 stem of stride 2, widths 16-32-64-128, and a head that spreads 4 values over each 2 x 2 px.
    """

    def __init__(self, stains: int = 2, width: int = 16) -> None:
        super().__init__()
        widths = [width << level for level in range(4)]
        self.stem = nn.Sequential(_Conv(1, width, 6, 2, 2), _Conv(width, width))
        self.downs = nn.ModuleList(nn.Sequential(_Conv(a, b, stride=2), _Conv(b, b)) for a, b in pairwise(widths))
        self.ups = nn.ModuleList(_Up(a) for a in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, 4 * stains, 3, 1, 1)
        # The first answer is "dark nearly everywhere", as the truth is.
        nn.init.normal_(self.head.weight, 0.0, 0.02)
        nn.init.constant_(self.head.bias, -2.0)

    def forward(self, contrast: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(contrast))

    def logits(self, contrast: Tensor) -> Tensor:
        levels = [self.stem(contrast)]
        for down in self.downs:
            levels.append(down(levels[-1]))
        x = levels.pop()
        for up in self.ups:
            x = up(x, levels.pop())
        return functional.pixel_shuffle(self.head(x), 2)

    def fold(self) -> None:
        """Fold the frozen statistics of every level into its convolution."""
        for module in list(self.modules()):
            if isinstance(module, _Conv):
                module.fold()


def freeze_and_fold(net: Generator, frames: Sequence[Array], unseen: Sequence[Array]) -> float:
    """Freeze the statistics over ``frames``, fold them, and return the smallest r to the unfrozen network.

    Parameters
    ----------
    frames, unseen
        (Y, X) float32 contrast: calibration frames, and frames on which the folded network is compared with the one
        that normalises each frame by its own statistics.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    net.train()
    live = [_infer(net, frame) for frame in unseen]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of the next pass, all frames together, and nothing older
    _infer(net, *frames)
    net.eval()
    net.fold()
    folded = [_infer(net, frame) for frame in unseen]
    pairs = [pair for before, after in zip(live, folded, strict=True) for pair in zip(before[0], after[0], strict=True)]
    return min(float(np.corrcoef(before.ravel(), after.ravel())[0, 1]) for before, after in pairs)


def _infer(net: Generator, *frames: Array) -> Array:
    with torch.no_grad():
        stains: Array = net(torch.from_numpy(np.stack(frames)[:, None])).numpy()
    return stains


def train(
    net: Generator,
    batches: Iterator[tuple[Array, Array]],
    steps: int,
    learning_rate: float,
    checkpoint: Path,
) -> None:
    """Train in place with mean squared error, AdamW and one cosine; a checkpoint and a line every 1000 steps.

    Parameters
    ----------
    batches
        Endless (contrast (N, 1, Y, X), stains (N, 2, Y, X)), float32.
    steps
        Length of the whole training. Where ``checkpoint`` exists, it goes on from there.
    """
    net.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps, pct_start=0.05)
    parts = {"net": net, "optimiser": optimiser, "schedule": schedule}
    done = _resume(parts, checkpoint)
    net.train()
    losses = []
    for step in range(done + 1, steps + 1):
        losses.append(_step(net, optimiser, *next(batches)))
        schedule.step()
        if step % CHECKPOINT_STEPS == 0 or step == steps:
            torch.save({"step": step} | {name: part.state_dict() for name, part in parts.items()}, checkpoint)
            print(f"{checkpoint.stem} network, step {step}: loss {np.mean(losses):.5f}", flush=True)
            losses.clear()
    net.eval().to(memory_format=torch.contiguous_format)  # channels-last weights tie the export to one batch size


def _step(net: Generator, optimiser: torch.optim.Optimizer, contrast: Array, stains: Array) -> float:
    with torch.autocast("cpu", torch.bfloat16):  # twice the steps per second of float32
        guess = net(torch.from_numpy(contrast).to(memory_format=torch.channels_last))
    loss = functional.mse_loss(guess.float(), torch.from_numpy(stains))
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def _resume(parts: dict[str, Any], checkpoint: Path) -> int:
    if not checkpoint.is_file():
        return 0
    state = torch.load(checkpoint, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])


def halo_px(side: int = 24 * STRIDE) -> int:
    """Return how far, in px, a pixel's stain can depend on the input: measured by gradient, every path kept open."""
    net = Generator(stains=1, width=2)
    net.fold()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.1)
    reach = 0
    for at in range(side // 2, side // 2 + STRIDE):
        x = torch.ones((1, 1, side, STRIDE), requires_grad=True)
        (gradient,) = torch.autograd.grad(net.logits(x)[0, 0, at, 0], x)
        rows = np.flatnonzero(gradient.sum((0, 1, 3)).numpy())
        reach = max(reach, at - int(rows[0]), int(rows[-1]) - at)
    return reach


def export_onnx(net: Generator, path: Path, example: Array) -> float:
    """Write ``net`` as one ONNX file with dynamic height and width; return its largest difference to torch.

    ``example`` is (1, 1, Y, X) float32 contrast. Raises ValueError when ONNX Runtime differs by 1e-5 or more.
    """
    height, width = Dim("height", min=6, max=1024), Dim("width", min=6, max=1024)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net,
            (torch.from_numpy(example[:, :, :128, :160]),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["contrast"],
            output_names=["stains"],
            dynamic_shapes={"contrast": {0: Dim("batch", min=1, max=64), 2: STRIDE * height, 3: STRIDE * width}},
            verbose=False,
        )
    model = _without_traces(program.model_proto)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return _parity(net, path, example)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what the exporter notes about its own source files: it names folders of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
    return model


def _parity(net: Generator, path: Path, example: Array) -> float:
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        truth = net(torch.from_numpy(example)).numpy()
    difference = float(np.abs(session.run(None, {"contrast": example})[0] - truth).max())
    if difference >= PARITY:
        raise ValueError(f"ONNX Runtime differs from torch by {difference:.1e}; allowed below {PARITY:.0e}")
    return difference
