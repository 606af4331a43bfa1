"""A run folder as its readers see it: growing, crashed or finished."""

from __future__ import annotations

import json
import operator
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from livestain.errors import RunError, StoreError
from livestain.frames import Key
from livestain.store.ledger import Row, read_rows
from livestain.store.metadata import Document, read_document
from livestain.store.planes import PlaneReader
from livestain.store.run import LEDGER_FILE, STATE_FILE, image_path
from livestain.store.tables import Table, columns, count, extent, last_rows, saved_label_free, stain_states

_IMAGE_NAME = re.compile(r"p(\d+)\.ome\.zarr")


def open_run(path: Path | str) -> Run:
    """Return a run for reading; cheap, nothing is read yet. Raises `RunError` when the folder is no run."""
    path = Path(path).resolve()
    if not (path / STATE_FILE).is_file() and not (path / "raw" / LEDGER_FILE).is_file():
        raise RunError(f"{path} is no run: choose the folder that holds {STATE_FILE} and raw")
    return Run(path)


@dataclass(frozen=True, slots=True)
class Note:
    """A line that somebody wrote about a plane, or about the run (p, t, z None); ``time`` is unix time in s."""

    text: str
    p: int | None = None
    t: int | None = None
    z: int | None = None
    time: float | None = None

    @classmethod
    def of_row(cls, row: Row) -> Note:
        """Return the note of a row of the raw ledger that has one."""
        return cls(str(row["note"]), row.get("p"), row.get("t"), row.get("z"), row.get("time"))


class Run:
    """The planes, rows and counters of a run; everything is read from disk when asked for, so a growing run grows.

    ``model`` is a name of `stains` in every method; None = the model whose stains were begun last.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def state(self) -> Document:
        """What ``run.json`` says; raises `StoreError` when it is damaged or missing."""
        return read_document(self.path / STATE_FILE)

    @property
    def positions(self) -> tuple[int, ...]:
        """The positions that have a raw image."""
        return _positions(self.path / "raw")

    @property
    def stains(self) -> tuple[str, ...]:
        """The folder names of the models whose stains are here."""
        folder = self.path / "stains"
        return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir())) if folder.is_dir() else ()

    @property
    def models(self) -> tuple[str, ...]:
        """The names of `stains`, the one whose stains were begun last first."""
        folder = self.path / "stains"
        return tuple(sorted(self.stains, key=lambda name: -_begun(folder / name / LEDGER_FILE)))

    @property
    def channels(self) -> tuple[str, ...]:
        """The labels of all channels, such as ``"measured: BF"`` and ``"virtual: nuclei"``, measured ones first."""
        folders = [self.path / "raw", *(self.path / "stains" / model for model in self.stains)]
        labels = [
            label
            for folder in folders
            for position in _positions(folder)
            for label in _labels(image_path(folder, position))
        ]
        return tuple(dict.fromkeys(labels))

    def array(self, name: str, position: int = 0, *, model: str | None = None) -> PlaneArray:
        """Return one channel of one position as a lazy array.

        Parameters
        ----------
        name
            One of `channels`.
        position
            One of `positions`.

        Returns
        -------
        (T, Z, Y, X) array, T and Z as far as the raw ledger goes at this moment; see `PlaneArray`.

        Raises
        ------
        RunError
            There is no such channel at this position.
        """
        folder = self._model_folder(model) if name.startswith("virtual: ") else self.path / "raw"
        path = image_path(folder, position) if folder else None
        labels = _labels(path) if path and (path / "zarr.json").is_file() else []
        if path is None or name not in labels:
            raise RunError(
                f"{self.path} has no channel {name!r} at position {position}: "
                f"channels are {_listed(self.channels)}, positions {_listed(self.positions)}"
            )
        return PlaneArray(PlaneReader(path), labels.index(name), extent(self.rows(), position))

    def ledger(self, name: str = "raw") -> Table:
        """Return the rows about planes as columns, the last row of each plane.

        Parameters
        ----------
        name
            ``"raw"`` or one of `stains`.

        Returns
        -------
        Columns as `livestain.store.tables.columns` makes them, for ``pandas.DataFrame(table)``.
        """
        return columns(self.rows(name))

    def rows(self, name: str = "raw") -> list[Row]:
        """Return the rows of `ledger` as they stand there, for programs that go through them one by one."""
        if name != "raw" and name not in self.stains:
            raise RunError(f"{self.path} has no ledger {name!r}: choose one of {_listed(('raw', *self.stains))}")
        return last_rows(self._rows(name)[0])

    def missing(self, *, model: str | None = None) -> list[Key]:
        """Return the saved label-free planes without an ``ok`` stain row, in order of their raw rows."""
        raw, _ = self._rows("raw")
        states = self._stain_states(model)
        return [key for key in self._label_free(raw) if states.get(key) not in ("live", "late")]

    def counters(self, *, model: str | None = None) -> dict[str, int]:
        """Return the counters of the run as its ledgers give them: see `livestain.store.tables.count`."""
        raw, _ = self._rows("raw")
        return count(raw, self._label_free(raw), self._stain_states(model))

    @property
    def closed(self) -> bool:
        """Whether the recording ended in order (the raw ledger's last row is ``close``, but for later notes)."""
        return _is_closed(self._rows("raw")[0])

    @property
    def notes(self) -> list[Note]:
        """What people have noted, in the order in which it was written."""
        return [Note.of_row(row) for row in self._rows("raw")[0] if "note" in row]

    @property
    def being_recorded(self) -> bool:
        """Whether a program on this computer is recording or staining it; cheap, by what ``run.json`` says."""
        try:
            state = self.state
        except StoreError:
            return False
        here = state.get("host") == platform.node() and state.get("closed") is None
        return here and psutil.pid_exists(int(state.get("pid", -1)))

    @property
    def problems(self) -> list[str]:
        """One sentence for each thing that is not as it should be; empty when all is well."""
        raw, found = self._rows("raw")
        if not _is_closed(raw) and not self.being_recorded:
            found.append(f"{self.path} was not closed: its program ended early; what has an ok row is whole")
        saved = set(saved_label_free(raw))
        for model in self.stains:
            rows, damaged = self._rows(model)
            found += damaged
            orphans = sum(key not in saved for key, state in stain_states(rows).items() if state in ("live", "late"))
            if orphans:
                found.append(f"{model}: {orphans} stained plane(s) without a saved raw plane; not counted")
        try:
            self.state  # noqa: B018 - read to see whether it can be read
        except StoreError as error:
            found.append(str(error))
        return found

    def _rows(self, name: str) -> tuple[list[Row], list[str]]:
        folder = self.path / "raw" if name == "raw" else self.path / "stains" / name
        return read_rows(folder / LEDGER_FILE)

    def _label_free(self, raw: list[Row]) -> list[Key]:
        first = next(iter(self.positions), None)
        if first is not None and not _stained_at_all(image_path(self.path / "raw", first)):
            return []
        return saved_label_free(raw)

    def _stain_states(self, model: str | None) -> dict[Key, str]:
        folder = self._model_folder(model)
        return stain_states(self._rows(folder.name)[0]) if folder else {}

    def _model_folder(self, model: str | None) -> Path | None:
        if model is not None and model not in self.stains:
            raise RunError(f"{self.path} has no stains of model {model!r}: there are {_listed(self.stains)}")
        newest = next(iter(self.models), None) if model is None else model
        return self.path / "stains" / newest if newest is not None else None


def _is_closed(raw: list[Row]) -> bool:
    """A note that was added later brings its own ``open`` row; a recorder's would be followed by planes."""
    last = next((row for row in reversed(raw) if "note" not in row and "open" not in row), {})
    return "close" in last


class PlaneArray:
    """One channel as a lazy (T, Z, Y, X) array; planes are read when indexed and not kept.

    T and Z take integers and slices, Y and X whatever numpy takes within one plane. A plane that is not on disk reads
    as zeros: ask the run which planes are `missing`.
    """

    ndim = 4

    def __init__(self, reader: PlaneReader, channel: int, extent: tuple[int, int]) -> None:
        self._reader = reader
        self._channel = channel
        self.shape: tuple[int, int, int, int] = (*extent, *reader.plane_shape)
        self.dtype = reader.dtype

    def __repr__(self) -> str:
        return f"PlaneArray(shape={self.shape}, dtype={self.dtype}, path={str(self._reader.path)!r})"

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        """Return what numpy would for integers and slices; raises `StoreCorruptError` when a plane is damaged."""
        of_t, of_z, within = _split(index)
        times, sections = _chosen(of_t, self.shape[0]), _chosen(of_z, self.shape[1])
        part = np.empty(self.shape[2:], self.dtype)[within].shape
        out = np.zeros((len(times), len(sections), *part), self.dtype)
        for i, t in enumerate(times):
            for j, z in enumerate(sections):
                plane = self._reader.find(t, self._channel, z)
                if plane is not None:
                    out[i, j] = plane[within]
        kept = tuple(slice(None) if isinstance(axis, slice) else 0 for axis in (of_t, of_z))
        picked: npt.NDArray[Any] = out[kept]
        return picked

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype)


