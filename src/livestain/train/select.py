"""Choosing among checkpoints without pairs: K5, the sum of three ranks; with enough pairs, their mean r.

K5 adds the ranks of three terms over all candidates: r on fixed simulated pairs, the error of the number of objects
against the measured stains, and how little a mirrored field changes the answer. Over 110 checkpoints of many methods on
one set of real images its Spearman correlation with the true r was 0.93, inside one run 0.7: it orders methods well and
the checkpoints of one run fairly. It cannot see a stain that is wrong everywhere in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, stats
from torch import nn

from livestain.contrast import Field
from livestain.evaluate.metrics import pearson_r
from livestain.train.config import TrainConfig
from livestain.train.crops import Batch
from livestain.train.data import FULL_SCALE, Fields, Known
from livestain.train.networks import stain_field
from livestain.train.render import SimulatedPairs

LEAST_PAIRS = 3
_SIMULATED = 96
_PROBE_SEED = 0x5E1EC7
_FIELDS_PER_GROUP = 2
_OBJECT = 0.4
_OBJECT_PX = 12


@dataclass(frozen=True)
class Terms:
    """What K5 is made of, for one candidate.

    Attributes
    ----------
    simulated_r
        Mean r on simulated pairs; higher is better.
    count_error
        Mean over groups of |log((objects per field + 1) / (the measured stains' + 1))|; lower is better.
    flip_error
        Mean over fields of the mean change under mirroring over the spread of the stain; lower is better.
    """

    simulated_r: float
    count_error: float
    flip_error: float


class Probe:
    """What every candidate is asked: the same simulated pairs and label-free fields; no measured pair is used."""

    def __init__(self, fields: Fields, config: TrainConfig) -> None:
        drawn = SimulatedPairs(fields, config).draw(np.random.default_rng((config.seed, _PROBE_SEED)), _SIMULATED)
        self._pairs = _with_nuclei(drawn)
        self._groups = {
            name: (group.label_free[:_FIELDS_PER_GROUP], _objects_per_field(group.stains))
            for name, group in fields.groups.items()
        }

    def ask(self, net: nn.Module) -> Terms:
        """Stain everything with ``net`` (in evaluation mode) and return its terms; blocks for seconds."""
        simulated = [pearson_r(stain_field(net, a)[0], b) for a, b in self._pairs]
        counts, flips = [], []
        for label_free, expected in self._groups.values():
            stains = [stain_field(net, contrast) for contrast in label_free]
            counts.append(abs(np.log((_objects_per_field(stains) + 1) / (expected + 1))))
            flips += [_flip_error(net, *both) for both in zip(label_free, stains, strict=True)]
        return Terms(float(np.mean(simulated)), float(np.mean(counts)), float(np.mean(flips)))


def rank_sums(terms: Sequence[Terms]) -> npt.NDArray[np.float64]:
    """Return K5 of each candidate: the sum of its three ranks, the lowest is the best."""
    columns = np.array([(-term.simulated_r, term.count_error, term.flip_error) for term in terms])
    ranks: npt.NDArray[np.float64] = stats.rankdata(columns, axis=0).sum(axis=1)
    return ranks


def known_r(net: nn.Module, known: Sequence[Known]) -> float:
    """Return the mean over pairs and stains of r between the stain of ``net`` and the measured one."""
    values = []
    for pair in known:
        stains = stain_field(net, pair.contrast)
        values.append(np.mean([pearson_r(*both) for both in zip(stains, pair.stains, strict=True)]))
    return float(np.nanmean(values))


def _with_nuclei(batch: Batch) -> list[tuple[Field, Field]]:
    pairs = zip(batch.a[:, 0].numpy(), batch.b[:, 0].numpy(), strict=True)
    return [(a, b) for a, b in pairs if b.max() * FULL_SCALE > 0.6]


def _objects_per_field(fields: Sequence[Field]) -> float:
    """Return the mean number of blobs of at least 12 px in the first stain of (S, Y, X) fields."""
    counts = []
    for stains in fields:
        labels, _ = ndimage.label(ndimage.gaussian_filter(stains[0] * FULL_SCALE, 1) > _OBJECT)
        counts.append(int((np.bincount(labels.ravel())[1:] >= _OBJECT_PX).sum()))
    return float(np.mean(counts))


def _flip_error(net: nn.Module, contrast: Field, stains: Field) -> float:
    mirrored = stain_field(net, np.ascontiguousarray(contrast[:, ::-1]))[:, :, ::-1]
    return float(np.abs(stains - mirrored).mean() / (stains.std() + 1e-3))
