"""The live generator: a half-resolution U-Net without normalisation.

A network whose normalisation looks at the frame in hand is unfit for a live picture: one bright object would change
distant cells.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from livestain.contrast import Field
from livestain.train.unit import UNIT

STRIDE = 16
"""Height and width of the input are multiples of this: the stem halves once, the levels below three times."""


class _Conv(nn.Sequential):
    """Convolution and SiLU."""

    def __init__(self, inputs: int, outputs: int, side: int = 3, stride: int = 1, pad: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, side, stride, pad)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)
        # The middle is empty: weights keep the names that they have in models and checkpoints.
        super().__init__(conv, nn.Identity(), nn.SiLU())


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

    stride = STRIDE

    def __init__(self, stains: int = 2, width: int = 16) -> None:
        super().__init__()
        self.stains = stains
        self.gain = 1 / UNIT  # contrast has a standard deviation near 0.1, the layers were initialised for 1
        widths = [width << level for level in range(4)]
        self.stem = nn.Sequential(_Conv(1, width, 6, 2, 2), _Conv(width, width))
        self.downs = nn.ModuleList(nn.Sequential(_Conv(a, b, stride=2), _Conv(b, b)) for a, b in pairwise(widths))
        self.ups = nn.ModuleList(_Up(a) for a in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, 4 * stains, 3, 1, 1)
        # The first answer is "dark nearly everywhere", as the truth is.
        nn.init.normal_(self.head.weight, 0.0, 0.02)
        nn.init.constant_(self.head.bias, -2.0)

    def forward(self, contrast: Tensor) -> Tensor:
        """Return the stains."""
        return torch.sigmoid(self.logits(contrast))

    def logits(self, contrast: Tensor) -> Tensor:
        """Return what the last step squeezes into 0..1."""
        levels = [self.stem(contrast * self.gain)]
        for down in self.downs:
            levels.append(down(levels[-1]))
        x = levels.pop()
        for up in self.ups:
            x = up(x, levels.pop())
        return functional.pixel_shuffle(self.head(x), 2)


class LinearGenerator(Generator):
    """The live generator without normalisation and without its last squeeze: it may overshoot 0..1; export clips.

    For recipes that measure distances: those between mostly dark planes push a sigmoid into the dark, where it learns
    nothing more (a student stayed black through all its 1470 steps; a CycleGAN's r with real
    nuclei after 105 steps was 0.00 with it, 0.32 without). Where a discriminator alone says what a stain looks like,
    the sigmoid is better (r 0.51 against 0.41 after 300 steps).
    """

    def __init__(self, stains: int, width: int) -> None:
        super().__init__(stains, width)
        nn.init.zeros_(self.head.bias)

    def forward(self, contrast: Tensor) -> Tensor:
        """Return the stains, (N, S, Y, X)."""
        return self.logits(contrast)


def stain_field(net: nn.Module, contrast: Field, stride: int = STRIDE) -> Field:
    """Return the stains (S, Y, X) float32 of a whole field (Y, X) of any size, clipped to 0..1, on the net's device."""
    height, width = contrast.shape
    padded = np.pad(contrast, ((0, -height % stride), (0, -width % stride)), mode="reflect")
    device = next(net.parameters()).device
    with torch.no_grad():
        stains = net(torch.from_numpy(padded)[None, None].to(device)).clamp(0, 1)[0, :, :height, :width]
    found: Field = stains.float().cpu().numpy()
    return found


def halo_px(net: nn.Module, stride: int = STRIDE) -> int:
    """Return how far, in px, a pixel's stain can depend on the input: measured by gradient, every path kept open.

    For networks without live normalisation that reach at most 190 px.
    """
    open_net = copy.deepcopy(net).double().eval()
    for parameter in open_net.parameters():
        # Means of what comes in: everything stays positive, and near 0, so that no path closes and none saturates
        # (nine residual blocks make 512 of it, where a tanh is flat).
        nn.init.constant_(parameter, 1 / parameter[0].numel() if parameter.ndim > 1 else 0.0)
    side = 24 * STRIDE
    reach = 0
    for at in range(side // 2, side // 2 + stride):
        x = torch.full((1, 1, side, STRIDE), 1e-6, requires_grad=True, dtype=torch.float64)
        (gradient,) = torch.autograd.grad(open_net(x)[0, 0, at, 0], x)
        rows = np.flatnonzero(gradient.sum((0, 1, 3)).numpy())
        reach = max(reach, at - int(rows[0]), int(rows[-1]) - at)
    return reach
