"""Which of the kept checkpoints become the model, ranked over all networks together, and what the card says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from torch import nn

from livestain.train.config import TrainConfig
from livestain.train.data import Fields, Known
from livestain.train.loop import Say, load_snapshot
from livestain.train.recipe import Recipe
from livestain.train.render import can_simulate
from livestain.train.select import (
    DISSENT,
    K5_CONFIDENCE,
    LEAST_PAIRS,
    LEAST_VOTERS,
    UNRENDERED_CONFIDENCE,
    Probe,
    Terms,
    UnrenderedProbe,
    UnrenderedTerms,
    agreement,
    find_dissenters,
    known_r,
    rank_sums,
)


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
    if len(known) < LEAST_PAIRS and (recipe.supervised or not fields.measured):
        say("learned from given targets, with fewer than 3 pairs to choose by: the last checkpoint is taken")
        return candidates[-1], {"by": "nothing: the last checkpoint", "confidence": {}, "candidates": []}
    chosen, choice = choose_each([candidates], recipe, fields, known, say)
    return chosen[0], choice


def choose_each(
    pools: Sequence[Sequence[Candidate]], recipe: Recipe, fields: Fields, known: Sequence[Known], say: Say
) -> tuple[list[Candidate], dict[str, Any]]:
    """Return the best candidate of each pool, ranked over all of them together, and what the card says about it.

    Without pairs, of three and more pools those are dropped whose best candidate disagrees with the others.
    """
    every = [candidate for pool in pools for candidate in pool]
    nets = {candidate: load_candidate(candidate, recipe, len(fields.stains)) for candidate in every}
    ranking = _rank(list(nets.values()), recipe.config, fields, known)
    order = dict(zip(every, ranking.merits, strict=True))
    chosen = [min(pool, key=lambda candidate: order[candidate]) for pool in pools]
    say(f"chosen by {ranking.by}: " + ", ".join(f"{c.stage}/{c.path.stem}" for c in chosen))
    choice: dict[str, Any] = {"by": ranking.by, "confidence": ranking.confidence}
    if len(chosen) >= LEAST_VOTERS and len(known) < LEAST_PAIRS:
        chosen, choice["veto"] = _drop_dissenters(chosen, [nets[candidate] for candidate in chosen], fields, say)
    places = stats.rankdata(ranking.merits, "min")
    choice["candidates"] = [
        {"stage": c.stage, "file": c.path.name, "rank": int(place), "chosen": c in chosen, **entry}
        for c, place, entry in zip(every, places, ranking.asked, strict=True)
    ]
    return chosen, choice


@dataclass(frozen=True)
class _Ranking:
    """What ranks, how far it can be trusted, the merit of each network (the lowest is best) and what each was asked."""

    by: str
    confidence: dict[str, Any]
    merits: list[float]
    asked: list[dict[str, float]]


def _rank(nets: Sequence[nn.Module], config: TrainConfig, fields: Fields, known: Sequence[Known]) -> _Ranking:
    if len(known) >= LEAST_PAIRS:
        found = [known_r(net, known) for net in nets]
        confidence = {"measured_on": f"{len(known)} measured pairs of this microscope, none learned from"}
        return _Ranking(f"mean r on {len(known)} pairs", confidence, [-r for r in found], [{"r": r} for r in found])
    if can_simulate(fields):
        probe = Probe(fields, config)
        terms = [probe.ask(net) for net in nets]
        return _Ranking("K5, without pairs", K5_CONFIDENCE, list(rank_sums(terms)), [_as_dict(term) for term in terms])
    unrendered = UnrenderedProbe(fields)
    loose = [unrendered.ask(net) for net in nets]
    by = "likeness and mirroring, without pairs (unproven)"
    return _Ranking(by, UNRENDERED_CONFIDENCE, list(rank_sums(loose)), [_as_dict(term) for term in loose])


def _drop_dissenters(
    chosen: Sequence[Candidate], nets: Sequence[nn.Module], fields: Fields, say: Say
) -> tuple[list[Candidate], dict[str, Any]]:
    """Return the candidates that agree with each other, and what the card says about those that do not."""
    agreements = agreement(nets, fields)
    out = find_dissenters(agreements)
    found = {c.stage: round(value, 4) for c, value in zip(chosen, agreements, strict=True)}
    dropped = [chosen[number].stage for number in out]
    for stage in dropped:
        say(f"{stage} is left out: r {found[stage]:.2f} with the others' stains, the median is "
            f"{float(np.median(agreements)):.2f}")  # fmt: skip
    rule = f"out where the mean r with the other networks' stains is more than {DISSENT} below the median"
    kept = [candidate for number, candidate in enumerate(chosen) if number not in out]
    return kept, {"rule": rule, "agreement": found, "dropped": dropped}


def _as_dict(terms: Terms | UnrenderedTerms) -> dict[str, float]:
    return {name: round(value, 4) for name, value in vars(terms).items()}
