"""What a window asks of a session: pairs of one key, newest frames, another place, staining off and on, notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from livestain.errors import RunError, UserError
from livestain.frames import Key
from livestain.session.session import Session
from livestain.session.status import Rate
from livestain.settings import parse_settings
from livestain.stainer.half import half_size
from livestain.store.ledger import read_rows
from livestain.store.read import open_run
from tests.conftest import stainer_pids
from tests.session.pieces import (
    SHAPE,
    await_that,
    check_closed,
    frame,
    stain_planes,
    stain_rows,
)
from tests.session.source import Source, newest_t, watched


@pytest.mark.parametrize("isolate", [False, True], ids=["thread", "process"])
def test_a_live_stain_comes_with_its_own_frame_while_a_viewer_wants_it(
    isolate: bool, model_folder: Path, tmp_path: Path
) -> None:
    with watched(model_folder, tmp_path / "run", isolate=isolate) as source:
        source.session.want_pictures("a window", True)
        source.session.want_pictures("another", True)
        source.session.want_pictures("another", False)
        pairs = [source.stain() for _ in range(3)]
        source.session.want_pictures("a window", False)
        alone = source.stain()
    for stain in pairs:
        assert stain.image is not None
        assert stain.halves is not None
        np.testing.assert_array_equal(stain.image, frame(stain.key.t))
        np.testing.assert_array_equal(stain.stains, stain_planes(tmp_path / "run", stain.key))
        np.testing.assert_array_equal(stain.halves[0], half_size(stain.image))
        np.testing.assert_array_equal(stain.halves[1], half_size(stain.stains))
        assert stain.received_s is not None
    assert (alone.image, alone.halves) == (None, None)
    times = [stain.received_s for stain in pairs if stain.received_s is not None]
    assert times == sorted(set(times))


def test_what_a_viewer_chose_is_known_to_a_stainer_that_is_started_again(model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "run", isolate=True) as source:
        session = source.session
        session.want_pictures("a window", True)
        session.set_staining(False)
        source.put()
        await_that(lambda: session.status.counters.skipped == 1)
        for pid in stainer_pids():
            psutil.Process(pid).kill()
        await_that(lambda: any("is started again" in text for text in session.status.warnings))
        source.put()
        session.set_staining(True)
        await_that(lambda: session.status.counters.skipped == 2)
        stain = source.stain()
    assert stain.image is not None
    check_closed(tmp_path / "run", saved=source.t, skipped=2, behind=0, unstained=0)


# -- newest frames and place -------------------------------------------------------------------------------------------


def test_the_newest_frame_of_each_channel_is_at_hand_without_a_copy(model_folder: Path, tmp_path: Path) -> None:
    images = {name: frame(k) for k, name in enumerate(("BF", "GFP", "BF again"))}
    with watched(model_folder, tmp_path / "run", first=False) as source:
        session = source.session
        assert session.latest_frames() == {}
        source.put(images["BF"])
        source.put(images["GFP"], t=0, channel="GFP")
        source.put(images["BF again"])
        source.put(np.zeros((3, *SHAPE), np.uint16), t=1, channel="colour")
        await_that(lambda: session.status.counters.failed == 1)
        found = session.latest_frames()
        assert {name: newest.key.t for name, newest in found.items()} == {"BF": 1, "GFP": 0}
        assert found["BF"].image is images["BF again"]
        assert found["GFP"].image is images["GFP"]
        assert (found["BF"].label_free, found["GFP"].label_free) == (True, False)
        assert found["BF"].time_s == pytest.approx(0.1)
        assert session.extent == (1, 2, 1)
        source.intake.end()
        session.close()
        assert session.latest_frames() == {}


def test_another_place_can_be_followed_at_any_time(model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "run") as source:
        session = source.session
        session.follow((1, 2))
        assert session.followed == (1, 2)
        elsewhere = [source.put()]
        stained = [source.stain(p=1, z=2)]
        assert session.latest_frames()["BF"].key == stained[0].key
        session.follow((0, 0))
        assert session.latest_frames() == {}
        elsewhere.append(source.put(p=1, z=2))
        stained.append(source.stain())
        session.follow(None)
        stained.append(source.stain(p=1, z=1))
        assert session.extent == (2, source.t, 3)
    rows = stain_rows(tmp_path / "run")
    assert not any(rows[key]["live"] for key in elsewhere)
    assert [(stain.key.p, stain.key.z) for stain in stained] == [(1, 2), (0, 0), (1, 1)]


def test_the_next_run_follows_and_stains_as_was_chosen_before(model_folder: Path, tmp_path: Path) -> None:
    with Session(model_folder, tmp_path / "run", parse_settings(isolate=False, fsync=False)) as session:
        session.follow((1, 0))
        session.set_staining(False)
        for _ in range(2):
            with Source(session) as source:
                source.put(t=0)
                source.put(t=0, p=1)
                await_that(lambda: session.status.counters.skipped == 2)
                assert [newest.key.p for newest in session.latest_frames().values()] == [1]
    for name in ("run", "run_002"):
        check_closed(tmp_path / name, saved=2, skipped=2)


# -- staining off and on -----------------------------------------------------------------------------------------------


def test_what_is_received_while_staining_is_off_is_recorded_and_left_out(model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "run") as source:
        session = source.session
        assert (session.staining, session.status.staining, session.why_unstained) == (True, True, "")
        before = session.latest()
        session.set_staining(False)
        session.set_staining(False)
        assert (session.staining, session.status.staining) == (False, False)
        assert session.why_unstained == "staining is off"
        left_out = [source.put() for _ in range(3)]
        await_that(lambda: session.status.counters.skipped == 3)
        assert session.latest() is before
        assert session.status.counters.lost == 0
        session.set_staining(True)
        assert source.stain().live
    assert [key for key, row in stain_rows(tmp_path / "run").items() if row["state"] == "skipped"] == left_out
    check_closed(tmp_path / "run", saved=source.t, skipped=3, behind=0, unstained=0)
    assert open_run(tmp_path / "run").missing() == left_out


def test_without_a_record_what_came_while_staining_was_off_counts_as_skipped(model_folder: Path) -> None:
    with watched(model_folder, None, first=False) as source:
        session = source.session
        await_that(lambda: source.put() and session.latest())
        session.set_staining(False)
        stained = session.status.counters.live
        last = [source.put() for _ in range(5)][-1]
        await_that(lambda: session.status.counters.saved == last.t + 1)
        assert session.status.counters.live <= stained + 1  # one may have been in the engine
        session.set_staining(True)
        await_that(lambda: source.put() and newest_t(session) > last.t)
    counters = session.status.counters
    assert counters.skipped >= 5
    assert counters.live + counters.skipped == counters.received == source.t
    assert counters.lost == 0


def test_the_status_tells_the_input_of_the_newest_live_stain(model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "run") as source:
        good = source.stain()
        assert source.session.status.input == good.input
        assert good.input.warnings == ()
        flat = source.stain(np.full(SHAPE, 2000, np.uint16))
        told = source.session.status.input
        assert told == flat.input
        assert told is not None
        assert "out of focus" in told.warnings[0]
        low, high = source.session.model.card.contrast.sd
        assert told.sd < low < high


WHY: dict[str, tuple[str | None, str]] = {
    "no label-free channel": (None, "this run has no label-free channel"),
    "the engine fails": ("BF", "staining has ended: see the warnings"),
}


@pytest.mark.parametrize(("label_free", "why"), WHY.values(), ids=WHY.keys())
def test_a_run_that_cannot_be_stained_says_so(
    label_free: str | None, why: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RunError("no engine today")

    monkeypatch.setattr("livestain.stainer.loop.open_backend", refuse)
    settings = parse_settings(isolate=False, fsync=False, backend="openvino")
    with Session(model_folder, tmp_path / "run", settings) as session, Source(session, label_free) as source:
        source.put()
        await_that(lambda: session.why_unstained == why)
        assert not session.status.staining
        assert session.status.input is None


def test_before_the_engine_is_ready_it_warms_up(model_folder: Path, tmp_path: Path) -> None:
    with Session(model_folder, tmp_path / "run", parse_settings(isolate=False, fsync=False)) as session:
        assert session.sequence is None
        assert session.began_s is None
        with Source(session, channels=("BF", "GFP")) as source:
            sequence = session.sequence
            first = session.why_unstained
            source.put()
            await_that(lambda: not session.why_unstained)
            assert session.began_s is not None
    assert sequence is not None
    assert sequence.channels == ("BF", "GFP")
    assert first in ("", "the engine is warming up")


# -- notes -------------------------------------------------------------------------------------------------------------


def test_notes_stand_in_the_raw_ledger_in_the_order_in_which_they_were_made(model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "run") as source:
        session = source.session
        session.note("the lamp flickers")
        session.note("  cell 3\n divides ", Key(0, 1, 0))
        await_that(lambda: len(open_run(tmp_path / "run").notes) == 2)
        source.put()
        session.note("last", (0, 1, 0))  # type: ignore[arg-type]  # a plain tuple, as users write it
    run = open_run(tmp_path / "run")
    assert [(note.text, note.p, note.t, note.z) for note in run.notes] == [
        ("the lamp flickers", None, None, None),
        ("cell 3 divides", 0, 1, 0),
        ("last", 0, 1, 0),
    ]
    rows, problems = read_rows(tmp_path / "run" / "raw" / "ledger.jsonl")
    assert problems == []
    assert "close" in rows[-1]
    check_closed(tmp_path / "run", received=2, saved=2, behind=0)


def test_a_note_after_the_recording_has_ended_is_written_too(model_folder: Path, tmp_path: Path) -> None:
    with watched(model_folder, tmp_path / "run") as source:
        source.intake.end()
        await_that(lambda: source.session.status.state in ("finishing", "closed"))
        source.session.note("what a run")
        assert [note.text for note in open_run(tmp_path / "run").notes] == ["what a run"]
    check_closed(tmp_path / "run", saved=1)


def test_a_note_that_has_no_place_is_refused_with_the_reason(model_folder: Path, tmp_path: Path) -> None:
    settings = parse_settings(isolate=False, fsync=False)
    with Session(model_folder, None, settings) as session, pytest.raises(RunError, match="nothing is recorded"):
        session.note("lost")
    with (
        Session(model_folder, tmp_path / "run", settings) as session,
        pytest.raises(RunError, match="no run has begun"),
    ):
        session.note("too early")


@pytest.mark.parametrize("text", ["", " \n ", "x" * 2001], ids=["empty", "blank", "too long"])
def test_a_text_that_is_no_note_is_refused(text: str, model_folder: Path, tmp_path: Path) -> None:
    with (
        watched(model_folder, tmp_path / "run", first=False) as source,
        pytest.raises(UserError, match="write 1 to 2000"),
    ):
        source.session.note(text)


def test_a_rate_is_not_known_before_the_second_look() -> None:
    rate = Rate()
    assert rate.update(10.0, 4) is None
    assert rate.update(11.0, 4) == 0.0
    assert rate.update(12.0, 12) == 4.0
