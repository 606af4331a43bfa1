"""Measured pairs, mean squared error: the upper bound, and what pairs are for where there are some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from livestain.contrast import Field
from livestain.errors import UserError
from livestain.train.config import TrainConfig
from livestain.train.crops import GAIN, Batch, make_batch, turn, window
from livestain.train.data import Fields
from livestain.train.networks import LinearGenerator
from livestain.train.recipe import Recipe, Term, Turn


class PairedCrops:
    """Batches whose ``a`` and ``b`` are the same crop of the same field, most of them centred on bright pixels."""

    def __init__(self, fields: Fields, config: TrainConfig) -> None:
        if not fields.paired:
            raise UserError("the recipe 'paired' learns from pairs: give them with --pairs")
        self.fields = fields
        self.config = config
        self._names = tuple(fields.groups)

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the batch of this step of this epoch; nothing but (seed, epoch, step) decides it."""
        rng = np.random.default_rng((self.config.seed, epoch, step))
        names = tuple(self._names[k] for k in rng.integers(len(self._names), size=self.config.batch))
        crops = [self._crop(rng, name) for name in names]
        return make_batch([crop[:1] for crop in crops], [crop[1:] for crop in crops], names)

    def _crop(self, rng: np.random.Generator, name: str) -> Field:
        """Return (1 + S, Y, X): contrast and stains."""
        group = self.fields.groups[name]
        number = int(rng.integers(len(group.label_free)))
        centres = group.bright[number] if rng.random() < self.config.balanced else None
        place = window(rng, group.label_free[number].shape, self.config.crop_px, centres)
        planes = np.concatenate([group.label_free[number][None], group.stains[number]])[(slice(None), *place)]
        planes = turn(rng, planes) if self.config.turns else planes.copy()
        planes[0] = np.clip(planes[0] * np.float32(rng.uniform(*GAIN)), -1, 1)
        return planes


class Paired(Recipe):
    """The same network and budget as the other recipes, with the truth in hand."""

    supervised = True

    def networks(self, stains: int) -> dict[str, nn.Module]:
        """Return the generator alone."""
        return {"generator": LinearGenerator(stains, self.config.width)}

    def batches(self, fields: Fields) -> PairedCrops:
        """Return pairs."""
        return PairedCrops(fields, self.config)

    def step(
        self, networks: Mapping[str, nn.Module], batch: Batch, progress: float, rng: torch.Generator
    ) -> Iterator[Turn]:
        """Yield one turn: the mean squared error."""
        loss = functional.mse_loss(networks["generator"](batch.a), batch.b)
        yield Turn("generator", {"paired": Term(self.config.weight("paired", 1.0), loss)})


RECIPE = Paired
