"""Pictures of a training: fixed crops with cells, few files, and no trace in the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from livestain.train.config import TrainConfig
from livestain.train.data import Fields, Group
from livestain.train.guards import SPREAD
from livestain.train.loop import Schedule, Training, fit
from livestain.train.recipes import find_recipe
from livestain.train.samples import KEPT, Samples
from tests.train.pieces import small_fields


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    return small_fields(Path(tmp_path_factory.mktemp("fields")))


class Energy(nn.Module):
    """The size of the contrast; one unused weight says where it lives."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, contrast: Tensor) -> Tensor:
        return contrast.abs()


def test_a_crop_is_the_liveliest_window_of_its_field_and_every_group_has_one(tmp_path: Path) -> None:
    fields = {name: np.zeros((320, 272), np.float32) for name in "ab"}
    fields["a"][200:230, 20:70] = 0.5
    fields["b"][:40, 250:] = -0.5
    groups = {name: Group(1.0, None, (field, 0 * field), (), ()) for name, field in fields.items()}
    stains = Samples(Fields(groups, ("nuclei",), None), tmp_path).stain(Energy())
    assert stains.shape == (4, 1, 160, 160)
    assert stains.sum((1, 2, 3)).tolist() == [0.5 * 30 * 50, 0.5 * 40 * 22, 0, 0]


def test_a_picture_shows_label_free_beside_virtual_on_a_fixed_scale(fields: Fields, tmp_path: Path) -> None:
    samples = Samples(fields, tmp_path)
    stains = np.zeros((3, 1, 128, 128), np.float32)
    for epoch, brightness in enumerate((0.0, 0.375, 0.75)):
        samples.write(stains + np.float32(brightness), epoch, 3)
    pages = [np.asarray(Image.open(tmp_path / f"epoch-{number:04}.png")) for number in (1, 2, 3)]
    assert {page.shape for page in pages} == {(3 * 146, 2 * 132)}
    assert [int(page[14 + 64, 132 + 64]) for page in pages] == [0, 127, 255]
    assert pages[0][14:142, :128].std() > 10
    assert all(pages[0][:14, column : column + 128].min() < 50 for column in (0, 132))  # captions


@pytest.mark.parametrize(("epochs", "kept"), [(7, 7), (20, 20), (50, 17), (399, 20)])
def test_few_pictures_stay_and_the_newest_is_among_them(
    epochs: int, kept: int, fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = Samples(fields, tmp_path)
    page = Image.new("L", (1, 1))
    monkeypatch.setattr(samples, "_draw", lambda _: page)
    for epoch in range(epochs):
        samples.write(np.zeros((3, 1, 16, 16), np.float32), epoch, epochs)
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left[-1] == f"epoch-{epoch + 1:04}.png"
        assert len(left) <= KEPT + 1
    assert kept <= len(left) <= kept + 1


def test_pictures_change_neither_weights_nor_random_numbers_and_tell_the_spread(fields: Fields, tmp_path: Path) -> None:
    def train(folder: Path, samples: Samples | None) -> Training:
        recipe = find_recipe("cyclegan")(TrainConfig(recipe="cyclegan", width=2, batch=2, crop_px=32, device="cpu"))
        training = Training(recipe, 1, Schedule(epochs=2, epoch_steps=3))
        fit(training, recipe.batches(fields), folder, lambda _: None, samples=samples)
        return training

    plain, drawn = train(tmp_path / "a", None), train(tmp_path / "b", Samples(fields, tmp_path / "pictures"))
    torch.testing.assert_close(dict(plain.state_dict()), dict(drawn.state_dict()), atol=0, rtol=0)
    assert [path.name for path in sorted((tmp_path / "pictures").iterdir())] == ["epoch-0001.png", "epoch-0002.png"]
    assert [set(after) - set(before) for before, after in zip(plain.history, drawn.history, strict=True)] == [
        {f"{SPREAD}nuclei"}
    ] * 2


def test_a_picture_that_cannot_be_written_is_said_and_ends_nothing(fields: Fields, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recipe = find_recipe("gan")(TrainConfig(recipe="gan", width=2, batch=2, crop_px=32, device="cpu"))
    lines: list[str] = []
    training = Training(recipe, 1, Schedule(epochs=1, epoch_steps=1))
    fit(training, recipe.batches(fields), tmp_path, lines.append, samples=Samples(fields, tmp_path / "file" / "under"))
    assert "the picture of the samples was not written" in lines[0]
