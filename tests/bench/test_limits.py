"""This machine's limits: what a call does is what it is said to do."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest

from livestain.bench import limits
from livestain.bench.limits import card_copy_limits, copy_limit
from livestain.engine.tensorrt.cuda import Cuda
from tests.engine.tensorrt.fake_cuda import FakeCuda

SIZE = 1 << 16


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COPIED_BYTES", SIZE)


def test_copying_counts_what_is_read_and_what_is_written() -> None:
    limit = copy_limit()
    assert (limit.unit, limit.work) == ("GiB", 2 * SIZE / 2**30)
    np.testing.assert_array_equal(limit.case.call(), np.ones(SIZE, np.uint8))


def test_what_goes_to_the_card_comes_back_and_everything_is_freed() -> None:
    fake = FakeCuda()
    with ExitStack() as held:
        up, down = card_copy_limits(Cuda(fake), held)
        assert up.work == down.work == SIZE / 2**30
        memory = up.case.call()
        memory[:] = 7
        up.case.call()
        memory[:] = 0
        down.case.call()
        assert memory.min() == memory.max() == 7
    assert fake.held == 0
