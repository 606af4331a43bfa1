"""The shipped demo model: a whole folder, an honest card, and stains that are right on cells it never saw."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest

from livestain.contrast import Field, estimate_background, normalise
from livestain.engine.opening import open_backend
from livestain.model import Model, read_model
from livestain.settings import Backend
from livestain.specimen import SPINDLE, Camera, CameraSettings, Specimen, illumination

SHAPE = (256, 256)
UNSEEN_SEED = 50_000
CAUTION = "simulated cells only, not for real samples"


@pytest.fixture(scope="module")
def model() -> Model:
    return read_model("demo-nuclei-membrane")


def stain(model: Model, transmission: Field) -> Field:
    """(2, Y, X): what the bare generator makes of a camera frame of ``transmission``."""
    camera = CameraSettings()
    frame = Camera(camera, UNSEEN_SEED).expose(transmission, 0, illumination(SHAPE, UNSEEN_SEED))
    contrast = normalise(frame, estimate_background(frame, camera.offset), model.card.contrast.constant)
    session = onnxruntime.InferenceSession(model.weights.read(), providers=["CPUExecutionProvider"])
    stains: Field = session.run(None, {"contrast": contrast[None, None]})[0][0]
    return stains


def test_the_folder_is_whole_and_small(model: Model) -> None:
    files = [path for path in model.folder.iterdir() if path.is_file()]
    assert {"rdf.yaml", "README.md", "generator.onnx"} < {path.name for path in files}
    assert sum(path.stat().st_size for path in files) < 10 * 2**20
    assert not any(path.suffix in {".pt", ".pkl", ".data"} for path in files)


def test_the_card_says_simulated_wherever_it_is_read(model: Model) -> None:
    assert model.id == "livestain/demo-nuclei-membrane"
    assert model.card.caution == CAUTION
    assert CAUTION in model.description
    assert CAUTION in (model.folder / "README.md").read_text(encoding="utf-8")
    assert model.stains == ("nuclei", "membrane")
    assert model.license == "BSD-3-Clause"


def test_the_model_beats_every_baseline_of_its_card(model: Model) -> None:
    for name in model.stains:
        usual = [s for s in model.card.scores if s.data == "usual" and s.stain == name and "noiseless" in s.metric]
        value = {s.predictor: s.value for s in usual}
        baselines = [value[key] for key in ("constant", "raw label-free frame", "local deviation, 3 px")]
        assert value["this model"] > max(baselines) + 0.05


def test_weights_name_no_file_of_the_machine_that_trained_them(model: Model) -> None:
    weights = model.weights.read()
    assert b".py" not in weights
    assert b"/site-packages" not in weights


def test_the_test_frame_belongs_to_its_contrast(model: Model) -> None:
    frame, shade, black = model.gate_frame()
    background = estimate_background(frame, black)
    gain = background.gain(frame)
    constant = model.card.contrast.constant
    np.testing.assert_allclose(shade, background.shade(constant, gain), rtol=1e-5)
    np.testing.assert_allclose(model.test_input()[0, 0], normalise(frame, background, constant), atol=1e-4)


def test_unseen_cells_are_stained_where_they_are(model: Model) -> None:
    specimen = Specimen(SPINDLE, SHAPE, UNSEEN_SEED)
    stains = stain(model, specimen.transmission())
    for plane, target, least in ((stains[0], "nuclei", 0.8), (stains[1], "membrane", 0.75)):
        truth = specimen.fluorescence("nuclei" if target == "nuclei" else "membrane")
        assert np.corrcoef(plane.ravel(), truth.ravel())[0, 1] > least, target


def test_an_empty_field_stays_dark(model: Model) -> None:
    stains = stain(model, np.ones(SHAPE, np.float32))
    # The outermost pixels see half of their surroundings, in corners where the background is off by some per cent.
    assert stains[:, 8:-8, 8:-8].max() < 0.1
    assert stains.max() < 0.25


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_the_gate_passes(model: Model, backend: Backend) -> None:
    engine = open_backend(model, backend, threads=1)
    try:
        assert engine.info.gate.passed
    finally:
        engine.close()


def test_the_halo_of_the_card_is_that_of_the_network(model: Model) -> None:
    """One changed pixel changes nothing beyond the halo, and something near it."""
    side = 16 * math.ceil((2 * model.card.halo + 64) / 16)
    contrast = np.random.default_rng(3).uniform(-0.5, 0.5, (1, 1, side, side)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.weights.read(), providers=["CPUExecutionProvider"])
    before = session.run(None, {"contrast": contrast})[0]
    middle = side // 2
    contrast[0, 0, middle, middle] = 1.0
    moved = (session.run(None, {"contrast": contrast})[0] != before).any(axis=(0, 1))
    distance = np.abs(np.argwhere(moved) - middle).max()
    assert 8 < distance <= model.card.halo
