"""BioImage.IO's own check passes every model folder: the shipped ones, one for tests, and what the trainer writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("bioimageio.core", reason="would show that BioImage.IO passes the models: bash .ci/other_programs")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, not ours

SHIPPED = sorted(path.parent for path in (Path(__file__).parents[2] / "engines").glob("*/rdf.yaml"))


def assert_passes(folder: Path) -> None:
    from bioimageio.core import test_model

    summary = test_model(folder, weight_format="onnx", devices=["cpu"])
    # A net that fails at another size than the test frame's is "valid-format": no exception.
    assert summary.status == "passed", summary.format()


@pytest.mark.parametrize("folder", SHIPPED, ids=[folder.name for folder in SHIPPED])
def test_a_shipped_model_passes(folder: Path) -> None:
    assert_passes(folder)


def test_a_model_of_random_weights_passes(model_folder: Path) -> None:
    assert_passes(model_folder)


@pytest.mark.parametrize(
    ("name", "pixel_um", "author", "licence"),
    [("m", None, "a lab", None), ("HeLa: 40x/模型", 0.1083, "A/B lab", "CC-BY-4.0")],
    ids=["a short name", "a name of many letters"],
)
def test_what_the_trainer_writes_passes(
    name: str, pixel_um: float | None, author: str, licence: str | None, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
    from livestain.train.export import Facts, write_model
    from livestain.train.networks import Generator
    from tests.train.pieces import small_fields

    torch.manual_seed(0)
    net = Generator(1, 4).eval()
    torch.nn.init.normal_(net.head.weight, 0.0, 3.0)
    facts = Facts(name, f"local/{name}", "A test.", "bright field", {}, "# m\n", author, licence)
    fields = replace(small_fields(tmp_path), pixel_um=pixel_um)
    assert_passes(write_model(tmp_path / "model", net, fields, facts).folder)
