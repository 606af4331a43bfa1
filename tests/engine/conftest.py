from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from livestain.engine.backends.base import BaseEngine
from livestain.engine.backends.onnxruntime import OnnxRuntimeEngine
from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.model import Model, read_model
from tests.models import write_test_model

ENGINES = [(OpenVinoEngine, "f32"), (OpenVinoEngine, "bf16"), (OnnxRuntimeEngine, "f32")]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return read_model(write_test_model(tmp_path_factory.mktemp("models") / "model"))


@pytest.fixture
def own_model(tmp_path: Path) -> Model:
    """A model whose compiled folder is empty."""
    return read_model(write_test_model(tmp_path / "model"))


def make_engine(request: pytest.FixtureRequest, model: Model) -> BaseEngine:
    """The engine that the parameter (adapter, precision) names, on one thread."""
    adapter, precision = request.param
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
