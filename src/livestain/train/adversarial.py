"""What the adversarial recipes share: the choice of networks, and how a discriminator looks at planes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from livestain.train.config import TrainConfig
from livestain.train.cycle_networks import HalfUnet, PatchDiscriminator, ResnetGenerator, SpectralDiscriminator
from livestain.train.data import FULL_SCALE
from livestain.train.networks import Generator, LinearGenerator

GRAIN = 0.05


def make_generator(config: TrainConfig, stains: int, *, linear: bool = False) -> nn.Module:
    """Return the paper's generator where ``options.resnet_blocks`` is given (9 there), else the live one."""
    blocks = resnet_blocks(config)
    if blocks:
        return ResnetGenerator(1, stains, config.width, blocks)
    return LinearGenerator(stains, config.width) if linear else Generator(stains, config.width)


def make_inverse(config: TrainConfig, stains: int) -> nn.Module:
    """Return what goes back: stains (N, S, Y, X) in 0..1 -> contrast (N, 1, Y, X) in -1..1."""
    blocks = resnet_blocks(config)
    if blocks:
        return ResnetGenerator(stains, 1, config.width, blocks, signed=True)
    return HalfUnet(stains, 1, config.width)


def make_judge(config: TrainConfig, channels: int) -> nn.Module:
    """Return the discriminator that belongs to `make_generator`."""
    if resnet_blocks(config):
        return PatchDiscriminator(channels, config.width)
    return SpectralDiscriminator(channels, 3 * config.width // 2)


def resnet_blocks(config: TrainConfig) -> int:
    """Return the residual blocks of the paper's generator; 0 where the small networks are trained."""
    return int(config.options.get("resnet_blocks", 0))


def grained(config: TrainConfig, stains: Tensor, rng: torch.Generator) -> Tensor:
    """Return stains (`in_nuclei`) as a discriminator sees them: the small one with a little noise, the paper's without.

    Measured stains have camera noise, virtual ones none: without it that is all a small discriminator learns.
    """
    if resnet_blocks(config):
        return stains
    return stains + GRAIN * torch.randn(stains.shape, generator=rng).to(stains)


def in_nuclei(stains: Tensor) -> Tensor:
    """Return stains of 0..1 on the scale of every equation: 0 = background, 1 = a typical nucleus, 2 at most.

    The paper's -1..1 is this, moved by 1: no distance sees that, nor does a network with instance norm. Both domains
    so have their background at 0, where a network without norm begins.
    """
    return FULL_SCALE * stains


def verdicts(judge: nn.Module, planes: Tensor) -> Tensor:
    """Return what ``judge`` says of ``planes``: float32, whatever the precision of the generators."""
    with full_precision(planes):
        answer: Tensor = judge(planes.float())
    return answer


def full_precision(planes: Tensor) -> torch.autocast:
    """Return a context without mixed precision, on the device of ``planes``: discriminators and losses need float32."""
    return torch.autocast(planes.device.type, enabled=False)


@contextmanager
def fixed(*networks: nn.Module) -> Iterator[None]:
    """Let nothing in ``networks`` learn from what is computed inside; gradients still flow through to their input."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)
