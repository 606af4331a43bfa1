"""Compiled engines on disk: one file for each key, beside it a sidecar that says all about it; never trusted without.

::

    compiled/KEY.blob    what the library wrote
    compiled/KEY.json    {"facts": what the key is made of, "notes": what was measured, "sha256": of the blob}
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from livestain.errors import EngineFileError
from livestain.model import Model
from livestain.settings import cache_folder, legal_name

_log = logging.getLogger(__name__)

T = TypeVar("T")

Facts = Mapping[str, Any]
"""What a compiled file depends on, as JSON has it: whatever, changed, would make another file.

Always there: ``backend``, ``kind`` (``"engine"``, ``"runtime cache"`` or ``"generator"``).
"""

_KEPT = 32
"""Files of one backend and kind kept in one folder: all sizes and precisions in use, and no growth without end."""

_BUILDING_S = 120.0
"""How long another process is given to finish the same engine before it is built here, too."""


@dataclass(frozen=True, slots=True)
class EngineFile:
    """One compiled file and what its sidecar says.

    Attributes
    ----------
    path
        The compiled file (``KEY.blob``).
    facts
        What its key is made of.
    notes
        What was found out while and after it was made: ``built`` (unix s), ``seconds``, ``gate``, ``log``, ...
    sha256
        What the sidecar says of its content.
    """

    path: Path
    facts: dict[str, Any]
    notes: dict[str, Any]
    sha256: str

    def read(self) -> bytes:
        """Return the content.

        Raises
        ------
        EngineFileError
            It cannot be read, or is not what the sidecar says.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise EngineFileError(f"compiled engine {self.path} cannot be read: {error}") from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise EngineFileError(f"compiled engine {self.path} is damaged: its sha256 is not the one noted beside it")
        return data


