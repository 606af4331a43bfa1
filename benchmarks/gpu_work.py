"""What is computed on the card: counts in, stains out, by a generator in some precision; and its least cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from livestain.train.cycle_networks import ResnetGenerator
from livestain.train.networks import LinearGenerator

Precision = Literal["f32", "tf32", "f16", "bf16"]

DTYPES = {"f32": torch.float32, "tf32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
STAINS = 2
SHADE_PX = 8
CONSTANT = 0.3
MEAN_COUNTS = 2000.0
WARM = 12


class StainFrame(nn.Module):  # type: ignore[misc]  # torch is not looked into
    """The runtime graph in torch: (1, 1, Y, X) camera counts -> (1, S, Y, X) counts, both uint16 bits in an int16.

    As `livestain.engine.graph` has it, for sides that are multiples of the stride: contrast and quantising in float32,
    the generator in the dtype of its weights.
    """

    def __init__(self, net: nn.Module, side: int) -> None:
        super().__init__()
        self.net = net
        shade = torch.full((1, 1, side // SHADE_PX, side // SHADE_PX), 1 / (CONSTANT * MEAN_COUNTS))
        self.register_buffer("shade", shade)
        self.dtype = next(net.parameters()).dtype

    def forward(self, frame: Tensor) -> Tensor:
        """Return the stains."""
        counts = (frame.to(torch.int32) & 0xFFFF).float()
        shade = functional.interpolate(self.shade, scale_factor=float(SHADE_PX), mode="bilinear", align_corners=False)
        contrast = (counts * shade - 1 / CONSTANT).clamp(-1, 1)
        stains = self.net(contrast.to(self.dtype)).float()
        # Through int32: a float beyond 32767 has no int16. Plane after plane, whatever order the network prefers.
        return (stains.clamp(0, 1) * 65535).round().to(torch.int32).to(torch.int16).contiguous()


def live_generator() -> nn.Module:
    """Return the live generator with seeded random weights, which take as long as trained ones."""
    torch.manual_seed(0)
    return LinearGenerator(STAINS, 16).eval().requires_grad_(False)


def papers_generator(width: int = 64) -> nn.Module:
    """Return the paper's ResNet-9 with its statistics frozen and folded, as it would be shipped."""
    torch.manual_seed(0)
    net = ResnetGenerator(1, STAINS, width).eval().requires_grad_(False)
    net.freeze([0.3 * torch.randn(8, 1, 64, 64)])
    return net


def build(make: Callable[[], nn.Module], precision: Precision, side: int, device: str) -> StainFrame:
    """Return what stains frames of this side on the device."""
    net = make().to(device, DTYPES[precision], memory_format=torch.channels_last)
    module: StainFrame = StainFrame(net, side).to(device)
    return module


def call_of(module: Callable[[Tensor], Tensor], precision: Precision) -> Callable[[Tensor], Tensor]:
    """Return a call of a network, compiled or not, that computes in what ``precision`` says."""
    return with_tf32(module, precision == "tf32")


def with_tf32(call: Callable[..., Any], allowed: bool) -> Callable[..., Any]:
    """Return the call with TF32 allowed or not in it, and without gradients."""

    def run(*given: Any) -> Any:
        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.backends.cudnn.allow_tf32 = allowed
        with torch.inference_mode():
            return call(*given)

    return run


def frame_counts(side: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Return a frame of about 2000 counts: slow structure of some 10 % and photon noise, (Y, X) uint16."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(1.0, 0.1, (side // 16, side // 16)).repeat(16, 0).repeat(16, 1)
    return rng.poisson(np.clip(coarse, 0.1, 2) * MEAN_COUNTS).astype(np.uint16)


def on_device(frame: np.ndarray[Any, Any], device: str) -> Tensor:
    """Return a frame as the network wants it."""
    return torch.from_numpy(frame.view(np.int16))[None, None].to(device)


@dataclass(frozen=True)
class Cost:
    """What one frame costs at least.

    Attributes
    ----------
    flop
        Arithmetic of the convolutions, 2 for each multiply-add.
    moved
        Values that pass through device memory when each convolution reads its input and writes its output once.
    """

    flop: float
    moved: float


def cost(make: Callable[[], nn.Module], side: int) -> Cost:
    """Count the work of a generator for one frame without doing it."""
    net = make().to("meta")
    moved = 0.0

    def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal moved
        moved += inputs[0].numel() + output.numel()

    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_hook(note)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        net(torch.empty(1, 1, side, side, device="meta"))
    return Cost(float(counter.get_total_flops()), moved)


def capture(call: Callable[[Tensor], Tensor], frame: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """Return a CUDA graph of one call on this very tensor, and the tensor where its answer will lie."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM):
            call(frame)
    torch.cuda.current_stream().wait_stream(aside)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = call(frame)
    return graph, answer
