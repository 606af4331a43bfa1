"""Make the pictures of docs/training.md.

::

    python benchmarks/training_pictures.py MODEL        into docs/training; LIVESTAIN_REAL_DATA names the image sets

MODEL was trained on bright field to nuclei (``engines/brightfield-nuclei``). It never saw the fields that are shown.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
from compare_data import NUCLEI_BF, find_data
from scipy.ndimage import gaussian_filter
from specimen_pictures import NUCLEI, Picture, Values, caption, colour, save

from livestain.engine.opening import StandaloneEngine, open_engine
from livestain.evaluate.metrics import pearson_r
from livestain.evaluate.pairs import Pair
from livestain.model import read_model
from livestain.train.data import contrast_constant

DOCS = Path(__file__).parents[1] / "docs" / "training"
SIDE_PX, FOCUS_PX, WARNED_PX = 220, 190, 330


def main(model: Path) -> None:
    real = Path(os.environ["LIVESTAIN_REAL_DATA"])
    constants = read_model(model).card.training["contrast_constants"]
    save(DOCS / "focus.png", [focus_row(real)], "bf_zstack: aiSEGcell source data, ETH Zurich, CC BY 4.0")
    with open_engine(model, "onnxruntime") as engine:
        rows = stain_rows(engine, constants)
        save(DOCS / "stain.png", rows, "aiSEGcell source data, D. Schirmacher, T. Schroeder et al., CC BY 4.0")
        save(
            DOCS / "warning.png",
            [warning_row(engine, real)],
            "T98G: Okinawa Institute of Science and Technology, MIT. The green is a prediction that nothing supports.",
        )


def focus_row(real: Path) -> list[Picture]:
    """One field at five of its seven focus positions."""
    planes = tifffile.imread(real / "bf_zstack" / "230418DS30_p0011_t00001_zyx.tif").astype(np.float64)
    steps = {"-10.0 um": 0, "-5.2 um": 1, "-0.2 um": 3, "+4.8 um": 5, "+9.8 um": 6}
    y, x = busiest(np.abs(gaussian_filter(planes[0], 3) - gaussian_filter(planes[0], 24)), FOCUS_PX)
    part = slice(y, y + FOCUS_PX), slice(x, x + FOCUS_PX)
    smooth = {text: gaussian_filter(planes[k], 0.7) for text, k in steps.items()}
    return [caption(flat(plane, 0.13)[part], f"focus {text}") for text, plane in smooth.items()]


def stain_rows(engine: StandaloneEngine, constants: dict[str, float]) -> list[list[Picture]]:
    """Of every experiment the held-back field of the middle r, each as bright field, virtual and measured nuclei."""
    by_group: dict[str, list[Pair]] = {}
    with tempfile.TemporaryDirectory() as folder:
        pairs = find_data(NUCLEI_BF, Path(folder)).test
    for pair in pairs:
        by_group.setdefault(pair.group, []).append(replace(pair, contrast=constants[pair.group]))
    panels = [middle(engine, pairs) for pairs in by_group.values()]
    return [[*first, *second] for first, second in zip(panels[::2], panels[1::2], strict=True)]


def middle(engine: StandaloneEngine, pairs: list[Pair]) -> list[Picture]:
    """Return the three panels of the field of the middle r."""
    found = []
    for pair in pairs:
        assert pair.label_free is not None
        frame, truth = pair.label_free(), pair.truth["nuclei"]().astype(np.float64)
        virtual = engine.stain(frame, pair.pixel_um, pair.contrast).stains[0].astype(np.float64)
        found.append((pearson_r(virtual, truth), pair, frame.astype(np.float64), virtual, truth))
    r, pair, frame, virtual, truth = sorted(found, key=lambda one: one[0])[len(found) // 2]
    y, x = busiest(truth, SIDE_PX)
    part = slice(y, y + SIDE_PX), slice(x, x + SIDE_PX)
    return [
        caption(flat(frame)[part], f"{pair.group}: bright field"),
        caption(colour(virtual[part], NUCLEI), f"virtual: nuclei, r {r:.2f}"),
        caption(colour(truth[part], NUCLEI), "measured: nuclei"),
    ]


def busiest(values: Values, side: int) -> tuple[int, int]:
    """Return the corner of the square part in whose middle the brightest hundredth gathers."""
    dense = gaussian_filter((values > np.percentile(values, 99)).astype(np.float64), side / 4)
    middle_of = np.unravel_index(int(np.argmax(dense)), dense.shape)
    y, x = (int(np.clip(at - side // 2, 0, whole - side)) for at, whole in zip(middle_of, values.shape, strict=True))
    return y, x


def warning_row(engine: StandaloneEngine, real: Path) -> list[Picture]:
    """Phase contrast, what the model makes of it, and both on each other."""
    frame = tifffile.imread(real / "t98g_phase" / "t98g_xy01_t01-t12_tyx.tif")[0]
    stain = engine.stain(frame, contrast=contrast_constant([frame])).stains[0].astype(np.float64)
    part = slice(0, WARNED_PX), slice(0, WARNED_PX)
    grey, tinted = flat(frame.astype(np.float64))[part], colour(stain[part], NUCLEI)
    both = np.maximum(grey // 2, tinted)
    return [
        caption(grey, "T98G cells, phase contrast"),
        caption(tinted, "virtual: nuclei - of a model for bright field"),
        caption(both, "both: vacuoles and halos are painted"),
    ]


def flat(bright: Values, white: float | None = None) -> Picture:
    """Return a label-free plane as grey levels, without its slow shade; ``white`` is the contrast shown as white."""
    relative = bright / np.maximum(gaussian_filter(bright, 24), 1) - 1
    spread = white or 4 * float(relative.std())
    one = (np.clip(relative / (2 * spread) + 0.5, 0, 1) * 255).astype(np.uint8)
    return np.repeat(one[:, :, None], 3, axis=2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
