"""A whole training: stages of a recipe, the choice among their checkpoints, and the model folder at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from livestain.errors import TrainingError, UserError
from livestain.model import Model, read_model
from livestain.train.choice import Candidate, choose, choose_each, load_candidate
from livestain.train.config import TrainConfig
from livestain.train.data import Fields, Known
from livestain.train.export import freeze, write_model
from livestain.train.facts import gather_facts, record_training, score
from livestain.train.guards import EMPTY_LIMIT, require_alive, stain_of_nothing
from livestain.train.loop import LAST, Say, Training, fit, load_last, plan_epochs, read_history
from livestain.train.plan import STUDENT, Plan, make_plan, read_plan, work_folder
from livestain.train.recipe import Recipe
from livestain.train.recipes import find_recipe
from livestain.train.recipes.distill import stainer_of, teach
from livestain.train.report import write_report
from livestain.train.samples import Samples
from livestain.train.start import start_at

_SEEDS_APART = 1000


def train(
    config: TrainConfig,
    fields: Fields,
    known: Sequence[Known],
    output: Path,
    say: Say,
    *,
    resume: bool = False,
    start: Model | None = None,
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
    start
        Model whose weights the network begins with (`livestain.train.start`); None: random ones.

    Raises
    ------
    UserError
        ``output`` is there already; nothing to resume, or a training with other settings or images; too little memory
        or disk.
    TrainingError
        The training went wrong (see `livestain.train.loop.fit`).
    """
    _require_size(config, fields)
    plan = read_plan(config, fields, output) if resume else make_plan(config, fields, output, say)
    work = work_folder(output)
    if plan.config.recipe == "simulate":
        net, choice = _simulate(plan, fields, known, work, say, resume)
    else:
        recipe = find_recipe(plan.config.recipe)
        candidates = _stage(recipe, "train", plan, fields, work, say, resume, start=start)
        best, choice = choose(candidates, recipe(plan.config), fields, known, say)
        net = load_candidate(best, recipe(plan.config), len(fields.stains))
    return _write(net, plan, fields, known, choice, output, say)


def _require_size(config: TrainConfig, fields: Fields) -> None:
    planes = [plane for group in fields.groups.values() for plane in (*group.label_free, *group.stains)]
    least = min(min(plane.shape[-2:]) for plane in planes)
    if least < config.crop_px:
        raise UserError(
            f"the smallest image is {least} px high or wide at the pixel size of the training, crops are "
            f"{config.crop_px} px: set crop_px to {least // 16 * 16} or less in --config, or leave it out"
        )


def _simulate(
    plan: Plan, fields: Fields, known: Sequence[Known], work: Path, say: Say, resume: bool
) -> tuple[nn.Module, dict[str, Any]]:
    """Several networks on simulated pairs, the best of each as teachers, one student on real label-free fields."""
    recipe, student = find_recipe("simulate"), find_recipe("distill")
    count = len(fields.stains)
    stages = [stage for stage in plan.steps if stage != STUDENT]
    pools = [_stage(recipe, stage, plan, fields, work, say, resume, number) for number, stage in enumerate(stages)]
    chosen, choice = choose_each(pools, recipe(plan.config), fields, known, say)
    teachers = [stainer_of(load_candidate(candidate, recipe(plan.config), count)) for candidate in chosen]
    taught = replace(fields, taught=teach(teachers, fields))
    last = _stage(student, STUDENT, plan, taught, work, say, resume, len(stages))[-1]
    return load_candidate(last, student(plan.config), count), choice


def _stage(
    recipe: type[Recipe],
    stage: str,
    plan: Plan,
    fields: Fields,
    work: Path,
    say: Say,
    resume: bool,
    number: int = 0,
    start: Model | None = None,
) -> list[Candidate]:
    """Train one network to the end and return its kept averages, oldest first."""
    config = plan.config.model_copy(update={"seed": plan.config.seed * _SEEDS_APART + number})
    schedule = plan_epochs(plan.steps[stage], config.epoch_steps)
    made = recipe(config)
    folder = work / stage
    training = Training(made, len(fields.stains), schedule)
    if start is not None:
        start_at(training, start)
    samples = Samples(fields, folder / "samples")
    fit(training, made.batches(fields), folder, _named(say, stage), resume=resume, samples=samples)
    return [Candidate(stage, folder / f"epoch-{epoch:04}.pt") for epoch in schedule.snapshots]


def _named(say: Say, stage: str) -> Say:
    return lambda text: say(f"{stage}: {text}")


def _inverse(plan: Plan, fields: Fields, output: Path, say: Say) -> nn.Module | None:
    """Return the network from stains to contrast, frozen, where the recipe trains one: its last weights, no average."""
    recipe = find_recipe(plan.config.recipe)
    if recipe.inverse is None:
        return None
    net = recipe(plan.config).networks(len(fields.stains))[recipe.inverse]
    load_last(work_folder(output) / "train" / LAST, recipe.inverse, net)
    try:
        freeze(net, [stains for group in fields.groups.values() for stains in group.stains])
    except TrainingError as error:
        say(f"the network from stains to contrast is left out: {error}")
        return None
    return net


def _write(
    net: nn.Module,
    plan: Plan,
    fields: Fields,
    known: Sequence[Known],
    choice: Mapping[str, Any],
    output: Path,
    say: Say,
) -> Model:
    say("checking and exporting the model ...")
    frozen = freeze(net, [plane for group in fields.groups.values() for plane in group.label_free])
    require_alive(net, fields)
    empty = stain_of_nothing(net)
    if empty > EMPTY_LIMIT:
        say(f"warning: on an empty field the stain reaches {empty:.2f} of 1: it invents cells; see the card")
    ends: dict[str, Any] = {"stain_of_an_empty_field": round(empty, 4), "choice": dict(choice)}
    if frozen is not None:
        ends |= {"frozen_r": round(frozen.r, 4), "frozen_psnr_db": round(frozen.psnr_db, 1)}
    record = record_training(plan, fields, **ends)
    facts = gather_facts(plan, fields, record, score(net, fields, known), output.name)
    part = output.with_name(f"{output.name}.part")
    model = write_model(part, net, fields, facts, _inverse(plan, fields, output, say))
    curves = {stage: read_history(work_folder(output) / stage / LAST) for stage in plan.steps}
    write_report(part / "report.html", model, net, fields, curves)
    model.folder.rename(output)
    say(f"wrote {output}")
    return read_model(output)
