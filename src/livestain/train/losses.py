"""The losses of the unpaired recipes: functions of tensors, each with the number of its equation.

A is label-free contrast, B the stain, on scales alike; ``to_b`` (G_A of the paper) goes from A to B and ``to_a`` (G_B)
back; D_A and D_B judge planes of A and of B. Every norm is a mean over all elements.

Equations (1) to (14): Lin et al., Chinese Optics 2026, doi 10.37188/CO.2026-0021. Saliency: Li et al., Light: Science &
Applications 10:44, 2021 (UTOM).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

MASK_SHARE, MASK_BLOCK_PX = 0.25, 4
ENERGY_PX, ENERGY_BLUR_PX = 2.0, 3.0
_STEEPNESS = 100.0
_TINY = 1e-6


def cycle_loss(rebuilt_a: Tensor, a: Tensor, rebuilt_b: Tensor, b: Tensor) -> Tensor:
    """Return (3) = (1) + (2): ``|to_a(to_b(A)) - A| + |to_b(to_a(B)) - B|``."""
    return _distance(rebuilt_a, a) + _distance(rebuilt_b, b)


def mask_loss(filled_a: Tensor, a: Tensor, filled_b: Tensor, b: Tensor) -> Tensor:
    """Return (6) = (4) + (5): ``|to_a(A~) - A| + |to_b(B~) - B|`` over the whole plane; ~ is `cover`.

    As the paper has it, a covered A goes into the network whose *output* is A: this is an identity loss that also
    fills in, and the way from A to B never sees a covered plane.
    """
    return _distance(filled_a, a) + _distance(filled_b, b)


def identity_loss(same_b: Tensor, b: Tensor, same_a: Tensor, a: Tensor) -> Tensor:
    """Return (14) = (12) + (13): ``|to_b(B) - B| + |to_a(A) - A|``."""
    return _distance(same_b, b) + _distance(same_a, a)


def discriminator_loss(measured: Tensor, virtual: Tensor) -> Tensor:
    """Return (7) or (8), of one discriminator's verdicts: ``((D(real) - 1)^2 + D(fake)^2) / 2``."""
    return ((measured - 1).square().mean() + virtual.square().mean()) / 2


def gan_loss(virtual: Tensor) -> Tensor:
    """Return (9) or (10), of the verdicts on one generator's planes: ``(D(fake) - 1)^2``; (11) is their sum."""
    return (virtual - 1).square().mean()


