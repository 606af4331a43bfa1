"""The run folder being recorded: its places, its lock, its ``run.json``."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock

from livestain.errors import RunError, UserError
from livestain.frames import Key
from livestain.settings import legal_name
from livestain.store.ledger import Ledger, Row
from livestain.store.metadata import atomic_write

STATE_FILE = "run.json"
LEDGER_FILE = "ledger.jsonl"
_WEIGHTS_FILE = "weights.sha256"
_STATE_EVERY_S = 1.0
# RUN/stains/<48>/p000.ome.zarr/0/c/123456/12/123/0/0 and tensorstore's temporary name stay under 240 with 110 for RUN.
_MODEL_NAME_LIMIT = 48
NOTE_LIMIT = 2000
"""The longest note, in characters."""

_VERSIONS_OF = ("numpy", "tensorstore", "pymmcore-plus", "openvino")


class RunFolder:
    """The folder of a recording, owned by the process that records; made by `create`.

    Attributes
    ----------
    path
        The folder.
    raw
        The folder of the measured images and their ledger; locked until `close`.
    log_path
        Where the session's log goes.
    """

    def __init__(self, path: Path, lock: filelock.BaseFileLock, state: dict[str, Any]) -> None:
        self.path = path
        self.raw = path / "raw"
        self.log_path = path / "log.txt"
        self._lock = lock
        self._state = state
        self._written_s = -float("inf")

    @classmethod
    def create(cls, path: Path, settings: Mapping[str, object]) -> RunFolder:
        """Make the folder, lock its ``raw/`` and write the first ``run.json``.

        Parameters
        ----------
        path
            A folder that does not exist or is empty.
        settings
            The settings whole, JSON values only.

        Raises
        ------
        RunError
            It holds something already, lies below a file, cannot be written, or another process took it just now.
        """
        path = Path(path).resolve()  # tensorstore takes no .. in a path
        try:
            path.mkdir(parents=True, exist_ok=True)
            used = any(path.iterdir())
        except OSError as error:
            raise _no_folder(path, error) from error
        if used:
            raise RunError(f"run folder {path} is not empty: choose another name, such as {next_free(path).name}")
        try:
            (path / "raw").mkdir()
            (path / "stains").mkdir()
        except OSError as error:
            raise _no_folder(path, error) from error
        run = cls(path, lock_folder(path / "raw"), _first_state(settings))
        try:
            run.write_state(force=True)
        except OSError as error:
            run.close()
            raise _no_folder(path, error) from error
        return run

    def stains(self, model_id: str, weights_sha256: str) -> Path:
        """Return the folder for the stains of a model, made if need be: see `stain_folder`."""
        return stain_folder(self.path, model_id, weights_sha256)

    def write_state(self, *, force: bool = False, **fields: object) -> None:
        """Merge ``fields`` into ``run.json``; written at most once a second unless forced, also after `close`.

        Blocks for some ms. Fields of a call that came too early are written by the next one.

        Raises
        ------
        StoreError
            The file could not be replaced; the old one stands.
        """
        self._state.update(fields)
        now = time.monotonic()
        if force or now - self._written_s >= _STATE_EVERY_S:
            atomic_write(self.path / STATE_FILE, json.dumps(self._state, indent=1))
            self._written_s = now

    def close(self) -> None:
        """Release the lock of ``raw/``; may be called twice and from any thread."""
        self._lock.release()


def note_row(text: str, key: Key | None) -> Row:
    """Return the ledger row of a note on a plane, or on the run.

    Raises
    ------
    UserError
        The text, made one line, is empty or longer than `NOTE_LIMIT`.
    """
    line = " ".join(text.split())
    if not 0 < len(line) <= NOTE_LIMIT:
        raise UserError(f"a note of {len(line)} characters cannot be kept: write 1 to {NOTE_LIMIT}")
    place = {"p": key[0], "t": key[1], "z": key[2]} if key is not None else {}
    return {"v": 1, "note": line, **place, "time": time.time()}


def add_note(path: Path | str, text: str, key: Key | None = None) -> None:
    """Write a note into the raw ledger of a run that nobody records any more; blocks some ms.

    Parameters
    ----------
    path
        The run folder.
    text
        1 to `NOTE_LIMIT` characters; line ends become blanks.
    key
        The plane it is about; None: the run.

    Raises
    ------
    UserError
        The text is empty or too long.
    RunError
        The folder is no run, cannot be written, or is being recorded at this moment.
    StoreError
        The disk does not take it.
    """
    row = note_row(text, key)
    raw = Path(path).resolve() / "raw"
    if not (raw / LEDGER_FILE).is_file():
        raise RunError(f"{raw.parent} is no run: choose the folder that holds {STATE_FILE} and raw")
    try:
        lock = lock_folder(raw)
    except RunError as error:
        if isinstance(error.__cause__, filelock.Timeout):
            raise RunError(
                f"{raw.parent} is being recorded: add the note in the window that records it, or when it has ended"
            ) from error
        raise
    try:
        ledger = Ledger(raw / LEDGER_FILE, fsync=True)
        try:
            ledger.row(row)
        finally:
            ledger.abandon()
    finally:
        lock.release()


def next_free(path: Path) -> Path:
    """Return ``path``, or the first of NAME_002, NAME_003, ... that does not exist or is an empty folder."""
    number = 1
    candidate = path
    while candidate.exists() and not (candidate.is_dir() and not any(candidate.iterdir())):
        number += 1
        candidate = path.with_name(f"{path.name}_{number:03d}")
    return candidate


def image_path(folder: Path, position: int) -> Path:
    """Return where the image of a position lies in ``raw/`` or ``stains/MODEL``."""
    return folder / f"p{position:03d}.ome.zarr"


def stain_folder(run: Path, model_id: str, weights_sha256: str) -> Path:
    """Return the folder for the stains of a model in a run, made if need be.

    Named by the model's id made legal on NTFS; with 8 digits of the hash behind it where that name (in any case of
    letters) belongs to other weights.

    Raises
    ------
    RunError
        The folder cannot be made.
    """
    name = legal_name(model_id, _MODEL_NAME_LIMIT)
    folder = run / "stains" / name
    try:
        if not _claim(folder, weights_sha256):
            folder = folder.with_name(f"{name[: _MODEL_NAME_LIMIT - 9].rstrip(' .')}-{weights_sha256[:8]}")
            _claim(folder, weights_sha256)
    except OSError as error:
        raise _no_folder(folder, error) from error
    return folder


def lock_folder(folder: Path) -> filelock.BaseFileLock:
    """Take the lock of ``raw/`` or ``stains/MODEL``, so that each file has one writer; the system frees it at a crash.

    Returns
    -------
    The held lock; ``release()`` it from any thread.

    Raises
    ------
    RunError
        Another process holds it, or the folder cannot be written.
    """
    # A lock of a thread could not be released by another one.
    lock = filelock.FileLock(folder / "lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise RunError(f"{folder} is being written by another process: wait until it ends, or end it") from error
    except OSError as error:
        raise _no_folder(folder, error) from error
    return lock


def _claim(folder: Path, weights_sha256: str) -> bool:
    """Whether the folder is, or hereby becomes, the one of these weights."""
    same_name = [entry for entry in _entries(folder.parent) if entry.name.casefold() == folder.name.casefold()]
    for entry in same_name:
        owner = entry / "model" / _WEIGHTS_FILE
        if owner.is_file():
            return entry.name == folder.name and owner.read_text(encoding="ascii") == weights_sha256
    (folder / "model").mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "model" / _WEIGHTS_FILE, weights_sha256)
    return True


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _first_state(settings: Mapping[str, object]) -> dict[str, Any]:
    return {
        "v": 1,
        "settings": dict(settings),
        "versions": {"livestain": _version("livestain"), "python": platform.python_version()}
        | {name: _version(name) for name in _VERSIONS_OF},
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
        "host": platform.node(),
        "pid": os.getpid(),
        "started": time.time(),
        "closed": None,
        "counters": {},
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _no_folder(path: Path, error: OSError) -> RunError:
    return RunError(
        f"{path} cannot be used to record a run ({error.strerror or error}): choose a folder on a disk you can write to"
    )
