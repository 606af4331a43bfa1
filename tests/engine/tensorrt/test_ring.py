"""The ring: results in order, stages ordered, nothing held after a failure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import pytest

from livestain.engine.tensorrt.cuda import Cuda
from livestain.engine.tensorrt.ring import PLACES, Block, Bytes, Ring
from livestain.errors import EngineLostError, EngineMemoryError
from tests.engine.tensorrt.fake_cuda import Code, FakeCuda, Stream

SIZE = 512


def adding_one(ring: Ring, fake: FakeCuda) -> Callable[[int], None]:
    """A run that adds 1 to every byte, when its turn on the stream comes."""

    def run(stream: int) -> None:
        Stream.known[stream].queue(lambda: np.add(fake.device[ring.inputs], 1, out=fake.device[ring.outputs]))

    return run


def fill(memory: Bytes, value: int) -> None:
    memory[:] = value


def take(memory: Bytes) -> list[int]:
    return sorted(set(memory.tolist()))


def pump(ring: Ring, fake: FakeCuda, values: list[int]) -> list[list[int]]:
    return ring.pump(values, (SIZE, SIZE), fill, adding_one(ring, fake), take)


@pytest.mark.parametrize("count", [0, 1, 2, PLACES, PLACES + 1, 11])
def test_results_come_back_in_order_and_whole(count: int) -> None:
    fake = FakeCuda()
    ring = Ring(Cuda(fake), SIZE, SIZE, 0)
    values = list(range(10, 10 + count))
    assert pump(ring, fake, values) == [[value + 1] for value in values]
    ring.close()
    assert fake.held == 0


@pytest.mark.parametrize("missing", ["hold", "wait"])
def test_the_double_notices_stages_that_are_not_ordered(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cuda, missing, lambda *arguments: None)
    fake = FakeCuda()
    ring = Ring(Cuda(fake), SIZE, SIZE, 0)
    assert pump(ring, fake, list(range(9))) != [[value + 1] for value in range(9)]


def test_frames_overlap_on_their_way() -> None:
    fake = FakeCuda()
    ring = Ring(Cuda(fake), SIZE, SIZE, 0)
    pump(ring, fake, [1, 2, 3])
    queued = [call for call in fake.calls if call in ("cudaMemcpyAsync", "cudaEventSynchronize")]
    # All three are on their way before the first is waited for.
    assert queued[: 4 * PLACES] == ["cudaMemcpyAsync"] * 4 * PLACES


def test_too_little_memory_is_said_before_anything_is_allocated() -> None:
    fake = FakeCuda()
    fake.free_bytes = 8 * SIZE + 999
    with pytest.raises(EngineMemoryError):
        Ring(Cuda(fake), SIZE, SIZE, 1000)
    assert fake.held == 0
    Ring(Cuda(fake), SIZE, SIZE, 999).close()


def test_whichever_call_fails_nothing_stays_and_the_next_ring_works() -> None:
    calls = whole_life(FakeCuda())
    for number in range(1, calls + 1):
        fake = FakeCuda(fail_at=number, code=Code.cudaErrorLaunchFailure)
        with contextlib.suppress(EngineLostError):
            whole_life(fake)
        freed = "Free" in fake.calls[number - 1] or "Destroy" in fake.calls[number - 1]
        assert fake.held == (1 if freed else 0), fake.calls[number - 1]
    whole_life(FakeCuda())


def whole_life(fake: FakeCuda) -> int:
    ring = Ring(Cuda(fake), SIZE, SIZE, 100)
    try:
        assert pump(ring, fake, [1, 2, 3, 4, 5]) == [[2], [3], [4], [5], [6]]
    finally:
        ring.close()
        ring.close()
    return len(fake.calls)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_after_an_interruption_the_card_is_idle_and_the_ring_works(error: type[BaseException]) -> None:
    fake = FakeCuda()
    ring = Ring(Cuda(fake), SIZE, SIZE, 0)

    def interrupted(memory: Bytes, value: int) -> None:
        if value == 3:
            raise error
        fill(memory, value)

    with pytest.raises(error):
        ring.pump([1, 2, 3], (SIZE, SIZE), interrupted, adding_one(ring, fake), take)
    assert not any(stream.work for stream in fake.streams)
    assert pump(ring, fake, [7, 8]) == [[8], [9]]


def test_arrays_of_a_block_lie_apart_and_aligned() -> None:
    block = Block.of({"frame": ((3, 5), "<u2"), "scalar": ((), "<f4"), "wide": ((300,), "|u1")})
    assert block.starts == {"frame": 0, "scalar": 256, "wide": 512}
    assert block.size == 1024
    memory = np.zeros(block.size, np.uint8)
    block.view(memory, "frame")[...] = 0x0201
    block.view(memory, "scalar")[...] = 1.0
    block.view(memory, "wide")[...] = 9
    assert memory[:30].tolist() == [1, 2] * 15
    assert float(block.view(memory, "scalar")) == 1.0
    assert memory.astype(int).sum() == 45 + (0x80 + 0x3F) + 2700


def test_a_ring_holds_what_is_not_larger_in_any_part() -> None:
    ring = Ring(Cuda(FakeCuda()), 100, 200, 300)
    assert ring.holds(100, 200, 300)
    assert not any(ring.holds(*sizes) for sizes in [(101, 1, 1), (1, 201, 1), (1, 1, 301)])
