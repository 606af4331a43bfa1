"""The images of a training: label-free contrast and stains on one scale, by group, and where their foreground lies.

Label-free planes go through `livestain.contrast`, as every live frame does, with one contrast constant per group:
32 times the median over its fields of 1.4826 MAD of the relative contrast, slow shade taken off. Stains are blurred by
0.7 px and put on the scale of a typical nucleus of the group: background 0, median of the bright class 1. Both follow
the experiments in which unpaired training worked; nothing here looks at a pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from livestain.contrast import Field, estimate_background, is_usable, normalise
from livestain.engine.resample import resample, resampled_shape
from livestain.errors import FrameError, ImageError
from livestain.evaluate.pairs import Pair
from livestain.frames import Counts
from livestain.train.sources import Source
from livestain.train.unit import UNIT

FULL_SCALE = 2.0
"""Brightness that the model calls 1.0, in typical nuclei of the group."""

MADS = 32.0
_SLOW_PX = 24.0
_BLUR_PX = 0.7
_BRIGHT = 0.5
_STAIN_RANGE = (0.0, 1.0)
_CONSTANT_RANGE = (0.01, 4.0)
_FOREGROUND_LIMIT = 0.2
_OUTSTANDING_PX = 50
_CROWDED = 0.1
_DARK_PERCENTILES, _DARK_SDS = (1, 10), 1.045
"""Between these percentiles of Gaussian noise lie so many standard deviations."""

Points = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Group:
    """All fields of one experiment or microscope.

    Attributes
    ----------
    constant
        Contrast constant of `livestain.contrast`.
    pixel_um
        Pixel size before resampling, um; None where it is not stated.
    label_free
        (Y, X) float32 contrast in [-1, 1], each.
    stains
        (S, Y, X) float32 in 0..1, each; empty where only a teacher knows the stains. Of the same fields as
        ``label_free`` only where `Fields.paired` says so.
    frames
        (Y, X) counts of the label-free fields at the scale of training, which ``label_free`` was made of.
    """

    constant: float
    pixel_um: float | None
    label_free: tuple[Field, ...]
    stains: tuple[Field, ...]
    frames: tuple[Counts, ...]

    @cached_property
    def energy(self) -> tuple[Field, ...]:
        """(Y, X) float32 local energy of each label-free field, in units of the renderer."""
        return tuple(local_energy(field / UNIT) for field in self.label_free)

    @cached_property
    def foreground(self) -> float:
        """Share of bright pixels in the stains (the brightest of them in each pixel)."""
        return float(np.mean(np.concatenate([_is_bright(stains).ravel() for stains in self.stains])))

    @cached_property
    def cell_energy(self) -> float:
        """Energy above which a label-free pixel is taken for a cell: as many pixels as three times the foreground."""
        share = min(_FOREGROUND_LIMIT, 3 * self.foreground)
        return float(np.quantile(np.concatenate([energy.ravel() for energy in self.energy]), 1 - share))

    @cached_property
    def energetic(self) -> tuple[Points, ...]:
        """(n, 2) pixels of each label-free field that are taken for cells."""
        return tuple(np.argwhere(energy > self.cell_energy) for energy in self.energy)

    @cached_property
    def bright(self) -> tuple[Points, ...]:
        """(n, 2) bright pixels of each field of stains."""
        return tuple(find_bright(stains) for stains in self.stains)

    @cached_property
    def relief(self) -> float:
        """How strong the cells' contrast is: the median over peaks of the energy over 0.5, from 0.6 to 3."""
        peaks = [
            energy[(energy == ndimage.maximum_filter(energy, 15)) & (energy > self.cell_energy)]
            for energy in self.energy
        ]
        found = np.concatenate(peaks)
        return float(np.clip(np.median(found) / 0.5, 0.6, 3.0)) if len(found) else 1.0


@dataclass(frozen=True, eq=False)
class Fields:
    """Everything a recipe may draw from.

    Attributes
    ----------
    groups
        Name of the group -> its fields.
    stains
        The S names.
    pixel_um
        Pixel size of training, um; None where none is stated.
    paired
        Field k of ``label_free`` and of ``stains`` are the same field, in every group.
    taught
        Group -> (S, Y, X) float32 stains in 0..1 that a teacher gives to each of its label-free fields; or None.
    teacher
        Identity of the model that teaches, or that the training starts from; empty for none.
    """

    groups: Mapping[str, Group]
    stains: tuple[str, ...]
    pixel_um: float | None
    paired: bool = False
    taught: Mapping[str, tuple[Field, ...]] | None = None
    teacher: str = ""

    @property
    def measured(self) -> bool:
        """Whether there are measured stains, beside what a teacher may give."""
        return all(group.stains for group in self.groups.values())


@dataclass(frozen=True, eq=False)
class Known:
    """A field of which both sides are known; used for scores and for the choice, never to learn from.

    ``contrast`` is (Y, X) float32, ``stains`` (S, Y, X) float32 in 0..1, at the scale of training.
    """

    name: str
    position: str
    group: str
    contrast: Field
    stains: Field


