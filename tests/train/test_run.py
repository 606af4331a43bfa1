"""A whole training of a few steps: the model folder, what stands in it, and going on after an interruption."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from livestain.engine.opening import open_backend
from livestain.errors import UserError
from livestain.model import Model, read_model
from livestain.train.config import TrainConfig
from livestain.train.data import Fields
from livestain.train.run import train
from livestain.train.select import K5_CONFIDENCE, UNRENDERED_CONFIDENCE
from tests.train.pieces import QUICK, small_fields

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def fields(images: Path) -> Fields:
    return small_fields(images)


@pytest.fixture(scope="module")
def made(fields: Fields, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return train(QUICK, fields, [], Path(tmp_path_factory.mktemp("made")) / "model", lambda _: None)


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
    assert TrainConfig.model_validate(training["config"]) == QUICK
    assert training["steps"] == {"teacher-0": 12, "teacher-1": 12, "student": 12}
    assert training["choice"]["by"] == "K5, without pairs"
    assert training["choice"]["confidence"]["rank_correlation"] == K5_CONFIDENCE["rank_correlation"]
    assert "veto" not in training["choice"]  # of two networks nobody can say which one is wrong
    assert any("focus of its training images is not stated" in limit for limit in made.card.limits)
    assert len(training["data_sha256"]) == 64
    assert made.card.contrast.constant == pytest.approx(fields.groups[""].constant, rel=1e-3)
    assert made.card.caution == "never compared with measured stains"
    assert any("pixel size" in limit for limit in made.card.limits)


def test_the_report_stands_alone_and_says_that_stains_are_predicted(made: Model) -> None:
    page = (made.folder / "report.html").read_text(encoding="utf-8")
    assert "predicted, not measured" in page
    assert f"rank correlation of {K5_CONFIDENCE['rank_correlation']:.2f}, " in page
    assert page.count("<td>chosen") == 2
    assert page.count("data:image/png;base64,") == 4  # two fields, label-free and stain
    assert page.count("<polyline") == 7  # one loss of each teacher, two of the student, the spread of each one's stain
    assert 'src="http' not in page


def test_a_training_that_was_killed_goes_on_to_the_same_weights(made: Model, images: Path, fields: Fields) -> None:
    output = images / "killed"
    command = [sys.executable, "-m", "tests.train.training_to_kill", str(images), str(output)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line.startswith("teacher-1: step 6 ") for line in process.stdout)
        process.kill()
    with pytest.raises(UserError, match="go on with --resume"):
        train(QUICK, fields, [], output, lambda _: None)
    other = QUICK.model_copy(update={"batch": 3})
    with pytest.raises(UserError, match="other settings"):
        train(other, fields, [], output, lambda _: None, resume=True)
    resumed = train(QUICK, fields, [], output, lambda _: None, resume=True)
    np.testing.assert_allclose(resumed.test_output(), made.test_output(), atol=1e-6)


@pytest.fixture(scope="module")
def unrendered(fields: Fields, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A stain without a renderer, by a recipe that trains an inverse, with networks of live normalisation."""
    config = QUICK.model_copy(update={"recipe": "cyclegan", "options": {"resnet_blocks": 1.0}, "steps": 2})
    actin = replace(fields, stains=("actin",))
    return train(config, actin, [], Path(tmp_path_factory.mktemp("made")) / "model", lambda _: None)


def test_a_choice_without_renderer_and_pairs_is_called_unproven(unrendered: Model) -> None:
    choice = unrendered.card.training["choice"]
    assert choice["by"] == "likeness and mirroring, without pairs (unproven)"
    assert choice["confidence"] == UNRENDERED_CONFIDENCE
    assert sorted(choice["candidates"][0]) == ["chosen", "file", "flip_error", "rank", "stage", "unlikeness"]
    assert any("(unproven)" in limit for limit in unrendered.card.limits)
    assert "a rank correlation of 0.31" in (unrendered.folder / "report.html").read_text(encoding="utf-8")


def test_a_recipe_that_trains_an_inverse_writes_it_and_frozen_statistics_are_compared(unrendered: Model) -> None:
    assert (unrendered.folder / str(unrendered.card.inverse)).is_file()
    training = unrendered.card.training
    assert training["frozen_r"] >= 0.98
    assert training["frozen_psnr_db"] > 20


def test_nothing_is_overwritten_and_nothing_resumed_that_is_not_there(fields: Fields, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match="there already"):
        train(QUICK, fields, [], tmp_path / "model", lambda _: None)
    with pytest.raises(UserError, match="no interrupted training"):
        train(QUICK, fields, [], tmp_path / "other", lambda _: None, resume=True)
