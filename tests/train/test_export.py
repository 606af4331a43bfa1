"""What is written is what was trained: the gate passes whatever groups the images had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from livestain.contrast import estimate_background, normalise
from livestain.engine.opening import open_backend
from livestain.train.data import Fields
from livestain.train.export import Facts, write_model
from livestain.train.networks import Generator
from tests.train.pieces import small_fields


def two_groups(folder: Path) -> Fields:
    """The same cells twice, the second time with a constant three times as large."""
    fields = small_fields(folder)
    group = fields.groups[""]
    wide = 3 * group.constant
    contrast = tuple(normalise(frame, estimate_background(frame), wide) for frame in group.frames)
    return replace(fields, groups={"a": group, "b": replace(group, constant=wide, label_free=contrast)})


def test_a_model_of_two_groups_reproduces_its_test_frame(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Generator(1, 4, norm=False).eval()
    torch.nn.init.normal_(net.head.weight, 0.0, 3.0)
    facts = Facts("m", "local/m", "A test.", "bright field", {}, "# m\n", "a lab")
    model = write_model(tmp_path / "model", net, two_groups(tmp_path), facts)
    assert model.test_output().std() > 0.01
    engine = open_backend(model, "onnxruntime", threads=1)
    try:
        assert engine.info.gate.passed
    finally:
        engine.close()


@pytest.mark.parametrize(("license_id", "written"), [(None, None), ("CC-BY-4.0", "CC-BY-4.0")])
def test_the_author_and_the_licence_are_the_users(license_id: str | None, written: str | None, tmp_path: Path) -> None:
    net = Generator(1, 4, norm=False).eval()
    torch.nn.init.normal_(net.head.weight, 0.0, 3.0)
    facts = Facts("m", "local/m", "A test.", "bright field", {}, "# m\n", "a lab", license_id)
    write_model(tmp_path / "model", net, two_groups(tmp_path), facts)
    description = yaml.safe_load((tmp_path / "model" / "rdf.yaml").read_text(encoding="utf-8"))
    assert (description["authors"], description.get("license")) == ([{"name": "a lab"}], written)
