"""A whole training of a few steps: the model folder, what stands in it, and going on after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from livestain.engine.opening import open_backend
from livestain.errors import UserError
from livestain.model import Model, read_model
from livestain.train.config import TrainConfig
from livestain.train.data import Fields
from livestain.train.run import PLAN, train
from tests.train.pieces import small_fields

CONFIG = TrainConfig(width=2, batch=2, crop_px=32, steps=4, epoch_steps=2, networks=2, device="cpu")


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    return small_fields(Path(tmp_path_factory.mktemp("fields")))


@pytest.fixture(scope="module")
def made(fields: Fields, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return train(CONFIG, fields, [], Path(tmp_path_factory.mktemp("made")) / "model", lambda _: None)


def test_the_folder_is_read_and_passes_the_gate(made: Model) -> None:
    assert made.stains == ("nuclei",)
    engine = open_backend(read_model(made.folder), "openvino", threads=1)
    try:
        assert engine.info.gate.passed
    finally:
        engine.close()


def test_the_network_takes_any_multiple_of_its_stride(made: Model) -> None:
    session = onnxruntime.InferenceSession(made.weights.read(), providers=["CPUExecutionProvider"])
    for height, width in ((96, 96), (160, 208), (512, 112)):
        contrast = np.zeros((1, 1, height, width), np.float32)
        assert session.run(None, {"contrast": contrast})[0].shape == (1, 1, height, width)


def test_the_card_says_how_it_was_made(made: Model, fields: Fields) -> None:
    training = made.card.training
    assert training["recipe"] == "simulate"
    assert TrainConfig.model_validate(training["config"]) == CONFIG
    assert training["steps"] == {"teacher-0": 4, "teacher-1": 4, "student": 4}
    assert training["choice"]["by"] == "K5, without pairs"
    assert len(training["data_sha256"]) == 64
    assert made.card.contrast.constant == pytest.approx(fields.groups[""].constant, rel=1e-3)
    assert made.card.caution == "never compared with measured stains"
    assert any("pixel size" in limit for limit in made.card.limits)


class _StopError(Exception):
    pass


def test_an_interrupted_training_goes_on_to_the_same_weights(made: Model, fields: Fields, tmp_path: Path) -> None:
    def stop(text: str) -> None:
        if text.startswith("teacher-1: step 2 "):
            raise _StopError

    with pytest.raises(_StopError):
        train(CONFIG, fields, [], tmp_path / "model", stop)
    with pytest.raises(UserError, match="go on with --resume"):
        train(CONFIG, fields, [], tmp_path / "model", lambda _: None)
    other = CONFIG.model_copy(update={"batch": 3})
    with pytest.raises(UserError, match="other settings"):
        train(other, fields, [], tmp_path / "model", lambda _: None, resume=True)
    resumed = train(CONFIG, fields, [], tmp_path / "model", lambda _: None, resume=True)
    np.testing.assert_allclose(resumed.test_output(), made.test_output(), atol=1e-6)


def test_nothing_is_overwritten_and_nothing_resumed_that_is_not_there(fields: Fields, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match="there already"):
        train(CONFIG, fields, [], tmp_path / "model", lambda _: None)
    with pytest.raises(UserError, match=PLAN):
        train(CONFIG, fields, [], tmp_path / "other", lambda _: None, resume=True)
