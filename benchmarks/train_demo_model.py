"""Train the demo model on simulated cells and write ``engines/demo-nuclei-membrane`` and ``calibration/specimen``.

::

    python benchmarks/train_demo_model.py              trains (about half an hour on one core), writes, scores
    python benchmarks/train_demo_model.py --evaluate   prints the scores of the committed model again
    python benchmarks/train_demo_model.py --quick      everything once, tiny, into a temporary folder: a check

It is the product's own training, recipe ``paired``: only the fields and the words of the card are made here. The
network sees a label-free frame exactly as the running program does (`livestain.contrast`).

The committed folder is still that of the training before this one (batch norm, a loop of its own): 12 000 steps of this
one, half its CPU time, reached r 0.900 (nuclei) and 0.927 (membrane) on the usual fields, it has 0.903 and 0.931.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import tifffile
import torch
from demo_data import (
    BASELINES,
    CONTRAST_CONSTANT,
    FOCUS_UM,
    FULL_SCALE,
    PIXEL_UM,
    SEEDS,
    STAINS,
    Condition,
    Pair,
    Predictor,
    draw_condition,
    equal_nuclei,
    judge,
    simulate,
)

from livestain.contrast import Field
from livestain.model import Model, read_model
from livestain.model.card import LivestainCard, Score
from livestain.model.description import write_description
from livestain.train.config import TrainConfig
from livestain.train.data import Fields, Group, Known
from livestain.train.export import GATE_FILES, Facts, contrast_range, describe
from livestain.train.plan import PLAN
from livestain.train.run import train

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "engines" / "demo-nuclei-membrane"
CALIBRATION = ROOT / "calibration" / "specimen"
CAUTION = "simulated cells only, not for real samples"
USUAL = Condition()
FOCUS_RANGE_UM = (USUAL.z_um - FOCUS_UM, USUAL.z_um + FOCUS_UM)
TRAINING_PX = 384
CHOICE_FIELDS, SCORED_FIELDS = 8, 12
CONFIG = TrainConfig(
    recipe="paired",
    seed=1,
    steps=26_000,
    batch=8,
    crop_px=96,
    precision="bf16-mixed",
    device="cpu",
    pixel_um=USUAL.pixel_um,
    author="The livestain founders",
    license="BSD-3-Clause",
)
"""All else is the recipe's own."""

QUICK = {"steps": 40, "epoch_steps": 20, "width": 4}

MADE = ("generator.onnx", *GATE_FILES, "test_input.npy", "test_output.npy")
"""What is taken of the trained model's folder; description and card are written anew."""

VARIED = {
    "pixel 0.55 um": replace(USUAL, pixel_um=0.55),
    "pixel 0.75 um": replace(USUAL, pixel_um=0.75),
    "focus 2 um lower": replace(USUAL, z_um=USUAL.z_um - FOCUS_UM),
    "focus 2 um higher": replace(USUAL, z_um=USUAL.z_um + FOCUS_UM),
    "3000 electrons": replace(USUAL, electrons=3000.0),
    "half the cells": replace(USUAL, density=0.5),
    "1.5 x the cells": replace(USUAL, density=1.5),
}
NOISELESS, CAMERA_FRAME = "r, noiseless stain", "r, camera frame of the stain"
EQUAL_NUCLEI = "the true nuclei, all equally bright"
EMPTY = "99.9th percentile on an empty field"
LIMITS = (
    "Trained and scored on simulated spindle cells only; nothing is known about real samples, and it is not for them.",
    "Bright field of one simulated objective (NA 0.30, condenser NA 0.12); no phase contrast, no DIC.",
    f"Focus other than {FOCUS_RANGE_UM[0]:+.0f} to {FOCUS_RANGE_UM[1]:+.0f} um was never seen; on the other side of "
    "the cells the contrast turns over.",
    "How much stain a single nucleus took up cannot be read from a label-free frame: brightness is a typical one.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluate", action="store_true", help="only print the scores of the model in --output")
    parser.add_argument("--quick", action="store_true", help="a tiny training into a temporary folder")
    parser.add_argument("--fields", type=int, default=400, help="simulated training fields")
    parser.add_argument("--output", type=Path, default=MODEL, help="model folder to write or to score")
    temp = Path(tempfile.gettempdir()) / "livestain-demo-model"
    parser.add_argument("--checkpoints", type=Path, default=temp, help="folder; training goes on from what it holds")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if chosen.evaluate:
        print(score_table(score(onnx_predictor(read_model(chosen.output).weights.path))))
    elif chosen.quick:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            build(home / "model", home / "calibration", home, CONFIG.model_copy(update=QUICK), fields=24, scored=1)
    else:
        build(chosen.output, CALIBRATION, chosen.checkpoints, CONFIG, chosen.fields)


