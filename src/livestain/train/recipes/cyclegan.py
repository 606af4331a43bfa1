"""Recipe `cyclegan`: the paper's baseline (Zhu et al., ICCV 2017), two generators and two discriminators, no pairs.

Equations (1)-(3) and (7)-(14) of the paper, without its mask and with the cycle from the first step. Where the paper is
silent the CycleGAN reference decides: weights cycle 10, identity 5, GAN 1; an image pool of 50; Gaussian weights of sd
0.02; batch 1; crops taken from anywhere; 60 epochs, the second half linear to 0 (the paper: "decay after epoch 30").
The paper trains one stain at a time; for S stains, ours: identity asks each stain, given alone, back in its own place,
and contrast repeated S times goes into the inverse.

Stains are in typical nuclei (0..2), contrast in units of `UNIT` (-4..4, sd about 0.3): so both weigh alike in every
equation, and both have their background at 0.

`full_size` is the paper's size. The defaults are what a CPU can do: the live generator without normalisation,
discriminators with spectral norm, crops of 64 px centred on foreground.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from livestain.train.adversarial import (
    fixed,
    grained,
    in_nuclei,
    make_generator,
    make_inverse,
    make_judge,
    verdicts,
)
from livestain.train.config import TrainConfig
from livestain.train.crops import Batch
from livestain.train.data import FULL_SCALE
from livestain.train.losses import cycle_loss, discriminator_loss, gan_loss, identity_loss
from livestain.train.pool import ImagePool
from livestain.train.recipe import Recipe, Term, Turn
from livestain.train.unit import UNIT

EPOCHS = 60
_CONSTANT_EPOCHS = 30
CYCLE, IDENTITY, GAN = 10.0, 5.0, 1.0

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pass:
    """One step's planes: contrast ``a`` and ``fake_a`` (N, 1, Y, X), stains ``b`` and ``fake_b`` (N, S, Y, X)."""

    a: Tensor
    b: Tensor
    fake_a: Tensor
    fake_b: Tensor
    to_a: Map
    to_b: Map

    def each_to_b(self, b: Tensor) -> Tensor:
        """Return, of ``to_b`` of every stain alone, that stain: (N, S, Y, X). For one stain it is ``to_b(b)``."""
        count, stains, height, width = b.shape
        answers = self.to_b(b.reshape(count * stains, 1, height, width))
        return answers.reshape(count, stains, stains, height, width).diagonal(dim1=1, dim2=2).movedim(-1, 1)

    def repeated_to_a(self, a: Tensor) -> Tensor:
        """Return ``to_a`` of contrast in place of every stain: (N, 1, Y, X)."""
        return self.to_a(a.expand(-1, self.b.shape[1], -1, -1))


