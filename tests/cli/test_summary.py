"""What is said at the end of a run and while it lasts: sums that close, and no number that is not known."""

from __future__ import annotations

import pytest

from livestain.cli.summary import summary_lines
from livestain.cli.table import plain_line
from livestain.session.status import Counters, Rate, Status, debt

ENGINE = {
    "backend": "b", "version": "1", "precision": "f32", "device": "d", "reason": "r", "stains": ("nuclei",)
}  # fmt: skip


def line(status: Status, head: str) -> str:
    return next(line for line in summary_lines(status) if line.startswith(head))


@pytest.mark.parametrize(
    ("counters", "said"),
    [
        (Counters(labelfree=20, live=20), "20 live, 0 late, of 20 label-free"),
        (Counters(labelfree=97, live=60, late=26, skipped=11), "60 live, 26 late, 11 skipped, of 97 label-free"),
        (
            Counters(labelfree=10, live=4, late=3, unstained=1, behind=2),
            "4 live, 3 late, 1 unstained, 2 behind, of 10 label-free",
        ),
    ],
)
def test_the_counters_of_stains_in_the_summary_add_up(counters: Counters, said: str) -> None:
    assert line(Status(run="r", counters=counters, engine=ENGINE), "Stained") == f"Stained   {said}: virtual: nuclei"


def test_the_summary_names_the_command_that_shows_the_run_first() -> None:
    assert line(Status(run="my run"), "Open").split(maxsplit=1)[1] in (
        "livestain view 'my run'",
        'livestain view "my run"',
    )


def test_a_rate_is_told_when_it_was_watched_for_long_enough() -> None:
    rate = Rate(span_s=10, least_s=5)
    assert [rate.update(float(s), 4 * s) for s in range(7)] == [None] * 5 + [4.0, 4.0]


@pytest.mark.parametrize(
    ("behind", "per_s", "left_s"), [(17, None, None), (17, 0.0, None), (0, 3.0, None), (3, 3.0, None), (17, 0.5, 34.0)]
)
def test_the_time_to_catch_up_is_told_when_it_is_known_and_over_a_second(
    behind: int, per_s: float | None, left_s: float | None
) -> None:
    assert debt(behind, per_s) == left_s


@pytest.mark.parametrize(("state", "told"), [("recording", True), ("finishing", False)])
def test_the_frame_rate_is_told_only_while_frames_are_due(state: str, told: bool) -> None:
    assert ("5.2 frame/s" in plain_line(Status(state=state, frames_per_s=5.2))) == told