def load_fields(
    label_free: Sequence[Source],
    stains: Mapping[str, Sequence[Source]],
    pixel_um: float | None = None,
    paired: bool = False,
) -> Fields:
    """Read, resample and scale every plane; blocks, and holds 9 bytes for each label-free pixel, 4 for each stain's.

    Parameters
    ----------
    label_free, stains
        From `find_sources`; every stain has the same fields, in the same order or with the same names up to the
        last ``_``. A group of label-free fields needs stains of that group; one group of stains serves all. No stain
        at all: label-free fields alone, for a teacher.
    pixel_um
        Pixel size of training, um; None: the coarsest that is stated.

    Raises
    ------
    ImageError
        Groups or stains do not belong together, a plane is too small, dark or constant, pixel sizes are mixed.
    """
    stacks = _stack_stains(stains)
    sizes = [source.pixel_um for source in label_free if source.pixel_um]
    wanted = pixel_um or (max(sizes) if sizes else None)
    groups = {}
    for name in dict.fromkeys(source.group for source in label_free):
        planes = [source for source in label_free if source.group == name]
        of_group = _stacks_of(name, stacks)
        groups[name] = _load_group(name, planes, of_group, tuple(stains), wanted)
    return Fields(groups, tuple(stains), wanted, paired)


def load_pairs(pairs: Sequence[Pair], stains: Sequence[str], pixel_um: float | None = None) -> Fields:
    """Return pairs as fields whose sides belong together (see `load_fields`)."""
    label_free, measured = [], {name: list[Source]() for name in stains}
    for pair in pairs:
        label_free.append(_source_of_pair(pair, None))
        for name in stains:
            measured[name].append(_source_of_pair(pair, name))
    return load_fields(label_free, measured, pixel_um, paired=True)


def load_known(pairs: Sequence[Pair], fields: Fields) -> list[Known]:
    """Return pairs on the scales of the training images, for scores and for the choice.

    Raises
    ------
    ImageError
        A pair's group is none of the training's.
    """
    scaled = load_pairs(pairs, fields.stains, fields.pixel_um)
    known = []
    for name, group in scaled.groups.items():
        match = name if name in fields.groups else next(iter(fields.groups))
        if name not in fields.groups and len(fields.groups) > 1:
            raise ImageError(f"pairs of group {name!r}: the training has {', '.join(map(repr, fields.groups))}")
        constant = fields.groups[match].constant
        of_group = [pair for pair in pairs if pair.group == name]
        for pair, frame, stains in zip(of_group, group.frames, group.stains, strict=True):
            contrast = normalise(frame, estimate_background(frame), constant)
            known.append(Known(pair.name, pair.position, match, contrast, stains))
    return known


def local_energy(contrast: Field) -> Field:
    """Return the local standard deviation (Gaussian window of sigma 2 px), blurred by 3 px."""
    mean = ndimage.gaussian_filter(contrast, 2)
    square = ndimage.gaussian_filter(contrast**2, 2)
    energy: Field = ndimage.gaussian_filter(np.sqrt(np.maximum(square - mean**2, 0)), 3)
    return energy


def contrast_constant(frames: Sequence[Counts]) -> float:
    """Return the contrast constant of label-free frames of one kind, from themselves alone (see the module)."""
    spreads = []
    for frame in frames:
        relative = normalise(frame, estimate_background(frame), 1.0)
        rest = relative - ndimage.gaussian_filter(relative, _SLOW_PX)
        spreads.append(1.4826 * float(np.median(np.abs(rest - np.median(rest)))))
    return float(np.clip(MADS * np.median(spreads), *_CONSTANT_RANGE))


def scale_stain(planes: Sequence[Counts], what: str) -> list[Field]:
    """Return measured planes of one stain and group on one scale: 0 = background, 1 = `FULL_SCALE` typical objects.

    The typical object is the median of the bright class: found by Otsu's threshold among the pixels that stand out,
    then halfway between background and their median. It holds at a coverage of 0.2 %, where percentiles fail, and in a
    closed layer of cells, whose median is no background: there the darkest tenth of the pixels is.

    Raises
    ------
    ImageError
        Nothing stands out from the background.
    """
    smooth = np.concatenate([ndimage.gaussian_filter(plane.astype(np.float32), 1).ravel() for plane in planes])
    background = float(np.median(np.concatenate([plane.ravel() for plane in planes])))
    noise = 1.4826 * float(np.median(np.abs(smooth - np.median(smooth))))
    outstanding = _outstanding(smooth, background, noise)
    if outstanding.size < _OUTSTANDING_PX:
        lowest, background = (float(value) for value in np.percentile(smooth, _DARK_PERCENTILES))
        outstanding = _outstanding(smooth, background, (background - lowest) / _DARK_SDS)
        if outstanding.size < _CROWDED * smooth.size:
            raise ImageError(
                f"{what}: nothing stands out from the background of {background:g} counts in {len(planes)} images; "
                "are these images of the stain?"
            )
    bright = smooth[smooth > otsu(outstanding)]
    halfway = background + 0.5 * (float(np.median(bright)) - background)
    typical = float(np.median(smooth[smooth > halfway])) - background
    return [
        np.clip(
            (ndimage.gaussian_filter(plane.astype(np.float32), _BLUR_PX) - background) / (typical * FULL_SCALE),
            *_STAIN_RANGE,
        ).astype(np.float32)
        for plane in planes
    ]


