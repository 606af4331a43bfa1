"""One image in, its stains out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from livestain.contrast import estimate_background
from livestain.engine.opening import open_engine
from livestain.engine.standalone import StandaloneEngine
from livestain.errors import EngineError, FrameError, ModelError
from livestain.model import Model
from tests.models import BLACK, CONSTANT, camera_frame


@pytest.fixture(scope="module")
def engine(model: Model) -> StandaloneEngine:
    return open_engine(model, "onnxruntime")


def test_an_image_is_stained_as_in_a_run(engine: StandaloneEngine) -> None:
    image = camera_frame((160, 177))
    background = estimate_background(image, BLACK)
    shade = background.shade(CONSTANT, background.gain(image))
    result = engine.stain(image, black=BLACK)
    np.testing.assert_array_equal(result.stains, engine._engine.stain(image, shade, BLACK, 1 / CONSTANT))
    assert result.names == ("nuclei", "membrane")
    assert result.engine.startswith("onnxruntime ")
    assert not result.live
    assert result.input.warnings == ()
    assert 0 < result.timing.engine_ms <= result.timing.total_ms


def test_a_model_is_opened_by_its_path_and_closed_at_the_end(model: Model) -> None:
    with open_engine(str(model.folder), "onnxruntime") as engine:
        assert engine.info.gate.passed
    with pytest.raises(EngineError, match="was closed"):
        engine.stain(camera_frame((112, 128)))


def test_a_path_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder at"):
        open_engine(tmp_path / "nothing")


def blurred(stains: npt.NDArray[np.uint16]) -> Any:
    return stains[0, :256, :256].reshape(32, 8, 32, 8).mean((1, 3)).ravel()


def test_an_image_of_finer_pixels_is_stained_at_the_models_pixel_size(engine: StandaloneEngine) -> None:
    coarse = camera_frame((256, 256))
    fine = np.repeat(np.repeat(coarse, 2, 0), 2, 1)
    result = engine.stain(fine, pixel_um=0.325, black=BLACK)
    assert result.stains.shape == (2, 512, 512)
    wanted = np.repeat(np.repeat(engine.stain(coarse, black=BLACK).stains, 2, 1), 2, 2)
    assert np.corrcoef(blurred(result.stains), blurred(wanted))[0, 1] > 0.9
    assert np.corrcoef(blurred(result.stains), blurred(engine.stain(fine, black=BLACK).stains))[0, 1] < 0.9


def test_an_image_with_the_models_pixel_size_is_not_resampled(engine: StandaloneEngine) -> None:
    image = camera_frame((160, 177))
    np.testing.assert_array_equal(engine.stain(image, pixel_um=0.65).stains, engine.stain(image).stains)


def test_the_contrast_constant_of_a_microscope_replaces_that_of_the_model(engine: StandaloneEngine) -> None:
    image = camera_frame((160, 177))
    usual, halved = engine.stain(image).input, engine.stain(image, contrast=0.6).input
    assert halved.sd == pytest.approx(usual.sd / 2, rel=0.1)
    np.testing.assert_array_equal(engine.stain(image, contrast=0.3).stains, engine.stain(image).stains)


def test_an_unusual_image_is_stained_with_a_warning(engine: StandaloneEngine) -> None:
    grey = np.random.default_rng(0).poisson(2000, (128, 128)).astype(np.uint16)
    grey[:, ::2] = 2000
    assert engine.stain(grey, contrast=3.0).input.warnings[0].startswith("contrast 0.0")


@pytest.mark.parametrize(
    ("image", "pixel_um", "words"),
    [
        (np.zeros((128, 128), np.uint16), None, "median of 0 counts .* too dark or saturated"),
        (np.full((128, 128), 65535, np.uint16), None, "too dark or saturated"),
        (np.zeros((128, 128, 3), np.uint8), None, "colour"),
        (np.full((200, 300), 2000, np.uint16), 0.3, "is 92 x 138 px at the model's 0.65 um: at least 96 x 96"),
        (np.full((128, 128), 2000, np.uint16), 0.0, "pixel size of 0.0 um; a positive number"),
        (np.full((128, 128), 2000, np.uint16), float("nan"), "pixel size of nan um"),
    ],
    ids=["black", "white", "rgb", "too few pixels", "no pixel size", "nan pixel size"],
)
def test_an_image_that_cannot_be_stained_is_named(
    engine: StandaloneEngine, image: npt.NDArray[np.uint16], pixel_um: float | None, words: str
) -> None:
    with pytest.raises(FrameError, match=words):
        engine.stain(image, pixel_um)