def build(
    output: Path,
    calibration: Path,
    checkpoints: Path,
    config: TrainConfig,
    fields: int,
    scored: int = SCORED_FIELDS,
) -> None:
    """Simulate, train, score, and write the model folder and the calibration frames."""
    began = time.perf_counter()
    trained = train_or_resume(checkpoints / "demo-nuclei-membrane", config, fields)
    output.mkdir(parents=True, exist_ok=True)
    for name in MADE:
        shutil.copyfile(trained.folder / name, output / name)
    scores = score(onnx_predictor(output / "generator.onnx"), scored)
    write_card(output, trained.card, write_calibration(calibration), scores)
    print(score_table(scores))
    print(f"wrote {read_model(output).identity} in {time.perf_counter() - began:.0f} s")


def train_or_resume(folder: Path, config: TrainConfig, count: int) -> Model:
    """Return the model trained into ``folder`` on ``count`` fields; goes on from what is there of it."""
    if folder.is_dir():
        return read_model(folder)
    say = functools.partial(print, flush=True)
    rng = np.random.default_rng(config.seed)
    # The first one gives the test frame of the folder.
    conditions = [replace(USUAL, side_px=TRAINING_PX), *(draw_condition(rng, TRAINING_PX) for _ in range(count - 1))]
    pairs = [simulate(condition, SEEDS["training"] + k) for k, condition in enumerate(conditions)]
    unseen = [simulate(draw_condition(rng, TRAINING_PX), SEEDS["choice"] + k) for k in range(CHOICE_FIELDS)]
    known = [Known(f"{k}", f"{k}", "", pair.contrast, stains_of(pair)) for k, pair in enumerate(unseen)]
    say(f"{count} fields of {TRAINING_PX} px simulated")
    resume = (folder.with_name(f"{folder.name}.training") / PLAN).is_file()
    return train(config, fields_of(pairs), known, folder, say, resume=resume)


def fields_of(pairs: Sequence[Pair]) -> Fields:
    """Return the pairs as the trainer has them, on this model's own scales."""
    group = Group(
        constant=CONTRAST_CONSTANT,
        pixel_um=USUAL.pixel_um,
        label_free=tuple(pair.contrast for pair in pairs),
        stains=tuple(stains_of(pair) for pair in pairs),
        frames=tuple(pair.frame for pair in pairs),
    )
    return Fields({"": group}, STAINS, USUAL.pixel_um, paired=True)


def stains_of(pair: Pair) -> Field:
    """Return the noiseless stains as far as a network can give them: cut off at 1."""
    return np.minimum(pair.truth, np.float32(1))


