"""Train ``engines/brightfield-nuclei`` on real pairs, score it on fields that were held back, and write its card.

::

    python benchmarks/train_brightfield_nuclei.py [--output DIR]      some minutes on one core

The recipe is the best of `compare.py` on these images, `paired`: both channels of the two training splits. The test
images chose nothing; they are looked at once, after the training. ``LIVESTAIN_REAL_DATA`` names the folder of sets.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from compare import score
from compare_data import NUCLEI_BF, find_data

from livestain.evaluate.lpips import Lpips, load_lpips
from livestain.model import Model, read_model
from livestain.model.card import LivestainCard, Score
from livestain.model.description import write_description
from livestain.train.config import TrainConfig
from livestain.train.data import load_pairs
from livestain.train.export import Facts, describe
from livestain.train.plan import PLAN, work_folder
from livestain.train.run import train

MODEL = Path(__file__).parents[1] / "engines" / "brightfield-nuclei"
CONFIG = TrainConfig(
    recipe="paired",
    steps=5000,
    device="cpu",
    author="the livestain founders",
    license="CC-BY-4.0",
)
CAUTION = "knows six bright-field experiments of one laboratory; no other cells, no phase contrast, no DIC"
SOURCE = (
    "aiSEGcell source data (github.com/bethcg/aiSEGcell), D. Schirmacher, T. Schroeder and others, ETH Zurich, "
    "CC BY 4.0"
)
LIMITS = (
    "Right at best for the cells, the microscopes and the focus of the six experiments named in its scores; on "
    "others it was never tested.",
    "Bright field only. On phase contrast it paints vacuoles, halos and dead cells as nuclei, without a sign.",
    "The pixel sizes of its training images are not stated: its pixel of '1 um' is one that shows nuclei 8 to 13 px "
    "wide. Give the pixel size of your images in that unit, or bin them.",
    "The focus of its training images is not stated: what it makes of defocus is unknown.",
    "Each experiment had its own contrast constant (config.livestain.training); a new microscope needs its own, "
    "measured on its label-free images.",
    "Grey levels inside a nucleus are a guess: how much stain a nucleus took up cannot be seen in bright field.",
)
FIGURES = ("r", "psnr", "ssim", "fsim", "lpips", "ap50", "f1", "count_error")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=MODEL)
    output = parser.parse_args().output
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = find_data(NUCLEI_BF, Path(folder))
    fields = load_pairs(data.pairs, data.stains)
    resume = (work_folder(output) / PLAN).is_file()
    model = train(CONFIG, fields, [], output, functools.partial(print, flush=True), resume=resume)
    network = load_lpips()
    lpips = network if isinstance(network, Lpips) else None
    scores = score(model, data.test, model.card.training["contrast_constants"], lpips, baselines=True)
    rows = [Score(data="12 held-back fields", stain="nuclei", **row) for row in summarise(scores)]
    finish(model, rows)
    print(table(rows))


def summarise(scores: dict[str, list[dict[str, float | str]]]) -> list[dict[str, str | float]]:
    """Return each figure's mean over images, and r of each experiment."""
    found: list[dict[str, str | float]] = []
    for name, rows in scores.items():
        predictor = "this model" if name == "model" else name
        for metric in FIGURES:
            values = [float(row[metric]) for row in rows if metric in row]
            if values:
                value = round(float(np.mean(values)), 4)
                found.append({"predictor": predictor, "metric": metric, "value": value})
        for group in dict.fromkeys(str(row["group"]) for row in rows):
            value = round(float(np.mean([float(row["r"]) for row in rows if row["group"] == group])), 4)
            found.append({"predictor": predictor, "metric": f"r of {group}", "value": value})
    return found


def finish(model: Model, scores: Sequence[Score]) -> None:
    """Write README.md, and last rdf.yaml with the hashes of everything else; the report's page is not shipped."""
    folder = model.folder
    (folder / "report.html").unlink(missing_ok=True)
    ours = {"caution": CAUTION, "scores": [entry.model_dump() for entry in scores], "limits": LIMITS}
    card = LivestainCard.model_validate(model.card.model_dump() | ours)
    limits = "\n".join(f"- {limit}" for limit in LIMITS)
    readme = README.format(caution=CAUTION, source=SOURCE, scores=table(scores), limits=limits)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    facts = Facts(
        name="bright-field nuclei",
        id="livestain/brightfield-nuclei",
        description="Virtual nuclei of bright-field frames, trained on pairs of six public experiments.",
        modality=card.modality,
        training=card.training,
        readme=readme,
        author=CONFIG.author,
        license=CONFIG.license,
        tags=("virtual-staining", "bright-field", "nuclei"),
    )
    write_description(folder, describe(folder, card, facts))
    read_model(folder)


def table(scores: Sequence[Score]) -> str:
    """Return the scores as Markdown, a row for each predictor."""
    names = list(dict.fromkeys(entry.metric for entry in scores))
    values = {(entry.predictor, entry.metric): entry.value for entry in scores}
    lines = ["| mean over images | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for predictor in dict.fromkeys(entry.predictor for entry in scores):
        cells = (f"{values[predictor, name]:.2f}" if (predictor, name) in values else "" for name in names)
        lines.append(f"| {predictor} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


README = """# Nuclei in bright field

**{caution}.** Its stains are predicted, not measured. For: trying livestain on real cells, and as the `--teacher` from
which your own model goes on with 1 to 16 pairs of yours. Not for: conclusions about cells it was not trained on.

| | |
|---|---|
| input | label-free contrast (bright field) as `livestain.contrast` makes it, float32 (N, 1, Y, X) in [-1, 1] |
| output | nuclei, float32 (N, 1, Y, X) in [0, 1]; 0.5 = a typical nucleus of its experiment |
| pixel | one that shows nuclei 8 to 13 px wide (see the limits) |
| network | half-resolution U-Net, widths 16-32-64-128, 0.45 M parameters, no normalisation layer |
| training | `livestain.train`, recipe `paired`, 29 fields of six experiments; settings in `rdf.yaml` |
| images | {source}; the weights carry the same licence |

## Validation

Twelve fields of other positions, which chose nothing; at their own pixel size.

{scores}

r: Pearson's, the others as `livestain evaluate` defines them (docs/evaluate.md). Printed by
`python benchmarks/train_brightfield_nuclei.py`.

## Limits

{limits}
"""


if __name__ == "__main__":
    main()
