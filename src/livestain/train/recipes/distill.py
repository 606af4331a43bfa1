"""A fixed teacher's stains of real label-free fields, learned by a fresh network, beside simulated pairs.

It repairs what simulated pairs get wrong most: the student sees real cells, and the teacher's doubts average out over
networks and quarter turns. The teacher never moves: with one that does, false nuclei grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn import functional

from livestain.contrast import Field
from livestain.errors import UserError
from livestain.model import Model
from livestain.train.config import TrainConfig
from livestain.train.crops import GAIN, Batch, make_batch, turn, window
from livestain.train.data import Fields, Points, find_bright
from livestain.train.networks import LinearGenerator, stain_field
from livestain.train.recipe import Recipe, Term, Turn
from livestain.train.render import SimulatedPairs, can_simulate

TAUGHT, SIMULATED = 10.0, 3.0


Stainer = Callable[[Field], Field]
"""(Y, X) float32 contrast -> (S, Y, X) float32 stains in 0..1."""


def teach(stainers: Sequence[Stainer], fields: Fields) -> dict[str, tuple[Field, ...]]:
    """Return the teacher's stains (S, Y, X) of every label-free field: mean over stainers and four quarter turns."""
    return {
        name: tuple(_mean_stains(stainers, contrast) for contrast in group.label_free)
        for name, group in fields.groups.items()
    }


def stainer_of(net: nn.Module) -> Stainer:
    """Return a network, in evaluation mode, as a function."""
    return lambda contrast: stain_field(net, contrast, int(net.stride))


def stainer_of_model(model: Model) -> Stainer:
    """Return the generator of a model folder as a function; it sees contrast of any size from 96 px on."""
    session = onnxruntime.InferenceSession(model.weights.read(), providers=["CPUExecutionProvider"])
    name, stride = session.get_inputs()[0].name, model.card.stride

    def stain(contrast: Field) -> Field:
        height, width = contrast.shape
        padded = np.pad(contrast, ((0, -height % stride), (0, -width % stride)), mode="reflect")
        stains: Field = session.run(None, {name: padded[None, None]})[0][0, :, :height, :width]
        return stains

    return stain


def _mean_stains(stainers: Sequence[Stainer], contrast: Field) -> Field:
    stains = [
        np.rot90(stain(np.ascontiguousarray(np.rot90(contrast, turns))), -turns, axes=(1, 2))
        for stain in stainers
        for turns in range(4)
    ]
    mean: Field = np.mean(stains, axis=0, dtype=np.float32)
    return mean


class TaughtCrops:
    """Batches of label-free crops with the teacher's stains; ``also`` holds simulated pairs where they can be made."""

    def __init__(self, fields: Fields, config: TrainConfig) -> None:
        if fields.taught is None:
            raise UserError("the recipe 'distill' learns from a teacher: give a model with --teacher")
        self._taught = fields.taught
        self._simulated = SimulatedPairs(fields, config) if can_simulate(fields) else None
        self.fields = fields
        self.config = config
        self._names = tuple(fields.groups)
        self._centres = {name: self._foreground(name) for name in fields.groups}

    def _foreground(self, name: str) -> Sequence[Points]:
        """Return the pixels of each label-free field that crops are centred on.

        Where nobody measured how much of a field is stained, the teacher says it: its bright pixels.
        """
        if self.fields.measured:
            return self.fields.groups[name].energetic
        return [find_bright(stains) for stains in self._taught[name]]

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the batch of this step of this epoch; nothing but (seed, epoch, step) decides it."""
        rng = np.random.default_rng((self.config.seed, epoch, step))
        names = tuple(self._names[k] for k in rng.integers(len(self._names), size=self.config.batch))
        crops = [self._crop(rng, name) for name in names]
        also = None if self._simulated is None else self._simulated.draw(rng, max(2, self.config.batch // 2))
        batch = make_batch([crop[:1] for crop in crops], [crop[1:] for crop in crops], names)
        return Batch(batch.a, batch.b, names, also)

    def _crop(self, rng: np.random.Generator, name: str) -> Field:
        group = self.fields.groups[name]
        number = int(rng.integers(len(group.label_free)))
        centres = self._centres[name][number] if rng.random() < self.config.balanced else None
        place = (slice(None), *window(rng, group.label_free[number].shape, self.config.crop_px, centres))
        planes = np.concatenate([group.label_free[number][None], self._taught[name][number]])[place]
        planes = turn(rng, planes) if self.config.turns else planes
        planes[0] = np.clip(planes[0] * np.float32(rng.uniform(*GAIN)), -1, 1)
        return planes


class Distill(Recipe):
    """Mean squared error to the teacher, and to simulated pairs at a third of the weight."""

    supervised = True

    def networks(self, stains: int) -> dict[str, nn.Module]:
        """Return the student alone."""
        return {"generator": LinearGenerator(stains, self.config.width)}

    def batches(self, fields: Fields) -> TaughtCrops:
        """Return label-free crops with the teacher's stains."""
        return TaughtCrops(fields, self.config)

    def step(
        self, networks: Mapping[str, nn.Module], batch: Batch, progress: float, rng: torch.Generator
    ) -> Iterator[Turn]:
        """Yield one turn of two terms."""
        student = networks["generator"]
        taught = functional.mse_loss(student(batch.a), batch.b)
        terms = {"taught": Term(self.config.weight("taught", TAUGHT), taught)}
        if batch.also is not None:
            simulated = functional.mse_loss(student(batch.also.a), batch.also.b)
            terms["simulated"] = Term(self.config.weight("simulated", SIMULATED), simulated)
        yield Turn("generator", terms)


RECIPE = Distill
