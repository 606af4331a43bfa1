from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from livestain.contrast import estimate_background, normalise
from livestain.engine.backends.base import BaseEngine
from livestain.engine.backends.onnxruntime import OnnxRuntimeEngine
from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.engine.quantise import quantise, store_quantised
from livestain.model import Model, read_model
from tests.models import BLACK, CONSTANT, camera_frame, write_test_model

ENGINES = [(OpenVinoEngine, "f32"), (OpenVinoEngine, "bf16"), (OpenVinoEngine, "int8"), (OnnxRuntimeEngine, "f32")]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return read_model(write_test_model(tmp_path_factory.mktemp("models") / "model"))


def quantised(model: Model) -> Model:
    """Give the model a quantised network, calibrated with seeded frames; return it."""
    frames = [camera_frame((192, 192), seed) for seed in range(1, 5)]
    contrasts = [normalise(frame, estimate_background(frame, BLACK), CONSTANT) for frame in frames]
    store_quantised(model, quantise(model.generator(), contrasts), contrasts, "seeded frames")
    return model


@pytest.fixture(scope="session")
def quantised_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The same model in another folder, with a quantised network."""
    return quantised(read_model(write_test_model(tmp_path_factory.mktemp("quantised") / "model")))


@pytest.fixture
def own_model(tmp_path: Path) -> Model:
    """A model whose compiled folder is empty."""
    return read_model(write_test_model(tmp_path / "model"))


def make_engine(request: pytest.FixtureRequest, model: Model) -> BaseEngine:
    """The engine that the parameter (adapter, precision) names, on one thread."""
    adapter, precision = request.param
    if precision == "int8":
        model = request.getfixturevalue("quantised_model")
    if precision not in adapter.precisions(model):
        pytest.skip(f"this CPU has no {precision}: would show that {adapter.backend} stains with it within the gate")
    engine: BaseEngine = adapter(model, precision, threads=1)
    return engine


@pytest.fixture(scope="session", params=ENGINES, ids=lambda param: f"{param[0].backend}-{param[1]}")
def engine(request: pytest.FixtureRequest, model: Model) -> Iterator[BaseEngine]:
    """Each engine in turn; shared by the session, so nothing may close it."""
    made = make_engine(request, model)
    yield made
    made.close()


@pytest.fixture(params=ENGINES, ids=lambda param: f"{param[0].backend}-{param[1]}")
def fresh_engine(request: pytest.FixtureRequest, model: Model) -> BaseEngine:
    return make_engine(request, model)
