"""A training that begins at a model, or learns from one, without measured stains of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from livestain.errors import UserError
from livestain.evaluate.metrics import pearson_r
from livestain.evaluate.pairs import Pair
from livestain.model import Model, read_model, shipped_models
from livestain.train.data import Fields, load_fields, load_pairs
from livestain.train.export import Facts, write_model
from livestain.train.loop import Schedule, Training
from livestain.train.networks import stain_field
from livestain.train.recipes import find_recipe
from livestain.train.recipes.distill import stainer_of_model, teach
from livestain.train.run import train
from livestain.train.sources import find_sources
from livestain.train.start import settings_to_start_at, start_at
from tests.train.pieces import QUICK, cells, write_cells

PAIRED = QUICK.model_copy(update={"recipe": "paired", "learning_rate": 0.003})


def pairs(count: int) -> Fields:
    made = []
    for seed in range(count):
        label_free, nuclei = cells(seed)
        name = f"f{seed}"
        made.append(Pair(name, name, "", (128, 128), {"nuclei": lambda n=nuclei: n}, lambda a=label_free: a))  # type: ignore[misc]
    return load_pairs(made, ["nuclei"])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that was not trained, and whose stains are not constant."""
    torch.manual_seed(0)
    net = find_recipe("paired")(PAIRED).networks(1)["generator"].eval()
    torch.nn.init.normal_(net.head.weight, 0.0, 2.0)
    for bias in (parameter for parameter in net.parameters() if parameter.ndim == 1):
        torch.nn.init.normal_(bias, 0.0, 0.05)  # equal ones, such as zeros, are stored once
    unstated = {"pixel_um": {"": None}}
    facts = Facts("teacher", "local/teacher", "A test.", "bright field", unstated, "# teacher\n", "a lab")
    return write_model(Path(tmp_path_factory.mktemp("teacher")) / "model", net, pairs(3), facts)


def begun(teacher: Model, **settings: object) -> Training:
    training = Training(find_recipe("paired")(PAIRED.model_copy(update=settings)), 1, Schedule(1, 1))
    start_at(training, teacher)
    return training


def test_fine_tuning_begins_exactly_at_the_teachers_answer(teacher: Model) -> None:
    training = begun(teacher)
    expected = teacher.test_output()[0, 0]
    assert expected.std() > 0.01
    for network in (training.networks["generator"], training.average):
        assert network.training
        assert pearson_r(stain_field(network, teacher.test_input()[0, 0])[0], expected) > 0.9999


def test_fine_tuning_lowers_the_loss_from_there(teacher: Model, tmp_path: Path) -> None:
    fields = replace(pairs(1), teacher=teacher.identity)
    config = PAIRED.model_copy(update={"steps": 40, "epoch_steps": 40})

    def loss(model: Model) -> float:
        stain = stainer_of_model(model)
        (group,) = fields.groups.values()
        return float(np.mean([(stain(a) - b) ** 2 for a, b in zip(group.label_free, group.stains, strict=True)]))

    tuned = train(config, fields, [], tmp_path / "tuned", lambda _: None, start=teacher)
    assert loss(tuned) < loss(teacher)
    assert tuned.card.training["teacher"] == teacher.identity


def test_a_network_of_another_width_or_kind_is_refused_with_what_to_do(teacher: Model) -> None:
    with pytest.raises(UserError, match=r"stem\.0\.0\.weight is \(2, 1, 6, 6\).*needs \(4, 1, 6, 6\); take one"):
        begun(teacher, width=4)
    three = Training(find_recipe("paired")(PAIRED), 3, Schedule(1, 1))
    with pytest.raises(UserError, match=r"head\.weight is \(4, 2, 3, 3\).*needs \(12, 2, 3, 3\)"):
        start_at(three, teacher)


def test_the_same_shapes_with_other_answers_are_refused(teacher: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livestain.train.start.stain_field", lambda net, contrast, stride: contrast[None] * 0 + 0.5)
    with pytest.raises(UserError, match="the recipe's network answers otherwise"):
        begun(teacher)


def test_what_the_user_set_is_kept_and_the_rest_fits_the_teacher(teacher: Model) -> None:
    assert settings_to_start_at(teacher, {}) == {"width": 2, "learning_rate": 1e-4}
    assert settings_to_start_at(teacher, {"learning_rate": 0.01, "width": 8}) == {}


def test_a_pixel_size_that_was_not_stated_is_not_taken_from_the_card(teacher: Model) -> None:
    assert teacher.card.pixel_um == 1.0
    assert teacher.card.trained_pixel_um is None
    demo = read_model(shipped_models()["demo-nuclei-membrane"])
    assert demo.card.trained_pixel_um == demo.card.pixel_um


def test_label_free_fields_and_a_teacher_are_enough(teacher: Model, tmp_path: Path) -> None:
    label_free, _ = write_cells(tmp_path)
    alone = load_fields(find_sources(label_free, "label_free"), {})
    assert (alone.stains, alone.measured) == ((), False)
    taught = teach([stainer_of_model(teacher)], alone)
    fields = replace(alone, stains=teacher.stains, taught=taught, teacher=teacher.identity)
    config = QUICK.model_copy(update={"recipe": "distill", "steps": 30, "epoch_steps": 15})
    lines: list[str] = []
    model = train(config, fields, [], tmp_path / "student", lines.append)
    assert model.stains == ("nuclei",)
    assert model.card.training["fields"] == {"": {"label_free": 3, "stains": 0}}
    assert model.card.training["teacher"] == teacher.identity
    assert model.card.training["choice"]["by"] == "nothing: the last checkpoint"
    assert any("the last checkpoint is taken" in line for line in lines)
    page = (model.folder / "report.html").read_text(encoding="utf-8")
    assert "not measured" in page


def test_crops_for_a_student_without_measured_stains_lie_where_its_teacher_is_bright(
    teacher: Model, tmp_path: Path
) -> None:
    label_free, _ = write_cells(tmp_path, fields=1, side=512)
    alone = load_fields(find_sources(label_free, "label_free"), {})
    spot = np.zeros((1, 512, 512), np.float32)
    spot[:, 250:256, 250:256] = 1
    fields = replace(alone, stains=("nuclei",), taught={"": (spot,)})
    always = QUICK.model_copy(update={"recipe": "distill", "balanced": 1.0, "batch": 8})
    batch = find_recipe("distill")(always).batches(fields).batch(0, 0)
    assert batch.also is None
    assert (batch.b.amax((1, 2, 3)) == 1).all()
