"""Minutes of the default recipe on real images: it must find nuclei better than a filter does, without any pair."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from livestain.model import read_model
from tests.conftest import Livestain

STEPS = 400


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.timeout(1200)
def test_unpaired_training_beats_the_local_energy(real_data: Path, tmp_path: Path, livestain: Livestain) -> None:
    label_free = write_table(tmp_path / "a.csv", real_data, ["train_labelfree"], {"label_free": "bf"})
    stained = write_table(tmp_path / "b.csv", real_data, ["train_stain"], {"nuclei": "nuc"})
    # Of these positions one channel is learned from, never both.
    both = {"label_free": "bf", "nuclei": "nuc"}
    pairs = write_table(tmp_path / "pairs.csv", real_data, ["train_labelfree", "train_stain"], both)
    (tmp_path / "settings.toml").write_text(f"steps = {STEPS}\nnetworks = 1\n", encoding="utf-8")
    images = ["--label-free", label_free, "--stain", f"nuclei={stained}", "--pairs", pairs]
    done = livestain("train", *images, "--output", tmp_path / "made", "--config", tmp_path / "settings.toml")
    assert done.code == 0, done.err
    r = {score.predictor: score.value for score in read_model(tmp_path / "made").card.scores}
    assert r["this model"] > r["local energy"]


def write_table(path: Path, real_data: Path, splits: Iterable[str], columns: Mapping[str, str]) -> Path:
    """Write the table of some splits; cells of the fields of 2048 px and more are twice as large in px."""
    folder = real_data / "nuclei_bf"
    with (folder / "index.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] in splits]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow((*columns, "position", "group", "pixel_um"))
        for row in rows:
            files = [folder / row["split"] / f"{row['name']}_{ending}.png" for ending in columns.values()]
            pixel_um = 1.0 if row["source_shape"] == "1024x1024" else 0.5
            writer.writerow((*files, row["position"], row["experiment"], pixel_um))
    return path
