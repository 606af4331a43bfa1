"""A collapsed generator is not shipped, and one that stains nothing's noise is found out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from livestain.errors import TrainingError
from livestain.train.data import Fields
from livestain.train.guards import EMPTY_LIMIT, require_alive, stain_of_nothing
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
