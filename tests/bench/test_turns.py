"""Durations taken in turns: who is called when, what counts, and when a machine has slowed down."""

from __future__ import annotations

import pytest

from livestain.bench.turns import Turns, spread, take_turns


def test_turns_go_forth_and_back_and_the_first_call_of_each_does_not_count() -> None:
    called: list[str] = []
    calls = {name: lambda name=name: called.append(name) for name in "ab"}
    found = take_turns(calls, 2, {"a": 2, "b": 1})
    assert "".join(called) == "aaabb" + "bbaaa"
    assert [len(turn) for turn in found["a"].ms] == [2, 2]
    assert [len(turn) for turn in found["b"].ms] == [1, 1]
    assert len(found["a"].cpu_ms) == 2


def test_what_is_asked_after_a_call_is_asked_for_calls_that_count() -> None:
    after: list[str] = []
    take_turns({"a": lambda: None}, 3, {"a": 2}, after.append)
    assert after == ["a"] * 6


@pytest.mark.parametrize(
    ("ms", "found"),
    [
        ([5.0], (5, 5, 5, 5, 1)),
        ([1.0, 2, 3, 4, 5], (3, 4.8, 4.96, 5, 5)),
        ([float(k) for k in range(101)], (50, 95, 99, 100, 101)),
    ],
)
def test_percentiles_are_those_of_the_sample(ms: list[float], found: tuple[float, ...]) -> None:
    assert tuple(spread(ms).values()) == pytest.approx(found)
    assert list(spread(ms)) == ["p50_ms", "p95_ms", "p99_ms", "max_ms", "n"]


@pytest.mark.parametrize(
    ("medians", "slowdown"),
    [
        ([10, 10, 10, 10, 10], None),
        ([10, 10, 50, 50, 10, 10], 1.0),
        ([10, 10, 10, 12, 12, 12], 1.2),
        ([10, 10, 10, 10, 10, 10, 20, 20, 20], 2.0),
    ],
)
def test_the_last_third_is_held_against_the_first(medians: list[float], slowdown: float | None) -> None:
    assert Turns([[value, value] for value in medians]).slowdown == (slowdown and pytest.approx(slowdown))
