"""What is fixed at the start of a training and kept when it goes on: settings, images, and the steps of each stage."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from pydantic import Field as Setting

from livestain.errors import UserError
from livestain.settings import Settings
from livestain.train.config import TrainConfig
from livestain.train.data import Fields
from livestain.train.export import digest
from livestain.train.loop import Say, Schedule, Training
from livestain.train.recipe import Recipe
from livestain.train.recipes import find_recipe

PLAN = "plan.json"

BUDGET_S = {"quick": 420.0, "standard": 4 * 3600.0, "paper": 24 * 3600.0}
"""Seconds of stepping that a preset may take; the rest of its time goes to data, the choice and export."""

MOST_STEPS = {"quick": 2000, "standard": 20_000, "paper": 60_000}
"""Steps of one network that a preset takes at most."""

_TEACHER_SHARE = 0.55
_WARM_STEPS, _TIMED_STEPS = 4, 15


class Plan(Settings):
    """What is fixed at the start of a training and kept when it goes on."""

    config: TrainConfig
    fingerprint: str = Setting(description="sha256 over all planes and stains")
    steps: dict[str, int] = Setting(description="stage -> steps")


def work_folder(output: Path) -> Path:
    """Return where the checkpoints of the training of this model lie."""
    return output.with_name(f"{output.name}.training")


def make_plan(config: TrainConfig, fields: Fields, output: Path, say: Say) -> Plan:
    """Return a new plan, written into the work folder; blocks for seconds while steps are timed.

    Raises
    ------
    UserError
        The model or an interrupted training is there already.
    """
    path = work_folder(output) / PLAN
    if output.exists():
        raise UserError(f"{output} is there already: choose another --output, or remove it")
    if path.exists():
        raise UserError(f"{path.parent} holds an interrupted training: go on with --resume, or remove that folder")
    plan = Plan(config=config, fingerprint=_fingerprint(fields), steps=_count_steps(config, fields, say))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(plan.model_dump_json(indent=2), encoding="utf-8")
    return plan


def read_plan(config: TrainConfig, fields: Fields, output: Path) -> Plan:
    """Return the plan of an interrupted training; `UserError` where there is none, or other settings or images."""
    path = work_folder(output) / PLAN
    if not path.is_file():
        raise UserError(f"nothing to resume: {path.parent} holds no {PLAN}; start without --resume")
    plan = Plan.model_validate_json(path.read_text(encoding="utf-8"))
    if plan.config != config or plan.fingerprint != _fingerprint(fields):
        what = "settings" if plan.config != config else "images"
        raise UserError(f"{path.parent} is a training with other {what}: give the same ones, or start without --resume")
    return plan


def _fingerprint(fields: Fields) -> str:
    planes = [plane for group in fields.groups.values() for plane in (*group.frames, *group.stains)]
    return digest(plane.tobytes() for plane in planes)


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