def engine_key(facts: Facts) -> str:
    """Return the name of a compiled engine: sha256 of all that it depends on, 32 hexadecimal digits."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class EngineCache:
    """The compiled engines of one model: in its ``compiled`` folder, or in the user's cache where that is read-only.

    Parameters
    ----------
    folder
        Read and written.
    also
        Read only.
    """

    def __init__(self, folder: Path, also: Path | None = None) -> None:
        self.folder = folder
        self._also = also

    @classmethod
    def of(cls, model: Model) -> EngineCache:
        """Return the cache of a model; makes its folder."""
        inside = model.folder / "compiled"
        try:
            inside.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=inside):
                return cls(inside)
        except OSError:
            return cls(cache_folder() / "compiled" / legal_name(model.identity), inside)

    def fetch(self, facts: Facts, load: Callable[[bytes], T], build: Callable[[], tuple[T, bytes]]) -> T:
        """Return what ``facts`` name: loaded from its file, else built and stored; blocks while another builds it.

        Parameters
        ----------
        facts
            What it depends on.
        load
            Makes the engine from the content of the file; raises `EngineFileError` when the library refuses it.
        build
            Makes the engine anew and returns it with the content of its file.
        """
        damaged = False
        try:
            found = self._load(facts, load)
        except EngineFileError as error:
            _log.warning("%s; compiling again", error)
            found, damaged = None, True
        if found is not None:
            return found
        with self.building(facts):
            with contextlib.suppress(EngineFileError):  # another process may have built it meanwhile
                found = None if damaged else self._load(facts, load)
            if found is not None:
                return found
            began = time.perf_counter()
            made, data = build()
            notes = {"built": time.time(), "seconds": round(time.perf_counter() - began, 3)}
            try:
                self.store(facts, data, notes)
            except OSError as error:
                _log.warning("compiled engine not kept in %s: %s", self.folder, error)
        return made

    @contextlib.contextmanager
    def building(self, facts: Facts) -> Iterator[None]:
        """Within, no other process builds the same; waits for one that does, and goes on without a writable folder."""
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(self._path(facts).with_suffix(".lock")).acquire(timeout=_BUILDING_S))
            except OSError as error:  # filelock's own Timeout is one
                _log.info("building without a lock in %s: %s", self.folder, error)
            yield

    def find(self, facts: Facts) -> EngineFile | None:
        """Return the file made from exactly these facts; None when there is none.

        Raises
        ------
        EngineFileError
            There is one, and its sidecar is missing, unreadable or another one's.
        """
        for folder in self._folders():
            path = folder / self._path(facts).name
            if path.exists():
                return _read_sidecar(path)
        return None

    def files(self) -> list[EngineFile]:
        """Return all files with a sound sidecar, newest first; others are logged as warnings."""
        found = []
        for path in sorted((path for folder in self._folders() for path in folder.glob("*.blob")), key=_age):
            try:
                found.append(_read_sidecar(path))
            except EngineFileError as error:
                _log.warning("%s", error)
        return found

    def store(self, facts: Facts, data: bytes, notes: Mapping[str, Any] | None = None) -> EngineFile:
        """Write a file and its sidecar, each whole or not at all; forgets the oldest beyond 32 of a kind and model.

        Raises
        ------
        OSError
            They cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(facts)
        file = EngineFile(path, json.loads(json.dumps(facts)), dict(notes or {}), hashlib.sha256(data).hexdigest())
        # The sidecar first: whoever finds the file finds its sidecar, too.
        _write_sidecar(file)
        _replace(path, data)
        self._forget_oldest(file)
        return file

    def note(self, file: EngineFile, **notes: Any) -> EngineFile:
        """Add to the notes of a file and return it as it is now; one that was forgotten meanwhile gets none.

        Raises
        ------
        OSError
            The sidecar cannot be written.
        """
        noted = EngineFile(file.path, file.facts, {**file.notes, **notes}, file.sha256)
        if file.path.exists():
            _write_sidecar(noted)
        return noted

    def forget(self, file: EngineFile) -> None:
        """Delete a file and what lies beside it.

        Raises
        ------
        OSError
            It cannot be deleted (on Windows: it is in use).
        """
        for suffix in _OURS:
            file.path.with_suffix(suffix).unlink(missing_ok=True)

    def clean(self) -> tuple[int, int]:
        """Delete everything compiled; returns how many files and bytes that were.

        Raises
        ------
        OSError
            One cannot be deleted (on Windows: it is in use).
        """
        files = [path for path in self.folder.glob("*") if _NAME.match(path.name) and path.is_file()]
        size = sum(path.stat().st_size for path in files)
        for path in files:
            path.unlink(missing_ok=True)
        return len(files), size

    def _load(self, facts: Facts, load: Callable[[bytes], T]) -> T | None:
        file = self.find(facts)
        return None if file is None else load(file.read())

    def _folders(self) -> list[Path]:
        return [self.folder] if self._also is None else [self.folder, self._also]

    def _path(self, facts: Facts) -> Path:
        return self.folder / f"{engine_key(facts)}.blob"

    def _forget_oldest(self, like: EngineFile) -> None:
        def kind(file: EngineFile) -> tuple[Any, ...]:
            return tuple(file.facts.get(name) for name in ("backend", "kind", "model"))

        same = [file for file in self.files() if kind(file) == kind(like) and file.path.parent == self.folder]
        for file in same[_KEPT:]:
            self.forget(file)


_OURS = (".blob", ".json", ".lock")
_NAME = re.compile(r"[0-9a-f]{32}(\.(blob|json|lock)|\w*\.part)")
"""What we call our files: nothing else in a folder is ever deleted."""


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except FileNotFoundError:  # another process cleans
        return 0.0


def _read_sidecar(path: Path) -> EngineFile:
    side = path.with_suffix(".json")
    try:
        content = json.loads(side.read_text("utf-8"))
        file = EngineFile(path, dict(content["facts"]), dict(content["notes"]), str(content["sha256"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineFileError(f"compiled engine {path} has no sound sidecar {side.name} ({error!r})") from error
    if not _makes(file.facts, path.stem):
        raise EngineFileError(
            f"compiled engine {path} has the sidecar of another engine: its facts do not make its name"
        )
    return file


def _makes(facts: Facts, key: str) -> bool:
    try:
        return engine_key(facts) == key
    except ValueError:  # a number that JSON does not have
        return False


def _write_sidecar(file: EngineFile) -> None:
    content = {"facts": file.facts, "notes": file.notes, "sha256": file.sha256}
    _replace(file.path.with_suffix(".json"), (json.dumps(content, indent=1, default=str) + "\n").encode())


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: a temporary file beside it takes its place."""
    # Not `mkstemp`: its files are for their maker alone, and engines are built by one and used by all.
    temporary = path.with_name(f"{path.stem}{secrets.token_hex(4)}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:  # also Ctrl-C: no half file stays
        temporary.unlink(missing_ok=True)
        raise
