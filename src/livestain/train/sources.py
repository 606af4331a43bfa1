"""Images to train on, found on disk: planes of one domain with their groups and pixel sizes; nothing is read yet."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from livestain.errors import ChannelError, ImageError
from livestain.evaluate.pairs import ReadPlane, natural_order, read_table, require_measured
from livestain.frames import Counts
from livestain.images import ImageSet, open_images
from livestain.images.opening import IMAGE_ENDINGS
from livestain.store.metadata import read_document
from livestain.store.read import Run, open_run
from livestain.store.run import LEDGER_FILE, STATE_FILE, image_path

LABEL_FREE = "label_free"
_CHANNEL_MARK = "::"
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Source:
    """One plane of one field of view on disk.

    Attributes
    ----------
    name
        File name without its ending, with time point and section where the file has several.
    group
        The experiment or microscope; empty where there is one only.
    path
        The file.
    shape
        (Y, X) in px.
    dtype
        uint8 or uint16.
    pixel_um
        Pixel size; None where it is not stated.
    read
        Reads the (Y, X) counts.
    """

    name: str
    group: str
    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    pixel_um: float | None
    read: ReadPlane

    @property
    def trunk(self) -> str:
        """The name up to its last ``_``: what files of one field share."""
        return self.name.rpartition("_")[0] or self.name


def find_sources(path: Path | str, column: str) -> list[Source]:
    """Return every plane of one domain.

    Parameters
    ----------
    path
        A file, a folder (subfolders are groups), a run, a folder of runs (each is a group), a quoted glob, or a CSV
        with the columns ``column`` and, where needed, ``group`` and ``pixel_um``; its paths are relative to its own
        folder. ``PATH::CHANNEL`` says which channel of files with several is meant. Of a run only planes are taken
        whose row in the raw ledger is ``ok``.
    column
        ``label_free``, or the name of the stain; also the channel that is taken where none is said (``label_free``
        of a run: its label-free channel).

    Raises
    ------
    ImageError
        Nothing is there; a file cannot be read or is colour; it is a virtual stain; the CSV lacks the column.
    ChannelError
        A file has several channels and none has this name.
    """
    text, _, channel = str(path).partition(_CHANNEL_MARK)
    where = Path(text).expanduser()
    files = _files(where, text, column)
    found = [source for file in files for source in _open(*file, column, channel or None)]
    if not found:
        raise ImageError(
            f"{text} holds no image to learn from: .tif, .tiff, .png, .nd2, .czi files, .ome.zarr folders and runs of "
            "livestain are read"
        )
    return found


def _files(where: Path, text: str, column: str) -> Iterator[tuple[Path, str, float | None]]:
    """Yield file, image folder or run, its group and stated pixel size."""
    if where.is_file() and where.suffix.lower() == ".csv":
        yield from _lines(where, column)
    elif where.is_dir() and where.suffix != ".zarr" and not _is_run(where):
        for path in sorted(_images_in(where), key=lambda path: natural_order(str(path))):
            group = (path if _is_run(path) else path.parent).relative_to(where).as_posix()
            yield path, "" if group == "." else group, None
    elif not where.exists() and _WILDCARD.search(text):
        parts = where.parts
        first = next(k for k, part in enumerate(parts) if _WILDCARD.search(part))
        for path in sorted(Path(*parts[:first]).glob(str(Path(*parts[first:]))), key=lambda p: natural_order(str(p))):
            yield path, "", None
    elif where.exists():
        yield where, "", None
    else:
        raise ImageError(f"{where} does not exist: give a file, a folder, a run, a quoted glob or a .csv table")


def _images_in(folder: Path) -> Iterator[Path]:
    """Yield image files, OME-Zarr folders and runs, in no order; what lies inside of the latter two is theirs."""
    for at, folders, files in os.walk(folder):
        here = Path(at)
        inside = [here / name for name in folders if not name.startswith(".")]
        whole = [path for path in inside if path.suffix == ".zarr" or _is_run(path)]
        folders[:] = [path.name for path in inside if path not in whole]
        yield from whole
        shown = (here / name for name in files if not name.startswith("."))
        yield from (path for path in shown if path.suffix.lower() in IMAGE_ENDINGS)


def _is_run(path: Path) -> bool:
    return (path / STATE_FILE).is_file() or (path / "raw" / LEDGER_FILE).is_file()


def _lines(path: Path, column: str) -> Iterator[tuple[Path, str, float | None]]:
    _, lines = read_table(path, column)
    for number, line in enumerate(lines, start=2):
        if not (line[column] or "").strip():
            continue
        text = (line.get("pixel_um") or "").strip()
        try:
            pixel_um = float(text) if text else None
        except ValueError:
            pixel_um = -1.0
        if pixel_um is not None and not 0 < pixel_um < float("inf"):
            raise ImageError(f"{path}, line {number}: pixel_um {text!r} is not possible: a number above 0, or nothing")
        yield path.parent / line[column].strip(), (line.get("group") or "").strip(), pixel_um


def _open(path: Path, group: str, pixel_um: float | None, column: str, channel: str | None) -> Iterator[Source]:
    if _is_run(path):
        run = open_run(path)
        yield from _open_run(run, run.positions, group, column, channel)
    elif path.parent.name == "raw" and (path.parent / LEDGER_FILE).is_file():
        run = open_run(path.parents[1])
        here = [position for position in run.positions if image_path(path.parent, position).name == path.name]
        yield from _open_run(run, here, group, column, channel)
    else:
        with open_images(path) as images:
            require_measured(path, images.kind)
            number = _channel_number(images, column, channel)
            places = [(t, z) for t in range(images.axes.t) for z in range(images.axes.z)]
            stem = path.name.split(".")[0]
            for t, z in places:
                name = stem if len(places) == 1 else f"{stem} t{t} z{z}"
                yield _source(images, (t, number, z), name, group, pixel_um)


def _open_run(run: Run, positions: Sequence[int], group: str, column: str, channel: str | None) -> Iterator[Source]:
    """Yield the recorded planes of one measured channel: those with an ``ok`` row; others read as zeros."""
    wanted = (channel or column).removeprefix("measured: ")
    label_free = column == LABEL_FREE and channel is None
    measured = [name for name in run.channels if name.startswith("measured: ")]
    if not label_free and f"measured: {wanted}" not in measured:
        if f"virtual: {wanted.removeprefix('virtual: ')}" in run.channels:
            require_measured(f"{run.path}, channel {wanted!r}", "virtual")
        raise ChannelError(_no_channel(run.path, measured, wanted, column))
    rows = [row for row in run.rows() if row.get("state") == "ok"]
    for position in positions:
        path = image_path(run.path / "raw", position)
        with open_images(path) as images:
            if not label_free and f"measured: {wanted}" not in images.channels:
                continue
            number = _label_free_of(path) if label_free else images.channels.index(f"measured: {wanted}")
            places = {(int(row["t"]), int(row["z"])) for row in rows if (row["p"], row["c"]) == (position, number)}
            for t, z in sorted(places):
                yield _source(images, (t, number, z), f"p{position:03} t{t} z{z}", group, None)


def _label_free_of(image: Path) -> int:
    """Return 0: the label-free channel of a run comes first, unless the recorder was not told which it is."""
    channels = read_document(image / "zarr.json")["attributes"]["livestain"]["channels"]
    if channels[0].get("label_free", True) is False:
        names = [f"measured: {channel['name']}" for channel in channels]
        raise ChannelError(_no_channel(image, names, "label-free", LABEL_FREE))
    return 0


def _channel_number(images: ImageSet, column: str, channel: str | None) -> int:
    if channel is None and len(images.channels) == 1:
        return 0
    wanted = channel or column
    try:
        return images.select_channel(wanted)
    except ChannelError as error:
        raise ChannelError(_no_channel(images.path, images.channels, wanted, column)) from error


def _no_channel(path: Path, known: Sequence[str], wanted: str, column: str) -> str:
    example = known[0].removeprefix("measured: ") if known else "CHANNEL"
    return (
        f"{path} has no channel {wanted!r}: it has {', '.join(map(repr, known)) or 'none'}; say which one is {column} "
        f"behind the path, such as PATH{_CHANNEL_MARK}{example}"
    )


def _source(images: ImageSet, place: tuple[int, int, int], name: str, group: str, pixel_um: float | None) -> Source:
    read = functools.partial(_read, images.path, *place)
    size_um = pixel_um or images.pixel_um or None
    return Source(name, group, images.path, images.plane_shape, images.dtype, size_um, read)


def _read(path: Path, t: int, channel: int, z: int) -> Counts:
    with open_images(path) as images:
        return images.plane(t, channel, z)
