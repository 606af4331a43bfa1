"""Compiled engines on disk: used when whole, compiled again when not, never in the way."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.engine.cache import EngineCache, Facts, engine_key
from livestain.errors import EngineFileError
from livestain.model import Model

FACTS = {"backend": "test", "kind": "engine", "graph": "a"}
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
    results = [cache.fetch(FACTS, compiler.load, compiler.build) for _ in range(3)]
    assert (results, compiler.built) == (["engine"] * 3, 1)
    key = engine_key(FACTS)
    assert {f"{key}.blob", f"{key}.json"} <= {path.name for path in cache.folder.iterdir()}
    (file,) = cache.files()
    assert (file.facts, file.read()) == (FACTS, b"engine")
    assert file.notes.keys() == {"built", "seconds"}


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".blob", b"engjne"),
        (".blob", b"eng"),
        (".json", b"{"),
        (".json", b"\xff"),
        (".json", b"[]"),
        (".json", b'{"facts": {}, "notes": {}, "sha256": "00"}'),
    ],
    ids=["flipped bit", "cut off", "half a sidecar", "no text", "no object", "facts of another"],
)
def test_a_damaged_file_is_built_anew_with_a_warning(
    tmp_path: Path, suffix: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    compiler, cache = Compiler(), EngineCache(tmp_path)
    cache.fetch(FACTS, compiler.load, compiler.build)
    (tmp_path / f"{engine_key(FACTS)}{suffix}").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert cache.fetch(FACTS, compiler.load, compiler.build) == "engine"
    assert compiler.built == 2
    assert "compiling again" in caplog.text
    cache.fetch(FACTS, compiler.load, compiler.build)
    assert compiler.built == 2


def test_a_file_that_the_library_refuses_is_built_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    compiler, cache = Compiler(), EngineCache(tmp_path)
    cache.fetch(FACTS, compiler.load, compiler.build)
    assert cache.fetch(FACTS, compiler.refuse, compiler.build) == "engine"
    assert compiler.built == 2
    assert "made for another device; compiling again" in caplog.text


def test_a_blob_without_its_sidecar_is_not_loaded(tmp_path: Path) -> None:
    compiler, cache = Compiler(), EngineCache(tmp_path)
    (tmp_path / f"{engine_key(FACTS)}.blob").write_bytes(b"other")
    assert cache.fetch(FACTS, compiler.load, compiler.build) == "engine"


def test_a_sidecar_that_lies_about_its_content_is_found_out(tmp_path: Path) -> None:
    compiler, cache = Compiler(), EngineCache(tmp_path)
    cache.fetch(FACTS, compiler.load, compiler.build)
    side = tmp_path / f"{engine_key(FACTS)}.json"
    side.write_text(side.read_text("utf-8").replace('"graph": "a"', '"graph": "b"'), encoding="utf-8")
    with pytest.raises(EngineFileError, match="sidecar of another engine"):
        cache.find(FACTS)
    assert cache.files() == []


def test_notes_are_added_and_the_content_stays(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    file = cache.store(FACTS, b"engine", {"seconds": 2.5})
    cache.note(file, gate={"passed": True})
    again = cache.find(FACTS)
    assert again is not None
    assert again.notes == {"seconds": 2.5, "gate": {"passed": True}}
    assert again.read() == b"engine"


def test_what_another_process_has_built_meanwhile_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, cache, other = Compiler(), EngineCache(tmp_path), Compiler()
    inside = EngineCache.building

    @contextlib.contextmanager
    def waiting(self: EngineCache, facts: Facts) -> Iterator[None]:
        with inside(self, facts):
            self.store(facts, other.build()[1])  # while we waited for the lock
            yield

    monkeypatch.setattr(EngineCache, "building", waiting)
    assert cache.fetch(FACTS, compiler.load, compiler.build) == "engine"
    assert (compiler.built, other.built) == (0, 1)


def test_a_build_that_is_broken_off_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        EngineCache(tmp_path).store(FACTS, b"engine")
    assert list(tmp_path.iterdir()) == []


def test_cleaning_deletes_what_is_compiled_and_nothing_else(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    cache.store(FACTS, b"engine")
    mine = {"note.txt", "package.json", "uv.lock", "thesis.blob", "run.json"}
    for name in mine:
        (tmp_path / name).write_text("mine", encoding="utf-8")
    (tmp_path / f"{engine_key(FACTS)}0a1b2c3d.part").write_bytes(b"of a killed process")
    files, size = cache.clean()
    assert (files, size > 6) == (3, True)
    assert {path.name for path in tmp_path.iterdir()} == mine


def test_a_folder_that_cannot_be_written_costs_a_warning_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    compiler, cache = Compiler(), EngineCache(tmp_path / "file" / "compiled")
    assert cache.fetch(FACTS, compiler.load, compiler.build) == "engine"
    assert "not kept" in caplog.text


def test_the_oldest_engines_of_a_backend_are_forgotten(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    other = cache.store({"backend": "other", "kind": "engine"}, b"engine")
    os.utime(other.path, (0, 0))
    files = []
    for number in range(40):
        files.append(cache.store(FACTS | {"graph": number}, b"engine"))
        os.utime(files[-1].path, (number + 1, number + 1))
    assert {file.path for file in cache.files()} == {file.path for file in [other, *files[-32:]]}
    assert len(list(tmp_path.glob("*.json"))) == 33


def test_what_others_have_put_beside_a_model_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    EngineCache(tmp_path / "share").store(FACTS, b"engine")
    compiler, cache = Compiler(), EngineCache(tmp_path / "own", tmp_path / "share")
    assert cache.fetch(FACTS, compiler.load, compiler.build) == "engine"
    cache.fetch(FACTS | {"graph": "b"}, compiler.load, compiler.build)
    assert compiler.built == 1
    assert {file.path.parent.name for file in cache.files()} == {"own", "share"}
    assert cache.clean()[0] >= 2
    assert [file.path.parent.name for file in cache.files()] == ["share"]


def test_a_number_that_json_does_not_have_is_no_sound_sidecar(tmp_path: Path) -> None:
    file = EngineCache(tmp_path).store(FACTS, b"engine")
    side = file.path.with_suffix(".json")
    side.write_text(side.read_text("utf-8").replace('"a"', "NaN"), encoding="utf-8")
    assert EngineCache(tmp_path).files() == []


def test_a_file_that_was_forgotten_gets_no_note(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    file = cache.store(FACTS, b"engine")
    cache.forget(file)
    cache.note(file, gate=None)
    assert list(tmp_path.glob("*.json")) == []


def test_keys_differ_with_every_fact_and_not_with_their_order() -> None:
    facts: list[dict[str, object]] = [
        {"a": 1, "b": 2},
        {"a": 1, "b": 3},
        {"a": 1},
        {"a": 1, "c": 2},
        {"a": "1", "b": 2},
    ]
    assert len({engine_key(each) for each in facts}) == len(facts)
    assert engine_key({"b": 2, "a": 1}) == engine_key({"a": 1, "b": 2})


def test_compiled_engines_lie_in_the_model_folder(own_model: Model) -> None:
    stain(own_model)
    assert len(list((own_model.folder / "compiled").glob("*.blob"))) == 1


def test_openvino_stains_the_same_from_a_compiled_file(own_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stain(own_model)
    monkeypatch.setattr("livestain.engine.backends.openvino._read", None)
    np.testing.assert_array_equal(stain(own_model), first)


def test_openvino_compiles_again_when_its_file_is_refused(own_model: Model, caplog: pytest.LogCaptureFixture) -> None:
    first = stain(own_model)
    cache = EngineCache.of(own_model)
    (file,) = cache.files()
    cache.store(file.facts, b"a whole file, but no engine")
    np.testing.assert_array_equal(stain(own_model), first)
    assert "OpenVINO refuses" in caplog.text


def test_a_read_only_model_folder_uses_the_cache_of_the_user(
    own_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_model.folder / "compiled").touch()  # a file where the folder would be: fails for every user, root too
    monkeypatch.setattr("livestain.engine.cache.cache_folder", lambda: tmp_path / "cache")
    stain(own_model)
    assert {path.suffix for path in (tmp_path / "cache").rglob("*.*") if path.is_file()} >= {".blob", ".json"}