class CycleGan(Recipe):
    """Cycle, identity, and least-squares GAN, in both directions."""

    defaults: ClassVar[Mapping[str, Any]] = {"learning_rate": 5e-4, "betas": (0.5, 0.99), "networks": 1}
    full_size: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 1e-4,
        "betas": (0.5, 0.999),
        "batch": 1,
        "crop_px": 512,
        "width": 64,
        "balanced": 0.0,
        "ema": 0.999,
        "options": {"resnet_blocks": 9.0},
    }
    inverse = "inverse"
    identity: ClassVar[float] = IDENTITY

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.pools = {"a": ImagePool(), "b": ImagePool()}

    def networks(self, stains: int) -> dict[str, nn.Module]:
        """Return both generators and both discriminators."""
        return {
            "generator": make_generator(self.config, stains, linear=True),
            "inverse": make_inverse(self.config, stains),
            "judge_a": make_judge(self.config, 1),
            "judge_b": make_judge(self.config, stains),
        }

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return Adam three times: both generators in one, each discriminator its own (the paper)."""
        generators = [*networks["generator"].parameters(), *networks["inverse"].parameters()]
        learners = {name: list(networks[name].parameters()) for name in ("judge_a", "judge_b")}
        rate, betas = self.config.learning_rate, self.config.betas
        return {
            name: torch.optim.Adam(parameters, rate, betas=betas)
            for name, parameters in {"generators": generators, **learners}.items()
        }

    def step(
        self, networks: Mapping[str, nn.Module], batch: Batch, progress: float, rng: torch.Generator
    ) -> Iterator[Turn]:
        """Yield the generators' turn, then each discriminator's, on the planes made before the generators moved."""
        judge_a, judge_b = networks["judge_a"], networks["judge_b"]

        def verdicts_b(stains: Tensor) -> Tensor:
            return verdicts(judge_b, grained(self.config, stains, rng))

        planes = make_pass(networks, batch)
        with fixed(judge_a, judge_b):
            gan = gan_loss(verdicts_b(planes.fake_b)) + gan_loss(verdicts(judge_a, planes.fake_a))
        yield Turn("generators", {"gan": Term(self.config.weight("gan", GAN), gan), **self.ties(planes, progress, rng)})
        virtual_a, virtual_b = self.pools["a"].swap(planes.fake_a, rng), self.pools["b"].swap(planes.fake_b, rng)
        loss_a = discriminator_loss(verdicts(judge_a, planes.a), verdicts(judge_a, virtual_a))
        yield Turn("judge_a", {"judge_a": Term(1.0, loss_a)})
        loss_b = discriminator_loss(verdicts_b(planes.b), verdicts_b(virtual_b))
        yield Turn("judge_b", {"judge_b": Term(1.0, loss_b)})

    def ties(self, planes: Pass, progress: float, rng: torch.Generator) -> dict[str, Term]:
        """Return what ties the generators' answers to their input; a term of weight 0 is not computed."""
        terms = {}
        cycle = self.config.weight("cycle", CYCLE) * self.cycle_share(progress)
        if cycle:
            rebuilt = planes.to_a(planes.fake_b), planes.a, planes.to_b(planes.fake_a), planes.b
            terms["cycle"] = Term(cycle, cycle_loss(*rebuilt))
        identity = self.config.weight("identity", self.identity)
        if identity:
            same = planes.each_to_b(planes.b), planes.b, planes.repeated_to_a(planes.a), planes.a
            terms["identity"] = Term(identity, identity_loss(*same))
        return terms

    def cycle_share(self, progress: float) -> float:
        """Return what the cycle's weight is multiplied by at this point of the training."""
        return 1.0

    def rate(self, progress: float) -> float:
        """Return ``1 - max(0, e - 29) / 31`` in epoch e of 0..59: constant for 30, then linear, never quite 0."""
        over = max(0, epoch_of(progress) - (_CONSTANT_EPOCHS - 1))
        return 1 - over / (EPOCHS - _CONSTANT_EPOCHS + 1)

    def state(self) -> dict[str, Any]:
        """Return the planes of both pools."""
        return {f"pool_{name}": pool.state() for name, pool in self.pools.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        for name, pool in self.pools.items():
            pool.load_state(state[f"pool_{name}"])


def make_pass(networks: Mapping[str, nn.Module], batch: Batch) -> Pass:
    """Return the batch on the scales of the equations, with what both generators make of it."""
    generator, inverse = networks["generator"], networks["inverse"]

    def to_b(contrast: Tensor) -> Tensor:
        # Losses are float32: in mixed precision a generator answers in bfloat16.
        return in_nuclei(generator(UNIT * contrast).float())

    def to_a(stains: Tensor) -> Tensor:
        answer: Tensor = inverse(stains / FULL_SCALE).float() / UNIT
        return answer

    a, b = batch.a / UNIT, in_nuclei(batch.b)
    return Pass(a=a, b=b, fake_a=to_a(b), fake_b=to_b(a), to_a=to_a, to_b=to_b)


def epoch_of(progress: float) -> int:
    """Return the epoch, 0..59, of a point of the training (0..1); an epoch is a sixtieth of its steps."""
    return min(EPOCHS - 1, math.floor(progress * EPOCHS + 1e-9))


RECIPE = CycleGan