def onnx_predictor(weights: Path) -> Predictor:
    """Return the network as a function: (Y, X) contrast -> (2, Y, X) stains."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(weights.read_bytes(), options, providers=["CPUExecutionProvider"])

    def predict(contrast: Field) -> Field:
        stains: Field = session.run(None, {"contrast": contrast[None, None]})[0][0]
        return stains

    return predict


def score(model: Predictor, fields: int = SCORED_FIELDS) -> tuple[Score, ...]:
    """Score the model and the baselines on ``fields`` unseen fields, the same seeds under every condition."""
    usual = unseen(USUAL, fields)
    rows = []
    for name, predictor in {"this model": model, **BASELINES}.items():
        rows += agreement(name, "usual", predictor, usual)
    shapes = round(float(np.mean([equal_nuclei(USUAL, SEEDS["scores"] + k) for k in range(fields)])), 4)
    rows.append(Score(predictor=EQUAL_NUCLEI, data="usual", stain="nuclei", metric=NOISELESS, value=shapes))
    for name, condition in VARIED.items():
        rows += agreement("this model", name, model, unseen(condition, fields))
    empty = [model(pair.contrast) for pair in unseen(replace(USUAL, density=0.0), fields)]
    for stain, planes in zip(STAINS, np.stack(empty, axis=1), strict=True):
        value = round(float(np.percentile(planes, 99.9)), 4)
        rows.append(Score(predictor="this model", data="empty", stain=stain, metric=EMPTY, value=value))
    return tuple(rows)


def agreement(name: str, data: str, predictor: Predictor, pairs: Sequence[Pair]) -> list[Score]:
    """Return the mean over fields of Pearson's r, for each stain against the noiseless and the camera's picture."""
    result = judge(predictor, pairs)
    means = {NOISELESS: result.truth.mean(axis=0), CAMERA_FRAME: result.camera.mean(axis=0)}
    return [
        Score(predictor=name, data=data, stain=stain, metric=metric, value=round(float(values[index]), 4))
        for metric, values in means.items()
        for index, stain in enumerate(STAINS)
    ]


def unseen(condition: Condition, fields: int) -> list[Pair]:
    return [simulate(condition, SEEDS["scores"] + k) for k in range(fields)]


def score_table(scores: Sequence[Score]) -> str:
    """Return the scores as a Markdown table: one row for each predictor and kind of fields."""
    columns = [(stain, metric) for stain in STAINS for metric in (NOISELESS, CAMERA_FRAME)]
    lines = ["| predictor | fields | " + " | ".join(f"{stain}: {metric}" for stain, metric in columns) + " |"]
    lines.append("|---|---|" + "---|" * len(columns))
    rows: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for entry in scores:
        rows.setdefault((entry.predictor, entry.data), {})[entry.stain, entry.metric] = entry.value
    for (predictor, data), values in rows.items():
        if data != "empty":
            cells = " | ".join(f"{values[column]:.3f}" if column in values else "" for column in columns)
            lines.append(f"| {predictor} | {data} | {cells} |")
    empty = rows["this model", "empty"]
    lines += ["", f"{EMPTY}: " + ", ".join(f"{stain} {empty[stain, EMPTY]:.3f}" for stain in STAINS)]
    return "\n".join(lines)


def write_calibration(folder: Path) -> list[Pair]:
    """Write 16 label-free frames with cells as plain 16-bit TIFF, and a README; return their pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEEDS["calibration"])
    conditions = [replace(draw_condition(rng, TRAINING_PX), density=float(rng.uniform(0.3, 1.5))) for _ in range(16)]
    pairs = [simulate(condition, SEEDS["calibration"] + k) for k, condition in enumerate(conditions)]
    rows = []
    for number, (condition, pair) in enumerate(zip(conditions, pairs, strict=True), start=1):
        tifffile.imwrite(folder / f"frame_{number:02}.tif", pair.frame, compression="zlib", predictor=True)
        rows.append(
            f"| frame_{number:02}.tif | {condition.pixel_um:.3f} | {condition.z_um:+.1f} | {condition.electrons:.0f} | "
            f"{condition.density:.2f} | {pair.contrast.std():.3f} | {np.mean(np.abs(pair.contrast) >= 1):.2%} |"
        )
    (folder / "README.md").write_text(CALIBRATION_README.format(rows="\n".join(rows)), encoding="utf-8")
    return pairs


