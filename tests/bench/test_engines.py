"""Engines in turns, beside the limits of their libraries and the same network in torch."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from livestain.bench import engines, limits, plan
from livestain.bench.engines import Opened, measure, open_engines
from livestain.bench.limits import Limit
from livestain.bench.plan import Wanted, parse_wanted, run
from livestain.engine.backends.onnxruntime import OnnxRuntimeEngine
from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.errors import BackendMissingError, EngineError, UserError
from livestain.model import Model, read_model

SIDE = 112


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is dense enough to keep a processor busy takes tests too long."""
    monkeypatch.setattr(limits, "_MAPS", 16)
    monkeypatch.setattr(limits, "COPIED_BYTES", 1 << 20)


@pytest.fixture(autouse=True)
def ready_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing cells takes seconds."""
    frame = np.random.default_rng(0).normal(2000, 100, (SIDE, SIDE)).astype(np.uint16)
    monkeypatch.setattr(engines, "one_frame", lambda side: frame)


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Model:
    return read_model(model_folder)


@pytest.fixture
def opened(model: Model) -> Iterator[Opened]:
    with open_engines(model, ("onnxruntime",), threads=1) as engines:
        yield engines


def test_every_precision_of_a_backend_is_opened_with_its_matrix_rate(model: Model) -> None:
    with open_engines(model, ("openvino", "onnxruntime"), threads=1) as opened:
        wanted = [f"openvino {each}" for each in OpenVinoEngine.precisions(model)] + ["onnxruntime f32"]
        assert sorted(opened.engines) == sorted(wanted)
        named = {limit.name for limit in opened.limits}
        assert named == {"memory copy", *(f"matrix rate, {name}" for name in wanted)}


def test_a_precision_that_fails_is_missing_with_its_reason(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVinoEngine, "precisions", classmethod(lambda cls, model: ("f32", "bf16")))
    compile_ = OpenVinoEngine._compile

    def broken(self: OpenVinoEngine, job: object) -> object:
        if self.info.precision == "bf16":
            raise RuntimeError("no kernel")
        return compile_(self, job)  # type: ignore[arg-type]

    monkeypatch.setattr(OpenVinoEngine, "_compile", broken)
    with open_engines(model, ("openvino",), threads=1) as opened:
        assert list(opened.engines) == ["openvino f32"]
        assert "no kernel" in opened.missing["openvino bf16"]
        assert measure(model, opened, SIDE, 1).missing == opened.missing


def test_a_matrix_rate_that_cannot_be_measured_is_missing(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Limit:
        raise EngineError("no room")

    monkeypatch.setattr(engines, "matrix_limit", broken)
    with open_engines(model, ("onnxruntime",), threads=1) as opened:
        table = measure(model, opened, SIDE, 1)
    assert table.missing == {"matrix rate, onnxruntime f32": "no room"}
    assert table.rows[0].of_matrix_rate is None


def test_a_backend_that_cannot_be_opened_at_all_is_an_error(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: OnnxRuntimeEngine, job: object) -> object:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(OnnxRuntimeEngine, "_compile", broken)
    monkeypatch.setattr(OnnxRuntimeEngine, "library_errors", (RuntimeError,))
    with pytest.raises(EngineError, match="no kernel"), open_engines(model, ("onnxruntime",), threads=1):
        pass


def test_all_cases_count_as_many_frames_and_limits_one_a_round(model: Model, opened: Opened) -> None:
    table = measure(model, opened, SIDE, 6, beside="nobody")
    rows = {row.name: row for row in table.rows}
    assert [(row.kind, row.ms["n"]) for row in table.rows] == [("engine", 10), ("limit", 2), ("limit", 2)]
    engine, matrix = rows["onnxruntime f32"], rows["matrix rate, onnxruntime f32"]
    assert table.gflop is not None
    assert engine.of_matrix_rate == pytest.approx(table.gflop * engine.rate / matrix.rate, rel=1e-3)
    assert engine.rate == pytest.approx(1000 / engine.ms["p50_ms"], rel=1e-3)
    assert (matrix.unit, rows["memory copy"].unit) == ("GFLOP/s", "GiB/s")
    assert (table.side_px, table.beside, engine.rms) == (SIDE, "nobody", 0.0)


def test_parts_are_shown_where_an_engine_tells_them(model: Model, opened: Opened) -> None:
    engine = opened.engines["onnxruntime f32"]
    engine.last_parts_ms = {"upload": 1.0, "run": 2.0}  # type: ignore[attr-defined]
    row = measure(model, opened, SIDE, 5).rows[0]
    assert {part: ms["p50_ms"] for part, ms in row.parts_ms.items()} == {"upload": 1.0, "run": 2.0}


def test_torch_stains_the_same_beside_the_engines(model: Model, opened: Opened) -> None:
    pytest.importorskip("torch", reason="torch is not installed: would show that its stains are ours")
    table = measure(model, opened, SIDE - 5, 1, ("torch",))
    other = next(row for row in table.rows if row.kind == "other")
    assert other.name == "torch eager f32"
    assert other.rms is not None
    assert other.rms < 1e-5


def test_another_network_in_torch_is_not_measured(
    model: Model, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch_net = pytest.importorskip("livestain.bench.torch_net", reason="torch is not installed")
    forward = torch_net.OnnxNet.forward
    monkeypatch.setattr(torch_net.OnnxNet, "forward", lambda self, contrast: 1 - forward(self, contrast))
    table = measure(model, opened, SIDE, 1, ("torch",))
    assert table.missing["torch eager f32"].startswith("it does not compute the same stains: rms ")
    assert all(row.kind != "other" for row in table.rows)


def test_without_a_compiler_torch_compile_says_so(
    model: Model, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("shutil.which", lambda name: None)
    table = measure(model, opened, SIDE, 1, ("compile",))
    assert table.missing == {"torch compile f32": "torch.compile needs a C++ compiler: none is installed"}


def test_a_result_is_json_with_everything_in_it(model: Model, tmp_path: Path) -> None:
    wanted = Wanted(backends=("onnxruntime",), sizes=(96, SIDE), frames=2)
    told: list[str] = []
    result = run(model, wanted, tmp_path, told.append)
    document = json.loads(json.dumps(dataclasses.asdict(result), allow_nan=False))
    assert set(document) == {
        "version", "when", "seconds", "machine", "model", "settings", "tables", "journeys", "said",
    }  # fmt: skip
    assert [table["side_px"] for table in document["tables"]] == [96, SIDE]
    assert document["settings"]["frames"] == 2
    assert document["model"]["weights sha256"] == model.weights_sha256
    assert {"processor", "load at the start", "load at the end", "versions", "commit"} <= set(document["machine"])
    assert [text.split(":")[0] for text in document["said"][:2]] == ["96 x 96 px", f"{SIDE} x {SIDE} px"]
    assert len(told) == 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sizes": "95"}, "--sizes 95 is not possible: whole numbers, 96 to 4096 px"),
        ({"sizes": "512,big"}, "--sizes big is not possible"),
        ({"sizes": ","}, "--sizes ',' names nothing"),
        ({"sizes": "8192"}, "--sizes 8192 is not possible"),
        ({"backends": "openvino,cuda"}, "--backend cuda is not possible: auto, tensorrt, openvino, onnxruntime"),
        ({"frames": 0}, "--frames 0 is not possible: at least 1"),
        ({"against": "jax"}, "--against jax is not possible: torch, compile, onnxruntime"),
    ],
)
def test_what_cannot_be_measured_is_the_users_mistake(given: dict[str, object], words: str) -> None:
    asked: dict[str, object] = {"backends": "auto", "sizes": "512", "frames": 4, "against": ""} | given
    with pytest.raises(UserError, match=words):
        parse_wanted(**asked, end_to_end=False, contend=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "words"), [("torch", "torch is not installed"), ("onnxruntime", "not installed")])
def test_a_rival_that_is_not_installed_is_the_users_mistake(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"--against {name}: {words}; .*pip install"):
        parse_wanted("auto", "512", 4, name, end_to_end=False, contend=False)


def test_onnxruntime_as_a_rival_is_measured_as_an_engine() -> None:
    wanted = parse_wanted("openvino", "512,96,512", 4, "onnxruntime", end_to_end=False, contend=False)
    assert (wanted.backends, wanted.sizes) == (("openvino", "onnxruntime"), (512, 96))


def test_contending_measures_each_size_twice(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "busy_recorder", lambda folder: contextlib.nullcontext())
    wanted = Wanted(backends=("onnxruntime",), sizes=(SIDE,), frames=1, contend=True)
    result = run(model, wanted, tmp_path, lambda _: None)
    assert [table.beside for table in result.tables] == ["", "a busy recorder"]
    assert "beside a busy recorder" in result.said[1]


def test_a_library_that_is_missing_is_said_with_what_brings_it(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "livestain.engine.backends.onnxruntime", None)
    with pytest.raises(BackendMissingError, match=r"pip install .onnxruntime"), open_engines(model, ("onnxruntime",)):
        pass
