"""Opening an engine: the one asked for or an error; with auto the next one, said aloud."""

from __future__ import annotations

import hashlib
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from livestain.engine.backends.base import BaseEngine
from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.engine.opening import open_backend
from livestain.errors import BackendMissingError, EngineError, EngineLostError, GateError, UserError
from livestain.model import Model, read_model
from tests.models import write_test_model


@pytest.fixture
def other_stain(tmp_path: Path) -> Model:
    """A model whose expected stain is not that of its weights."""
    return read_model(_with_wrong_stain(tmp_path / "wrong"))


def _with_wrong_stain(folder: Path) -> Path:
    write_test_model(folder)
    stains = np.load(folder / "test_output.npy")
    np.save(folder / "test_output.npy", (stains * 0.9).astype(np.float32))
    rdf = yaml.safe_load((folder / "rdf.yaml").read_text("utf-8"))
    rdf["outputs"][0]["test_tensor"]["sha256"] = hashlib.sha256((folder / "test_output.npy").read_bytes()).hexdigest()
    (folder / "rdf.yaml").write_text(yaml.safe_dump(rdf), "utf-8")
    return folder


def break_openvino(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    """OpenVINO cannot compile in this precision any more."""
    compile_ = OpenVinoEngine._compile

    def broken(self: OpenVinoEngine, job: Any) -> Any:
        if self.info.precision == precision or precision == "any":
            raise RuntimeError("no kernel")
        return compile_(self, job)

    monkeypatch.setattr(OpenVinoEngine, "_compile", broken)


def test_auto_takes_openvino_at_its_fastest_precision(model: Model) -> None:
    engine = open_backend(model, threads=1)
    assert engine.info.backend == "openvino"
    assert engine.info.precision == OpenVinoEngine.precisions(model)[0]
    assert engine.info.gate.passed
    assert engine.info.reason.startswith("the default for CPUs")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_named_backend_is_the_one_that_is_used(model: Model, backend: Any) -> None:
    info = open_backend(model, backend, threads=1, precision="f32").info
    assert (info.backend, info.precision) == (backend, "f32")
    assert info.reason == f"{backend} was asked for; f32 was asked for"


def test_the_engine_is_ready_for_the_frames_to_come(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_backend(model, shape=(112, 128), dtype=np.dtype(np.uint8), threads=1)
    monkeypatch.setattr(OpenVinoEngine, "_compile", None)
    assert engine.stain(np.zeros((112, 128), np.uint8), np.ones((14, 16), np.float32), 0.0, 1.0).shape == (2, 112, 128)


def test_auto_falls_back_to_float32_when_bf16_fails(
    model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(OpenVinoEngine, "precisions", classmethod(lambda cls, model: ("bf16", "f32")))
    break_openvino(monkeypatch, "bf16")
    with caplog.at_level(logging.WARNING):
        info = open_backend(model, threads=1).info
    assert (info.backend, info.precision) == ("openvino", "f32")
    assert "fell back, since openvino" in info.reason
    assert "(bf16)" in caplog.text


def test_auto_falls_back_to_onnxruntime_when_openvino_fails(
    model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    break_openvino(monkeypatch, "any")
    with caplog.at_level(logging.WARNING):
        info = open_backend(model, threads=1).info
    assert info.backend == "onnxruntime"
    assert "no kernel" in info.reason
    assert "staining with onnxruntime" in caplog.text


def test_a_named_backend_is_never_replaced(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    break_openvino(monkeypatch, "any")
    with pytest.raises(EngineError, match="no kernel"):
        open_backend(model, "openvino", threads=1)


@pytest.mark.parametrize("backend", ["auto", "onnxruntime"])
def test_an_engine_that_misses_the_gate_is_not_opened(other_stain: Model, backend: Any) -> None:
    with pytest.raises(GateError, match=r"relative RMS 11\.\d+% where bright \(allowed 2%\)"):
        open_backend(other_stain, backend, threads=1)


def test_an_engine_that_misses_the_gate_is_closed(other_stain: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[BaseEngine] = []
    monkeypatch.setattr(BaseEngine, "close", lambda self: closed.append(self))
    with pytest.raises(GateError):
        open_backend(other_stain, "onnxruntime", threads=1)
    assert len(closed) == 1


@pytest.mark.parametrize(
    ("backend", "words"),
    [("onnxruntime", r"pip install .onnxruntime"), ("openvino", "pip install .openvino")],
)
def test_a_missing_library_is_named_with_its_package(
    model: Model, backend: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"livestain.engine.backends.{backend}", None)
    with pytest.raises(BackendMissingError, match=f"{backend} cannot be used .*{words}"):
        open_backend(model, backend)


def test_auto_does_without_openvino(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "livestain.engine.backends.openvino", None)
    info = open_backend(model, threads=1).info
    assert info.backend == "onnxruntime"
    assert "fell back, since openvino cannot be used" in info.reason


def test_when_all_fail_every_reason_is_given(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    break_openvino(monkeypatch, "any")
    monkeypatch.setitem(sys.modules, "livestain.engine.backends.onnxruntime", None)
    with pytest.raises(EngineError, match=r"no kernel.*pip install .onnxruntime"):
        open_backend(model, threads=1)


@pytest.mark.parametrize(
    ("backend", "precision", "words"),
    [("tensorflow", None, "no backend 'tensorflow'; there are auto, "), ("onnxruntime", "bf16", "not in bf16")],
)
def test_what_does_not_exist_is_the_users_mistake(model: Model, backend: Any, precision: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_backend(model, backend, precision=precision)


def test_auto_takes_the_next_backend_where_one_lacks_the_precision(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenVinoEngine, "precisions", classmethod(lambda cls, model: ("bf16",)))
    info = open_backend(model, threads=1, precision="f32").info
    assert (info.backend, info.precision) == ("onnxruntime", "f32")
    assert "openvino computes in bf16 on this machine, not in f32" in info.reason
    with pytest.raises(UserError, match="openvino computes in bf16 on this machine, not in f32"):
        open_backend(model, "openvino", threads=1, precision="f32")


def test_where_nothing_can_be_used_it_says_why(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livestain.engine.opening._AUTO", ("openvino",))
    monkeypatch.setattr(OpenVinoEngine, "unusable", classmethod(lambda cls: "no such processor"))
    with pytest.raises(EngineLostError, match="no engine can be used here: openvino not used: no such processor"):
        open_backend(model)
