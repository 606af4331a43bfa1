"""Pairs: label-free planes with the measured stains of the same fields, found on disk by a table or by their names.

A CSV has the columns ``label_free`` and one per stain, and may have ``mask``, ``position``, ``group``, ``pixel_um`` and
``contrast``; its paths are relative to its own folder. In a folder without one, files whose names are the same up to
the last ``_`` belong together, and what follows says which is which (``a_bf.png``, ``a_nuclei.png``, ``a_mask.png``).
"""

from __future__ import annotations

import csv
import functools
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from livestain.errors import ImageError, plain
from livestain.evaluate.labels import Labels, read_labels
from livestain.frames import Counts
from livestain.images.opening import open_images

ReadPlane = Callable[[], Counts]
ReadLabels = Callable[[], Labels]

LABEL_FREE_ENDINGS = ("bf", "brightfield", "labelfree", "phase", "pc", "dic", "trans")
MASK_ENDINGS = ("mask", "masks", "label", "labels")
_LABEL_FREE = "label_free"
_OTHERS = ("mask", "position", "group", "pixel_um", "contrast")
_ENDINGS = {".png", ".tif", ".tiff"}
_SHORTEST_STEM = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """One field at one moment; planes are read when asked for and not kept.

    Attributes
    ----------
    name
        What tables call it.
    position
        The field of view: what intervals are taken over. Images of one position are averaged first.
    group
        The experiment or microscope; empty where there is one only.
    label_free
        Reads the (Y, X) label-free counts; None where there are none.
    truth
        Stain name -> reads the (Y, X) measured counts of that stain, in the order given.
    virtual
        Stain name -> reads a (Y, X) prediction that exists already; empty where a model shall make it.
    mask
        Reads the (Y, X) labels of the objects of the first stain; None where there are none.
    shape
        (Y, X) in px of every plane.
    pixel_um
        Pixel size in um; None where it is not known.
    contrast
        Contrast constant of this microscope (`livestain.contrast`); None: the model's.
    """

    name: str
    position: str
    group: str
    shape: tuple[int, int]
    truth: Mapping[str, ReadPlane]
    label_free: ReadPlane | None = None
    virtual: Mapping[str, ReadPlane] = field(default_factory=dict)
    mask: ReadLabels | None = None
    pixel_um: float | None = None
    contrast: float | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table: files that belong together."""

    where: str
    label_free: Path
    stains: Mapping[str, Path]
    mask: Path | None
    position: str
    group: str
    pixel_um: float | None = None
    contrast: float | None = None


def read_pairs(path: Path | str, stains: Sequence[str] | None = None) -> list[Pair]:
    """Find the pairs of a CSV file or of a folder; reads headers, no pixels.

    Parameters
    ----------
    path
        A ``.csv``, or a folder of TIFF or PNG files (subfolders become groups).
    stains
        Names wanted, such as a model's outputs. In a folder an ending stands for the stain that begins with it
        (``_nuc`` for ``nuclei``). None: every stain column of the CSV; a folder needs names.

    Returns
    -------
    At least one pair, each with at least one stain. A file of several planes gives one pair for each; they share
    their position. All pairs have the same stains.

    Raises
    ------
    ImageError
        Nothing is there; a file is missing or cannot be read; sizes or counts differ within a pair; a measured stain
        is a virtual one; no stain of these names.
    """
    where = Path(path).expanduser()
    if where.is_dir():
        rows = _rows_of_folder(where, stains)
    elif where.is_file() and where.suffix.lower() == ".csv":
        rows = _rows_of_table(where, stains)
    else:
        raise ImageError(f"{where} is no table and no folder of pairs: give a .csv file or a folder")
    return [pair for row in rows for pair in _open_row(row)]


def plane_of(path: Path, t: int, z: int) -> Counts:
    """Read one plane of the only channel of a file; opened and closed for it."""
    with open_images(path) as images:
        return images.plane(t, images.select_channel(None), z)


def require_measured(path: Path | str, kind: str) -> None:
    """Raise `ImageError` for images that are a virtual stain: they are no truth."""
    if kind == "virtual":
        raise ImageError(f"{path} is a virtual stain: only a measured channel can be the truth; choose that one")


def natural_order(text: str) -> list[str | int]:
    """Return a sort key that puts t2 before t10."""
    return [int(piece) if i % 2 else piece for i, piece in enumerate(re.split(r"([0-9]+)", text.casefold()))]


def _open_row(row: _Row) -> list[Pair]:
    with open_images(row.label_free) as images:
        planes, pixel_um = (images.axes.t, images.axes.z), images.pixel_um
        shape = images.plane_shape
        images.select_channel(None)
    for path in row.stains.values():
        with open_images(path) as measured:
            require_measured(path, measured.kind)
            measured.select_channel(None)
            if (measured.axes.t, measured.axes.z) != planes or measured.plane_shape != shape:
                raise ImageError(
                    f"{row.where}: {path} ({measured.axes}) and {row.label_free.name} "
                    f"({planes[0]} time points, {planes[1]} sections of {shape[0]} x {shape[1]} px) are no pair: "
                    "equal sizes and counts are needed"
                )
    places = [(t, z) for t in range(planes[0]) for z in range(planes[1])]
    if row.mask is not None and len(places) > 1:
        raise ImageError(f"{row.where}: a mask belongs to one plane; {row.label_free.name} has {len(places)}")
    return [
        Pair(
            name=_name(row, t, z, len(places)),
            position=row.position,
            group=row.group,
            shape=shape,
            truth={name: functools.partial(plane_of, path, t, z) for name, path in row.stains.items()},
            label_free=functools.partial(plane_of, row.label_free, t, z),
            mask=None if row.mask is None else functools.partial(read_labels, row.mask, shape),
            pixel_um=row.pixel_um or pixel_um or None,
            contrast=row.contrast,
        )
        for t, z in places
    ]


def _name(row: _Row, t: int, z: int, count: int) -> str:
    stem = row.label_free.stem
    return f"{row.group}/{stem}".lstrip("/") if count == 1 else f"{row.group}/{stem} t{t} z{z}".lstrip("/")


def read_table(path: Path, column: str) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns of a CSV file and its lines; `ImageError` where it cannot be read or has no such column."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns, lines = list(table.fieldnames or ()), list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"table {path} cannot be read ({plain(error)}): save it as CSV, UTF-8, with commas") from error
    if column not in columns:
        raise ImageError(f"table {path} has no column {column!r}: it has {', '.join(columns) or 'none'}")
    return columns, lines


def _rows_of_table(path: Path, stains: Sequence[str] | None) -> list[_Row]:
    columns, lines = read_table(path, _LABEL_FREE)
    known = [name for name in columns if name not in (_LABEL_FREE, *_OTHERS)]
    wanted = known if stains is None else [name for name in known if name in stains]
    if not wanted:
        raise ImageError(
            f"table {path} has no stain: a column named {' or '.join(stains or ['after the stain'])} is needed, "
            f"beside {', '.join((_LABEL_FREE, *_OTHERS))}"
        )
    if not lines:
        raise ImageError(f"table {path} has a header and no line: one line for each pair is needed")
    return [_row_of_line(path, number, line, wanted) for number, line in enumerate(lines, start=2)]


def _row_of_line(path: Path, number: int, line: Mapping[str, str | None], stains: Sequence[str]) -> _Row:
    where = f"{path}, line {number}"
    cells = {key: (value or "").strip() for key, value in line.items() if isinstance(value, str | None)}

    def file(column: str) -> Path:
        if not cells[column]:
            raise ImageError(f"{where}: column {column!r} is empty; give the path of a file")
        return path.parent / cells[column]

    label_free = file(_LABEL_FREE)
    return _Row(
        where,
        label_free,
        {name: file(name) for name in stains},
        path.parent / cells["mask"] if cells.get("mask") else None,
        cells.get("position") or label_free.stem,
        cells.get("group", ""),
        _number(where, "pixel_um", cells),
        _number(where, "contrast", cells),
    )


def _number(where: str, column: str, cells: Mapping[str, str]) -> float | None:
    text = cells.get(column)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ImageError(f"{where}: {column} {text!r} is not possible: a number above 0, or nothing")
    return value


def _rows_of_folder(folder: Path, stains: Sequence[str] | None) -> list[_Row]:
    if not stains:
        raise ImageError(f"{folder} is a folder: which of its files are stains? give a .csv table instead")
    sets = _files_by_stem(folder)
    rows = [row for stem in sorted(sets, key=natural_order) if (row := _row_of_files(folder, stem, sets[stem], stains))]
    if not rows:
        endings = sorted({ending for files in sets.values() for ending in files})
        raise ImageError(
            f"{folder} holds no pair: names such as a_bf.png with a_{stains[0]}.png are needed "
            f"(label-free: {', '.join(LABEL_FREE_ENDINGS)}; found: {', '.join(endings[:8]) or 'no image'}); "
            "or give a .csv table"
        )
    return _of_same_stains(folder, rows)


def _of_same_stains(folder: Path, rows: list[_Row]) -> list[_Row]:
    for row in rows[1:]:
        if list(row.stains) != list(rows[0].stains):
            raise ImageError(
                f"{folder}: {row.where} has {', '.join(row.stains)}, {rows[0].where} has {', '.join(rows[0].stains)}: "
                "the same stains in every pair are needed; complete them, or list the pairs in a .csv table"
            )
    return rows


def _files_by_stem(folder: Path) -> dict[str, dict[str, Path]]:
    """Return path up to the last ``_``, relative to ``folder`` -> ending -> file."""
    sets: dict[str, dict[str, Path]] = {}
    for at, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.endswith(".zarr") and not name.startswith("."))
        for path in (Path(at, name) for name in sorted(files)):
            stem, mark, ending = path.name.split(".")[0].rpartition("_")
            if mark and path.suffix.lower() in _ENDINGS and not path.name.startswith("."):
                place = (path.parent.relative_to(folder) / stem).as_posix()
                sets.setdefault(place, {})[ending.lower()] = path
    return sets


def _row_of_files(folder: Path, stem: str, files: Mapping[str, Path], stains: Sequence[str]) -> _Row | None:
    label_free = [files[ending] for ending in LABEL_FREE_ENDINGS if ending in files]
    found = {name: path for name in stains if (path := _stain_file(name, files))}
    if not label_free or not found:
        return None
    masks = [files[ending] for ending in MASK_ENDINGS if ending in files]
    group = Path(stem).parent.as_posix()
    return _Row(stem, label_free[0], found, masks[0] if masks else None, stem, "" if group == "." else group)


def _stain_file(stain: str, files: Mapping[str, Path]) -> Path | None:
    for ending, path in files.items():
        if ending == stain.lower() or (len(ending) >= _SHORTEST_STEM and stain.lower().startswith(ending)):
            return path
    return None
