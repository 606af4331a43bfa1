"""Choosing among checkpoints without pairs: K5, the sum of three ranks; and which networks disagree with the others.

K5 adds the ranks of three terms over all candidates: r on fixed simulated pairs, the error of the number of objects
against the measured stains, and how little a mirrored field changes the answer. Its Spearman correlation with the true
r is in `K5_CONFIDENCE`: it orders methods well and the checkpoints of one run fairly. It cannot see a stain that is
wrong everywhere in the same way.

Without a renderer there are no simulated pairs, and the sum is of two ranks: how far the virtual stains' bright places
look from those of measured ones (`livestain.train.likeness`), and the same error under mirroring. It hardly agreed with
the truth where that was measured (`UNRENDERED_CONFIDENCE`): such a choice is called unproven.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, stats
from torch import nn

from livestain.contrast import Field
from livestain.evaluate.metrics import pearson_r
from livestain.train.config import TrainConfig
from livestain.train.crops import Batch
from livestain.train.data import FULL_SCALE, Fields, Known
from livestain.train.likeness import Likeness
from livestain.train.networks import stain_field
from livestain.train.render import SimulatedPairs

LEAST_PAIRS = 3
LEAST_VOTERS = 3
DISSENT = 0.1

K5_CONFIDENCE: dict[str, Any] = {
    "rank_correlation": 0.82,
    "within_one_training": 0.63,
    "measured_on": "108 checkpoints of 36 trainings by five methods, on validation pairs of six experiments "
    "(bright field to nuclei; benchmarks/compare.py)",
}
"""Spearman's correlation of K5 with the true r, and where it was found: what a card says about a choice by it."""
UNRENDERED_CONFIDENCE: dict[str, Any] = {
    "rank_correlation": 0.31,
    "within_one_training": 0.17,
    "measured_on": "27 trainings on simulated nuclei and membranes of three looks (-0.18, 0.31 and 0.54, look by look; "
    "benchmarks/compare.py)",
}
LEAST_CONFIDENCE = 0.5
"""Below this rank correlation a choice is called unproven."""

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

    def losses(self) -> tuple[float, ...]:
        """Return the terms so that lower is better."""
        return (-self.simulated_r, self.count_error, self.flip_error)


@dataclass(frozen=True)
class UnrenderedTerms:
    """What candidates are asked where no simulated pairs can be drawn.

    Attributes
    ----------
    unlikeness
        Mean over groups of the distance between bright places of virtual and measured stains; lower is better.
    flip_error
        As in `Terms`.
    """

    unlikeness: float
    flip_error: float

    def losses(self) -> tuple[float, ...]:
        """Return the terms so that lower is better."""
        return (self.unlikeness, self.flip_error)


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


class UnrenderedProbe:
    """What every candidate is asked where there is no renderer: label-free fields; no measured pair is used."""

    def __init__(self, fields: Fields) -> None:
        self._groups = [
            (group.label_free[:_FIELDS_PER_GROUP], Likeness(group.stains)) for group in fields.groups.values()
        ]

    def ask(self, net: nn.Module) -> UnrenderedTerms:
        """Stain everything with ``net`` (in evaluation mode) and return its terms; blocks for seconds."""
        distances, flips = [], []
        for label_free, likeness in self._groups:
            stains = [stain_field(net, contrast) for contrast in label_free]
            distances.append(likeness.distance(stains))
            flips += [_flip_error(net, *both) for both in zip(label_free, stains, strict=True)]
        return UnrenderedTerms(float(np.mean(distances)), float(np.mean(flips)))


def agreement(nets: Sequence[nn.Module], fields: Fields) -> list[float]:
    """Return, for each network, the mean over label-free fields of its r with every other network's stains."""
    label_free = [field for group in fields.groups.values() for field in group.label_free[:_FIELDS_PER_GROUP]]
    total = np.zeros((len(nets), len(nets)))
    for contrast in label_free:
        stains = [stain_field(net, contrast) for net in nets]
        # A constant answer agrees with nothing: r is NaN where it is the truth.
        total += np.nan_to_num([[pearson_r(one, other) for other in stains] for one in stains])
    np.fill_diagonal(total, 0)
    return [float(value) for value in total.sum(axis=1) / (len(label_free) * (len(nets) - 1))]


def find_dissenters(agreements: Sequence[float]) -> list[int]:
    """Return which networks agree clearly less with the others than the median network does: by more than 0.1.

    Below three networks nobody can say which one is wrong. At least half of them always stay: the median is one of
    them. Two wrong ones of three would win; over 13 runs of many methods agreement ranked as the truth did (0.92), ten
    of them alike.
    """
    if len(agreements) < LEAST_VOTERS:
        return []
    limit = float(np.median(agreements)) - DISSENT
    return [number for number, value in enumerate(agreements) if value < limit]


def rank_sums(terms: Sequence[Terms] | Sequence[UnrenderedTerms]) -> npt.NDArray[np.float64]:
    """Return K5 of each candidate, or what takes its place: the sum of its ranks, the lowest is the best."""
    columns = np.array([term.losses() for term in terms])
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