def _distance(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().mean()


def block_mask(
    planes: Tensor, rng: torch.Generator, share: float = MASK_SHARE, block_px: int = MASK_BLOCK_PX
) -> Tensor:
    """Draw which blocks of each plane are hidden: (N, 1, Y, X) bool on the device of ``planes`` (N, C, Y, X).

    Exactly ``round(share x blocks)`` blocks of each plane, without replacement: no plane is left whole or empty.

    Parameters
    ----------
    rng
        On the CPU, so that every device hides the same blocks.

    Raises
    ------
    ValueError
        Height or width is no multiple of ``block_px``.
    """
    count, _, height, width = planes.shape
    if height % block_px or width % block_px:
        raise ValueError(f"plane of {height} x {width} px: multiples of the mask's block of {block_px} px are needed")
    rows, columns = height // block_px, width // block_px
    hidden = round(share * rows * columns)
    chosen = torch.rand(count, rows * columns, generator=rng).argsort(1)[:, :hidden]
    blocks = torch.zeros(count, rows * columns, dtype=torch.bool).scatter_(1, chosen, True)
    mask = blocks.reshape(count, 1, rows, columns)
    return mask.repeat_interleave(block_px, 2).repeat_interleave(block_px, 3).to(planes.device)


def cover(planes: Tensor, mask: Tensor, fill: Tensor | float) -> Tensor:
    """Return ``planes x (1 - M) + fill x M``."""
    return torch.where(mask, torch.as_tensor(fill, dtype=planes.dtype, device=planes.device), planes)


def blur(planes: Tensor, sigma_px: float) -> Tensor:
    """Return (N, C, Y, X) planes after a Gaussian, cut at 3 sigma or at the plane's size, reflected at the border."""
    channels, height, width = planes.shape[1:]
    radius = min(int(3 * sigma_px + 0.5), height - 1, width - 1)
    at = torch.arange(-radius, radius + 1, dtype=planes.dtype, device=planes.device)
    kernel = torch.exp(-(at**2) / (2 * sigma_px**2))
    kernel = (kernel / kernel.sum()).expand(channels, 1, 1, -1)
    padded = functional.pad(planes, (radius,) * 4, mode="reflect")
    across = functional.conv2d(padded, kernel, groups=channels)
    return functional.conv2d(across, kernel.transpose(2, 3), groups=channels)


def local_energy(contrast: Tensor) -> Tensor:
    """Return where the contrast is rough: its standard deviation within a Gaussian of 2 px, blurred by 3 px.

    The simplest map of cells in bright field, (N, 1, Y, X) >= 0 as its input; r 0.51 with real nuclei.
    """
    variance = blur(contrast**2, ENERGY_PX) - blur(contrast, ENERGY_PX) ** 2
    return blur(variance.clamp_min(_TINY).sqrt(), ENERGY_BLUR_PX)


def position_loss(energy: Tensor, stain: Tensor, scale_px: float = 3.0, enough: float = 0.8) -> Tensor:
    """Return L_pos: how far the stain's place is from the energy's, 0 once their correlation is ``enough``.

    ``max(0, enough - r)``, r the mean of Pearson's r at blurs of half the scale and of the scale. Deviations are those
    from each plane's own mean, else a level for each plane would do; their products are summed over the batch, since a
    plane without any cell has no correlation of its own. Mean over the stains.

    Parameters
    ----------
    energy, stain
        (N, 1, Y, X) and (N, S, Y, X).
    scale_px
        Coarseness of the comparison. A stain that marks the gaps between cells needs a larger one, or weight 0.
    """
    similar = [_pearson(blur(energy, sigma), blur(stain, sigma)) for sigma in (scale_px / 2, scale_px)]
    return functional.relu(enough - torch.stack(similar).mean(0)).mean()


def _pearson(one: Tensor, many: Tensor) -> Tensor:
    x = one - one.mean((2, 3), keepdim=True)
    y = many - many.mean((2, 3), keepdim=True)
    spread = (x**2).sum() * (y**2).sum((0, 2, 3))
    correlation: Tensor = (x * y).sum((0, 2, 3)) / (spread + _TINY).sqrt()
    return correlation


def saliency(planes: Tensor, threshold: Tensor | float) -> Tensor:
    """Return UTOM's soft threshold ``1 / (1 + exp(-100 (x - t)))`` of planes whose foreground is bright."""
    return torch.sigmoid(_STEEPNESS * (planes - threshold))


def saliency_loss(seen_a: Tensor, fake_b: Tensor, seen_b: Tensor, fake_a: Tensor) -> Tensor:
    """Return UTOM's constraint ``|T_a(A) - T_b(to_b(A))| + |T_b(B) - T_a(to_a(B))|`` of four `saliency` maps."""
    return _distance(seen_a, fake_b) + _distance(seen_b, fake_a)


def equivariance_loss(net: Callable[[Tensor], Tensor], a: Tensor, stained: Tensor, rng: torch.Generator) -> Tensor:
    """Return L_eq = ``|G(T A) - T G(A)|`` for one random T: a quarter turn, mirrored or not (square planes).

    ``stained`` is G(A), (N, S, Y, X). T is never "leave it as it is", which would cost a pass and say nothing.
    """
    number = int(torch.randint(1, 8, (), generator=rng))

    def moved(planes: Tensor) -> Tensor:
        turned = torch.rot90(planes, number % 4, (2, 3))
        return turned.flip(3) if number >= 4 else turned

    return _distance(net(moved(a)), moved(stained))
