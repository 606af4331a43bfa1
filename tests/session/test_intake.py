"""What the intake makes of frames: places in order, refusals with a reason, room given back; nothing lost uncounted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from livestain.frames import Key
from livestain.session.intake import FULL, UNKNOWN, Intake, Item, Place, Sequence
from livestain.settings import SessionSettings

IMAGE = np.zeros((256, 256), np.uint16)
ROOM = IMAGE.nbytes


def taken(
    passed: list[Any], *, limit_bytes: int = 64 * ROOM, when_full: str = "skip", burst: bool = True
) -> tuple[Intake, list[Item], list[Item]]:
    """Put one frame for each ``passed``, a (channel, t) or anything else; return what is recorded and what is shown."""
    shown: list[Item] = []
    settings = SessionSettings.model_validate(
        {"intake_min_bytes": limit_bytes, "intake_max_bytes": limit_bytes, "when_full": when_full}
    )
    sequence = Sequence("BF", place=lambda at: Place(Key(0, at[1], 0), at[0], ""), describe=lambda _: UNKNOWN)
    intake = Intake(settings, sequence, shown.append)
    for number, at in enumerate(passed):
        intake.put(IMAGE, at, 1000 + number, burst=burst)
    intake.end()
    return intake, list(iter(lambda: intake.queue.get(timeout=10), None)), shown


def test_frames_keep_their_order_and_each_is_shown() -> None:
    intake, items, shown = taken([("BF", 0), ("DAPI", 0), ("BF", 1)])

    assert [(item.number, item.channel, item.key.t) for item in items] == [(0, "BF", 0), (1, "DAPI", 0), (2, "BF", 1)]
    assert [item.number for item in shown] == [0, 1, 2]
    assert (intake.received, intake.first_ns, intake.last_ns) == (3, 1000, 1002)


@pytest.mark.parametrize("when_full", ["skip", "wait"])
def test_a_full_queue_in_a_burst_refuses_the_frame_with_its_place_and_the_reason(when_full: str) -> None:
    intake, items, shown = taken([("BF", t) for t in range(3)], limit_bytes=2 * ROOM, when_full=when_full)

    assert [item.reason for item in items] == ["", "", FULL]
    assert (items[2].image, items[2].key, items[2].label_free) == (None, Key(0, 2, 0), True)
    assert len(shown) == 2
    assert (intake.received, intake.waiting_bytes) == (3, 2 * ROOM)


def test_one_frame_always_fits() -> None:
    _, items, _ = taken([("BF", 0)], limit_bytes=1 << 16)

    assert items[0].image is IMAGE


def test_a_frame_that_has_no_place_is_refused_gives_its_room_back_and_the_next_one_is_taken() -> None:
    intake, items, shown = taken([None, ("BF", 1)])

    assert items[0].image is None
    assert items[0].reason.startswith("could not be placed: TypeError")
    assert [item.number for item in shown] == [1]
    assert (intake.received, intake.waiting_bytes) == (2, ROOM)
