"""What a newcomer gets: ``livestain train`` with its defaults on real images, how long it takes and how good it is.

::

    python benchmarks/quick_preset.py [--seeds 0 1 2] [--work DIR]

Each seed is the whole command in a process of its own, with all processor cores: from its start until the model folder
is written. Then the model is scored on the test pairs. ``LIVESTAIN_REAL_DATA`` names the folder of image sets.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import machine
from compare import score, summarise
from compare_data import NUCLEI_BF, Data, find_data

from livestain.model import read_model

RESULTS = Path(__file__).parent / "results" / "quick_preset.json"
LIMIT_S, GOAL_R = 600.0, 0.68


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "livestain-quick")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    data = find_data(NUCLEI_BF, asked.work)
    found = {"machine": machine(), "limit_s": LIMIT_S, "goal_r": GOAL_R, "seeds": {}}
    for seed in asked.seeds:
        found["seeds"][seed] = entry = run_seed(data, seed, asked.work)
        print(f"seed {seed}: {entry['wall_s']:.0f} s, mean r {entry['mean']['nuclei']:.3f}", flush=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    slowest = max(entry["wall_s"] for entry in found["seeds"].values())
    worst = min(entry["mean"]["nuclei"] for entry in found["seeds"].values())
    print(f"{'met' if slowest <= LIMIT_S else 'NOT MET'}: slowest {slowest:.0f} s (at most {LIMIT_S:g})")
    print(f"{'met' if worst >= GOAL_R else 'NOT MET'}: lowest mean r {worst:.3f} (at least {GOAL_R:g})")


def run_seed(data: Data, seed: int, work: Path) -> dict[str, object]:
    """Train one model by the command line and return its time and its figures of every test image."""
    output = work / f"quick-{seed}"
    images = ["--label-free", str(data.label_free), "--stain", f"nuclei={data.measured['nuclei']}"]
    command = [sys.executable, "-m", "livestain", "train", *images, "--output", str(output), "--seed", str(seed)]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    wall_s = time.perf_counter() - began
    model = read_model(output)
    training = model.card.training
    scores = score(model, data.test, training["contrast_constants"])
    groups: dict[str, list[float]] = {}
    for row in scores["model"]:
        groups.setdefault(row["group"], []).append(row["r"])
    facts = machine()
    return {
        "wall_s": round(wall_s, 1),
        "steps": training["steps"],
        "load": facts["load at the start"],
        "commit": facts["commit"],
        "by_group": {name: round(float(np.mean(values)), 4) for name, values in groups.items()},
        **summarise(scores),
    }


if __name__ == "__main__":
    main()
