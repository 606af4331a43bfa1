"""A comparison as tables of words and as a JSON document."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from livestain.evaluate.compare import Comparison, Result
from livestain.evaluate.interval import Estimate

NOT_AVAILABLE = "n/a"


@dataclass(frozen=True, slots=True)
class Column:
    """How a figure is shown: its heading, its decimals, and whether more, less or neither is better."""

    heading: str
    decimals: int
    better: str

    @property
    def words(self) -> str:
        """The heading, and which way is better."""
        return f"{self.heading} ({self.better} is better)" if self.better else self.heading


IMAGE_COLUMNS = {
    "r": Column("Pearson r", 3, "more"),
    "psnr": Column("PSNR dB", 2, "more"),
    "psnr_gain": Column("PSNR dB, gain matched", 2, "more"),
    "rmse": Column("RMSE", 4, "less"),
    "mae": Column("MAE", 4, "less"),
    "ssim": Column("SSIM", 3, "more"),
    "fsim": Column("FSIM", 3, "more"),
    "vifp": Column("VIFp", 3, "more"),
    "lpips": Column("LPIPS", 3, "less"),
}
OBJECT_COLUMNS = {
    "ap50": Column("AP@0.5", 3, "more"),
    "f1": Column("F1", 3, "more"),
    "dice": Column("Dice", 3, "more"),
    "iou": Column("IoU of matches", 3, "more"),
    "count_error": Column("count error", 3, "less"),
    "objects": Column("objects, measured", 1, ""),
    "objects_found": Column("objects, found", 1, ""),
    "object_r": Column("r over objects", 3, "more"),
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table in words: a title, the headings of its columns, and its rows."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheets(comparison: Comparison) -> Iterator[Sheet]:
    """Return the tables of a comparison: for each stain the images, the objects, the groups, the differences."""
    for stain in comparison.stains:
        yield _metric_sheet(comparison, stain, f"{stain}: images", IMAGE_COLUMNS)
        if "ap50" in comparison.metrics and stain == comparison.stains[0]:
            yield _metric_sheet(comparison, stain, f"{stain}: objects", OBJECT_COLUMNS)
        if len(comparison.groups) > 1:
            yield _group_sheet(comparison, stain)
        yield _difference_sheet(comparison, stain)


def in_words(value: Estimate, decimals: int, *, signed: bool = False) -> str:
    """Return a mean with its interval, such as ``0.745 [0.701, 0.780]``; "n/a" where it is not defined."""
    if not math.isfinite(value.mean):
        return NOT_AVAILABLE
    sign = "+" if signed else ""
    mean = f"{value.mean:{sign}.{decimals}f}"
    if value.low is None or value.high is None:
        return mean
    return f"{mean} [{value.low:{sign}.{decimals}f}, {value.high:{sign}.{decimals}f}]"


def to_document(comparison: Comparison, provenance: Mapping[str, object]) -> dict[str, Any]:
    """Return everything as plain JSON values; a figure that is not defined is null."""
    means = {
        stain: {
            predictor: {
                metric: _plain(asdict(comparison.mean(stain, predictor, metric))) for metric in comparison.metrics
            }
            for predictor in comparison.predictors
        }
        for stain in comparison.stains
    }
    differences = {
        stain: {name: _plain(asdict(comparison.difference(stain, name, "r"))) for name in _baselines(comparison)}
        for stain in comparison.stains
    }
    return {
        "provenance": dict(provenance),
        "judged": comparison.predictor,
        "scales": {stain: [scale.low, scale.high] for stain, scale in comparison.scales.items()},
        "notes": list(comparison.notes),
        "means": means,
        "groups": {stain: _group_document(comparison, stain) for stain in comparison.stains},
        "differences_r": differences,
        "images": [_image_document(result) for result in comparison.results],
    }


def _image_document(result: Result) -> dict[str, Any]:
    place = {"image": result.image, "position": result.position, "group": result.group}
    return place | {"stain": result.stain, "predictor": result.predictor} | _plain(result.values)


def _group_document(comparison: Comparison, stain: str) -> dict[str, Any]:
    return {
        group: {
            name: _plain(asdict(comparison.mean(stain, name, "r", group)))
            for name in comparison.predictors
        }
        for group in comparison.groups
    }  # fmt: skip


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }


def _metric_sheet(comparison: Comparison, stain: str, title: str, columns: Mapping[str, Column]) -> Sheet:
    """One figure a row; the interval is that of the judged predictor, the baselines are means alone."""
    names = [
        name
        for name in comparison.predictors
        if any(comparison.mean(stain, name, metric).positions for metric in columns)
    ]
    rows = []
    for metric, column in columns.items():
        values = [comparison.mean(stain, name, metric) for name in names]
        others = (in_words(replace(value, low=None, high=None), column.decimals) for value in values[1:])
        rows.append((column.words, in_words(values[0], column.decimals), *others))
    return Sheet(title, ("mean over positions", *names), tuple(rows))


def _group_sheet(comparison: Comparison, stain: str) -> Sheet:
    names = [name for name in comparison.predictors if comparison.mean(stain, name, "r").positions]
    rows = [
        (group or "(none)", *(in_words(comparison.mean(stain, name, "r", group), 3) for name in names))
        for group in comparison.groups
    ]
    return Sheet(f"{stain}: Pearson r by group", ("group", *names), tuple(rows))


def _difference_sheet(comparison: Comparison, stain: str) -> Sheet:
    rows = []
    for name in _baselines(comparison):
        of_r = comparison.difference(stain, name, "r")
        if of_r.positions:
            words = (in_words(comparison.difference(stain, name, metric), IMAGE_COLUMNS[metric].decimals, signed=True)
                     for metric in ("r", "psnr", "ssim"))  # fmt: skip
            rows.append((f"minus {name}", *words))
    headings = (comparison.predictor, "Pearson r", "PSNR dB", "SSIM")
    return Sheet(f"{stain}: differences, position by position", headings, tuple(rows))


def _baselines(comparison: Comparison) -> Sequence[str]:
    return comparison.predictors[1:]
