"""Which of the kept checkpoints become the model, ranked over all networks together, and what the card says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from livestain.train.config import TrainConfig
from livestain.train.data import Fields, Known
from livestain.train.loop import Say, load_snapshot
from livestain.train.recipe import Recipe
from livestain.train.render import can_simulate
from livestain.train.select import LEAST_PAIRS, Probe, Terms, known_r, rank_sums


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that may be chosen."""

    stage: str
    path: Path


def load_candidate(candidate: Candidate, recipe: Recipe, stains: int) -> nn.Module:
    """Return the averaged generator of a candidate, ready to stain."""
    return load_snapshot(candidate.path, recipe.networks(stains)[recipe.generator])


def choose(
    candidates: Sequence[Candidate], recipe: Recipe, fields: Fields, known: Sequence[Known], say: Say
) -> tuple[Candidate, dict[str, Any]]:
    """Return the best candidate of one network, and what the card says about the choice."""
    if len(known) < LEAST_PAIRS and not can_simulate(fields):
        say("no renderer for these stains and fewer than 3 pairs: the last checkpoint is taken, nothing chose it")
        return candidates[-1], {"by": "nothing: the last checkpoint", "taken": candidates[-1].path.name}
    chosen, choice = choose_each([candidates], recipe, fields, known, say)
    return chosen[0], choice


def choose_each(
    pools: Sequence[Sequence[Candidate]], recipe: Recipe, fields: Fields, known: Sequence[Known], say: Say
) -> tuple[list[Candidate], dict[str, Any]]:
    """Return the best candidate of each pool, ranked over all of them together, and what the card says about it."""
    every = [candidate for pool in pools for candidate in pool]
    nets = [load_candidate(candidate, recipe, len(fields.stains)) for candidate in every]
    by, merits, asked = _rank(nets, recipe.config, fields, known)
    order = dict(zip(every, merits, strict=True))
    chosen = [min(pool, key=lambda candidate: order[candidate]) for pool in pools]
    table = [
        {"stage": c.stage, "file": c.path.name, "rank": round(m, 4), "chosen": c in chosen, **entry}
        for c, m, entry in zip(every, merits, asked, strict=True)
    ]
    say(f"chosen by {by}: " + ", ".join(f"{c.stage}/{c.path.stem}" for c in chosen))
    return chosen, {"by": by, "candidates": table}


def _rank(
    nets: Sequence[nn.Module], config: TrainConfig, fields: Fields, known: Sequence[Known]
) -> tuple[str, list[float], list[dict[str, float]]]:
    """Return what ranks, the rank of each network (the lowest is the best), and what each was asked."""
    if len(known) >= LEAST_PAIRS:
        found = [known_r(net, known) for net in nets]
        return f"mean r on {len(known)} pairs", [-r for r in found], [{"r": r} for r in found]
    probe = Probe(fields, config)
    terms = [probe.ask(net) for net in nets]
    return "K5, without pairs", [float(value) for value in rank_sums(terms)], [_as_dict(term) for term in terms]


def _as_dict(terms: Terms) -> dict[str, float]:
    return {name: round(value, 4) for name, value in vars(terms).items()}
