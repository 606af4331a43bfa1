"""Simulated pairs, plain mean squared error: the first stage of the default recipe, trained once per teacher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn import functional

from livestain.train.crops import Batch
from livestain.train.data import Fields
from livestain.train.networks import LinearGenerator
from livestain.train.recipe import Recipe, Term, Turn
from livestain.train.render import SimulatedPairs


class Simulate(Recipe):
    """Measured stain crops, label-free crops rendered around them (`livestain.train.render`)."""

    def networks(self, stains: int) -> dict[str, nn.Module]:
        """Return the generator alone."""
        return {"generator": LinearGenerator(stains, self.config.width)}

    def batches(self, fields: Fields) -> SimulatedPairs:
        """Return pairs."""
        return SimulatedPairs(fields, self.config)

    def step(
        self, networks: Mapping[str, nn.Module], batch: Batch, progress: float, rng: torch.Generator
    ) -> Iterator[Turn]:
        """Yield one turn: the mean squared error."""
        loss = functional.mse_loss(networks["generator"](batch.a), batch.b)
        yield Turn("generator", {"simulated": Term(self.config.weight("simulated", 1.0), loss)})


RECIPE = Simulate
