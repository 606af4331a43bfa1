"""The adversarial recipes' networks beside the live generator; each layer and count is that of a published table.

`ResnetGenerator` and `PatchDiscriminator` are the paper's, and where it is silent those of the CycleGAN reference (Zhu
et al., ICCV 2017). `HalfUnet`, an inverse of the live generator, and `SpectralDiscriminator` are the small ones that
learn on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

INIT_SD = 0.02
_SLOPE = 0.2
_WIDEST = 256


class ResnetGenerator(nn.Module):
    """The residual encoder-decoder of CycleGAN (`resnet9`): (N, C, Y, X) -> (N, K, Y, X), Y and X multiples of 4.

    While it trains, each plane is normalised by its own statistics; `freeze` ends that before the network is used.

    Parameters
    ----------
    width
        Maps of the first layer (64 in the paper); doubled by each of the two downsamplings.
    blocks
        Residual blocks: 9 in the reference for planes of 256 px and more.
    signed
        The answer is contrast, -1..1 (tanh); otherwise stains, the same tanh moved to 0..1.
    """

    stride = 4

    def __init__(
        self, inputs: int = 1, outputs: int = 1, width: int = 64, blocks: int = 9, signed: bool = False
    ) -> None:
        super().__init__()
        self.signed = signed
        deep = 4 * width
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(3),
            *_normed(nn.Conv2d(inputs, width, 7)),
            *_normed(nn.Conv2d(width, 2 * width, 3, 2, 1)),
            *_normed(nn.Conv2d(2 * width, deep, 3, 2, 1)),
            *(_Residual(deep) for _ in range(blocks)),
            *_normed(nn.ConvTranspose2d(deep, 2 * width, 3, 2, 1, 1)),
            *_normed(nn.ConvTranspose2d(2 * width, width, 3, 2, 1, 1)),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, outputs, 7),
        )
        init_gaussian(self)

    def forward(self, planes: Tensor) -> Tensor:
        """Return the answer, (N, K, Y, X)."""
        answer = torch.tanh(self.layers(planes))
        return answer if self.signed else (answer + 1) / 2

    def freeze(self, frames: Sequence[Tensor]) -> None:
        """Freeze the statistics over whole ``frames`` and fold them into the convolutions; in place, for good.

        Parameters
        ----------
        frames
            (N, C, Y, X) float32 each, 8 and more in all, of the size that will be stained: with fewer or smaller ones
            the folded network differs from the trained one.
        """
        norms = [module for module in self.modules() if isinstance(module, nn.InstanceNorm2d)]
        means = dict.fromkeys(norms, 0.0)
        squares = dict.fromkeys(norms, 0.0)

        def note(norm: nn.Module, inputs: tuple[Tensor]) -> None:
            means[norm] = means[norm] + inputs[0].mean((0, 2, 3)) / len(frames)
            squares[norm] = squares[norm] + inputs[0].square().mean((0, 2, 3)) / len(frames)

        hooks = [norm.register_forward_pre_hook(note) for norm in norms]
        with torch.no_grad():
            for frame in frames:
                self(frame)
        for hook in hooks:
            hook.remove()
        for stack in [module for module in self.modules() if isinstance(module, nn.Sequential)]:
            for at, (conv, norm) in enumerate(pairwise(list(stack)), start=1):
                if isinstance(norm, nn.InstanceNorm2d):
                    _fold(conv, means[norm], squares[norm], norm.eps)
                    stack[at] = nn.Identity()


class _Residual(nn.Module):
    """``x + (pad, conv, norm, ReLU, pad, conv, norm)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first = nn.ReflectionPad2d(1), *_normed(nn.Conv2d(width, width, 3))
        self.layers = nn.Sequential(*first, nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        changed: Tensor = maps + self.layers(maps)
        return changed


def _normed(conv: nn.Module) -> tuple[nn.Module, ...]:
    return conv, nn.InstanceNorm2d(conv.out_channels), nn.ReLU()


def _fold(conv: nn.Module, mean: Tensor, square: Tensor, eps: float) -> None:
    """Fold ``y = (x - mean) / sqrt(var + eps)`` into the convolution before it."""
    scale = torch.rsqrt((square - mean**2).clamp_min(0) + eps)
    shape = (1, -1, 1, 1) if isinstance(conv, nn.ConvTranspose2d) else (-1, 1, 1, 1)
    with torch.no_grad():
        conv.weight.mul_(scale.reshape(shape))
        conv.bias.sub_(mean).mul_(scale)


class HalfUnet(nn.Module):
    """The half-resolution U-Net without normalisation: (N, C, Y, X) -> (N, K, Y, X) in -1..1.

    Levels of ``width``, 2 ``width``, ... maps (256 at most), two 3 x 3 convolutions each; the first level works on
    2 x 2 px at a time. Y and X are multiples of ``2 ** depth``.
    """

    def __init__(self, inputs: int = 1, outputs: int = 1, width: int = 16, depth: int = 4) -> None:
        super().__init__()
        self.stride = 2**depth
        widths = [min(width << level, _WIDEST) for level in range(depth)]
        self.stem = _double(4 * inputs, width)
        self.downs = nn.ModuleList(_double(a, b, stride=2) for a, b in pairwise(widths))
        steps = list(pairwise(reversed(widths)))
        self.narrows = nn.ModuleList(nn.Conv2d(low, skip, 1) for low, skip in steps)
        self.ups = nn.ModuleList(_double(2 * skip, skip) for _, skip in steps)
        self.head = nn.Conv2d(width, 4 * outputs, 3, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, 0.0, INIT_SD)

    def forward(self, planes: Tensor) -> Tensor:
        """Return the answer, (N, K, Y, X)."""
        levels = [self.stem(functional.pixel_unshuffle(planes, 2))]
        for down in self.downs:
            levels.append(down(levels[-1]))
        maps = levels.pop()
        for narrow, up in zip(self.narrows, self.ups, strict=True):
            # Narrowed before doubling: the two commute, and this order costs a quarter.
            doubled = functional.interpolate(narrow(maps), scale_factor=2.0, mode="nearest")
            maps = up(torch.cat([doubled, levels.pop()], 1))
        return torch.tanh(functional.pixel_shuffle(self.head(maps), 2))


def _double(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, 1, 1), nn.ReLU()
    )


