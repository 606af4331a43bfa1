"""A whole training: stages of a recipe, the choice among their checkpoints, and the model folder at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field as Setting
from torch import nn

from livestain.errors import UserError
from livestain.evaluate.metrics import pearson_r
from livestain.model import Model, read_model
from livestain.model.card import Score
from livestain.settings import Settings, legal_name
from livestain.train.config import TrainConfig
from livestain.train.data import Fields, Known, local_energy
from livestain.train.export import Facts, digest, freeze, write_model
from livestain.train.guards import EMPTY_LIMIT, require_alive, stain_of_nothing
from livestain.train.loop import Say, Schedule, Training, fit, load_snapshot, plan_epochs, read_history
from livestain.train.networks import stain_field
from livestain.train.recipe import Recipe
from livestain.train.recipes import find_recipe
from livestain.train.recipes.distill import stainer_of, teach
from livestain.train.render import is_rendered
from livestain.train.report import write_report
from livestain.train.select import LEAST_PAIRS, Probe, Terms, known_r, rank_sums

BUDGET_S = {"quick": 420.0, "standard": 4 * 3600.0, "paper": 24 * 3600.0}
"""Seconds of stepping that a preset may take; the rest of its time goes to data, the choice and export."""

MOST_STEPS = {"quick": 2000, "standard": 20_000, "paper": 60_000}
"""Steps of one network that a preset takes at most."""

_TEACHER_SHARE = 0.55
_WARM_STEPS, _TIMED_STEPS = 4, 15
_SEEDS_APART = 1000
PLAN = "plan.json"


class Plan(Settings):
    """What is fixed at the start of a training and kept when it goes on."""

    config: TrainConfig
    fingerprint: str = Setting(description="sha256 over all planes and stains")
    steps: dict[str, int] = Setting(description="stage -> steps")


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that may be chosen."""

    stage: str
    path: Path


def train(
    config: TrainConfig,
    fields: Fields,
    known: Sequence[Known],
    output: Path,
    say: Say,
    *,
    resume: bool = False,
) -> Model:
    """Train a model and write its folder; blocks, from minutes to days.

    Parameters
    ----------
    known
        Fields with a measured stain, never learned from: with three or more, they choose the checkpoint and score the
        model; with fewer, K5 does (`livestain.train.select`).
    output
        The model folder to make; checkpoints lie beside it, in ``NAME.training``, until they are no longer wanted.
    resume
        Go on with the training that was interrupted there.

    Raises
    ------
    UserError
        ``output`` is there already; nothing to resume, or a training with other settings or images.
    TrainingError
        The training went wrong (see `livestain.train.loop.fit`).
    """
    _require_room(config, fields)
    if config.recipe == "simulate" and not is_rendered(fields.stains):
        raise UserError(
            f"the recipe 'simulate' can draw cells around nuclei only, not {', '.join(fields.stains)}: take "
            "--recipe gan, or name the stain nuclei if it marks them"
        )
    work = output.with_name(f"{output.name}.training")
    plan = _plan(config, fields, output, work, say, resume)
    if config.recipe == "simulate":
        net, choice = _simulate(plan, fields, known, work, say, resume)
    else:
        candidates = _stage(find_recipe(config.recipe), "train", plan, fields, work, say, resume)
        best, choice = _choose(candidates, plan, fields, known, say)
        net = _load(plan, fields, best, find_recipe(config.recipe))
    return _write(net, plan, fields, known, choice, output, say)


def _require_room(config: TrainConfig, fields: Fields) -> None:
    planes = [plane for group in fields.groups.values() for plane in (*group.label_free, *group.stains)]
    least = min(min(plane.shape[-2:]) for plane in planes)
    if least < config.crop_px:
        raise UserError(
            f"the smallest image is {least} px high or wide at the pixel size of the training, crops are "
            f"{config.crop_px} px: set crop_px to {least // 16 * 16} or less in --config, or leave it out"
        )


def _plan(config: TrainConfig, fields: Fields, output: Path, work: Path, say: Say, resume: bool) -> Plan:
    path = work / PLAN
    planes = [p for g in fields.groups.values() for p in (*g.frames, *g.stains)]
    fingerprint = digest(plane.tobytes() for plane in planes)
    if resume:
        if not path.is_file():
            raise UserError(f"nothing to resume: {work} holds no {PLAN}; start without --resume")
        plan = Plan.model_validate_json(path.read_text(encoding="utf-8"))
        if plan.config != config or plan.fingerprint != fingerprint:
            what = "settings" if plan.config != config else "images"
            raise UserError(f"{work} is a training with other {what}: give the same ones, or start without --resume")
        return plan
    if output.exists():
        raise UserError(f"{output} is there already: choose another --output, or remove it")
    if path.exists():
        raise UserError(f"{work} holds an interrupted training: go on with --resume, or remove that folder")
    plan = Plan(config=config, fingerprint=fingerprint, steps=_count_steps(config, fields, say))
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(plan.model_dump_json(indent=2), encoding="utf-8")
    return plan


