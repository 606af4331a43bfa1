"""The way of a frame through a real session, and what is at work beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest

from livestain.bench import end_to_end, screen
from livestain.bench.end_to_end import travel
from livestain.bench.recorder import busy_recorder
from livestain.bench.screen import screen_or_why
from livestain.errors import EngineError, StoreError, UserError
from livestain.model import Model, read_model
from livestain.sources.camera import PythonCamera

SIDE, FRAMES = 112, 4


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Model:
    return read_model(model_folder)


@pytest.fixture(autouse=True)
def ready_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing cells takes seconds."""
    frame = np.random.default_rng(0).normal(2000, 100, (SIDE, SIDE)).astype(np.uint16)

    def camera(side: int, exposure_ms: float) -> PythonCamera:
        return PythonCamera(lambda k: frame, (side, side), np.uint16, 0.65, exposure_ms)

    monkeypatch.setattr(end_to_end, "ready_camera", camera)


def test_every_stage_of_a_real_run_has_its_time(model: Model, tmp_path: Path) -> None:
    pytest.importorskip("qtpy", reason="Qt is not installed: would show the time to the screen")
    told: list[str] = []
    found = travel(model, "onnxruntime", SIDE, FRAMES, tmp_path, say=told.append)
    assert {"slot", "slot, CPU", "publish", "queue", "engine", "durable store", "screen"} <= set(found.stages_ms)
    assert found.engine == "onnxruntime f32"
    assert found.stages_ms["slot"]["n"] == found.stages_ms["durable store"]["n"] == FRAMES
    assert found.frames_per_s == pytest.approx(2 * found.paced_per_s, rel=0.01) or found.paced_per_s == 100
    assert found.frame_mib == pytest.approx(SIDE * SIDE * 2 * 3 / 2**20, abs=1e-3)
    assert min(found.disk_mib_s, found.memory_mib, found.engine_ms) > 0
    assert not found.missing
    assert not list(tmp_path.iterdir())
    assert len(told) == 4


def test_without_qt_the_screen_is_missing_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise UserError("no picture can be drawn: no Qt is installed")

    monkeypatch.setattr(screen, "probe", lambda: "no Qt is installed")
    monkeypatch.setattr(screen, "headless_application", none)
    with screen_or_why() as why:
        assert why == "no picture can be drawn: no Qt is installed"


def test_a_run_that_stains_nothing_measures_nothing(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dark = PythonCamera(lambda k: np.zeros((SIDE, SIDE), np.uint16), (SIDE, SIDE), np.uint16, 0.65, 0.0)
    monkeypatch.setattr(end_to_end, "ready_camera", lambda side, exposure_ms: dark)
    with pytest.raises(EngineError, match="this run measures nothing: Counters"):
        travel(model, "onnxruntime", SIDE, FRAMES, tmp_path)


def test_a_busy_recorder_writes_beside_and_leaves_nothing(tmp_path: Path) -> None:
    with busy_recorder(tmp_path):
        (child,) = psutil.Process().children()
        planes = next(tmp_path.glob("*/busy.ome.zarr"))
        assert any(path.stat().st_size > 2**20 for path in planes.rglob("*") if path.is_file())
        assert child.is_running()
    assert not psutil.pid_exists(child.pid)
    assert not list(tmp_path.iterdir())


def test_a_recorder_that_cannot_write_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livestain.bench.recorder.__name__", "livestain.bench.nothing")
    with (
        pytest.raises(StoreError, match=r"the busy recorder cannot write to .*No module named"),
        busy_recorder(tmp_path),
    ):
        pass
