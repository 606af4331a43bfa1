"""One page about a training, for its author: what went in, how the losses fell, what was chosen, what comes out."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from livestain.contrast import Field
from livestain.model import Model
from livestain.train.data import Fields, Group
from livestain.train.guards import troubles
from livestain.train.networks import stain_field

SAMPLES = 6
_SIDE_PX = 256
_CURVE_PX = (420, 140)
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .8rem .2rem 0; text-align: left }
figure { display: inline-block; margin: 0 .6rem .6rem 0 } figcaption { font-size: 13px; color: #555 }
.caution { border-left: 4px solid #d08700; padding-left: .8rem }
"""


def write_report(
    path: Path, model: Model, net: nn.Module, fields: Fields, curves: Mapping[str, Sequence[Mapping[str, float]]]
) -> None:
    """Write a page that needs no other file.

    Parameters
    ----------
    curves
        Stage -> the mean losses of each epoch, by name.
    """
    path.write_text("\n".join(_page(model, net, fields, curves)), encoding="utf-8")


def _page(
    model: Model, net: nn.Module, fields: Fields, curves: Mapping[str, Sequence[Mapping[str, float]]]
) -> Iterator[str]:
    training = model.card.training
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(model.name)}</title><style>{_STYLE}</style>"
    yield f"<h1>{_text(model.name)}</h1><p>{_text(model.description)}</p>"
    if model.card.caution:
        yield f"<p class=caution><b>{_text(model.card.caution.capitalize())}.</b></p>"
    yield "<h2>What it was trained on</h2>"
    rows = [
        (name or "all", len(group.label_free), len(group.stains), f"{group.constant:.3f}", _share(group))
        for name, group in fields.groups.items()
    ]
    yield from _table(("group", "label-free fields", "stained fields", "contrast constant", "stained share"), rows)
    yield "<h2>Losses</h2><p>The mean of each epoch, from the first on the left to the last; the bottom is 0.</p>"
    for stage, history in curves.items():
        yield from _figures(stage, history)
        for trouble in troubles(history):
            yield f"<p class=caution>{_text(stage)}: {_text(trouble)}.</p>"
    yield from _choice(training)
    if model.card.scores:
        yield "<h2>Scores</h2>"
        names = ("predictor", "stain", "data", "metric", "value")
        yield from _table(names, [tuple(getattr(score, name) for name in names) for score in model.card.scores])
    yield "<h2>Samples</h2><p>Training images; the stains are predicted, not measured.</p>"
    yield from _samples(net, fields)
    yield "<h2>Settings</h2><p>All of them; a file with any of these names goes to <code>--config</code>.</p>"
    settings = {
        **training["config"],
        "steps": training["steps"],
        "stain_of_an_empty_field": training["stain_of_an_empty_field"],
    }
    yield from _table(("setting", "value"), [(name, _plain(value)) for name, value in settings.items()])
    yield "<h2>Limits</h2><ul>" + "".join(f"<li>{_text(limit)}" for limit in model.card.limits) + "</ul>"


def _plain(value: object) -> str:
    return ", ".join(f"{name}: {one}" for name, one in value.items()) if isinstance(value, dict) else str(value)


def _choice(training: Mapping[str, Any]) -> Iterator[str]:
    """Yield which checkpoints became the model, by what, and how far that can be trusted."""
    choice = training["choice"]
    yield f"<h2>Choice</h2><p>By {_text(choice['by'])}. {_text(_confidence(choice.get('confidence', {})))}</p>"
    if "veto" in choice:
        yield f"<p>Networks are {_text(choice['veto']['rule'])}.</p>"
        rows = [
            (stage, f"{value:.3f}", "left out" if stage in choice["veto"]["dropped"] else "kept")
            for stage, value in choice["veto"]["agreement"].items()
        ]
        yield from _table(("network", "mean r with the others", ""), rows)
    candidates: list[dict[str, Any]] = choice.get("candidates", [])
    if candidates:
        yield "<p>Checkpoints, all networks ranked together; rank 1 is the best, the best of each network is taken.</p>"
        shown = [{**entry, "chosen": "chosen" if entry["chosen"] else ""} for entry in candidates]
        yield from _table(tuple(shown[0]), [tuple(entry.values()) for entry in shown])
    if "frozen_r" in training:
        yield (
            f"<p>Statistics frozen: r {training['frozen_r']:.3f}, PSNR {training['frozen_psnr_db']:.1f} dB to the "
            "network as it was trained, on the worst field that they were not taken from.</p>"
        )


def _confidence(confidence: Mapping[str, Any]) -> str:
    if not confidence:
        return ""
    value = confidence.get("rank_correlation", "")
    if value == "":
        return f"Measured on {confidence['measured_on']}."
    within = (
        f", {confidence['within_one_training']:.2f} within one training" if "within_one_training" in confidence else ""
    )
    return (
        f"Its order agreed with the truth at a rank correlation of {value:.2f}{within}, on {confidence['measured_on']}."
    )


def _figures(stage: str, history: Sequence[Mapping[str, float]]) -> Iterator[str]:
    for name in history[0] if history else ():
        values = [entry[name] for entry in history]
        caption = f"{stage}, {name}: {values[0]:.4g} to {values[-1]:.4g}"
        yield f"<figure>{_curve(values)}<figcaption>{_text(caption)}</figcaption></figure>"


def _curve(values: Sequence[float]) -> str:
    width, height = _CURVE_PX
    top = max(values) or 1.0
    x = np.linspace(2, width - 2, len(values))
    points = " ".join(f"{a:.1f},{height - 2 - b / top * (height - 4):.1f}" for a, b in zip(x, values, strict=True))
    line = f'<polyline points="{points}" fill="none" stroke="#0a6" stroke-width="2"/>'
    return f'<svg width="{width}" height="{height}" style="background:#f4f4f4">{line}</svg>'


def _samples(net: nn.Module, fields: Fields) -> Iterator[str]:
    shown = [(name, contrast) for name, group in fields.groups.items() for contrast in group.label_free[:2]][:SAMPLES]
    for name, contrast in shown:
        part = contrast[:_SIDE_PX, :_SIDE_PX]
        yield f"<div>{_picture(0.5 + part * np.float32(0.5), f'label-free {name}', centred=True)}"
        for stain, plane in zip(fields.stains, stain_field(net, part, int(net.stride)), strict=True):
            yield _picture(plane, f"virtual: {stain}")
        yield "</div>"


def _picture(plane: Field, caption: str, *, centred: bool = False) -> str:
    """Return a figure; ``centred`` stretches about 0.5, else 0 is black and the brightest 0.1 % white."""
    spread = 6 * max(float(np.std(plane)), 1e-6)
    low, high = (0.5 - spread / 2, 0.5 + spread / 2) if centred else (0.0, max(float(np.percentile(plane, 99.9)), 0.1))
    grey = np.clip((plane - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "PNG", optimize=True)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<figure><img src="data:image/png;base64,{data}"><figcaption>{_text(caption)}</figcaption></figure>'


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield "<table><tr>" + "".join(f"<th>{_text(cell.replace('_', ' '))}" for cell in head)
    for row in rows:
        yield "<tr>" + "".join(f"<td>{_text(cell)}" for cell in row)
    yield "</table>"


def _share(group: Group) -> str:
    return f"{group.foreground:.2%}" if group.stains else "not measured"


def _text(value: object) -> str:
    return html.escape(str(value))
