"""The recipes of published methods from images to a model folder: a few steps, tiny networks, nothing left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from livestain.train.data import Fields
from livestain.train.plan import work_folder
from livestain.train.recipes import find_recipe
from livestain.train.run import train
from tests.train.pieces import QUICK, small_fields


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    return small_fields(Path(tmp_path_factory.mktemp("fields")))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["utom", "mvs-cyclegan"])
def test_forty_steps_of_a_published_recipe_make_a_model(name: str, fields: Fields, tmp_path: Path) -> None:
    own = {**find_recipe(name).defaults, "recipe": name, "steps": 40, "epoch_steps": 10}
    lines: list[str] = []
    model = train(QUICK.model_copy(update=own), fields, [], tmp_path / "model", lines.append)
    assert model.card.training["recipe"] == name
    session = onnxruntime.InferenceSession(model.weights.read(), providers=["CPUExecutionProvider"])
    stains = session.run(None, {"contrast": fields.groups[""].label_free[0][None, None]})[0]
    assert stains.shape == (1, 1, 128, 128)
    assert np.isfinite(stains).all()
    assert stains.std() > 0
    pictures = work_folder(tmp_path / "model") / "train" / "samples"
    assert sorted(path.name for path in pictures.iterdir()) == [f"epoch-{number:04}.png" for number in (1, 2, 3, 4)]
    assert any("spread: nuclei" in line for line in lines)
