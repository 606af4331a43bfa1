"""The choice: rank sums, and terms that a good network wins against a constant and a noisy one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from livestain.train.config import TrainConfig
from livestain.train.data import Fields, Known
from livestain.train.likeness import Likeness
from livestain.train.select import (
    Probe,
    Terms,
    UnrenderedProbe,
    UnrenderedTerms,
    agreement,
    find_dissenters,
    known_r,
    rank_sums,
)
from tests.train.pieces import small_fields


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    return small_fields(Path(tmp_path_factory.mktemp("fields")))


class Answer(nn.Module):
    """A network that answers as told; one unused weight says where it lives."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, contrast: Tensor) -> Tensor:
        if self.kind == "constant":
            return torch.full_like(contrast, 0.01)
        if self.kind == "inverted":
            return 1 - nn.functional.avg_pool2d(contrast.abs(), 5, 1, 2)
        if self.kind == "one-sided":
            return torch.roll(contrast.abs(), 6, 3)
        return nn.functional.avg_pool2d(contrast.abs(), 5, 1, 2)


def test_ranks_are_summed_with_the_right_signs() -> None:
    best, middle, worst = Terms(0.9, 0.1, 0.1), Terms(0.5, 0.2, 0.2), Terms(0.1, 0.9, 0.9)
    assert list(rank_sums([middle, best, worst])) == [6, 3, 9]


def test_equal_candidates_share_their_ranks() -> None:
    assert len(set(rank_sums([Terms(0.5, 0.1, 0.1)] * 3))) == 1


def test_a_constant_answer_has_no_r_and_a_one_sided_one_changes_when_mirrored(fields: Fields) -> None:
    probe = Probe(fields, TrainConfig())
    constant, shifted, even = (probe.ask(Answer(kind)) for kind in ("constant", "one-sided", "energy"))
    assert constant.simulated_r == 0
    assert even.simulated_r > 0.2
    assert constant.count_error > 1
    assert shifted.flip_error > 3 * even.flip_error


def test_the_same_probe_is_asked_every_time(fields: Fields) -> None:
    net = Answer("energy")
    assert Probe(fields, TrainConfig()).ask(net) == Probe(fields, TrainConfig()).ask(net)


def test_known_pairs_are_scored_by_their_mean_r(fields: Fields) -> None:
    contrast = fields.groups[""].label_free[0]
    truth = Answer("energy")(torch.from_numpy(contrast)[None, None])[0].clamp(0, 1).numpy()
    right = Known("a", "a", "", contrast, truth)
    opposite = Known("b", "b", "", contrast, 1 - truth)
    assert known_r(Answer("energy"), [right]) == pytest.approx(1, abs=1e-4)
    assert known_r(Answer("energy"), [right, opposite]) == pytest.approx(0, abs=1e-4)


def test_without_a_renderer_likeness_and_mirroring_are_ranked() -> None:
    best, middle, worst = UnrenderedTerms(0.1, 0.1), UnrenderedTerms(0.2, 0.2), UnrenderedTerms(0.9, 0.9)
    assert list(rank_sums([middle, best, worst])) == [4, 2, 6]


def test_without_a_renderer_what_looks_like_the_stain_beats_what_does_not(fields: Fields) -> None:
    probe = UnrenderedProbe(fields)
    inverted, shifted, even = (probe.ask(Answer(kind)) for kind in ("inverted", "one-sided", "energy"))
    assert even.unlikeness < 0.5 * inverted.unlikeness
    assert shifted.flip_error > 3 * even.flip_error
    assert probe.ask(Answer("energy")) == even


def test_likeness_tells_stains_of_the_same_kind_from_blurred_dark_and_noisy_ones(fields: Fields) -> None:
    stains = fields.groups[""].stains
    likeness = Likeness(stains[:2])
    assert likeness.distance(stains[:2]) == 0
    alike = likeness.distance(stains[2:])
    rng = np.random.default_rng(0)
    noisy = [rng.random(planes.shape, np.float32) for planes in stains]
    for other in ([0.3 * planes for planes in stains], [0 * planes for planes in stains], noisy):
        assert likeness.distance(other) > 2 * alike


def test_likeness_does_not_depend_on_how_much_is_empty(fields: Fields) -> None:
    planes = fields.groups[""].stains[0]
    wide = np.pad(planes, ((0, 0), (0, 128), (0, 128)))
    dim = 0.5 * planes
    likeness = Likeness([planes])
    assert likeness.distance([wide]) < 0.2 * likeness.distance([dim])


def test_a_network_that_answers_otherwise_agrees_least(fields: Fields) -> None:
    found = agreement([Answer(kind) for kind in ("energy", "energy", "inverted", "constant")], fields)
    assert found[0] == found[1] == pytest.approx(0, abs=0.01)  # 1, -1 and 0 with the others
    assert found[2] == pytest.approx(-2 / 3, abs=0.01)
    assert found[3] == 0


@pytest.mark.parametrize(
    ("agreements", "out"),
    [
        ([0.9, 0.2], []),
        ([0.6, 0.6, 0.3], [2]),
        ([0.82, 0.82, 0.75], []),
        ([0.1, 0.8, 0.2, 0.7], [0, 2]),
        ([0.5, 0.5, 0.5], []),
    ],
    ids=["two cannot be judged", "one of three", "within a tenth", "half at most", "all alike"],
)
def test_networks_clearly_below_the_median_are_dropped_and_half_always_stay(
    agreements: list[float], out: list[int]
) -> None:
    assert find_dissenters(agreements) == out