def _outstanding(smooth: Field, background: float, noise: float) -> Field:
    found: Field = smooth[smooth > background + max(5 * max(noise, 0.5), 3.0)]
    return found


def otsu(values: npt.NDArray[np.float32]) -> float:
    """Return Otsu's threshold of ``values`` (256 bins): the split with the largest variance between its classes."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    sums = np.cumsum(counts * centres)
    mean_below = sums / np.maximum(below, 1)
    mean_above = (sums[-1] - sums) / np.maximum(counts.sum() - below, 1)
    variance = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[:-1]) ** 2
    return float(centres[int(np.argmax(variance))])


def find_bright(stains: Field) -> Points:
    """Return the (n, 2) pixels of (S, Y, X) stains in which one is at least half as bright as a typical nucleus."""
    return np.argwhere(_is_bright(stains))


def _is_bright(stains: Field) -> npt.NDArray[np.bool_]:
    bright: npt.NDArray[np.bool_] = stains.max(axis=0) * FULL_SCALE > _BRIGHT
    return bright


def _load_group(
    name: str,
    label_free: Sequence[Source],
    stacks: Sequence[Sequence[Source]],
    names: Sequence[str],
    pixel_um: float | None,
) -> Group:
    frames = tuple(_read(source, pixel_um) for source in label_free)
    for source, frame in zip(label_free, frames, strict=True):
        if not is_usable(frame):
            raise ImageError(
                f"{source.path} has a median of {np.median(frame):.0f} counts: too dark or saturated for a label-free "
                "image; were the folders swapped?"
            )
    constant = contrast_constant(frames)
    contrast = tuple(normalise(frame, estimate_background(frame), constant) for frame in frames)
    what = f"group {name!r}, stain " if name else "stain "
    scaled = [
        scale_stain([_read(stack[k], pixel_um) for stack in stacks], f"{what}{stain!r}")
        for k, stain in enumerate(names)
    ]
    stains = tuple(np.stack(planes) for planes in zip(*scaled, strict=True))
    return Group(constant, label_free[0].pixel_um, contrast, stains, frames)


def _read(source: Source, pixel_um: float | None) -> Counts:
    plane = source.read()
    if np.ptp(plane) == 0:
        raise ImageError(f"{source.path} is {plane.flat[0]} counts everywhere: nothing can be learned; leave it out")
    if not source.pixel_um or not pixel_um:
        return plane
    try:
        return resample(plane, resampled_shape(source.shape, source.pixel_um, pixel_um))
    except FrameError as error:
        raise ImageError(f"{source.path}: {error}") from error


def _stack_stains(stains: Mapping[str, Sequence[Source]]) -> list[tuple[Source, ...]]:
    """Return the planes of every field, one for each stain."""
    if not stains:
        return []
    first, *others = stains.items()
    stacks: list[tuple[Source, ...]] = [(source,) for source in first[1]]
    for name, sources in others:
        if len(sources) != len(first[1]):
            raise ImageError(
                f"{len(first[1])} images of {first[0]!r} and {len(sources)} of {name!r}: all stains of the same fields "
                "are needed; leave out the fields that lack one, or train two models"
            )
        by_trunk = {(source.group, source.trunk): source for source in sources}
        matched = [by_trunk.get((stack[0].group, stack[0].trunk)) for stack in stacks]
        whole = len(by_trunk) == len(sources) and None not in matched
        partners = [source for source in matched if source] if whole else list(sources)
        stacks = [(*stack, partner) for stack, partner in zip(stacks, partners, strict=True)]
        for stack in stacks:
            if stack[0].shape != stack[-1].shape:
                raise ImageError(f"{stack[0].path} and {stack[-1].path} have other sizes: one field in two stains?")
    return stacks


def _stacks_of(group: str, stacks: Sequence[tuple[Source, ...]]) -> list[tuple[Source, ...]]:
    known = list(dict.fromkeys(stack[0].group for stack in stacks))
    if len(known) <= 1:
        return list(stacks)
    found = [stack for stack in stacks if stack[0].group == group]
    if not found:
        raise ImageError(
            f"label-free group {group!r} has no stains: they have the groups {', '.join(map(repr, known))}; give both "
            "sides the same groups, or the stains one"
        )
    return found


def _source_of_pair(pair: Pair, stain: str | None) -> Source:
    read = pair.label_free if stain is None else pair.truth[stain]
    if read is None:
        raise ImageError(f"pair {pair.name} has no label-free image: training needs both sides")
    return Source(pair.name, pair.group, Path(pair.name), pair.shape, np.dtype(np.uint16), pair.pixel_um, read)