def _count_steps(config: TrainConfig, fields: Fields, say: Say) -> dict[str, int]:
    stages = ["train"]
    if config.recipe == "simulate":
        stages = [f"teacher-{k}" for k in range(config.networks)] + ["student"]
    if config.steps is not None:
        return dict.fromkeys(stages, config.steps)
    step_s = time_step(find_recipe(config.recipe)(config), fields)
    budget = dict.fromkeys(stages, BUDGET_S[config.preset])
    if len(stages) > 1:
        # A step of the student takes half as much again: it learns from two sources.
        budget = dict.fromkeys(stages[:-1], _TEACHER_SHARE * BUDGET_S[config.preset] / config.networks)
        budget["student"] = (1 - _TEACHER_SHARE) * BUDGET_S[config.preset] / 1.5
    most = MOST_STEPS[config.preset]
    steps = {stage: int(min(most, max(10, share_s / step_s))) for stage, share_s in budget.items()}
    total_s = sum(steps.values()) * step_s
    say(f"{step_s * 1e3:.0f} ms a step: {', '.join(f'{stage} {n}' for stage, n in steps.items())} steps, "
        f"about {total_s / 60:.0f} min")  # fmt: skip
    return steps


def time_step(recipe: Recipe, fields: Fields) -> float:
    """Return the seconds of one step of a fresh network, data and all, on the CPU: the median of a few."""
    networks = dict(Training(recipe, len(fields.stains), Schedule(1, 1)).networks)
    optimisers, batches = recipe.optimisers(networks), recipe.batches(fields)
    seconds = []
    # The first steps also find out where the foreground of each group lies, once for all: not counted.
    for step in range(_WARM_STEPS + _TIMED_STEPS):
        began = time.perf_counter()
        for turn in recipe.step(networks, batches.batch(0, step), 0.0, torch.Generator().manual_seed(step)):
            optimisers[turn.optimiser].zero_grad()
            turn.total().backward()
            optimisers[turn.optimiser].step()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[_WARM_STEPS:]))


def _simulate(
    plan: Plan, fields: Fields, known: Sequence[Known], work: Path, say: Say, resume: bool
) -> tuple[nn.Module, dict[str, Any]]:
    """Several networks on simulated pairs, the best of each as teachers, one student on real label-free fields."""
    recipe = find_recipe("simulate")
    stages = [stage for stage in plan.steps if stage != "student"]
    pools = [_stage(recipe, stage, plan, fields, work, say, resume, number) for number, stage in enumerate(stages)]
    chosen, choice = _choose_each(pools, plan, fields, known, say)
    teachers = [stainer_of(_load(plan, fields, candidate, recipe)) for candidate in chosen]
    taught = replace(fields, taught=teach(teachers, fields))
    student = find_recipe("distill")
    last = _stage(student, "student", plan, taught, work, say, resume, len(stages))[-1]
    return _load(plan, fields, last, student), choice


def _stage(
    recipe: type[Recipe],
    stage: str,
    plan: Plan,
    fields: Fields,
    work: Path,
    say: Say,
    resume: bool,
    number: int = 0,
) -> list[Candidate]:
    """Train one network to the end and return its kept averages, oldest first."""
    config = plan.config.model_copy(update={"seed": plan.config.seed * _SEEDS_APART + number})
    schedule = plan_epochs(plan.steps[stage], config.epoch_steps)
    made = recipe(config)
    folder = work / stage
    fit(Training(made, len(fields.stains), schedule), made.batches(fields), folder, _named(say, stage), resume=resume)
    return [Candidate(stage, folder / f"epoch-{epoch:04}.pt") for epoch in schedule.snapshots]


def _named(say: Say, stage: str) -> Say:
    return lambda text: say(f"{stage}: {text}")


def _load(plan: Plan, fields: Fields, candidate: Candidate, recipe: type[Recipe]) -> nn.Module:
    networks = recipe(plan.config).networks(len(fields.stains))
    return load_snapshot(candidate.path, networks[recipe.generator])


def _choose(
    candidates: Sequence[Candidate], plan: Plan, fields: Fields, known: Sequence[Known], say: Say
) -> tuple[Candidate, dict[str, Any]]:
    if len(known) < LEAST_PAIRS and not is_rendered(fields.stains):
        say("no renderer for these stains and fewer than 3 pairs: the last checkpoint is taken, nothing chose it")
        return candidates[-1], {"by": "nothing: the last checkpoint", "taken": candidates[-1].path.name}
    chosen, choice = _choose_each([candidates], plan, fields, known, say)
    return chosen[0], choice


