"""What is fixed at the start of a training and kept when it goes on: settings, images, and the steps of each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field as Setting

from livestain.errors import UserError
from livestain.settings import Settings
from livestain.train.config import TrainConfig, read_config, read_toml, require_new
from livestain.train.data import Fields
from livestain.train.export import digest
from livestain.train.loop import Say
from livestain.train.need import MIB, Need, measure_need, model_bytes, require_disk, require_memory
from livestain.train.recipes import RECIPES, find_recipe
from livestain.train.render import is_rendered

PLAN = "plan.json"

BUDGET_S = {"quick": 420.0, "standard": 4 * 3600.0, "paper": 24 * 3600.0}
"""Seconds of stepping that a preset may take; the rest of its time goes to data, the choice and export."""

MOST_STEPS = {"quick": 2000, "standard": 20_000, "paper": 60_000}
"""Steps of one network that a preset takes at most."""

STUDENT = "student"
"""The last stage of ``simulate``."""

PAPER, UNRENDERED = "mvs-cyclegan", "gan"

_TEACHER_SHARE = 0.55
_STUDENT_COST = 1.5
"""A step of the student takes half as much again: it learns from two sources."""


class Plan(Settings):
    """What is fixed at the start of a training and kept when it goes on."""

    config: TrainConfig = Setting(description="what is done")
    asked: str = Setting(description="the recipe that was asked for, where the one done is another")
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
        The model or an interrupted training is there already; too little memory or disk.
    """
    path = work_folder(output) / PLAN
    require_new(output)
    if path.exists():
        raise UserError(f"{path.parent} holds an interrupted training: go on with --resume, or remove that folder")
    used = fall_back(config, fields.stains)
    if used.recipe != config.recipe:
        say(no_renderer(fields.stains))
    need = measure_need(find_recipe(used.recipe), used, fields)
    plan = Plan(config=used, asked=config.recipe, fingerprint=_fingerprint(fields), steps=_count_steps(used, need))
    _require_room(used, need, plan.steps, output, say)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(plan.model_dump_json(indent=2), encoding="utf-8")
    return plan


def read_plan(config: TrainConfig, fields: Fields, output: Path) -> Plan:
    """Return the plan of an interrupted training; `UserError` where there is none, or other settings or images."""
    path = work_folder(output) / PLAN
    if not path.is_file():
        raise UserError(f"nothing to resume: there is no interrupted training of {output}; start without --resume")
    plan = Plan.model_validate_json(path.read_text(encoding="utf-8"))
    used = fall_back(config, fields.stains)
    if plan.config != used or plan.fingerprint != _fingerprint(fields):
        other = [name for name, value in plan.config if value != getattr(used, name)]
        what = f"settings ({', '.join(other)})" if other else "images"
        raise UserError(f"{path.parent} is a training with other {what}: give the same ones, or start without --resume")
    return plan


def no_renderer(stains: Sequence[str]) -> str:
    """Return why another recipe than ``simulate`` is taken."""
    return (
        f"The recipe 'simulate' can draw cells around nuclei only, not {' and '.join(stains)}: {UNRENDERED!r} is taken "
        "instead, which stayed behind it wherever both were tried; name the stain nuclei if it marks them"
    )


def _fingerprint(fields: Fields) -> str:
    planes = [plane for group in fields.groups.values() for plane in (*group.frames, *group.stains)]
    # Joined only where there is one, so that trainings without a teacher keep their fingerprints.
    teacher = [fields.teacher.encode()] if fields.teacher else []
    return digest([*(plane.tobytes() for plane in planes), *teacher])


def recipe_of(given: Mapping[str, Any]) -> str:
    """Return the recipe that is meant by what was given: ``simulate``, or the paper's for the preset ``paper``."""
    return str(given.get("recipe", PAPER if given.get("preset") == "paper" else "simulate"))


def settle(path: Path | None, chosen: Mapping[str, Any]) -> TrainConfig:
    """Return the settings of a training: what was ``chosen`` on the command line, over the file, over the recipe's own.

    The preset ``paper`` is the recipe ``mvs-cyclegan`` at its full size, or another recipe that has one. `UserError`
    where there is no such recipe or size, or a setting is not possible (see `read_config`).
    """
    given = {**read_toml(path), **chosen}
    name = recipe_of(given)
    recipe = find_recipe(name)
    own = {**recipe.defaults, "recipe": name}
    if given.get("preset") == "paper":
        if not recipe.full_size:
            sizes = [name for name in RECIPES if find_recipe(name).full_size]
            raise UserError(
                f"the preset 'paper' is for recipes with a published size ({', '.join(sizes)}), {name!r} has none: "
                "take --preset standard, or leave --recipe out"
            )
        own |= recipe.full_size
    return read_config(path, own, chosen)


def fall_back(config: TrainConfig, stains: Sequence[str]) -> TrainConfig:
    """Return ``config``, or for ``simulate`` without a renderer the same with the recipe ``gan`` and its own values."""
    if config.recipe != "simulate" or is_rendered(stains):
        return config
    own = {
        name: value for name, value in find_recipe(UNRENDERED).defaults.items() if name not in config.model_fields_set
    }
    return config.model_copy(update={**own, "recipe": UNRENDERED})


def _count_steps(config: TrainConfig, need: Need) -> dict[str, int]:
    stages = ["train"]
    if config.recipe == "simulate":
        stages = [f"teacher-{k}" for k in range(config.networks)] + [STUDENT]
    if config.steps is not None:
        return dict.fromkeys(stages, config.steps)
    budget = dict.fromkeys(stages, BUDGET_S[config.preset])
    if len(stages) > 1:
        budget = dict.fromkeys(stages[:-1], _TEACHER_SHARE * BUDGET_S[config.preset] / config.networks)
        budget[STUDENT] = (1 - _TEACHER_SHARE) * BUDGET_S[config.preset] / _STUDENT_COST
    most = MOST_STEPS[config.preset]
    return {stage: int(min(most, max(10, share_s / need.step_s))) for stage, share_s in budget.items()}


def _require_room(config: TrainConfig, need: Need, steps: Mapping[str, int], output: Path, say: Say) -> None:
    """Say what the training will take, and refuse it where that is not there."""
    total_s = sum(count * need.step_s * (_STUDENT_COST if stage == STUDENT else 1) for stage, count in steps.items())
    memory = int(need.memory_bytes * (_STUDENT_COST if STUDENT in steps else 1))
    disk = need.disk_bytes * len(steps) + model_bytes(need)
    free_memory, free_disk = require_memory(memory, config), require_disk(disk, output.parent)
    say(
        f"{need.step_s * 1e3:.0f} ms a step: {', '.join(f'{stage} {n}' for stage, n in steps.items())} steps, about "
        f"{total_s / 60:.0f} min, then choice and export; "
        f"{memory / MIB:.0f} MiB of memory ({free_memory / MIB:.0f} free), "
        f"{disk / MIB:.0f} MiB of disk ({free_disk / MIB:.0f} free)"
    )
