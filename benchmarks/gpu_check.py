"""What an NVIDIA card makes of the generators, measured wherever one is at hand; resumable in steps.

::

    python benchmarks/gpu_check.py --minutes 8.5    goes on for so long, then says what remains
    python benchmarks/gpu_check.py --list           the steps, and which are done
    python benchmarks/gpu_check.py --only ring-2048 one step, again if it is done
    python benchmarks/gpu_check.py --device cpu --quick     tiny sizes, into a temporary folder: a check of the code

Each step runs in a process of its own; what it found, or the reason why it could not run, is written to
``results/gpu_check.json`` at once. livestain need not be installed: the package beside this folder is used. ``limits``,
``paths`` and ``paper`` need numpy, scipy and torch alone; ``ring`` also pydantic; ``gate`` and ``engine`` also onnx,
PyYAML and filelock; ``tensorrt`` and ``engine`` tensorrt-rtx.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu_steps import STEPS, answer

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "gpu_check.json"
LONGEST_S = 400.0
"""After this a step counts as hanging."""

_LAST_WORDS = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.5, help="no step is begun that would not end within this")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), help="these steps, done or not")
    parser.add_argument("--list", action="store_true", help="say which steps there are, and do nothing")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, into a temporary folder")
    parser.add_argument("--results", type=Path, help="another file than results/gpu_check.json")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        answer(asked.step, asked.device, asked.quick, asked.answer)
        return
    with tempfile.TemporaryDirectory() as scratch:
        Check(asked, Path(scratch)).go_on()


class Check:
    """The steps and the file of what they found."""

    def __init__(self, asked: argparse.Namespace, scratch: Path) -> None:
        self._asked, self._scratch = asked, scratch
        self.path = results_path(asked, scratch)

    def go_on(self) -> None:
        """Take what is missing, one step after the other, as long as there is time."""
        until = time.monotonic() + 60 * self._asked.minutes
        for name in self._asked.only or self.missing():
            left_s = until - time.monotonic()
            if self._asked.list or STEPS[name].usual_s > left_s:
                continue
            found = run_step(name, self._asked, self._scratch / "answer.json", left_s)
            if found is None:
                break
            if "stop" in found:
                raise SystemExit(f"{name}: {found['stop']}; nothing written")
            self.note(name, found)
            print_step(name, found)
        missing = self.missing()
        print(f"done: {', '.join(name for name in STEPS if name not in missing) or 'nothing'}")
        print(f"remaining: {', '.join(missing) or 'nothing'}")

    def missing(self) -> list[str]:
        """Return the steps that stand in the file neither with numbers nor with a reason."""
        done = read_results(self.path).get("steps", {})
        return [name for name in STEPS if name not in done]

    def note(self, name: str, found: dict[str, Any]) -> None:
        """Write one step into the file, whole or not at all."""
        results = read_results(self.path)
        if not results:
            if "device" not in found:
                raise SystemExit(f"nothing written: {name}: {found['reason']}")
            results = {"benchmark": "gpu_check", "device": found["device"], "steps": {}}
        if found.get("device", results["device"]) != results["device"]:
            raise SystemExit(
                f"{self.path} holds results of {results['device']}, this is {found['device']}: give another --results"
            )
        results["steps"][name] = {key: value for key, value in found.items() if key != "device"}
        results["steps"] = {each: results["steps"][each] for each in STEPS if each in results["steps"]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        part.replace(self.path)


def results_path(asked: argparse.Namespace, scratch: Path) -> Path:
    """Return where the results go: never the card's own file for what is no measurement of a card."""
    if asked.device == "cuda" and not asked.quick:
        return asked.results or RESULTS
    if asked.results is not None and asked.results.resolve() == RESULTS.resolve():
        raise SystemExit(f"{RESULTS.name} is for whole measurements on a card: give another --results")
    return asked.results or scratch / "gpu_check.json"


def read_results(path: Path) -> dict[str, Any]:
    """Return what stands in the file; empty where there is none."""
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def run_step(name: str, asked: argparse.Namespace, path: Path, left_s: float) -> dict[str, Any] | None:
    """Run a step in a process of its own and return what it found; None when the time is over before it ends."""
    path.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--step", name, "--device", asked.device, "--answer", str(path)]
    source = os.pathsep.join(filter(None, [str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")]))
    began = time.monotonic()
    try:
        done = subprocess.run(
            [*command, *(["--quick"] if asked.quick else [])],
            env={**os.environ, "PYTHONPATH": source},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=min(LONGEST_S, left_s),
            check=False,
        )
    except subprocess.TimeoutExpired:
        if left_s < LONGEST_S:
            print(f"{name}: stopped, the time is over")
            return None
        return {"reason": f"did not end within {LONGEST_S:g} s"}
    if not path.is_file():
        said = " ".join(done.stdout.split())[-_LAST_WORDS:]
        return {"reason": f"ended with exit code {done.returncode}: {said}"}
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return {**found, "seconds": round(time.monotonic() - began, 1)}


def print_step(name: str, found: dict[str, Any]) -> None:
    """Print what a step found, a line for each row."""
    print(f"{name}: {found.get('reason', '')}", flush=True)
    for row in found.get("rows", []):
        print("  " + "  ".join(f"{key} {_short(value)}" for key, value in row.items()), flush=True)


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)[:300]


if __name__ == "__main__":
    main()
