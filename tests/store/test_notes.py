"""Notes on runs that nobody records any more: what is written, what is refused, and that the run stays what it was."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from livestain.errors import RunError, UserError
from livestain.frames import Key
from livestain.store.ledger import Ledger, LedgerTail, read_rows
from livestain.store.run import NOTE_LIMIT, add_note
from tests.store.recording import Recording


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    recording = Recording(tmp_path / "run")
    yield recording
    recording.end(close=False)


ENDS: dict[str, tuple[bool, bytes, bool]] = {
    "closed": (True, b"", True),
    "killed": (False, b"", False),
    "killed within a row": (False, b'{"v":1,"n":2,"p', False),
}


@pytest.mark.parametrize(("close", "half_row", "closed"), ENDS.values(), ids=ENDS.keys())
def test_a_run_that_is_annotated_later_counts_as_before(
    close: bool, half_row: bytes, closed: bool, recording: Recording
) -> None:
    for t in range(2):
        recording.raw(t)
        recording.stain(t)
    run = recording.end(close=close)
    ledger = run.path / "raw" / "ledger.jsonl"
    with ledger.open("ab") as file:
        file.write(half_row)
    before = run.counters(), run.missing(), run.closed, run.rows()
    tail = LedgerTail(ledger)
    tail.new_rows()
    add_note(run.path, "a bubble", Key(0, 1, 0))
    add_note(str(run.path), "the last one")
    assert (run.counters(), run.missing(), run.closed, run.rows()) == before
    assert run.closed == closed
    assert not any("row" in problem for problem in run.problems)
    assert [(note.text, note.p, note.t, note.z) for note in run.notes] == [
        ("a bubble", 0, 1, 0),
        ("the last one", None, None, None),
    ]
    assert run.notes[0].time == pytest.approx(time.time(), abs=60)
    assert [row["note"] for row in tail.new_rows() if "note" in row] == ["a bubble", "the last one"]
    assert tail.bad == 0


def test_what_a_recorder_writes_after_a_close_opens_the_run_again(recording: Recording) -> None:
    recording.raw(0)
    run = recording.end()
    add_note(run.path, "closed")
    ledger = Ledger(run.path / "raw" / "ledger.jsonl", fsync=False)
    ledger.row({"v": 1, "n": 1, "p": 0, "t": 1, "z": 0, "c": 0, "state": "failed", "reason": "found later"})
    ledger.abandon()
    assert not run.closed


def test_a_run_without_a_note_has_none(recording: Recording) -> None:
    recording.raw(0)
    assert recording.end().notes == []


def test_a_run_that_is_being_recorded_is_not_written_to_by_others(recording: Recording) -> None:
    recording.raw(0)
    before = recording.folder.raw.joinpath("ledger.jsonl").read_bytes()
    with pytest.raises(RunError, match="is being recorded: add the note in the window that records it") as raised:
        add_note(recording.folder.path, "too early")
    assert "\n" not in str(raised.value)
    assert recording.folder.raw.joinpath("ledger.jsonl").read_bytes() == before


def test_a_note_lets_the_run_go_again(recording: Recording) -> None:
    recording.raw(0)
    run = recording.end()
    writers = [threading.Thread(target=_insist, args=(run.path, f"note {k}")) for k in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert {note.text for note in run.notes} == {f"note {k}" for k in range(4)}
    assert read_rows(run.path / "raw" / "ledger.jsonl")[1] == []


TEXTS: dict[str, tuple[str, str]] = {
    "one letter": ("x", "x"),
    "as long as may be": ("ä" * NOTE_LIMIT, "ä" * NOTE_LIMIT),
    "several lines": ("one\r\ntwo\tthree\u2028four", "one two three four"),
    "blanks around": ("  said  twice ", "said twice"),
    "signs": ('"{}\\ 细胞', '"{}\\ 细胞'),
}


@pytest.mark.parametrize(("text", "kept"), TEXTS.values(), ids=TEXTS.keys())
def test_a_note_is_one_line(text: str, kept: str, recording: Recording) -> None:
    recording.raw(0)
    run = recording.end()
    add_note(run.path, text)
    assert [note.text for note in run.notes] == [kept]


@pytest.mark.parametrize("text", ["", "\n", "x" * (NOTE_LIMIT + 1)], ids=["empty", "blank", "too long"])
def test_what_is_no_note_is_refused(text: str, recording: Recording) -> None:
    recording.raw(0)
    run = recording.end()
    with pytest.raises(UserError, match=f"write 1 to {NOTE_LIMIT}"):
        add_note(run.path, text)
    assert run.notes == []


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "nothing there": lambda folder: folder / "nothing",
    "no run": lambda folder: folder,
}


@pytest.mark.parametrize("place", FOLDERS.values(), ids=FOLDERS.keys())
def test_only_runs_take_notes(place: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run"):
        add_note(place(tmp_path), "lost")
    assert list(tmp_path.iterdir()) == []


def _insist(run: Path, text: str) -> None:
    """Write the note, however often another writer is in the way."""
    while True:
        try:
            add_note(run, text)
        except RunError:
            continue
        return
