from __future__ import annotations

import torch
from torch import Tensor

from livestain.train.pool import ImagePool


def planes(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def values(found: Tensor) -> list[float]:
    numbers: list[float] = found[:, 0, 0, 0].tolist()
    return numbers


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_until_it_is_full_every_plane_is_kept_and_returned() -> None:
    pool = ImagePool(4)
    assert values(pool.swap(planes(1, 2, 3), rng())) == [1, 2, 3]
    assert len(pool) == 3


def test_then_half_of_the_planes_are_swapped_for_older_ones_and_none_is_lost_twice() -> None:
    pool, draw = ImagePool(50), rng()
    pool.swap(planes(*range(50)), draw)
    returned = values(pool.swap(planes(*range(50, 2050)), draw))
    swapped = sum(old != new for old, new in zip(returned, range(50, 2050), strict=True))
    assert 900 < swapped < 1100
    assert len(pool) == 50
    assert sorted(returned + values(pool.state()["planes"])) == list(range(2050))


def test_a_pool_of_nothing_returns_what_is_given() -> None:
    pool = ImagePool(0)
    assert values(pool.swap(planes(1, 2), rng())) == [1, 2]
    assert pool.state() == {}


def test_it_keeps_copies_that_nothing_flows_back_through() -> None:
    pool = ImagePool(2)
    made = planes(1, 2).clone().requires_grad_()
    returned = pool.swap(made, rng())
    assert not returned.requires_grad
    with torch.no_grad():
        made.fill_(9)
    assert values(pool.state()["planes"]) == [1, 2]


def test_a_restored_pool_goes_on_as_the_unbroken_one() -> None:
    pool, again = ImagePool(3), ImagePool(3)
    pool.swap(planes(1, 2, 3, 4, 5), rng(1))
    again.load_state(pool.state())
    assert values(pool.swap(planes(6, 7, 8), rng(2))) == values(again.swap(planes(6, 7, 8), rng(2)))
    assert values(pool.state()["planes"]) == values(again.state()["planes"])


def test_an_empty_pool_is_restored_empty() -> None:
    pool = ImagePool(3)
    pool.swap(planes(1), rng())
    pool.load_state({})
    assert len(pool) == 0
