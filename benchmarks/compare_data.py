"""The image sets of `compare.py`: which files are learned from, which choose, and which are kept for the end."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from specimen_fields import LOOKS, STAINS, write_fields

from livestain.evaluate.pairs import Pair, read_pairs

NUCLEI_BF = "nuclei_bf"
NUCLEI_BINNED = 2.25
"""How much coarser than the camera's the pixels are where nuclei alone are learned: then they are 13 x 9 px."""


@dataclass(frozen=True)
class Data:
    """Paths for `find_sources`, and pairs.

    ``pairs`` are for the recipe that learns from pairs; for nuclei_bf they hold the validation pairs. ``pixel_um`` is
    the pixel size of training; None: that of the images.
    """

    stains: tuple[str, ...]
    label_free: Path
    measured: Mapping[str, Path]
    pairs: Sequence[Pair]
    validation: list[Pair]
    test: list[Pair]
    pixel_um: float | None = None


def find_data(name: str, work: Path) -> Data:
    """Return a set by its name; makes the tables, and simulates the specimen, where they are missing."""
    if name == NUCLEI_BF:
        return _nuclei_bf(Path(os.environ["LIVESTAIN_REAL_DATA"]) / NUCLEI_BF, work)
    look, _, only = name.partition("-")
    if look not in LOOKS or only not in ("", "nuclei"):
        raise SystemExit(
            f"data {name!r} is not known: {NUCLEI_BF}, {', '.join(LOOKS)}, each of these also with -nuclei"
        )
    return _specimen(look, work) if not only else _nuclei_alone(look, work)


def _nuclei_bf(folder: Path, work: Path) -> Data:
    """Learn from the label-free side of one half of the training positions and from the nuclei of the other.

    Pixel sizes are not known; relative to each other, fields of 2048 and 2304 px show cells twice as large as those of
    1024 px.
    """
    with (folder / "index.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))

    def table(name: str, splits: Sequence[str], columns: Mapping[str, str]) -> Path:
        path = work / f"nuclei_bf_{name}.csv"
        part = path.with_suffix(f".{os.getpid()}")
        with part.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow((*columns, "position", "group", "pixel_um"))
            for row in rows:
                if row["split"] in splits:
                    files = [str(folder / row["split"] / f"{row['name']}_{end}.png") for end in columns.values()]
                    pixel = 1.0 if row["source_shape"] == "1024x1024" else 0.5
                    writer.writerow((*files, row["position"], row["experiment"], pixel))
        part.replace(path)
        return path

    both = {"label_free": "bf", "nuclei": "nuc"}
    train = ("train_labelfree", "train_stain")
    pairs = read_pairs(table("pairs", train, both))
    return Data(
        ("nuclei",),
        table("label_free", train[:1], {"label_free": "bf"}),
        {"nuclei": table("nuclei", train[1:], {"nuclei": "nuc"})},
        pairs,
        pairs,
        read_pairs(table("test", ("test",), {**both, "mask": "mask"})),
    )


def _nuclei_alone(look: str, work: Path) -> Data:
    """One stain, and nuclei of 8 to 13 px, as the renderer of `simulate` has them."""
    both = _specimen(look, work)
    folder = work / "specimen" / look
    pixel_um = NUCLEI_BINNED * both.pairs[0].pixel_um if both.pairs[0].pixel_um else None
    parts = (read_pairs(folder / part, STAINS[:1]) for part in ("pairs", "validation", "test"))
    return Data(STAINS[:1], both.label_free, {STAINS[0]: both.measured[STAINS[0]]}, *parts, pixel_um)


def _specimen(look: str, work: Path) -> Data:
    folder = write_fields(look, work / "specimen")
    return Data(
        STAINS,
        folder / "train" / "label-free",
        {stain: folder / "train" / stain for stain in STAINS},
        read_pairs(folder / "pairs", STAINS),
        read_pairs(folder / "validation", STAINS),
        read_pairs(folder / "test", STAINS),
    )