class PatchDiscriminator(nn.Module):
    """`patch70`: (N, C, Y, X) -> one verdict for each patch of 70 x 70 px, (N, 1, Y / 8 - 2, X / 8 - 2).

    1 means "measured", 0 "virtual"; no sigmoid (least squares). Instance norm does no harm here: it is never shipped.
    """

    def __init__(self, channels: int = 1, width: int = 64) -> None:
        super().__init__()
        widths = [width << level for level in range(4)]
        layers = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
        for (a, b), stride in zip(pairwise(widths), (2, 2, 1), strict=True):
            layers += [nn.Conv2d(a, b, 4, stride, 1), nn.InstanceNorm2d(b), nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        init_gaussian(self)

    def forward(self, planes: Tensor) -> Tensor:
        """Return the verdicts."""
        verdicts: Tensor = self.layers(planes)
        return verdicts


class SpectralDiscriminator(nn.Module):
    """Spectral norm in place of instance norm: one verdict for each patch of 38 x 38 px, (N, 1, Y / 8, X / 8)."""

    def __init__(self, channels: int = 1, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in pairwise((channels, width, 2 * width, 3 * width)):
            layers += [spectral_norm(nn.Conv2d(a, b, 4, 2, 1)), nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(3 * width, 1, 3, 1, 1))

    def forward(self, planes: Tensor) -> Tensor:
        """Return the verdicts."""
        verdicts: Tensor = self.layers(planes)
        return verdicts


def init_gaussian(net: nn.Module) -> None:
    """Draw the weights of every convolution from N(0, 0.02) and set its bias to 0, as the CycleGAN reference does."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, INIT_SD)
            nn.init.zeros_(module.bias)
