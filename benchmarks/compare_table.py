"""The tables of `compare.py`, as Markdown: who wins, by experiment, in every metric, and how well K5 chose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from livestain.evaluate.interval import estimate

PAPER = {
    "BJ-5ta membrane": "17.27 / 16.96 | .138 / .143 | .582 / .550 | .784 / .776 | .337 / .418 | .0820 / .0824",
    "BJ-5ta nuclei": "13.40 / 12.96 | .215 / .226 | .724 / .703 | .565 / .516 | .474 / .521 | .0364 / .0434",
    "HEK293T membrane": "20.72 / 20.60 | .094 / .095 | .555 / .485 | .854 / .845 | .184 / .191 | .0827 / .0797",
    "HEK293T nuclei": "19.80 / 19.48 | .106 / .110 | .763 / .763 | .830 / .823 | .171 / .183 | .0433 / .0408",
    "neuromast membrane": "13.91 / 13.40 | .206 / .218 | .589 / .522 | .657 / .650 | .401 / .412 | .1573 / .0852",
    "neuromast nuclei": "13.07 / 12.48 | .224 / .240 | .345 / .346 | .740 / .701 | .253 / .296 | .0906 / .0723",
}
"""Tables 1 and 2 of Lin et al. (doi 10.37188/CO.2026-0021): MVS-CycleGAN / CycleGAN, on their own images."""

METRICS = ("psnr", "rmse", "ssim", "fsim", "lpips", "vifp")
OBJECTS = ("ap50", "f1", "count_error")
FILTER, CEILING = "local energy", "paired"
BASELINES = ("constant", "inverted", FILTER, "shuffled")

CRITERIA = {
    "K5": {"simulated_r": -1, "count_error": 1, "flip_error": 1},
    "likeness and mirroring": {"unlikeness": 1, "flip_error": 1},
}
"""What chooses without pairs: the terms whose ranks are added, with the sign that makes lower better."""

Row = Mapping[str, Any]


def print_tables(found: Mapping[str, Any]) -> None:
    """Print everything that has been measured."""
    runs, tests = found.get("runs", {}), found.get("tests", {})
    for data in dict.fromkeys(entry["data"] for entry in runs.values()):
        print(f"\n### {data}: development (r on validation pairs, not on the test images)\n")
        print("\n".join(_development([entry for entry in runs.values() if entry["data"] == data])))
        tested = _tested(data, runs, tests)
        if tested:
            for stain in dict.fromkeys(row["stain"] for rows in tested.values() for row in rows[0]):
                print(f"\n### {data}, {stain}: test images\n")
                print("\n".join(_test_tables(tested, stain)))
    print("\n### The paper's figures, on its own images: not to be compared in value\n")
    head = ("MVS-CycleGAN / CycleGAN", "PSNR", "RMSE", "SSIM", "FSIM", "LPIPS", "VIF")
    print("\n".join([*_head(head), *(f"| {name} | {line} |" for name, line in PAPER.items())]))
    print("\n### The choice without pairs: its rank against r on validation pairs (Spearman)\n")
    print("\n".join(_choice(runs)))


def _development(entries: Sequence[Row]) -> Iterator[str]:
    yield from _head(("variant", "CPU s", "seed", "steps", "r of the last", "r of the best kept", "r of the chosen"))
    for entry in entries:
        last = [one for one in entry["candidates"] if one["stage"] in ("student", "train")]
        chosen = [one["file"] for one in entry["choice"].get("candidates", []) if one["chosen"]]
        taken = last[-1] if last[0]["stage"] == "student" else _named(last, chosen)
        yield _line(
            (
                entry["variant"],
                f"{entry['seconds']:g}",
                entry["seed"],
                " + ".join(str(value) for value in entry["steps"].values()),
                f"{last[-1]['r']:.3f}",
                f"{max(one['r'] for one in last):.3f}",
                f"{taken['r']:.3f}",
            )
        )


def _named(candidates: Sequence[Row], names: Sequence[str]) -> Row:
    return next((one for one in candidates if one["file"] in names), candidates[-1])


def _tested(data: str, runs: Mapping[str, Row], tests: Mapping[str, Row]) -> dict[str, list[list[Row]]]:
    """Return the images of every seed, by variant and budget; those of the baselines once."""
    found: dict[str, list[list[Row]]] = {}
    for key, entry in runs.items():
        if entry["data"] == data and key in tests:
            found.setdefault(f"{entry['variant']}, {entry['seconds']:g} s", []).append(tests[key]["images"])
    for name in BASELINES:
        if f"{data} {name}" in tests:
            found[name] = [tests[f"{data} {name}"]["images"]]
    return found


def _test_tables(tested: Mapping[str, Sequence[Sequence[Row]]], stain: str) -> Iterator[str]:
    of_stain = {
        name: [[row for row in rows if row["stain"] == stain] for rows in seeds] for name, seeds in tested.items()
    }
    groups = tuple(dict.fromkeys(row["group"] for row in of_stain[FILTER][0]))
    named = groups if len(groups) > 1 else ()
    ceiling = next((np.mean(_means(rows)) for name, rows in of_stain.items() if name.startswith(f"{CEILING},")), np.nan)
    head = ("", "mean r of each seed", "mean", "95 %", "more than local energy", "share of paired")
    yield from _head((*head, *named))
    for name, seeds in of_stain.items():
        means = _means(seeds)
        values, differences = _by_position(seeds), _by_position(seeds, of_stain[FILTER])
        yield _line(
            (
                name,
                " ".join(f"{value:.3f}" for value in means),
                f"{np.mean(means):.3f}",
                _interval(values),
                "" if name in BASELINES else f"{np.mean(differences):+.3f} {_interval(differences, signed=True)}",
                "" if name in BASELINES or np.isnan(ceiling) else f"{np.mean(means) / ceiling:.0%}",
                *(f"{np.mean([row['r'] for rows in seeds for row in rows if row['group'] == g]):.2f}" for g in named),
            )
        )
    yield ""
    shown = [*METRICS, *(OBJECTS if any("ap50" in row for rows in of_stain.values() for row in rows[0]) else ())]
    yield from _head(("mean over images and seeds", *(metric.upper() for metric in shown)))
    for name, seeds in of_stain.items():
        rows = [row for rows in seeds for row in rows]
        yield _line((name, *(_mean(rows, metric) for metric in shown)))


def _means(seeds: Sequence[Sequence[Row]]) -> list[float]:
    return [float(np.mean([row["r"] for row in rows])) for rows in seeds]


def _by_position(seeds: Sequence[Sequence[Row]], baseline: Sequence[Sequence[Row]] | None = None) -> list[float]:
    """Return the mean r, or its mean difference to a baseline, of each position over its images and all seeds."""
    below = {row["image"]: row["r"] for row in baseline[0]} if baseline is not None else {}
    found: dict[tuple[str, str], list[float]] = {}
    for rows in seeds:
        for row in rows:
            found.setdefault((row["group"], row["position"]), []).append(row["r"] - below.get(row["image"], 0.0))
    return [float(np.mean(values)) for values in found.values()]


def _interval(values: Sequence[float], signed: bool = False) -> str:
    found = estimate(values)
    if found.low is None or found.high is None:
        return ""
    return f"({found.low:+.3f} to {found.high:+.3f})" if signed else f"{found.low:.3f} to {found.high:.3f}"


def _mean(rows: Sequence[Row], metric: str) -> str:
    values = [row[metric] for row in rows if np.isfinite(row.get(metric, np.nan))]
    return f"{np.mean(values):.{2 if metric in ('psnr', 'count_error') else 3}f}" if values else "n/a"


def _choice(runs: Mapping[str, Row]) -> Iterator[str]:
    """Yield Spearman's correlation over all checkpoints of a data set, and its mean inside one training."""
    yield from _head(
        ("data", "criterion", "trainings", "checkpoints", "all together", "inside one of three and more (mean)")
    )
    for data in dict.fromkeys(entry["data"] for entry in runs.values()):
        for criterion, names in CRITERIA.items():
            terms, truths, inside, trainings = [], [], [], 0
            for entry in (entry for entry in runs.values() if entry["data"] == data):
                r = {(one["stage"], one["file"]): one["r"] for one in entry["candidates"]}
                asked = [one for one in entry["choice"].get("candidates", []) if set(names) <= set(one)]
                own = [[sign * one[name] for name, sign in names.items()] for one in asked]
                true = [r[one["stage"], one["file"]] for one in asked]
                inside += [_spearman(own, true)] if len(own) > 2 else []
                trainings += bool(own)
                terms, truths = terms + own, truths + true
            if inside:
                cells = data, criterion, trainings, len(terms)
                yield _line((*cells, f"{_spearman(terms, truths):.2f}", f"{np.nanmean(inside):.2f}"))


def _spearman(terms: Sequence[Sequence[float]], truths: Sequence[float]) -> float:
    sums = stats.rankdata(np.array(terms), axis=0).sum(axis=1)
    return float(stats.spearmanr(-sums, truths).statistic)


def _head(names: Sequence[str]) -> Iterator[str]:
    yield _line(names)
    yield "|" + "---|" * len(names)


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
