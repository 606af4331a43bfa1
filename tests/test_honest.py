"""What a frame is, is said wherever it goes: simulated, replayed, virtual."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tifffile

from livestain.errors import UserError
from livestain.settings import parse_settings
from livestain.store.export import export_ome_tiff
from livestain.store.read import open_run
from tests.conftest import Livestain
from tests.models import camera_frame, write_test_model


def test_a_path_with_dots_records_and_reads(
    livestain: Livestain, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    done = livestain(
        "demo", "--model", str(model_folder), "--size", "128", "--frames", "2", "--fps", "50", "--output", "../r"
    )
    assert done.code == 0, done.err
    assert open_run("../r").array("measured: simulated bright field")[1, 0].shape == (128, 128)


def test_simulated_cells_are_called_simulated_on_disk_and_in_exports(
    livestain: Livestain, model_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = livestain(
        "demo", "--model", str(model_folder), "--size", "128", "--frames", "2", "--fps", "50", "--output", str(run)
    )
    assert "Source    simulated cells" in done.out
    group = json.loads((run / "raw" / "p000.ome.zarr" / "zarr.json").read_text(encoding="utf-8"))
    assert "simulated cells" in group["attributes"]["livestain"]["source"]
    export_ome_tiff(open_run(run), tmp_path / "out")
    with tifffile.TiffFile(tmp_path / "out" / "p000_measured.ome.tif") as file:
        assert "simulated cells" in str(file.ome_metadata)


def test_virtual_stains_are_not_shown_as_label_free_frames(
    livestain: Livestain, model_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    livestain(
        "demo", "--model", str(model_folder), "--size", "128", "--frames", "2", "--fps", "50", "--output", str(run)
    )
    virtual = next(w.path for w in export_ome_tiff(open_run(run), tmp_path / "out") if "virtual" in w.path.name)
    done = livestain(
        "demo", "--images", str(virtual), "--channel", "virtual: nuclei", "--output", str(tmp_path / "again")
    )
    assert done.code == 2
    assert "predicted, not measured" in done.err
    assert not (tmp_path / "again").exists()


def test_what_was_warned_of_stands_in_the_metadata_of_the_stains(
    livestain: Livestain, model_folder: Path, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "unknown.tif", camera_frame((128, 128)))
    run = tmp_path / "run"
    livestain("demo", "--model", str(model_folder), "--images", str(tmp_path / "unknown.tif"), "--output", str(run))
    image = next((run / "stains").glob("*/p000.ome.zarr/zarr.json"))
    cautions = json.loads(image.read_text(encoding="utf-8"))["attributes"]["livestain"]["cautions"]
    assert any("pixel size is not known" in text for text in cautions)


def test_a_model_whose_training_did_not_state_its_pixel_size_is_not_said_to_know_one(
    livestain: Livestain, tmp_path: Path
) -> None:
    def unknown(rdf: dict[str, Any]) -> None:
        rdf["config"]["livestain"]["training"] = {"pixel_um": {"": None}}

    model = write_test_model(tmp_path / "model", edit=unknown)
    run = tmp_path / "run"
    camera = tmp_path / "unknown.tif"
    tifffile.imwrite(camera, camera_frame((128, 128)))
    done = livestain("demo", "--model", str(model), "--images", str(camera), "--output", str(run))
    assert "trained on images that did not state theirs" in done.err
    assert "trained at" not in done.err


def test_a_backend_that_is_not_installed_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="onnxruntime is not installed"):
        parse_settings(backend="onnxruntime")


def test_unknown_keys_of_a_sequence_are_refused(livestain: Livestain, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "typo.yaml").write_text("time_plans: {interval: 1, loops: 5}\n", encoding="utf-8")
    done = livestain(
        "run", "--model", str(model_folder), "--output", str(tmp_path / "r"), "--mda", str(tmp_path / "typo.yaml")
    )
    assert done.code == 2
    assert "time_plans" in done.err
