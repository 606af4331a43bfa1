"""Frames, engine files and lives of an engine, for the tests of TensorRT."""

from __future__ import annotations

from typing import Any

import numpy as np

from livestain.contrast import estimate_background
from livestain.engine.backends.base import BaseEngine
from livestain.engine.backends.tensorrt import TensorRtEngine
from livestain.engine.cache import EngineCache, EngineFile
from livestain.engine.graph import Bit, compose
from livestain.engine.protocol import Given
from livestain.engine.tensorrt.build import Shapes
from livestain.engine.tensorrt.plans import Wish, plan_facts
from livestain.frames import Counts
from livestain.model import Model
from tests.engine.tensorrt.fake_tensorrt import plan_bytes
from tests.models import BLACK, CONSTANT, camera_frame

SM89 = ("SM75", "SM89")
THIS_CARD = ("current: NVIDIA Fake 4090, CUDA 13.0",)


def given(shape: tuple[int, int], seed: int = 0, dtype: type[np.unsignedinteger[Any]] = np.uint16) -> Given:
    frame: Counts = camera_frame(shape, seed).astype(dtype)
    background = estimate_background(frame, BLACK if dtype is np.uint16 else 0.0)
    return Given(frame, background.shade(CONSTANT, background.gain(frame)), background.black, 1 / CONSTANT)


def stain(engine: BaseEngine, frame: Given) -> np.ndarray[Any, Any]:
    return engine.stain(frame.image, frame.shade, frame.black, frame.offset)


def grey(shape: tuple[int, int] = (96, 96)) -> Given:
    return Given(np.full(shape, 200, np.uint16), np.full((12, 12), 0.01, np.float32), 0.0, 1.0)


def put(model: Model, tensorrt: Any, targets: tuple[str, ...] = SM89, **changes: Any) -> EngineFile:
    """Put an engine file beside the model, as ``livestain build-engine`` does; ``changes`` alter its facts."""
    bit: Bit = changes.get("bit", "uint16")
    shapes: Shapes = changes.pop("take", Shapes())
    graph = compose(model.generator(), model.card.stride, "bytes", bit)
    wish = Wish("f32", shapes, bit, targets)
    facts = plan_facts(tensorrt, model, graph.SerializeToString(deterministic=True), wish) | changes
    return EngineCache.of(model).store(facts, plan_bytes(graph, shapes, bit))


def kernel_files(model: Model) -> list[EngineFile]:
    return [file for file in EngineCache.of(model).files() if file.facts["kind"] == "runtime cache"]


def whole_life(model: Model) -> None:
    engine = TensorRtEngine(model)
    try:
        stain(engine, grey())
        engine.stain_many([grey()] * 5)
    finally:
        engine.close()
        engine.close()
