"""What a trained generator must not do: answer the same everywhere, or stain a field without cells."""

from __future__ import annotations

import numpy as np
from torch import nn

from livestain.errors import TrainingError
from livestain.train.data import MADS, Fields
from livestain.train.networks import stain_field

LEAST_SPREAD = 0.002
EMPTY_LIMIT = 0.2
_EMPTY_PX = 256
_SEED = 3


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
