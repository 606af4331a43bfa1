"""Predictions that exist already: two image sets, or a run with measured and virtual channels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from livestain.errors import ImageError, RunError
from livestain.evaluate.pairs import Pair, ReadPlane, natural_order, plane_of, require_measured
from livestain.frames import Counts
from livestain.images.facts import Axes
from livestain.images.imageset import ImageSet
from livestain.images.opening import open_images
from livestain.store.read import Run, open_run

_MEASURED, _VIRTUAL = "measured: ", "virtual: "


class _File(NamedTuple):
    path: Path
    axes: Axes
    pixel_um: float
    kind: str

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self.path.name.split(".")[0]

    @property
    def trunk(self) -> str:
        """The name up to its last ``_``."""
        return self.stem.rpartition("_")[0]


def pair_sets(prediction: Path | str, truth: Path | str, stain: str = "stain") -> tuple[list[Pair], bool]:
    """Pair two image sets plane by plane.

    Parameters
    ----------
    prediction, truth
        Files, or folders whose files have the same names (or the same up to their last ``_``).
    stain
        What tables call it.

    Returns
    -------
    Pairs without label-free planes, position = file; and whether the prediction is one of ours (0..65535 = 0..1).

    Raises
    ------
    ImageError
        A set cannot be read; files have no counterpart; sizes or counts differ; the truth is a virtual stain.
    """
    predicted, measured = _files(Path(prediction)), _files(Path(truth))
    for file in measured:
        require_measured(file.path, file.kind)
    pairs = [
        pair for x, y in _counterparts(Path(prediction), predicted, measured) for pair in _pair_planes(x, y, stain)
    ]
    return pairs, all(file.kind == "virtual" for file in predicted)


def pair_run(path: Path | str, truths: Sequence[str]) -> list[Pair]:
    """Pair the virtual channels of a run with measured ones, for all planes that have both.

    Parameters
    ----------
    path
        Run folder.
    truths
        ``"CHANNEL"`` where the run has one stain, else one ``"STAIN=CHANNEL"`` for each stain to be judged.

    Returns
    -------
    Pairs with the label-free planes; position = position of the run.

    Raises
    ------
    RunError
        No run, no stains, no such channel, a virtual channel as truth, or no plane that has both.
    """
    run = open_run(path)
    chosen = _choose_channels(run, truths)
    missing = set(run.missing())
    rows = [row for row in run.rows() if row.get("state") == "ok"]
    saved = {(int(row["p"]), int(row["t"]), int(row["z"]), int(row["c"])) for row in rows}
    pairs = []
    for position in run.positions:
        measured = _measured_at(run, position)
        needed = [0, *(measured.index(name) for name in chosen.values() if name in measured)]
        places = sorted({(t, z) for p, t, z, _ in saved if p == position})
        for t, z in places:
            whole = len(needed) == len(chosen) + 1 and all((position, t, z, c) in saved for c in needed)
            if whole and (position, t, z) not in missing:
                pairs.append(_pair_of_run(run, position, t, z, chosen, measured[0]))
    if not pairs:
        raise RunError(f"{path} has no plane with a stain and {', '.join(chosen.values())}: record or stain it first")
    return pairs


def _choose_channels(run: Run, truths: Sequence[str]) -> dict[str, str]:
    """Return stain -> label of the measured channel."""
    stains = [name.removeprefix(_VIRTUAL) for name in run.channels if name.startswith(_VIRTUAL)]
    measured = [name for name in run.channels if name.startswith(_MEASURED)]
    if not stains:
        raise RunError(f"{run.path} has no virtual stain: there is nothing to judge")
    chosen: dict[str, str] = {}
    for text in truths:
        stain, equals, channel = text.rpartition("=")
        if channel.startswith(_VIRTUAL):
            raise RunError(f"{text} is a virtual stain: only a measured channel can be the truth: {_list(measured)}")
        if not equals and len(stains) > 1:
            raise RunError(
                f"{run.path} has the stains {_list(stains)}: say whose truth {text} is, as {stains[0]}={text}"
            )
        label = channel if channel.startswith(_MEASURED) else _MEASURED + channel
        if label not in measured:
            raise RunError(f"{run.path} has no measured channel {channel!r}: it has {_list(measured)}")
        if equals and stain not in stains:
            raise RunError(f"{run.path} has no stain {stain!r}: it has {_list(stains)}")
        chosen[stain or stains[0]] = label
    return chosen


def _pair_of_run(run: Run, position: int, t: int, z: int, chosen: dict[str, str], label_free: str) -> Pair:
    def read(name: str) -> ReadPlane:
        return functools.partial(_plane_of_run, run, name, position, t, z)

    shape = run.array(label_free, position).shape
    return Pair(
        name=f"p{position} t{t} z{z}",
        position=f"p{position}",
        group="",
        shape=(shape[2], shape[3]),
        truth={stain: read(channel) for stain, channel in chosen.items()},
        label_free=read(label_free),
        virtual={stain: read(_VIRTUAL + stain) for stain in chosen},
    )


def _plane_of_run(run: Run, name: str, position: int, t: int, z: int) -> Counts:
    plane: Counts = run.array(name, position)[t, z]
    return plane


def _measured_at(run: Run, position: int) -> list[str]:
    """Return the labels of the measured channels of one position, in the order of their numbers."""
    found = []
    for name in (name for name in run.channels if name.startswith(_MEASURED)):
        try:
            run.array(name, position)
        except RunError:
            continue
        found.append(name)
    return found


def _files(path: Path) -> list[_File]:
    """Return the files of a set with what their headers say: those of a plain folder, else the set itself."""
    plain = path.is_dir() and not any((path / name).is_file() for name in ("zarr.json", ".zattrs", ".zgroup"))
    if not plain:
        return [_read_header(path)]
    inside = [file for file in path.iterdir() if file.suffix.lower() in (".png", ".tif", ".tiff", ".zarr")]
    files = sorted(
        (file for file in inside if not file.name.startswith(".")), key=lambda file: natural_order(file.name)
    )
    if not files:
        raise ImageError(f"{path} holds no image: give a file or folder of TIFF, PNG or OME-Zarr images")
    return [_read_header(file) for file in files]


def _read_header(path: Path) -> _File:
    with open_images(path) as images:
        _require_one_channel(images)
        return _File(path, images.axes, images.pixel_um, images.kind)


def _require_one_channel(images: ImageSet) -> None:
    if images.axes.c > 1:
        raise ImageError(
            f"{images.path} has {images.axes.c} channels ({', '.join(images.channels)}): one is compared; "
            "save it alone, or give the run with --run"
        )


def _counterparts(where: Path, predicted: list[_File], measured: list[_File]) -> list[tuple[_File, _File]]:
    """Return the files that belong together: by name in folders, else the only ones."""
    if len(predicted) == len(measured) == 1:
        return [(predicted[0], measured[0])]
    for by_name in ({file.stem: file for file in measured}, {file.trunk: file for file in measured}):
        partners = [(file, by_name.get(file.stem) or by_name.get(file.trunk)) for file in predicted]
        found = [(file, partner) for file, partner in partners if partner is not None]
        if len({partner.path for _, partner in found}) == len(measured) == len(predicted):
            return found
    known = {file.stem for file in measured}
    lost = next((file.path.name for file in predicted if file.stem not in known), predicted[0].path.name)
    raise ImageError(
        f"{where} holds {len(predicted)} files, the truth {len(measured)}, and {lost} has no counterpart: "
        "files of both need the same names, or the same up to the last _"
    )


def _pair_planes(predicted: _File, measured: _File, stain: str) -> list[Pair]:
    if predicted.axes != measured.axes:
        raise ImageError(
            f"{predicted.path} ({predicted.axes}) and {measured.path} ({measured.axes}) differ: equal sizes are needed"
        )
    places = [(t, z) for t in range(measured.axes.t) for z in range(measured.axes.z)]
    return [
        Pair(
            name=measured.stem if len(places) == 1 else f"{measured.stem} t{t} z{z}",
            position=measured.stem,
            group="",
            shape=(measured.axes.y, measured.axes.x),
            truth={stain: functools.partial(plane_of, measured.path, t, z)},
            virtual={stain: functools.partial(plane_of, predicted.path, t, z)},
            pixel_um=measured.pixel_um or None,
        )
        for t, z in places
    ]


def _list(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
