"""What a training recipe is: networks, optimisers and the turns of one step; everything else is shared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from livestain.train.config import TrainConfig
from livestain.train.crops import Batch, Sampler
from livestain.train.data import Fields


class Batches(Protocol):
    """Where the batches of a training come from."""

    def batch(self, epoch: int, step: int) -> Batch:
        """Return one batch on the CPU; the same numbers give the same batch, whatever was asked for before."""
        ...


@dataclass(frozen=True)
class Term:
    """One weighted part of a loss: a scalar tensor."""

    weight: float
    loss: Tensor


@dataclass(frozen=True)
class Turn:
    """One optimiser's part of a step: it minimises the weighted sum of its terms."""

    optimiser: str
    terms: Mapping[str, Term]

    def total(self) -> Tensor:
        """Return the weighted sum, a scalar."""
        return torch.stack([term.weight * term.loss for term in self.terms.values()]).sum()


class Recipe(ABC):
    """A training method; one subclass a file in `livestain.train.recipes`.

    The loop asks for networks and optimisers once, and for the turns in every step: it takes a turn, zeroes that
    optimiser's gradients, goes backward and steps, then asks for the next, so that a later turn sees moved weights.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    """What this recipe sets of `TrainConfig` where the user does not."""

    full_size: ClassVar[Mapping[str, Any]] = {}
    """What the preset ``paper`` sets over ``defaults``: the published networks, crops and rates."""

    generator: ClassVar[str] = "generator"
    """The network that is averaged and exported: contrast (N, 1, Y, X) float32 -> stains (N, S, Y, X) float32 on the
    scale 0..1 (it may overshoot; export clips). It has ``stride: int``, and Y and X are multiples of it."""

    supervised: ClassVar[bool] = False
    """It learns from given targets (pairs, a teacher): without pairs to choose by, its last checkpoint is taken."""

    inverse: ClassVar[str | None] = None
    """The network that goes from stains to contrast, where one is trained."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    @abstractmethod
    def networks(self, stains: int) -> dict[str, nn.Module]:
        """Return every network by name, freshly initialised (torch's seed is set before)."""

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return every optimiser by name; Adam on the generator unless overridden."""
        parameters = networks[self.generator].parameters()
        return {self.generator: torch.optim.Adam(parameters, self.config.learning_rate, betas=self.config.betas)}

    @abstractmethod
    def step(
        self, networks: Mapping[str, nn.Module], batch: Batch, progress: float, rng: torch.Generator
    ) -> Iterator[Turn]:
        """Yield the turns of one step; ``progress`` goes from 0 to 1, ``rng`` lives on the CPU and is seeded anew."""

    def rate(self, progress: float) -> float:
        """Return what every learning rate is multiplied by: constant, then linear to 0.02 over the second half."""
        return 1.0 if progress < 0.5 else max(0.02, 2 * (1 - progress))

    def batches(self, fields: Fields) -> Batches:
        """Return where the batches come from; unpaired crops of both domains unless overridden."""
        return Sampler(fields, self.config)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold beside weights and optimisers (image pools): tensors, numbers, lists."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, the checkpoint has {sorted(state)}")
