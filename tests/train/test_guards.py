"""A collapsed generator is not shipped, and one that stains nothing's noise is found out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from livestain.errors import TrainingError
from livestain.train.data import Fields
from livestain.train.guards import EMPTY_LIMIT, LONG, SPREAD, require_alive, stain_of_nothing, troubles
from tests.train.pieces import small_fields


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    return small_fields(Path(tmp_path_factory.mktemp("fields")))


class Times(nn.Module):
    """The size of the contrast, times a number."""

    stride = 16

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, contrast: Tensor) -> Tensor:
        return contrast.abs() * self.factor


def test_a_constant_stain_is_a_collapse(fields: Fields) -> None:
    with pytest.raises(TrainingError, match=r"'nuclei' is nearly constant.*seed"):
        require_alive(Times(0.0), fields)
    require_alive(Times(1.0), fields)


@pytest.mark.parametrize(("factor", "invents"), [(0.5, False), (6.0, True)])
def test_stain_on_noise_alone_is_measured(factor: float, invents: bool) -> None:
    assert (stain_of_nothing(Times(factor)) > EMPTY_LIMIT) is invents


CHANCE, WINNING, HEALTHY = [0.2502, 0.2493, 0.25, 0.2511, 0.2489], [0.009, 0.002, 0.001, 0.004, 0.0], [0.2, 0.1] * 3


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        pytest.param("judge_b", HEALTHY, [], id="a healthy discriminator"),
        pytest.param("judge_b", CHANCE, ["up to epoch 5, the discriminator 'judge_b' told"], id="at chance for long"),
        pytest.param("judge_b", [*CHANCE[:4], 0.2, *CHANCE[:4]], [], id="at chance, twice, not for long"),
        pytest.param("judge_b", HEALTHY + CHANCE, ["up to epoch 11, the disc"], id="at chance only later"),
        pytest.param("judge", WINNING, ["'judge' was hardly ever wrong (loss 0.0000)"], id="never wrong"),
        pytest.param("judge", CHANCE + WINNING, ["by mere chance", "hardly ever"], id="one thing after the other"),
        pytest.param("judge", CHANCE + HEALTHY + CHANCE, ["up to epoch 5"], id="the same thing again: said once"),
        pytest.param("gan", CHANCE + WINNING, [], id="another loss with such values"),
        pytest.param(SPREAD + "nuclei", [0.0019] * LONG, ["the stain 'nuclei' was the same"], id="a flat stain"),
        pytest.param(SPREAD + "nuclei", [0.0019] * (LONG - 1) + [0.01], [], id="a stain that begins late"),
    ],
)
def test_a_state_that_lasts_is_told(name: str, values: list[float], told: list[str]) -> None:
    found = troubles([{"other": 0.25, name: value} for value in values])
    assert len(found) == len(told)
    assert all(part in sentence for part, sentence in zip(told, found, strict=True))


def test_a_history_without_epochs_has_no_troubles() -> None:
    assert troubles([]) == []
