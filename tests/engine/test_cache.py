"""Compiled engines on disk: used when whole, compiled again when not, never in the way."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.engine.cache import EngineCache, engine_key
from livestain.errors import EngineFileError
from livestain.model import Model

FRAME = np.full((112, 128), 2000, np.uint16)
SHADE = np.full((14, 16), 1 / 600, np.float32)


def stain(model: Model) -> Any:
    return OpenVinoEngine(model, threads=1).stain(FRAME, SHADE, 0.0, 3.3)


class Compiler:
    """Builds and loads texts, and counts."""

    def __init__(self) -> None:
        self.built = 0

    def build(self) -> tuple[str, bytes]:
        self.built += 1
        return "engine", b"engine"

    def load(self, data: bytes) -> str:
        return data.decode()

    def refuse(self, data: bytes) -> str:
        raise EngineFileError("made for another device")


def test_an_engine_is_built_once(tmp_path: Path) -> None:
    compiler, cache = Compiler(), EngineCache(tmp_path / "compiled")
    results = [cache.fetch("key", compiler.load, compiler.build) for _ in range(3)]
    assert (results, compiler.built) == (["engine"] * 3, 1)
    assert sorted(path.name for path in cache.folder.iterdir()) == ["key.blob", "key.sha256"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("key.blob", b"engjne"), ("key.blob", b"eng"), ("key.sha256", b"0" * 64), ("key.sha256", b"\xff")],
    ids=["flipped bit", "cut off", "other hash", "no text"],
)
def test_a_damaged_file_is_built_anew_with_a_warning(
    tmp_path: Path, name: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    compiler, cache = Compiler(), EngineCache(tmp_path)
    cache.fetch("key", compiler.load, compiler.build)
    (tmp_path / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert cache.fetch("key", compiler.load, compiler.build) == "engine"
    assert compiler.built == 2
    assert "compiling again" in caplog.text
    cache.fetch("key", compiler.load, compiler.build)
    assert compiler.built == 2


def test_a_file_that_the_library_refuses_is_built_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    compiler, cache = Compiler(), EngineCache(tmp_path)
    cache.fetch("key", compiler.load, compiler.build)
    assert cache.fetch("key", compiler.refuse, compiler.build) == "engine"
    assert compiler.built == 2
    assert "made for another device; compiling again" in caplog.text


def test_a_blob_without_its_hash_is_not_loaded(tmp_path: Path) -> None:
    compiler, cache = Compiler(), EngineCache(tmp_path)
    (tmp_path / "key.blob").write_bytes(b"other")
    assert cache.fetch("key", compiler.load, compiler.build) == "engine"


def test_a_folder_that_cannot_be_written_costs_a_warning_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    compiler, cache = Compiler(), EngineCache(tmp_path / "file" / "compiled")
    assert cache.fetch("key", compiler.load, compiler.build) == "engine"
    assert "not kept" in caplog.text


def test_old_engines_are_forgotten(tmp_path: Path) -> None:
    compiler, cache = Compiler(), EngineCache(tmp_path)
    for number in range(20):
        cache.fetch(f"key{number:02}", compiler.load, compiler.build)
        os.utime(tmp_path / f"key{number:02}.blob", (number, number))
    assert len(list(tmp_path.glob("*.blob"))) == len(list(tmp_path.glob("*.sha256"))) == 16
    assert (tmp_path / "key19.blob").exists()


def test_keys_differ_with_every_part() -> None:
    keys = [engine_key(b"graph", "1.0", (96, 96)), engine_key(b"graphs", "1.0", (96, 96)), engine_key(b"graph", "1.0")]
    keys += [engine_key(b"graph", "1.1", (96, 96)), engine_key(b"graph", "1.0", (96, 97))]
    assert len(set(keys)) == 5
    assert engine_key(b"graph", "1.0", (96, 96)) == keys[0]


def test_compiled_engines_lie_in_the_model_folder(own_model: Model) -> None:
    stain(own_model)
    assert len(list((own_model.folder / "compiled").glob("*.blob"))) == 1


def test_openvino_stains_the_same_from_a_compiled_file(own_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stain(own_model)
    monkeypatch.setattr("livestain.engine.backends.openvino._read", None)
    np.testing.assert_array_equal(stain(own_model), first)


def test_openvino_compiles_again_when_its_file_is_refused(own_model: Model, caplog: pytest.LogCaptureFixture) -> None:
    first = stain(own_model)
    (blob,) = (own_model.folder / "compiled").glob("*.blob")
    cache = EngineCache(blob.parent)
    cache._write(blob.stem, b"a whole file, but no engine")
    np.testing.assert_array_equal(stain(own_model), first)
    assert "OpenVINO refuses" in caplog.text


def test_a_read_only_model_folder_uses_the_cache_of_the_user(
    own_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_model.folder / "compiled").touch()  # a file where the folder would be: fails for every user, root too
    monkeypatch.setattr("livestain.engine.cache.cache_folder", lambda: tmp_path / "cache")
    stain(own_model)
    assert [path.suffix for path in sorted((tmp_path / "cache").rglob("*.*")) if path.is_file()] == [".blob", ".sha256"]
