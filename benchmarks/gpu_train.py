"""The paper's networks at the paper's size on real images, where a GPU is at hand; resumable in short steps.

::

    python benchmarks/gpu_train.py --work FOLDER --minutes 8.5    goes on for so long, then says what remains
    python benchmarks/gpu_train.py --quick --device cpu           tiny networks, into a temporary folder: a check

``cyclegan`` and ``mvs-cyclegan``, three seeds each, unpaired on nuclei_bf as `compare.py` has it (``--data`` or
``LIVESTAIN_REAL_DATA`` names the folder of image sets). Everything is the paper's but the crops: 320 px, since the
smallest field at the common scale is no larger. A training that is done is scored on the test pairs, once, and stands
in ``results/gpu_train.json``; one that went wrong stands there with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from compare import load, note, read_results, score, summarise
from compare_data import Data, find_data

from livestain.errors import TrainingError
from livestain.train.config import TrainConfig
from livestain.train.plan import PLAN, work_folder
from livestain.train.recipes import find_recipe
from livestain.train.run import train

RESULTS = Path(__file__).parent / "results" / "gpu_train.json"
RECIPES = ("cyclegan", "mvs-cyclegan")
CROP_PX, EPOCH_STEPS = 320, 250
TINY = {"width": 2, "crop_px": 64, "options": {}, "epoch_steps": 2}
"""The small generator, which has no statistics to freeze: after some steps those of the paper's would be refused."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "livestain-gpu-train")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--data", type=Path, help="folder of image sets; else LIVESTAIN_REAL_DATA")
    parser.add_argument("--recipe", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=30_000, help="60 epochs of 500")
    parser.add_argument("--minutes", type=float, default=8.5, help="after this time a training stops at its next epoch")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    if asked.data is not None:
        os.environ["LIVESTAIN_REAL_DATA"] = str(asked.data)
    with tempfile.TemporaryDirectory() as scratch:
        if asked.quick:
            asked.work, asked.results = Path(scratch), Path(scratch) / "gpu_train.json"
            asked.seed, asked.steps = asked.seed[:1], 4
        asked.work.mkdir(parents=True, exist_ok=True)
        go_on(asked)


def go_on(asked: argparse.Namespace) -> None:
    """Train what is missing, one after the other, as long as there is time."""
    until, data = time.monotonic() + 60 * asked.minutes, find_data("nuclei_bf", asked.work)
    if asked.quick:
        data = take_few(data)
    runs = [Run(recipe, seed, asked) for seed in asked.seed for recipe in asked.recipe]
    for run in runs:
        if run.is_done() or time.monotonic() > until:
            continue
        try:
            run.train(data, until)
        except KeyboardInterrupt:
            print(f"{run.key}: stopped after an epoch; the same command goes on with it")
            break
    remain = [run.key for run in runs if not run.is_done()]
    print(f"remaining: {', '.join(remain) or 'nothing'}")


def take_few(data: Data) -> Data:
    """Return two fields of one experiment on each side, and two pairs of it: enough to see that everything runs."""
    folder = Path(os.environ["LIVESTAIN_REAL_DATA"]) / "nuclei_bf"
    one = "170601SH11"
    return replace(
        data,
        label_free=folder / "train_labelfree" / f"{one}*_bf.png",
        measured={"nuclei": folder / "train_stain" / f"{one}*_nuc.png"},
        validation=[pair for pair in data.validation if pair.group == one][:2],
        test=[pair for pair in data.test if pair.group == one][:2],
    )


@dataclass(frozen=True)
class Run:
    """One training."""

    recipe: str
    seed: int
    asked: argparse.Namespace

    @property
    def key(self) -> str:
        """Its name in the results."""
        return f"{self.recipe} {self.asked.steps} steps {self.seed}"

    def is_done(self) -> bool:
        """Tell whether it stands in the results."""
        return self.key in read_results(self.asked.results).get("tests", {})

    def config(self) -> TrainConfig:
        """Return the paper's settings."""
        kind, on_gpu = find_recipe(self.recipe), self.asked.device == "gpu"
        ours = {
            "recipe": self.recipe,
            "seed": self.seed,
            "device": self.asked.device,
            "precision": "bf16-mixed" if on_gpu else "32-true",
            "crop_px": CROP_PX,
            "steps": self.asked.steps,
            "epoch_steps": EPOCH_STEPS,
            "author": "the livestain founders",
        }
        tiny = TINY if self.asked.quick else {}
        return TrainConfig.model_validate({**kind.defaults, **kind.full_size, **ours, **tiny})

    def train(self, data: Data, until: float) -> None:
        """Go on until it is done and scored; `KeyboardInterrupt` after the first epoch that ends past ``until``."""
        config = self.config()
        fields, _ = load(data, paired=False)
        output = self.asked.work / self.key.replace(" ", "-")

        def say(text: str) -> None:
            print(f"  {self.key}: {text}", flush=True)
            # As Ctrl-C would: the loop tells of an epoch after its checkpoint is written.
            if text.startswith("train: step") and time.monotonic() > until and not text.endswith(" 0 s left"):
                raise KeyboardInterrupt

        resume = (work_folder(output) / PLAN).is_file()
        try:
            model = train(config, fields, [], output, say, resume=resume)
        except TrainingError as error:
            self._note({"failed": str(error)}, config)
            return
        scores = score(model, data.test, model.card.training["contrast_constants"])
        self._note({**summarise(scores), "choice": dict(model.card.training["choice"])}, config)

    def _note(self, found: dict[str, Any], config: TrainConfig) -> None:
        settings = json.loads(config.model_dump_json(exclude_defaults=True))
        device = torch.cuda.get_device_name() if self.asked.device == "gpu" else "cpu"
        note("tests", self.key, {**found, "device": device, "config": settings}, self.asked.results)
        print(f"{self.key}: {found.get('mean', found.get('failed'))}", flush=True)


if __name__ == "__main__":
    main()
