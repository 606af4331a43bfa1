"""What the benchmarks share: the machine in words, results as a table and as JSON, cameras with ready frames, runs."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from livestain.bench.acquisition import acquire, ready_camera, wait_until_ready
from livestain.bench.machine import load as load_average
from livestain.bench.machine import machine

__all__ = [
    "MODEL",
    "Report",
    "acquire",
    "arguments",
    "machine",
    "ready_camera",
    "scratch",
    "spread",
    "wait_until_ready",
]

MODEL = "demo-nuclei-membrane"

_RESULTS = Path(__file__).with_name("results")
Numbers = Mapping[str, float]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short try: nothing is written to results/")
    parser.add_argument("--model", default=MODEL, help="model folder, or the name of a shipped model")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to be measured")
    return parser


class Report:
    """The numbers of one benchmark: printed as they come, and written to ``results/NAME.json`` at the end."""

    def __init__(self, name: str, asked: argparse.Namespace) -> None:
        self._name, self._quick = name, asked.quick
        self._rows: dict[str, dict[str, float]] = {}
        self._checks: list[dict[str, object]] = []
        self._facts = machine()
        asked_for = {key: value for key, value in vars(asked).items() if key not in ("folder", "quick")}
        self._settings = {**asked_for, "model": Path(asked.model).name}
        self._began = time.time()
        print(f"{name}{' --quick' if asked.quick else ''}")
        for key, value in self._facts.items():
            print(f"  {key}: {_words(value)}")

    def add(self, what: str, numbers: Numbers) -> None:
        """Note and print one row of numbers; the unit is part of each name."""
        self._rows[what] = {name: round(float(value), 4) for name, value in numbers.items()}
        print(f"{what:<44} " + "  ".join(f"{name} {value:g}" for name, value in self._rows[what].items()), flush=True)

    def check(self, what: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
        """Compare a number with what was promised."""
        met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        allowed = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}"
        self._checks.append({"what": what, "value": round(float(value), 4), "allowed": allowed, "met": bool(met)})

    def finish(self) -> int:
        """Print the comparisons, write the file (not with ``--quick``), and return how many promises were not met."""
        load = load_average()
        print(f"load at the end: {load}")
        for check in self._checks:
            print(
                f"  {'met    ' if check['met'] else 'NOT MET'} {check['what']}: {check['value']} ({check['allowed']})"
            )
        if not self._quick:
            self._write(load)
        return sum(not check["met"] for check in self._checks)

    def _write(self, load: list[float]) -> None:
        found = {
            "benchmark": self._name,
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._began)),
            "seconds": round(time.time() - self._began, 1),
            "machine": {**self._facts, "load at the end": load},
            "settings": self._settings,
            "numbers": self._rows,
            "checks": self._checks,
        }
        _RESULTS.mkdir(exist_ok=True)
        path = _RESULTS / f"{self._name}.json"
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"wrote benchmarks/results/{path.name}")


def spread(values: Iterable[float], unit: str) -> dict[str, float]:
    """Return p50, p99, largest and count of some durations, named with their unit."""
    sample = np.fromiter(values, np.float64)
    p50, p99 = np.percentile(sample, (50, 99))
    return {f"p50_{unit}": p50, f"p99_{unit}": p99, f"max_{unit}": sample.max(), "n": len(sample)}


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Yield a folder for runs on the disk to be measured, deleted at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="livestain-benchmark-", dir=folder, ignore_cleanup_errors=True) as name:
        yield Path(name)


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
