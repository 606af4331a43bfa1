"""What the user should see before a training: how many images of which kind, and what looks wrong about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from livestain.errors import ImageError
from livestain.evaluate.pairs import Pair
from livestain.evaluate.registration import describe_shift, measure_shift
from livestain.frames import Counts
from livestain.train.data import Fields, find_bright
from livestain.train.sources import Source

HEADINGS = ("images", "group", "planes", "size, px", "dtype", "pixel, um")

FEW_FIELDS = 4
_SATURATED = 0.01
_FULL = {(1 << bits) - 1 for bits in (8, 10, 11, 12, 14, 16)}
_SKEW_OF_STAINS, _SKEW_OF_LABEL_FREE = 4.0, 2.2
"""Over the image sets at hand (9 label-free, 10 of stains) the median of `skew` was 0.8 to 1.8, and 3.4 to 84."""

_LOOKED_AT = 8

Row = tuple[str, str, str, str, str, str]


def table_of(
    label_free: Sequence[Source], stains: Mapping[str, Sequence[Source]], pairs: Sequence[Pair] = ()
) -> list[Row]:
    """Return a row of texts under `HEADINGS` for each side and group, and for the pairs of each group."""
    rows = []
    for name, sources in {"label-free": label_free, **stains}.items():
        for group in dict.fromkeys(source.group for source in sources):
            of_group = [source for source in sources if source.group == group]
            dtypes = " and ".join(sorted({str(source.dtype) for source in of_group}))
            rows.append((name, group, str(len(of_group)), _sizes(of_group), dtypes, _pixels(of_group)))
    for group in dict.fromkeys(pair.group for pair in pairs):
        alike = [pair for pair in pairs if pair.group == group]
        rows.append((f"pairs: {', '.join(pairs[0].truth)}", group, str(len(alike)), _sizes(alike), "", _pixels(alike)))
    return rows


def require_unswapped(label_free: Sequence[Source], stains: Mapping[str, Sequence[Source]]) -> None:
    """Raise `ImageError` where label-free images look stained and stained ones do not: two folders were exchanged."""
    if not stains or _typical_skew(label_free) < _SKEW_OF_STAINS:
        return
    for name, sources in stains.items():
        if _typical_skew(sources) < _SKEW_OF_LABEL_FREE:
            raise ImageError(
                f"the folders look swapped: the images given as label-free, such as {label_free[0].path}, show bright "
                f"spots on dark, those given as {name}, such as {sources[0].path}, do not; exchange the two paths"
            )


def warnings_of(label_free: Sequence[Source], stains: Mapping[str, Sequence[Source]], fields: Fields) -> Iterator[str]:
    """Yield a sentence for each thing that looks wrong but does not stop a training; reads a few planes again."""
    for name, sources in {"label-free": label_free, **stains}.items():
        if len(sources) < FEW_FIELDS:
            yield f"{len(sources)} {name} planes are few: 10 or more fields make a model that holds on the next one"
        if len({source.dtype for source in sources}) > 1:
            yield f"{name} images are of mixed dtypes: were some of them rescaled on the way?"
        for group in dict.fromkeys(source.group for source in sources):
            of_group = [source for source in sources if source.group == group]
            if len({source.shape for source in of_group}) > 1 and len({source.pixel_um for source in of_group}) == 1:
                yield f"{name} images{_of(group)} have the sizes {_sizes(of_group)} px: were some of them binned?"
    yield from _pixel_warnings(label_free, stains)
    for name, sources in stains.items():
        if _typical_skew(sources) < _SKEW_OF_LABEL_FREE:
            yield f"{name} images are as dark as they are bright, like label-free ones: is this the right channel?"
    yield from _field_warnings(fields)


def pair_warnings(pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield a sentence for each group whose pairs do not lie over each other; reads every plane of them."""
    for group in dict.fromkeys(pair.group for pair in pairs):
        stain = next(iter(pairs[0].truth))
        planes = (
            (pair.label_free(), pair.truth[stain]())
            for pair in pairs
            if pair.group == group and pair.label_free is not None
        )
        sentence = describe_shift(measure_shift(planes), stain, group)
        if sentence:
            yield sentence


def skew(plane: Counts) -> float:
    """Return how much further the brightest 0.1 % lie from the median than the darkest: near 1 for label-free planes.

    Stained cells on a dark ground give ten and more.
    """
    low, middle, high = (float(np.percentile(plane, q)) for q in (0.1, 50, 99.9))
    return (high - middle) / max(middle - low, 1.0)


def saturated(plane: Counts) -> float:
    """Return the share of the pixels that are at the end of a camera's scale, of 8 to 16 bits."""
    top = plane.max()
    return float(np.mean(plane == top)) if int(top) in _FULL else 0.0


def _field_warnings(fields: Fields) -> Iterator[str]:
    for name, group in fields.groups.items():
        if any(saturated(frame) > _SATURATED for frame in group.frames):
            yield f"a label-free image{_of(name)} is saturated in more than 1 % of its pixels: expose shorter"
        if np.median([skew(frame) for frame in group.frames]) > _SKEW_OF_STAINS:
            yield (
                f"the label-free images{_of(name)} look like stained ones, bright spots on dark: were the folders "
                "swapped?"
            )
        for number, stain in enumerate(fields.stains if group.stains else ()):
            dark = sum(not len(find_bright(stains[number : number + 1])) for stains in group.stains)
            if dark:
                yield f"{dark} of {len(group.stains)} {stain} images{_of(name)} show nothing bright: are they in focus?"


def _pixel_warnings(label_free: Sequence[Source], stains: Mapping[str, Sequence[Source]]) -> Iterator[str]:
    known = {source.pixel_um for source in label_free if source.pixel_um}
    for name, sources in stains.items():
        other = {source.pixel_um for source in sources if source.pixel_um} - known
        if known and other:
            yield (
                f"{name} images have a pixel of {', '.join(f'{value:g}' for value in sorted(other))} um, no label-free "
                "image has: they are resampled; is the objective the same?"
            )
        if known and any(not source.pixel_um for source in sources):
            yield f"{name} images do not state their pixel size, label-free ones do: they are taken as they are"


def _typical_skew(sources: Sequence[Source]) -> float:
    step = max(1, len(sources) // _LOOKED_AT)
    return float(np.median([skew(source.read()) for source in sources[::step]]))


def _sizes(items: Sequence[Source] | Sequence[Pair]) -> str:
    return " and ".join(f"{height} x {width}" for height, width in sorted({item.shape for item in items}))


def _pixels(items: Sequence[Source] | Sequence[Pair]) -> str:
    return " and ".join(sorted({f"{item.pixel_um:g}" if item.pixel_um else "not stated" for item in items}))


def _of(group: str) -> str:
    return f" of group {group!r}" if group else ""