def _split(index: Any) -> tuple[int | slice, int | slice, tuple[Any, ...]]:
    """Return the indices of T and Z, and those within a plane (numpy's index language, so of any type)."""
    parts = list(index) if isinstance(index, tuple) else [index]
    dots = [at for at, part in enumerate(parts) if part is Ellipsis]
    for at in dots[:1]:
        parts[at : at + 1] = [slice(None)] * (5 - len(parts))
    parts += [slice(None)] * (2 - len(parts))
    of_t, of_z = (part if isinstance(part, slice) else operator.index(part) for part in parts[:2])
    return of_t, of_z, tuple(parts[2:])


def _chosen(index: int | slice, size: int) -> range:
    if isinstance(index, slice):
        return range(size)[index]
    if not -size <= index < size:
        raise IndexError(f"index {index} is outside 0..{size - 1}")
    return range(index % size, index % size + 1)


def _positions(folder: Path) -> tuple[int, ...]:
    """Return the positions whose image is complete (a killed writer may have left one without its last file)."""
    if not folder.is_dir():
        return ()
    found = ((_IMAGE_NAME.fullmatch(entry.name), entry) for entry in folder.iterdir())
    return tuple(sorted(int(match.group(1)) for match, entry in found if match and (entry / "zarr.json").is_file()))


def _channels(image: Path) -> list[Document]:
    channels: list[Document] = read_document(image / "zarr.json")["attributes"]["livestain"]["channels"]
    return channels


def _labels(image: Path) -> list[str]:
    return [f"{channel['kind']}: {channel['name']}" for channel in _channels(image)]


def _stained_at_all(image: Path) -> bool:
    channels = _channels(image)
    return not channels or channels[0].get("label_free", True) is not False


def _begun(ledger: Path) -> float:
    try:
        with ledger.open("rb") as file:
            return float(json.loads(file.readline())["open"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _listed(names: Sequence[object]) -> str:
    return ", ".join(map(str, names)) or "none"
