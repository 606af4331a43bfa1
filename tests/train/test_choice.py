"""The choice among kept checkpoints: by pairs where there are three, else by K5; and networks that stand alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from livestain.train.choice import Candidate, choose_each, load_candidate
from livestain.train.data import Fields, Known
from livestain.train.networks import stain_field
from livestain.train.recipe import Recipe
from livestain.train.recipes import find_recipe
from tests.train.pieces import QUICK, small_fields

RECIPE = find_recipe("simulate")(QUICK)


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    return small_fields(Path(tmp_path_factory.mktemp("fields")))


def network(folder: Path, stage: str, sign: float, seed: int) -> Candidate:
    """A checkpoint; those of one sign answer nearly alike, those of the other the opposite."""
    torch.manual_seed(0)
    net = RECIPE.networks(1)["generator"]
    torch.nn.init.normal_(net.head.weight, 0.0, 1.0)
    net.head.weight.data *= sign
    net.head.weight.data += 0.01 * torch.randn(net.head.weight.shape, generator=torch.Generator().manual_seed(seed))
    net.head.bias.data.zero_()
    candidate = Candidate(stage, folder / f"{stage}.pt")
    torch.save(net.state_dict(), candidate.path)
    return candidate


def known_by(candidate: Candidate, recipe: Recipe, fields: Fields, count: int) -> list[Known]:
    """Pairs whose truth is what this candidate answers."""
    net = load_candidate(candidate, recipe, 1)
    contrast = fields.groups[""].label_free[0]
    return [Known(str(k), str(k), "", contrast, stain_field(net, contrast)) for k in range(count)]


def test_a_network_that_disagrees_with_the_others_is_left_out_and_said(fields: Fields, tmp_path: Path) -> None:
    pools = [[network(tmp_path, f"teacher-{k}", sign, k)] for k, sign in enumerate((1, -1, 1))]
    said: list[str] = []
    chosen, choice = choose_each(pools, RECIPE, fields, [], said.append)
    assert [candidate.stage for candidate in chosen] == ["teacher-0", "teacher-2"]
    assert choice["veto"]["dropped"] == ["teacher-1"]
    assert choice["veto"]["agreement"]["teacher-1"] < choice["veto"]["agreement"]["teacher-0"] - 0.1
    assert [entry["chosen"] for entry in choice["candidates"]] == [True, False, True]
    assert any(text.startswith("teacher-1 is left out: r -") for text in said)


@pytest.mark.parametrize(("signs", "pairs"), [((1, -1), 0), ((1, -1, 1), 3)], ids=["two networks", "with pairs"])
def test_nobody_is_left_out_where_that_cannot_be_judged_or_pairs_judge(
    signs: Sequence[int], pairs: int, fields: Fields, tmp_path: Path
) -> None:
    pools = [[network(tmp_path, f"teacher-{k}", sign, k)] for k, sign in enumerate(signs)]
    chosen, choice = choose_each(pools, RECIPE, fields, known_by(pools[0][0], RECIPE, fields, pairs), lambda _: None)
    assert len(chosen) == len(signs)
    assert "veto" not in choice


def test_three_pairs_choose_and_rank_one_is_the_best(fields: Fields, tmp_path: Path) -> None:
    pool = [network(tmp_path, "wrong", -1, 1), network(tmp_path, "right", 1, 2)]
    chosen, choice = choose_each([pool], RECIPE, fields, known_by(pool[1], RECIPE, fields, 3), lambda _: None)
    assert chosen == [pool[1]]
    assert choice["by"] == "mean r on 3 pairs"
    assert [(entry["stage"], entry["rank"]) for entry in choice["candidates"]] == [("wrong", 2), ("right", 1)]
    assert choice["candidates"][1]["r"] == pytest.approx(1, abs=1e-4)
