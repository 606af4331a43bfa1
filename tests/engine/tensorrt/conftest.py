"""The doubles of NVIDIA's libraries, and an engine over them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from livestain.engine.backends.base import BaseEngine
from livestain.engine.backends.tensorrt import TensorRtEngine
from livestain.model import Model
from tests.engine.tensorrt import fake_cuda, fake_tensorrt
from tests.engine.tensorrt.fake_cuda import FakeCuda
from tests.engine.tensorrt.fake_tensorrt import FakeTensorRt


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return fake_cuda.install(monkeypatch, FakeCuda())


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
    return fake_tensorrt.install(monkeypatch, FakeTensorRt())


@pytest.fixture
def engine(cuda: FakeCuda, tensorrt: FakeTensorRt, model: Model) -> Iterator[BaseEngine]:
    made = TensorRtEngine(model)
    yield made
    made.close()
    assert cuda.held == 0


@pytest.fixture
def fresh_engine(engine: BaseEngine) -> BaseEngine:
    return engine
