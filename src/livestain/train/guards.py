"""What must not go wrong unseen: networks that stop learning, stains that are the same everywhere, or of nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from livestain.errors import TrainingError
from livestain.train.data import MADS, Fields
from livestain.train.networks import stain_field

LEAST_SPREAD = 0.002
EMPTY_LIMIT = 0.2
SPREAD = "spread: "
"""Begins the name under which a history holds the largest standard deviation of a stain over the sample crops."""

LONG = 5
"""Epochs in a row that make a state one to be told."""

_CHANCE, _CHANCE_BAND = 0.25, 0.0025
_AT_ONE = 0.01
_EMPTY_PX = 256
_SEED = 3


@dataclass(frozen=True)
class _Kind:
    """A kind of trouble: the numbers that it concerns, when they are bad, and how it is told."""

    prefix: str
    is_bad: Callable[[float], bool]
    words: str


_KINDS = (
    _Kind(
        SPREAD,
        lambda value: value < LEAST_SPREAD,
        "the stain {name!r} was the same everywhere on every sample (spread {value:.4f}): the training has collapsed; "
        "stop it and take another seed, or a lower learning_rate",
    ),
    _Kind(
        "judge",
        lambda value: abs(value - _CHANCE) < _CHANCE_BAND,
        "the discriminator {name!r} told measured from virtual by mere chance (loss {value:.4f}): it teaches nothing; "
        "look at the samples, and if they look wrong, give more images",
    ),
    _Kind(
        "judge",
        lambda value: value < _AT_ONE,
        "the discriminator {name!r} was hardly ever wrong (loss {value:.4f}): it teaches little; look at the samples, "
        "and if they do not change, take another seed",
    ),
)


def require_alive(net: nn.Module, fields: Fields) -> None:
    """Raise `TrainingError` where a stain is the same everywhere on every label-free field: the training collapsed."""
    spread = np.max(
        [
            stain_field(net, contrast, int(net.stride)).std(axis=(1, 2))
            for group in fields.groups.values()
            for contrast in group.label_free
        ],
        axis=0,
    )
    for name, value in zip(fields.stains, spread, strict=True):
        if not value >= LEAST_SPREAD:
            raise TrainingError(
                f"the training collapsed: the stain {name!r} is nearly constant on every label-free image (standard "
                f"deviation {value:.4f}, {LEAST_SPREAD} is needed); train longer, with another seed, or more images"
            )


def stain_of_nothing(net: nn.Module) -> float:
    """Return the 99.9th percentile of the stains (0..1) of a field that holds camera noise alone."""
    noise = np.random.default_rng(_SEED).normal(0, 1 / MADS, (_EMPTY_PX, _EMPTY_PX)).astype(np.float32)
    return float(np.percentile(stain_field(net, noise, int(net.stride)), 99.9))


def troubles(history: Sequence[Mapping[str, float]]) -> list[str]:
    """Return a sentence for each thing that has gone wrong for `LONG` epochs in a row, in the order of its first time.

    A discriminator of least squares whose verdict is 0.5 on every plane has a loss of 1/4: it has learned nothing and
    teaches nothing. One that is never wrong has a loss near 0, and teaches little. A stain that varies by less than
    `LEAST_SPREAD` would be refused at the end.

    Parameters
    ----------
    history
        The mean losses of each epoch, by name, as the loop keeps them.
    """
    found = []
    for name in history[0] if history else ():
        values = [entry[name] for entry in history if name in entry]
        for kind in (kind for kind in _KINDS if name.startswith(kind.prefix)):
            epoch = _first_long([kind.is_bad(value) for value in values])
            if epoch:
                words = kind.words.format(name=name.removeprefix(SPREAD), value=values[epoch - 1])
                found.append((epoch, f"for {LONG} epochs, up to epoch {epoch}, {words}"))
    return [sentence for _, sentence in sorted(found)]


def _first_long(bad: Sequence[bool]) -> int:
    """Return after how many epochs `LONG` bad ones had followed each other for the first time; 0: never."""
    row = 0
    for number, is_bad in enumerate(bad, start=1):
        row = row + 1 if is_bad else 0
        if row == LONG:
            return number
    return 0
