"""The choice: rank sums, and terms that a good network wins against a constant and a noisy one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from livestain.train.config import TrainConfig
from livestain.train.data import Fields, Known
from livestain.train.select import Probe, Terms, known_r, rank_sums
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