def write_card(folder: Path, trained: LivestainCard, calibration: Sequence[Pair], scores: Sequence[Score]) -> None:
    """Write README.md and, last, rdf.yaml with the hashes of everything else."""
    readme = MODEL_README.format(
        caution=CAUTION,
        usual=USUAL.z_um,
        focus=f"{USUAL.z_um:+.0f} um (trained from {FOCUS_RANGE_UM[0]:+.0f} to {FOCUS_RANGE_UM[1]:+.0f} um)",
        scores=score_table(scores),
        limits="\n".join(f"- {limit}" for limit in LIMITS),
    )
    (folder / "README.md").write_text(readme, encoding="utf-8")
    ours = {
        "pixel_um_tolerated": PIXEL_UM,
        "defocus_um": FOCUS_RANGE_UM,
        "contrast": contrast_range(CONTRAST_CONSTANT, [pair.contrast for pair in calibration]).model_dump(),
        "caution": CAUTION,
        "training": {**trained.training, "stain_of_1": FULL_SCALE},
        "scores": tuple(entry.model_dump() for entry in scores),
        "limits": LIMITS,
    }
    card = LivestainCard.model_validate(trained.model_dump() | ours)
    facts = Facts(
        name="demo nuclei and membrane",
        id="livestain/demo-nuclei-membrane",
        description=f"Virtual nuclei and membrane stains of bright-field frames: {CAUTION}.",
        modality=card.modality,
        training=card.training,
        readme=readme,
        author=CONFIG.author,
        license=CONFIG.license,
        tags=("virtual-staining", "bright-field", "simulation", "nuclei", "membrane"),
    )
    write_description(folder, describe(folder, card, facts))


MODEL_README = """# Demo model: nuclei and membrane

**{caution}.** This model exists so that livestain can be tried without a microscope and without data: it was trained
on the simulated spindle cells of `livestain.specimen` and knows nothing else. Its stains are predicted, not measured.

For: the demo, the tests and the benchmarks of livestain. Not for: any real sample, any conclusion about cells.

| | |
|---|---|
| input | label-free contrast (bright field) as `livestain.contrast` makes it, float32 (N, 1, Y, X) in [-1, 1] |
| output | nuclei, membrane, float32 (N, 2, Y, X) in [0, 1]; 1 = 1.6 x a typical nucleus, cut off there |
| pixel | 0.65 um (trained from 0.55 to 0.75 um) |
| focus | {focus} |
| network | half-resolution U-Net, widths 16-32-64-128, 0.45 M parameters, 4.7 GFLOP at 512 x 512 px |
| normalisation layers | none |
| training | `livestain.train`, recipe `paired`: simulated frames with their noiseless stains; settings in `rdf.yaml` |
| weights | BSD-3-Clause |

## Validation

Mean over 12 unseen fields of 512 x 512 px (the same seeds under every condition) of Pearson's r, against the noiseless
stain and against a camera frame of it. Usual: 0.65 um, focus {usual:+.0f} um, 9000 electrons, the density of the look.

{scores}

Printed by `python benchmarks/train_demo_model.py --evaluate`. "The true nuclei, all equally bright" is about what can
be reached: how much stain a single nucleus took up is hardly to be seen in a label-free frame.

## Limits

{limits}
"""

CALIBRATION_README = """# Calibration frames of the simulated specimen

Sixteen label-free frames (384 x 384 px, uint16 counts, black level 100, one plane a file) of simulated spindle cells,
drawn over the conditions that the demo model was trained on; none of them was trained on. On these frames the input
ranges in the card of `engines/demo-nuclei-membrane` were measured.

Made by `python benchmarks/train_demo_model.py` from `livestain.specimen`: no real cells, no rights of others; licence
as the rest of this repository.

| file | pixel, um | focus, um | electrons | density, x usual | contrast sd | clipped |
|---|---|---|---|---|---|---|
{rows}
"""


if __name__ == "__main__":
    main()
