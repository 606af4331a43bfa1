"""What is written is what was trained: the gate passes whatever groups the images had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml

from livestain.contrast import estimate_background, normalise
from livestain.engine.opening import open_backend, open_engine
from livestain.errors import TrainingError
from livestain.model import Model, read_model
from livestain.train.cycle_networks import ResnetGenerator
from livestain.train.data import Fields
from livestain.train.export import PARITY, Facts, freeze, write_model
from livestain.train.networks import Generator
from tests.train.pieces import small_fields

FACTS = Facts("m", "local/m", "A test.", "bright field", {}, "# m\n", "a lab")


def two_groups(folder: Path) -> Fields:
    """The same cells twice, the second time with a constant three times as large."""
    fields = small_fields(folder)
    group = fields.groups[""]
    wide = 3 * group.constant
    contrast = tuple(normalise(frame, estimate_background(frame), wide) for frame in group.frames)
    return replace(fields, groups={"a": group, "b": replace(group, constant=wide, label_free=contrast)})


def test_a_model_of_two_groups_reproduces_its_test_frame(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Generator(1, 4).eval()
    torch.nn.init.normal_(net.head.weight, 0.0, 3.0)
    model = write_model(tmp_path / "model", net, two_groups(tmp_path), FACTS)
    assert model.test_output().std() > 0.01
    engine = open_backend(model, "onnxruntime", threads=1)
    try:
        assert engine.info.gate.passed
    finally:
        engine.close()


@pytest.mark.parametrize(("license_id", "written"), [(None, None), ("CC-BY-4.0", "CC-BY-4.0")])
def test_the_author_and_the_licence_are_the_users(license_id: str | None, written: str | None, tmp_path: Path) -> None:
    net = Generator(1, 4).eval()
    torch.nn.init.normal_(net.head.weight, 0.0, 3.0)
    facts = Facts("m", "local/m", "A test.", "bright field", {}, "# m\n", "a lab", license_id)
    write_model(tmp_path / "model", net, two_groups(tmp_path), facts)
    description = yaml.safe_load((tmp_path / "model" / "rdf.yaml").read_text(encoding="utf-8"))
    assert (description["authors"], description.get("license")) == ([{"name": "a lab"}], written)


def test_a_network_without_live_normalisation_has_nothing_to_freeze(tmp_path: Path) -> None:
    assert freeze(Generator(1, 4), small_fields(tmp_path).groups[""].label_free) is None


def paper_network(inputs: int, outputs: int, *, signed: bool = False) -> ResnetGenerator:
    """The paper's generator, two maps wide, with an answer that is far from constant."""
    torch.manual_seed(1)
    net = ResnetGenerator(inputs, outputs, 2, 9, signed=signed)
    torch.nn.init.normal_(net.layers[-1].weight, 0.0, 0.05)
    net.eval()
    return net


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model of the paper's networks and two stains, frozen, with its inverse."""
    folder = Path(tmp_path_factory.mktemp("paper"))
    fields = small_fields(folder, fields=6, side=256)
    group = fields.groups[""]
    both = tuple(np.concatenate([stains, stains[:, ::-1]]) for stains in group.stains)
    fields = replace(fields, groups={"": replace(group, stains=both)}, stains=("nuclei", "membrane"))
    net, inverse = paper_network(1, 2), paper_network(2, 1, signed=True)
    frozen = freeze(net, group.label_free)
    assert frozen is not None
    assert frozen.r > 0.98
    assert 20 < frozen.psnr_db < 100
    freeze(inverse, both)
    torch.save(inverse.state_dict(), folder / "inverse.pt")
    return write_model(folder / "model", net, fields, replace(FACTS, defocus_um=(-2.0, 3.0)), inverse)


def test_the_papers_network_frozen_and_folded_stains_frames_of_any_size(paper: Model) -> None:
    assert (paper.card.stride, paper.card.halo) == (4, 84)
    engine = open_engine(paper.folder, backend="onnxruntime")
    try:
        assert engine.info.gate.passed
        frame = np.random.default_rng(0).integers(7000, 9000, (131, 150)).astype(np.uint16)
        assert engine.stain(frame).stains.shape == (2, 131, 150)
    finally:
        engine.close()


def test_a_frozen_network_sees_no_further_than_its_halo(paper: Model) -> None:
    session = onnxruntime.InferenceSession(paper.weights.read(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    contrast = rng.normal(0, 0.1, (1, 1, 16, 400)).astype(np.float32)
    other = contrast.copy()
    other[..., :100] = rng.normal(0, 0.3, (1, 1, 16, 100))
    one, two = (session.run(None, {"contrast": x})[0] for x in (contrast, other))
    assert np.abs(one - two)[..., :100].max() > 1e-3
    np.testing.assert_array_equal(one[..., 100 + paper.card.halo :], two[..., 100 + paper.card.halo :])


def test_the_inverse_is_written_with_its_hash_and_answers_as_torch_does(paper: Model) -> None:
    assert read_model(paper.folder).card.inverse == "inverse.onnx"
    description = yaml.safe_load((paper.folder / "rdf.yaml").read_text(encoding="utf-8"))
    assert "inverse.onnx" in [entry["source"] for entry in description["attachments"]]
    session = onnxruntime.InferenceSession(paper.folder / "inverse.onnx", providers=["CPUExecutionProvider"])
    stains = np.random.default_rng(0).random((1, 2, 96, 132)).astype(np.float32)
    net = paper_network(2, 1, signed=True)
    net.freeze([torch.zeros(1, 2, 64, 64)])  # takes its normalisation out; the weights come next
    net.load_state_dict(torch.load(paper.folder.parent / "inverse.pt", weights_only=True))
    with torch.no_grad():
        expected = net(torch.from_numpy(stains)).numpy()
    answer = session.run(None, {"stains": stains})[0]
    np.testing.assert_allclose(answer, expected, atol=PARITY)
    assert answer.min() < -0.01


def test_the_focus_of_the_training_images_stands_in_the_card(paper: Model) -> None:
    assert paper.card.defocus_um == (-2.0, 3.0)


def test_a_network_that_frozen_is_another_is_refused(tmp_path: Path) -> None:
    dark, bright = np.full((64, 64), -0.5, np.float32), np.random.default_rng(0).normal(0, 0.3, (64, 64))
    with pytest.raises(TrainingError, match=r"agrees with itself at r .* only, 0.98 is needed"):
        freeze(paper_network(1, 1), [dark, bright.astype(np.float32)])
