"""Compiled engines on disk: one file for each key, its sha256 beside it, never trusted without."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from livestain.errors import EngineFileError
from livestain.model import Model
from livestain.settings import cache_folder, legal_name

_log = logging.getLogger(__name__)

T = TypeVar("T")

_KEPT = 16
"""Compiled files kept in one folder: enough for the frame sizes and precisions in use, and no growth without end."""


def engine_key(*parts: object) -> str:
    """Return the name of a compiled engine: sha256 of all that it depends on, 32 hexadecimal digits.

    Parameters
    ----------
    *parts
        The runtime graph (bytes), library and version, device, driver, shapes, precision, wire: whatever would make
        another file. Bytes go in whole, anything else by its ``repr``.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


class EngineCache:
    """The compiled engines of one model: in its ``compiled`` folder, or in the user's cache where that is read-only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, model: Model) -> EngineCache:
        """Return the cache of a model; makes its folder."""
        inside = model.folder / "compiled"
        try:
            inside.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=inside):
                return cls(inside)
        except OSError:
            return cls(cache_folder() / "compiled" / legal_name(model.identity))

    def fetch(self, key: str, load: Callable[[bytes], T], build: Callable[[], tuple[T, bytes]]) -> T:
        """Return what ``key`` names: loaded from its file, else built and stored.

        Parameters
        ----------
        key
            From `engine_key`.
        load
            Makes the engine from the content of the file; raises `EngineFileError` when the library refuses it.
        build
            Makes the engine anew and returns it with the content of its file.
        """
        try:
            data = self._read(key)
            if data is not None:
                return load(data)
        except EngineFileError as error:
            _log.warning("%s; compiling again", error)
        made, data = build()
        try:
            self._write(key, data)
        except OSError as error:
            _log.warning("compiled engine not kept in %s: %s", self.folder, error)
        return made

    def _read(self, key: str) -> bytes | None:
        path = self.folder / f"{key}.blob"
        try:
            data = path.read_bytes()
            wanted = path.with_suffix(".sha256").read_text("ascii").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise EngineFileError(f"compiled engine {path} cannot be read: {error}") from error
        if hashlib.sha256(data).hexdigest() != wanted:
            raise EngineFileError(f"compiled engine {path} is damaged: its sha256 is not the one noted beside it")
        return data

    def _write(self, key: str, data: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{key}.blob"
        _replace(path, data)
        _replace(path.with_suffix(".sha256"), hashlib.sha256(data).hexdigest().encode())
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        blobs = sorted(self.folder.glob("*.blob"), key=lambda path: path.stat().st_mtime)
        for path in blobs[:-_KEPT]:
            path.unlink(missing_ok=True)
            path.with_suffix(".sha256").unlink(missing_ok=True)


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: a temporary file beside it takes its place."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
