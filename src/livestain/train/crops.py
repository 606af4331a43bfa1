"""Crops for training: where they are cut, how they are turned, and batches that a number alone decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from livestain.contrast import Field
from livestain.train.config import TrainConfig
from livestain.train.data import Fields, Group

GAIN = (0.7, 1.4)
"""Label-free crops are multiplied by a draw from this range: cells of one kind differ in contrast."""


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    Attributes
    ----------
    a
        (N, 1, Y, X) float32 label-free contrast in [-1, 1].
    b
        (N, S, Y, X) float32 stains in 0..1; of other fields than ``a`` unless the recipe's batches say otherwise.
    groups
        N names: slot k of ``a`` and of ``b`` come from this one group.
    also
        A second batch, for recipes that mix two sources.
    """

    a: Tensor
    b: Tensor
    groups: tuple[str, ...]
    also: Batch | None = None

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch on another device."""
        also = None if self.also is None else self.also.to(device)
        return Batch(self.a.to(device), self.b.to(device), self.groups, also)


class Sampler:
    """Unpaired batches: balanced crops of both domains, slot by slot from the same group.

    Uniform crops are mostly empty, and a network trained on them falls towards the background; so a share of the
    crops is centred (to a third of their side) on foreground: in label-free fields where the local energy is high,
    in stains where they are bright.
    """

    def __init__(self, fields: Fields, config: TrainConfig) -> None:
        self.fields = fields
        self.config = config
        self._names = tuple(fields.groups)

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the batch of this step of this epoch; nothing but (seed, epoch, step) decides it."""
        rng = np.random.default_rng((self.config.seed, epoch, step))
        names = self.draw_groups(rng, self.config.batch)
        balanced = rng.random(len(names)) < self.config.balanced
        a = [self.label_free(rng, name, bool(near)) for name, near in zip(names, balanced, strict=True)]
        b = [self.stains(rng, name, bool(near)) for name, near in zip(names, balanced, strict=True)]
        return make_batch(a, b, names)

    def draw_groups(self, rng: np.random.Generator, count: int) -> tuple[str, ...]:
        """Return ``count`` names of groups, each as likely as the others."""
        return tuple(self._names[k] for k in rng.integers(len(self._names), size=count))

    def label_free(self, rng: np.random.Generator, group: str, balanced: bool) -> Field:
        """Return one (1, Y, X) label-free crop of ``group``, turned, its contrast drawn anew."""
        found = self.fields.groups[group]
        number = int(rng.integers(len(found.label_free)))
        crop = self._cut(rng, found.label_free[number][None], found.energetic[number], balanced)
        gained: Field = np.clip(crop * np.float32(rng.uniform(*GAIN)), -1, 1)
        return gained

    def stains(self, rng: np.random.Generator, group: str, balanced: bool) -> Field:
        """Return one (S, Y, X) crop of the stains of ``group``, turned."""
        found = self.fields.groups[group]
        number = int(rng.integers(len(found.stains)))
        return self._cut(rng, found.stains[number], found.bright[number], balanced)

    def _cut(self, rng: np.random.Generator, planes: Field, centres: npt.NDArray[np.intp], balanced: bool) -> Field:
        side = self.config.crop_px
        crop = planes[(slice(None), *window(rng, planes.shape[1:], side, centres if balanced else None))]
        return turn(rng, crop) if self.config.turns else crop


def window(
    rng: np.random.Generator, shape: Sequence[int], side: int, centres: npt.NDArray[np.intp] | None
) -> tuple[slice, slice]:
    """Return where to cut a crop of ``side`` px: near one of ``centres`` (n, 2), or anywhere where there is none."""
    room = np.array(shape) - side
    if centres is None or len(centres) == 0:
        corner = rng.integers(0, room + 1)
    else:
        near = centres[rng.integers(len(centres))] + rng.integers(-(side // 3), side // 3 + 1, 2)
        corner = np.clip(near - side // 2, 0, room)
    return slice(int(corner[0]), int(corner[0]) + side), slice(int(corner[1]), int(corner[1]) + side)


def turn(rng: np.random.Generator, planes: Field) -> Field:
    """Return (C, Y, X) planes mirrored or not, and turned by a random quarter."""
    mirrored = planes[:, :, ::-1] if rng.random() < 0.5 else planes
    return np.ascontiguousarray(np.rot90(mirrored, int(rng.integers(4)), axes=(1, 2)))


def make_batch(a: Sequence[Field], b: Sequence[Field], groups: tuple[str, ...]) -> Batch:
    """Stack crops of (1, Y, X) and (S, Y, X) to a batch."""
    return Batch(torch.from_numpy(np.stack(a)), torch.from_numpy(np.stack(b)), groups)


def quiet_crop(rng: np.random.Generator, group: Group, side: int) -> Field:
    """Return a (Y, X) label-free crop without cells: the first of six draws below the cell threshold, else the calmest.

    Whatever else it shows (stripes, blurred debris) is shown with an empty target, which is what teaches a network to
    leave such things alone.
    """
    best: tuple[float, Field] | None = None
    for _ in range(6):
        number = int(rng.integers(len(group.label_free)))
        place = window(rng, group.label_free[number].shape, side, None)
        loudest = float(group.energy[number][place].max())
        if best is None or loudest < best[0]:
            best = loudest, group.label_free[number][place]
        if loudest < group.cell_energy:
            break
    assert best is not None
    return best[1]
