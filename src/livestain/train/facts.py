"""What a model says about itself: scores, limits, the record of its training, and the README."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from livestain.evaluate.metrics import pearson_r
from livestain.model.card import Score
from livestain.settings import legal_name
from livestain.train.data import Fields, Known, local_energy
from livestain.train.export import Facts
from livestain.train.guards import EMPTY_LIMIT
from livestain.train.networks import stain_field
from livestain.train.plan import Plan, no_renderer
from livestain.train.select import LEAST_CONFIDENCE, LEAST_PAIRS

_MODEL, _FILTER = "this model", "local energy"


def record_training(plan: Plan, fields: Fields, **more: Any) -> dict[str, Any]:
    """Return the card's block ``training``: plain YAML types; ``more`` is what only the end of a training knows."""
    return {
        "recipe": plan.config.recipe,
        **({"asked_for": plan.asked} if plan.asked != plan.config.recipe else {}),
        "config": json.loads(plan.config.model_dump_json()),
        "steps": plan.steps,
        "data_sha256": plan.fingerprint,
        **({"teacher": fields.teacher} if fields.teacher else {}),
        "fields": {
            name: {"label_free": len(group.label_free), "stains": len(group.stains)}
            for name, group in fields.groups.items()
        },
        "contrast_constants": {name: round(group.constant, 4) for name, group in fields.groups.items()},
        "pixel_um": {name: group.pixel_um for name, group in fields.groups.items()},
        **more,
    }


def score(net: nn.Module, fields: Fields, known: Sequence[Known]) -> list[Score]:
    """Return the mean r over the known fields, of the model and of the local energy, for each stain."""
    if not known:
        return []
    role = (
        "they chose among its checkpoints, none was learned from as a pair"
        if len(known) >= LEAST_PAIRS
        else "none learned from as a pair"
    )
    data = f"{len(known)} pairs given to the training, {role}"
    scores = []
    for number, stain in enumerate(fields.stains):
        for name, values in (
            (_MODEL, [pearson_r(stain_field(net, k.contrast)[number], k.stains[number]) for k in known]),
            (_FILTER, [pearson_r(local_energy(k.contrast), k.stains[number]) for k in known]),
        ):
            value = round(sum(values) / len(values), 4)
            scores.append(Score(predictor=name, data=data, stain=stain, metric="r", value=value))
    return scores


def beaten_by_a_filter(scores: Sequence[Score]) -> list[str]:
    """Return a sentence for each stain in which the model is no better than the local energy."""
    values = {(entry.predictor, entry.stain): entry.value for entry in scores if entry.metric == "r"}
    return [
        f"{stain}: r {value:.3f} is no better than the {values[_FILTER, stain]:.3f} of a filter for local energy: it "
        f"has learned nothing about {stain}; train longer, or on more images"
        for (predictor, stain), value in values.items()
        if predictor == _MODEL and value <= values.get((_FILTER, stain), -1.0)
    ]


def gather_facts(plan: Plan, fields: Fields, record: Mapping[str, Any], scores: Sequence[Score], name: str) -> Facts:
    """Return everything that the card, the description and the README of a trained model say."""
    config = plan.config
    limits = [*_limits(plan, fields, record), *(f"{line}." for line in beaten_by_a_filter(scores))]
    caution = "" if scores else "never compared with measured stains"
    return Facts(
        name=name,
        id=f"local/{legal_name(name)}",
        description=f"Virtual {' and '.join(fields.stains)} of {config.modality} frames, recipe {config.recipe}.",
        modality=config.modality,
        training=dict(record),
        readme=_readme(name, plan, fields, scores, limits, caution),
        author=config.author,
        license=config.license,
        caution=caution,
        defocus_um=config.defocus_um,
        scores=scores,
        limits=limits,
        tags=("virtual-staining", config.modality.replace(" ", "-"), *fields.stains),
    )


def _limits(plan: Plan, fields: Fields, record: Mapping[str, Any]) -> list[str]:
    config = plan.config
    limits = [
        "Right at best for the cells, the microscope and the focus of its training images; elsewhere unknown.",
        "A model that was trained without pairs can be wrong in the same way everywhere, and nothing in it shows that.",
    ]
    if config.recipe == "paired":
        limits[1] = "Trained on measured pairs; scored on the pairs of its card, if there are any."
    if plan.asked != config.recipe:
        limits.append(no_renderer(fields.stains) + ".")
    if record["choice"].get("confidence", {}).get("rank_correlation", 1.0) < LEAST_CONFIDENCE:
        limits.append("Its checkpoint was chosen by a criterion that hardly agrees with the truth (unproven).")
    if config.defocus_um is None:
        limits.append("The focus of its training images is not stated: what it makes of defocus is unknown.")
    if fields.pixel_um is None:
        limits.append("The images did not state their pixel size: 1 um stands in the card, whatever it was.")
    if record["stain_of_an_empty_field"] > EMPTY_LIMIT:
        limits.append("Stains fields that are empty: nuclei may be invented where nothing is.")
    if len(fields.groups) > 1:
        limits.append("Several experiments, each with its own contrast constant (config.livestain.training).")
    return limits


def _readme(name: str, plan: Plan, fields: Fields, scores: Sequence[Score], limits: Sequence[str], caution: str) -> str:
    lines = [f"# {name}: virtual {' and '.join(fields.stains)}", ""]
    lines += [f"**{caution.capitalize()}.**", ""] if caution else []
    count = sum(len(group.label_free) for group in fields.groups.values())
    lines += [
        f"Made by `livestain train`, recipe `{plan.config.recipe}`, from {count} label-free fields. Stains are "
        "predicted, not measured.",
        "",
    ]
    if scores:
        lines += ["| predictor | stain | data | metric | value |", "|---|---|---|---|---|"]
        lines += [f"| {s.predictor} | {s.stain} | {s.data} | {s.metric} | {s.value:.3f} |" for s in scores]
    return "\n".join([*lines, "", "## Limits", "", *(f"- {limit}" for limit in limits), ""])
