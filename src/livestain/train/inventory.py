"""What the user should see before a training: how many images of which kind, and what looks wrong about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from livestain.frames import Counts
from livestain.train.data import Fields
from livestain.train.sources import Source

FEW_FIELDS = 4
_SATURATED = 0.01
_SKEW_OF_STAINS = 4.0


def describe_sources(label_free: Sequence[Source], stains: Mapping[str, Sequence[Source]]) -> Iterator[str]:
    """Yield one line for each side: counts, groups, sizes, dtypes and pixel sizes."""
    for name, sources in {"label-free": label_free, **stains}.items():
        sizes = sorted({f"{source.shape[0]} x {source.shape[1]}" for source in sources})
        pixels = sorted({f"{source.pixel_um:g} um" if source.pixel_um else "not stated" for source in sources})
        dtypes = sorted({str(source.dtype) for source in sources})
        groups = len({source.group for source in sources})
        yield (
            f"{name}: {len(sources)} planes in {groups} group{'s' * (groups > 1)}, {' and '.join(sizes)} px, "
            f"{' and '.join(dtypes)}, pixel {' and '.join(pixels)}"
        )


def warnings_of(label_free: Sequence[Source], stains: Mapping[str, Sequence[Source]], fields: Fields) -> Iterator[str]:
    """Yield a sentence for each thing that looks wrong but does not stop a training."""
    for name, sources in {"label-free": label_free, **stains}.items():
        if len(sources) < FEW_FIELDS:
            yield f"{len(sources)} {name} planes are few: 10 or more fields make a model that holds on the next one"
        if len({source.dtype for source in sources}) > 1:
            yield f"{name} images are of mixed dtypes: were some of them rescaled on the way?"
    yield from _pixel_warnings(label_free, stains)
    for name, group in fields.groups.items():
        where = f" of group {name!r}" if name else ""
        if any(_saturated(frame) > _SATURATED for frame in group.frames):
            yield f"a label-free image{where} is saturated in more than 1 % of its pixels: expose shorter"
        if np.median([skew(frame) for frame in group.frames]) > _SKEW_OF_STAINS:
            yield (
                f"the label-free images{where} look like stained ones, bright spots on dark: were the folders swapped?"
            )


def skew(plane: Counts) -> float:
    """Return how much further the brightest 0.1 % lie from the median than the darkest: near 1 for label-free planes.

    Stained cells on a dark ground give ten and more.
    """
    low, middle, high = (float(np.percentile(plane, q)) for q in (0.1, 50, 99.9))
    return (high - middle) / max(middle - low, 1.0)


def _saturated(plane: Counts) -> float:
    return float(np.mean(plane == np.iinfo(plane.dtype).max))


def _pixel_warnings(label_free: Sequence[Source], stains: Mapping[str, Sequence[Source]]) -> Iterator[str]:
    known = {source.pixel_um for source in label_free if source.pixel_um}
    for name, sources in stains.items():
        other = {source.pixel_um for source in sources if source.pixel_um} - known
        if known and other:
            yield (
                f"{name} images have a pixel of {', '.join(f'{value:g}' for value in sorted(other))} um, no label-free "
                "image has: they are resampled; is the objective the same?"
            )