def _choose_each(
    pools: Sequence[Sequence[Candidate]], plan: Plan, fields: Fields, known: Sequence[Known], say: Say
) -> tuple[list[Candidate], dict[str, Any]]:
    """Return the best candidate of each pool, ranked over all of them together, and what the card says about it."""
    recipe = find_recipe(plan.config.recipe)
    every = [candidate for pool in pools for candidate in pool]
    nets = [_load(plan, fields, candidate, recipe) for candidate in every]
    if len(known) >= LEAST_PAIRS:
        by, asked = f"mean r on {len(known)} pairs", [{"r": known_r(net, known)} for net in nets]
        merits = [-entry["r"] for entry in asked]
    else:
        by, probe = "K5, without pairs", Probe(fields, plan.config)
        terms = [probe.ask(net) for net in nets]
        asked, merits = [_as_dict(term) for term in terms], [float(value) for value in rank_sums(terms)]
    order = dict(zip(every, merits, strict=True))
    chosen = [min(pool, key=lambda candidate: order[candidate]) for pool in pools]
    table = [
        {"stage": c.stage, "file": c.path.name, "rank": round(m, 4), "chosen": c in chosen, **entry}
        for c, m, entry in zip(every, merits, asked, strict=True)
    ]
    say(f"chosen by {by}: " + ", ".join(f"{c.stage}/{c.path.stem}" for c in chosen))
    return chosen, {"by": by, "candidates": table}


def _as_dict(terms: Terms) -> dict[str, float]:
    return {name: round(value, 4) for name, value in vars(terms).items()}


def _write(
    net: nn.Module,
    plan: Plan,
    fields: Fields,
    known: Sequence[Known],
    choice: Mapping[str, Any],
    output: Path,
    say: Say,
) -> Model:
    frozen_r = freeze(net, [plane for group in fields.groups.values() for plane in group.label_free])
    require_alive(net, fields)
    empty = stain_of_nothing(net)
    if empty > EMPTY_LIMIT:
        say(f"warning: on an empty field the stain reaches {empty:.2f} of 1: it invents cells; see the card")
    record = {
        "recipe": plan.config.recipe,
        "config": json.loads(plan.config.model_dump_json()),
        "steps": plan.steps,
        "data_sha256": plan.fingerprint,
        "fields": {
            name: {"label_free": len(group.label_free), "stains": len(group.stains)}
            for name, group in fields.groups.items()
        },
        "contrast_constants": {name: round(group.constant, 4) for name, group in fields.groups.items()},
        "pixel_um": {name: group.pixel_um for name, group in fields.groups.items()},
        "frozen_r": round(frozen_r, 4),
        "stain_of_an_empty_field": round(empty, 4),
        "choice": dict(choice),
    }
    scores = score(net, fields, known)
    part = output.with_name(f"{output.name}.part")
    model = write_model(part, net, fields, _facts(plan, fields, record, scores, output.name))
    write_report(part / "report.html", model, net, fields, _curves(plan, output))
    model.folder.rename(output)
    say(f"wrote {output}")
    return read_model(output)


def _curves(plan: Plan, output: Path) -> dict[str, list[dict[str, float]]]:
    work = output.with_name(f"{output.name}.training")
    return {stage: read_history(work / stage / "last.ckpt") for stage in plan.steps}


def score(net: nn.Module, fields: Fields, known: Sequence[Known]) -> list[Score]:
    """Return the mean r over the known fields, of the model and of the local energy, for each stain."""
    if not known:
        return []
    data = f"{len(known)} pairs given to the training, none learned from"
    scores = []
    for number, stain in enumerate(fields.stains):
        for name, values in (
            ("this model", [pearson_r(stain_field(net, k.contrast)[number], k.stains[number]) for k in known]),
            ("local energy", [pearson_r(local_energy(k.contrast), k.stains[number]) for k in known]),
        ):
            value = round(sum(values) / len(values), 4)
            scores.append(Score(predictor=name, data=data, stain=stain, metric="r", value=value))
    return scores


def _facts(plan: Plan, fields: Fields, record: dict[str, Any], scores: Sequence[Score], name: str) -> Facts:
    stains = " and ".join(fields.stains)
    limits = [
        "Right at best for the cells, the microscope and the focus of its training images; elsewhere unknown.",
        "A model that was trained without pairs can be wrong in the same way everywhere, and nothing in it shows that.",
    ]
    if plan.config.recipe == "paired":
        limits[1] = "Trained on measured pairs; scored on the pairs of its card, if there are any."
    if fields.pixel_um is None:
        limits.append("The images did not state their pixel size: 1 um stands in the card, whatever it was.")
    if record["stain_of_an_empty_field"] > EMPTY_LIMIT:
        limits.append("Stains fields that are empty: nuclei may be invented where nothing is.")
    if len(fields.groups) > 1:
        limits.append("Several experiments, each with its own contrast constant (config.livestain.training).")
    caution = "" if scores else "never compared with measured stains"
    return Facts(
        name=name,
        id=f"local/{legal_name(name)}",
        description=f"Virtual {stains} of {plan.config.modality} frames, recipe {plan.config.recipe}.",
        modality=plan.config.modality,
        training=record,
        readme=_readme(name, plan, fields, scores, limits, caution),
        author=plan.config.author,
        license=plan.config.license,
        caution=caution,
        scores=scores,
        limits=limits,
        tags=("virtual-staining", plan.config.modality.replace(" ", "-"), *fields.stains),
    )


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
