"""Which frames are left out while staining is switched off."""

from __future__ import annotations

import pytest

from livestain.stainer.switch import Switch

CASES: dict[str, tuple[list[tuple[int, bool]], set[int], bool]] = {
    "never touched": ([], set(), True),
    "off from the start": ([(0, False)], {0, 1, 2, 3, 4, 5}, False),
    "off in the middle": ([(2, False)], {2, 3, 4, 5}, False),
    "off and on again": ([(1, False), (4, True)], {1, 2, 3}, True),
    "off and on before a frame came": ([(2, False), (2, True)], set(), True),
    "off, on, off": ([(0, False), (2, True), (5, False)], {0, 1, 5}, False),
}


@pytest.mark.parametrize(("changes", "left_out", "is_on"), CASES.values(), ids=CASES.keys())
def test_frames_are_left_out_by_their_number(changes: list[tuple[int, bool]], left_out: set[int], is_on: bool) -> None:
    switch = Switch(changes)
    assert {number for number in range(6) if not switch.was_on(number)} == left_out
    assert switch.is_on == is_on


def test_a_plane_without_a_number_is_stained() -> None:
    assert Switch([(0, False)]).was_on(-1)
