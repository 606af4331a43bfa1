"""``livestain bench`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from livestain.bench import engines, limits, plan
from tests.conftest import Livestain

SIDE = 96


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small limits, and a frame that need not be drawn."""
    frame = np.random.default_rng(0).normal(2000, 100, (SIDE, SIDE)).astype(np.uint16)
    monkeypatch.setattr(engines, "one_frame", lambda side: frame)
    monkeypatch.setattr(limits, "_MAPS", 16)
    monkeypatch.setattr(limits, "COPIED_BYTES", 1 << 20)


def test_tables_and_the_sentence_are_on_stdout_and_everything_in_the_file(
    livestain: Livestain, model_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    words = ("bench", model_folder, "--backend", "onnxruntime", "--sizes", SIDE, "--frames", 2, "--json", file)
    done = livestain(*words)
    assert done.code == 0, done.err
    for text in ("Engines alone, in turns: 96 x 96 px", "onnxruntime f32", "memory copy", "p99", "frame/s", "load"):
        assert text in done.out
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["said"][0] in done.out
    assert document["said"][0].startswith("96 x 96 px: onnxruntime f32 takes ")
    assert f"written: {file}" in done.err


MISTAKES: dict[str, tuple[list[object], str]] = {
    "too small": (["--sizes", 95], "--sizes 95 is not possible: whole numbers, 96 to 4096 px"),
    "a size that is no number": (["--sizes", "512,wide"], "--sizes wide is not possible"),
    "no frames": (["--frames", 0], "--frames 0 is not possible: at least 1"),
    "an engine that is not known": (["--backend", "cuda"], "--backend cuda is not possible: auto, tensorrt, openvino"),
    "a rival that is not known": (["--against", "jax"], "--against jax is not possible: torch, compile, onnxruntime"),
    "no such folder": (["--folder", "nowhere"], "--folder nowhere is no folder"),
    "a file in no folder": (["--json", "nowhere/b.json"], "cannot be written"),
}


@pytest.mark.parametrize(("words", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line(words: list[object], told: str, livestain: Livestain, model_folder: Path) -> None:
    done = livestain("bench", model_folder, *words)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert len(done.err.splitlines()) == 1


def test_an_unknown_model_is_one_line(livestain: Livestain) -> None:
    done = livestain("bench", "nothing", "--sizes", SIDE)
    assert done.code == 2
    assert "no model folder at nothing" in done.err


def test_torch_that_is_not_installed_is_named_with_what_brings_it(
    livestain: Livestain, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = livestain("bench", model_folder, "--against", "torch")
    assert done.code == 2
    assert "--against torch: torch is not installed" in done.err


def test_ctrl_c_ends_it_with_130(livestain: Livestain, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(plan, "measure", pressed)
    done = livestain("bench", model_folder, "--backend", "onnxruntime", "--sizes", SIDE)
    assert done.code == 130
    assert "Traceback" not in done.err
