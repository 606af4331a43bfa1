"""Recipes against each other on the same images, with the same networks and the same CPU time.

::

    python benchmarks/compare.py train nuclei_bf simulate --seed 0    one training (of each seed)
    python benchmarks/compare.py test nuclei_bf                       every model so far on the test pairs, once
    python benchmarks/compare.py table                                what has been found, as Markdown

A variant is a file of settings in ``configs/``. What stands in ``results/compare.json`` is not done again. A training
takes a fixed CPU time (``--seconds``) on one thread; its steps are counted out from the time that some of them take.
Choices are made on validation pairs, which no unpaired training sees as pairs; the test pairs are for the end.
``LIVESTAIN_REAL_DATA`` names the folder of image sets; the looks of the specimen (``spindle``, ``sheet``, ``rosette``)
are simulated where they are missing (``specimen_fields.py``).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine
from compare_data import Data, find_data
from compare_table import print_tables
from filelock import FileLock

from livestain.engine.opening import open_engine
from livestain.evaluate.judge import Judge, ObjectRule
from livestain.evaluate.lpips import Lpips, load_lpips
from livestain.evaluate.pairs import Pair
from livestain.evaluate.predictors import ModelPredictor
from livestain.evaluate.segment import OtsuSegmenter
from livestain.model import Model, read_model
from livestain.train.config import TrainConfig, read_config, read_toml
from livestain.train.data import Fields, Known, load_fields, load_known, load_pairs
from livestain.train.loop import Training, fit, load_snapshot, plan_epochs
from livestain.train.recipes import find_recipe
from livestain.train.run import train
from livestain.train.select import known_r
from livestain.train.sources import find_sources

Scores = dict[str, list[dict[str, Any]]]

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "compare.json"
WARM_STEPS, TIMED_STEPS = 10, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "livestain-compare")
    parser.add_argument("--results", type=Path, default=RESULTS)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("data", help="nuclei_bf, spindle, sheet, rosette; spindle-nuclei and so on: that stain alone")
    training.add_argument("variant", help="a file in configs/, without .toml")
    training.add_argument("--seed", type=int, nargs="+", default=[0])
    training.add_argument("--seconds", type=float, default=120.0, help="CPU time of the training")
    testing = commands.add_parser("test")
    testing.add_argument("data")
    testing.add_argument("--seconds", type=float, default=120.0, help="which trainings: those of this CPU time")
    commands.add_parser("table")
    asked = parser.parse_args()
    if asked.command == "table":
        print_tables(read_results(asked.results))
        return
    torch.set_num_threads(1)
    asked.work.mkdir(parents=True, exist_ok=True)
    if asked.command == "train":
        for seed in asked.seed:
            run_one(Run(asked.data, asked.variant, seed, asked.seconds), asked.work, asked.results)
    else:
        test_all(asked.data, asked.seconds, asked.work, asked.results)


@dataclass(frozen=True)
class Run:
    """One training of the comparison."""

    data: str
    variant: str
    seed: int
    seconds: float

    @property
    def key(self) -> str:
        """Its name in the results."""
        return f"{self.data} {self.variant} {self.seconds:g}s {self.seed}"

    def model(self, work: Path) -> Path:
        """Return where its model lies."""
        return work / self.key.replace(" ", "-")

    def config(self) -> TrainConfig:
        """Return its settings, without the number of steps."""
        path = HERE / "configs" / f"{self.variant}.toml"
        defaults = find_recipe(str(read_toml(path)["recipe"])).defaults
        return read_config(path, defaults, {"seed": self.seed, "device": "cpu", "author": "the livestain founders"})


def run_one(run: Run, work: Path, results: Path) -> None:
    """Train one model and note what came of it, unless that was done."""
    if run.key in read_results(results).get("runs", {}):
        print(f"{run.key}: there already")
        return
    config, data = run.config(), find_data(run.data, work)
    fields, known = load(data, paired=config.recipe == "paired")
    step_s = time_stages(config, fields, work)
    config = config.model_copy(update={"steps": max(30, int(run.seconds / sum(step_s.values())))})
    output = run.model(work)
    before = time.process_time(), time.perf_counter()
    model = train(config, fields, [], output, lambda text: print(f"  {text}", flush=True))
    spent = time.process_time() - before[0], time.perf_counter() - before[1]
    entry = {
        "data": run.data,
        "variant": run.variant,
        "recipe": config.recipe,
        "seed": run.seed,
        "seconds": run.seconds,
        "steps": dict.fromkeys(step_s, config.steps),
        "step_ms": {stage: round(1e3 * value, 2) for stage, value in step_s.items()},
        "cpu_s_with_choice_and_export": round(spent[0], 1),
        "wall_s": round(spent[1], 1),
        "choice": dict(model.card.training["choice"]),
        "candidates": judge_candidates(config, output, fields, known),
        "config": json.loads(config.model_dump_json(exclude_defaults=True)),
    }
    note("runs", run.key, entry, results)
    print(f"{run.key}: " + " ".join(f"{one['stage']}/{one['file']} {one['r']:.3f}" for one in entry["candidates"]))


def load(data: Data, paired: bool) -> tuple[Fields, list[Known]]:
    """Return what is learned from, and the validation pairs at the scale of the training."""
    if paired:
        fields = load_pairs(data.pairs, data.stains, data.pixel_um)
    else:
        fields = load_fields(
            find_sources(data.label_free, "label_free"),
            {stain: find_sources(path, stain) for stain, path in data.measured.items()},
            data.pixel_um,
        )
    return fields, load_known(data.validation, fields)


def time_stages(config: TrainConfig, fields: Fields, work: Path) -> dict[str, float]:
    """Return the CPU seconds of a step of every network that will be trained."""
    if config.recipe != "simulate":
        return {"train": time_step(config, fields, work)}
    nothing = {
        name: tuple(np.zeros((1, *plane.shape), np.float32) for plane in group.label_free)
        for name, group in fields.groups.items()
    }
    as_student = config.model_copy(update={"recipe": "distill"})
    teacher, student = time_step(config, fields, work), time_step(as_student, replace(fields, taught=nothing), work)
    teachers = [f"teacher-{k}" for k in range(config.networks)]
    return {**dict.fromkeys(teachers, teacher), "student": student}


def time_step(config: TrainConfig, fields: Fields, work: Path) -> float:
    """Return the CPU seconds of a step, the loop and everything else counted."""
    recipe = find_recipe(config.recipe)(config)
    spent = []
    for steps in (WARM_STEPS, TIMED_STEPS):
        schedule = plan_epochs(steps, steps)
        with tempfile.TemporaryDirectory(dir=work) as folder:
            training, batches = Training(recipe, len(fields.stains), schedule), recipe.batches(fields)
            before = time.process_time()
            fit(training, batches, Path(folder), lambda text: None)
            spent.append(time.process_time() - before)
    return max(spent[1] - spent[0], 1e-3) / (TIMED_STEPS - WARM_STEPS)


def judge_candidates(config: TrainConfig, output: Path, fields: Fields, known: list[Known]) -> list[dict[str, Any]]:
    """Return the mean r of every kept checkpoint on the validation pairs, at the scale of the training.

    For development, and for the rank correlation of the choice. `paired` has learned from those pairs of nuclei_bf.
    """
    found = []
    for path in sorted(output.with_name(f"{output.name}.training").glob("*/epoch-*.pt")):
        stage = path.parent.name
        recipe = find_recipe("distill" if stage == "student" else config.recipe)
        net = load_snapshot(path, recipe(config).networks(len(fields.stains))[recipe.generator])
        found.append({"stage": stage, "file": path.name, "r": round(known_r(net, known), 4)})
    return found


def test_all(data_name: str, seconds: float, work: Path, results: Path) -> None:
    """Score every model of these trainings whose test scores are missing on the test pairs of its data."""
    found = read_results(results)
    network = load_lpips()
    if isinstance(network, str):
        print(f"LPIPS n/a: {network}")
    lpips = network if isinstance(network, Lpips) else None
    for key, entry in found.get("runs", {}).items():
        if key in found.get("tests", {}) or (entry["data"], entry["seconds"]) != (data_name, seconds):
            continue
        run = Run(entry["data"], entry["variant"], entry["seed"], entry["seconds"])
        if not run.model(work).is_dir():
            print(f"{key}: its model is not in {work}")
            continue
        data, model = find_data(run.data, work), read_model(run.model(work))
        baselines = f"{run.data} baselines" not in read_results(results).get("tests", {})
        results_of = score(model, data.test, model.card.training["contrast_constants"], lpips, baselines)
        if baselines:
            for name in [name for name in results_of if name != "model"]:
                note("tests", f"{run.data} {name}", summarise({"model": results_of[name]}), results)
            note("tests", f"{run.data} baselines", {}, results)
        note("tests", key, summarise(results_of), results)
        print(f"{key}: tested", flush=True)


def score(
    model: Model, pairs: list[Pair], constants: Mapping[str, float], lpips: Lpips | None = None, baselines: bool = False
) -> Scores:
    """Return the figures of every image, as `livestain evaluate` has them; of the baselines, too, if wanted."""
    own = [replace(pair, contrast=constants.get(pair.group)) for pair in pairs]
    with open_engine(model, "onnxruntime") as engine:
        judge = Judge(own, ModelPredictor(engine), objects=ObjectRule(OtsuSegmenter()), lpips=lpips)
        comparison = judge.run(baselines=baselines)
    found: Scores = {}
    for result in comparison.results:
        name = "model" if result.predictor == comparison.predictor else result.predictor
        values = {metric: round(float(value), 4) for metric, value in result.values.items() if np.isfinite(value)}
        one = {"image": result.image, "position": result.position, "group": result.group, "stain": result.stain}
        found.setdefault(name, []).append({**one, **values})
    return found


def summarise(scores: Scores) -> dict[str, Any]:
    """Return every image's figures and the mean r, as the reference takes it: over images."""
    rows = scores["model"]
    stains = dict.fromkeys(row["stain"] for row in rows)
    return {
        "mean": {
            stain: round(float(np.mean([row["r"] for row in rows if row["stain"] == stain])), 4) for stain in stains
        },
        "images": rows,
    }


def read_results(path: Path) -> dict[str, Any]:
    """Return what has been found so far."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def note(part: str, key: str, entry: dict[str, Any], path: Path) -> None:
    """Add one entry to the results; several trainings may run at the same time."""
    with FileLock(path.with_suffix(".lock")):
        found = read_results(path)
        facts = machine()
        found["machine"] = {name: facts[name] for name in ("processor", "cores", "python", "versions")}
        entry = {**entry, "commit": facts["commit"], "load": facts["load at the start"]} if entry else entry
        found.setdefault(part, {})[key] = entry
        part_file = path.with_suffix(".part")
        part_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        part_file.replace(path)


if __name__ == "__main__":
    main()
