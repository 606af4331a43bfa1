"""Ledger: a row is there whole or not at all, whatever happened to the writer."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livestain.errors import StoreDeniedError, StoreError, StoreFullError
from livestain.store.ledger import Ledger, LedgerTail, crc32, read_rows

GOOD = b'{"v":1,"p":0,"t":%d,"z":0,"state":"ok"}\n'
OPEN = b'{"v":1,"open":1.5}\n'


def row(t: int) -> dict[str, Any]:
    return {"v": 1, "p": 0, "t": t, "z": 0, "state": "ok"}


def test_rows_lie_between_open_and_close(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", fsync=True)
    ledger.row(row(0))
    ledger.row(row(1))
    ledger.close({"received": 2, "saved": 2})
    rows, problems = read_rows(tmp_path / "ledger.jsonl")
    assert [sorted(r) for r in rows] == [["open", "v"], sorted(row(0)), sorted(row(1)), ["close", "counters", "v"]]
    assert rows[-1]["counters"] == {"received": 2, "saved": 2}
    assert problems == []
    assert b"\r" not in (tmp_path / "ledger.jsonl").read_bytes()


def test_abandoned_ledger_has_no_close_row_and_the_next_writer_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    for _ in range(2):
        ledger = Ledger(path, fsync=False)
        ledger.row(row(0))
        ledger.abandon()
        ledger.abandon()
    assert ["open" in r for r in read_rows(path)[0]] == [True, False, True, False]


@pytest.mark.parametrize("reason", ["", "häufig: 过多", "name\udce4.tif", "line\nend"], ids=ascii)
def test_every_text_comes_back_as_it_was_also_half_a_pair_of_surrogates(tmp_path: Path, reason: str) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", fsync=False)
    ledger.row({"v": 1, "p": 0, "t": 0, "z": 0, "state": "failed", "reason": reason})
    ledger.close({})
    rows, problems = read_rows(tmp_path / "ledger.jsonl")
    assert [row["reason"] for row in rows if "state" in row] == [reason]
    assert problems == []


@pytest.mark.parametrize(
    ("content", "times", "bad_lines"),
    [
        (b"", [], []),
        (OPEN + GOOD % 0 + GOOD % 1, [0, 1], []),
        (OPEN + GOOD % 0 + b'{"v":1,"p":0', [0], []),
        (OPEN + GOOD % 0 + (GOOD % 1)[:-1], [0], []),
        (OPEN + GOOD % 0 + b'{"v":1,"p"\n', [0], []),
        (OPEN + GOOD % 0 + b'{"v":1,"p"\n' + OPEN + GOOD % 1, [0, 1], []),
        (OPEN + GOOD % 0 + b'{"v":1,"p"\n' + GOOD % 1, [0, 1], [3]),
        (OPEN + b"\x00\xff\n" + b"[1]\n" + OPEN + GOOD % 0, [0], [2]),
        (OPEN + b'{"v":1,"t":3,"state":"ok"}\n' + GOOD % 0, [0], [2]),
        (OPEN + b"\n" + GOOD % 0, [0], []),
    ],
    ids=[
        "empty",
        "whole",
        "torn last line",
        "last line without its end",
        "unparsable last line",
        "torn before an open row",
        "damaged in the middle",
        "only the line just before the open row",
        "row without a place",
        "blank line",
    ],
)
def test_torn_lines_are_excused_only_where_a_crash_explains_them(
    tmp_path: Path, content: bytes, times: list[int], bad_lines: list[int]
) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(content)
    rows, problems = read_rows(path)
    assert [r["t"] for r in rows if "state" in r] == times
    assert [f"line {number}:" in problem for number, problem in zip(bad_lines, problems, strict=True)] == [True] * len(
        bad_lines
    )


def test_half_line_is_ended_before_the_next_writer_opens(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(OPEN + GOOD % 0 + b'{"v":1,"p":0,"t":1,"st')
    ledger = Ledger(path, fsync=False)
    ledger.row(row(2))
    ledger.abandon()
    rows, problems = read_rows(path)
    assert [r.get("t", "open") for r in rows] == ["open", 0, "open", 2]
    assert problems == []


def test_tail_reads_twenty_thousand_rows_written_in_halves(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    tail = LedgerTail(path)
    assert tail.new_rows() == []
    cuts = np.random.default_rng(5).integers(0, 36, 20_000)
    seen: list[int] = []
    with path.open("ab", buffering=0) as file:
        for t, cut in enumerate(cuts):
            line = GOOD % t
            file.write(line[:cut])
            if t % 20 == 0:
                seen += [r["t"] for r in tail.new_rows()]
                assert seen == list(range(t))
            file.write(line[cut:])
    seen += [r["t"] for r in tail.new_rows()]
    assert seen == list(range(20_000))
    assert tail.bad == 0
    assert tail.new_rows() == []


def test_tail_counts_damage_once_and_waits_with_its_verdict_for_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    tail = LedgerTail(path)
    path.write_bytes(OPEN + b"junk\n")
    assert len(tail.new_rows()) == 1
    assert tail.bad == 0
    with path.open("ab") as file:
        file.write(GOOD % 0)
    assert len(tail.new_rows()) == 1
    assert tail.bad == 1
    assert tail.new_rows() == []
    assert tail.bad == 1


def test_numbers_that_json_cannot_hold_become_null(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, fsync=False)
    xyz = (np.float32(1.5), float("nan"), np.float64("inf"))
    ledger.row({**row(0), "xyz": xyz, "n": np.int64(7), "input": {"sd": float("nan")}, "live": np.bool_(True)})
    ledger.abandon()
    written = read_rows(path)[0][1]
    assert written["xyz"] == [1.5, None, None]
    assert written["n"] == 7
    assert written["input"] == {"sd": None}
    assert written["live"] is True


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("cut", [np.s_[:, :], np.s_[::2, 1:], np.s_[:0, :]], ids=["whole", "strided", "empty"])
def test_crc_is_that_of_the_little_endian_bytes_in_c_order(order: str, cut: Any) -> None:
    plane = np.arange(600, dtype=np.uint16).reshape(20, 30)[cut]
    expected = f"{zlib.crc32(plane.astype('<u2').tobytes()):08x}"
    assert crc32(plane.astype(f"{order}u2")) == expected


def test_crc_of_bytes_has_eight_digits() -> None:
    assert crc32(np.array([[95, 160, 150]], np.uint8)) == f"{zlib.crc32(bytes([95, 160, 150])):08x}"
    assert all(len(crc32(np.full((4, 4), value, np.uint8))) == 8 for value in range(64))


def test_a_row_cut_off_by_a_full_disk_is_excused_and_the_ledger_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, fsync=False)
    tail = LedgerTail(path)
    ledger.row(row(0))
    with monkeypatch.context() as full:
        real = os.write
        full.setattr(os, "write", lambda fd, data: real(fd, data[:11]))
        for _ in range(2):
            with pytest.raises(StoreFullError, match="free space"):
                ledger.row(row(1))
            tail.new_rows()
    ledger.row(row(2))
    ledger.row(row(3))
    ledger.abandon()
    rows, problems = read_rows(path)
    assert [r["t"] for r in rows if "state" in r] == [0, 2, 3]
    assert problems == []
    assert [r["t"] for r in tail.new_rows() if "state" in r] == [2, 3]
    assert tail.bad == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(28, "No space left on device"), StoreFullError),
        (OSError(30, "Read-only file system"), StoreDeniedError),
        (PermissionError(13, "Permission denied"), StoreDeniedError),
        (OSError(5, "Input/output error"), StoreError),
    ],
    ids=["full", "read-only", "denied", "other"],
)
def test_a_failed_row_says_what_the_system_said_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, kind: type[StoreError]
) -> None:
    def fail(fd: int, data: bytes) -> int:
        raise error

    ledger = Ledger(tmp_path / "ledger.jsonl", fsync=False)
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", fail)
        with pytest.raises(StoreError, match=str(error.strerror)) as caught:
            ledger.row(row(1))
    assert type(caught.value) is kind
    ledger.row(row(1))
    ledger.abandon()
    assert [r["t"] for r in read_rows(tmp_path / "ledger.jsonl")[0] if "state" in r] == [1]


def test_a_ledger_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"absent.ledger\.jsonl"):
        Ledger(tmp_path / "absent" / "ledger.jsonl", fsync=False)
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(StoreError, match=r"folder\.jsonl"):
        LedgerTail(tmp_path / "folder.jsonl").new_rows()


def test_rows_are_compact_json(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", fsync=False)
    ledger.row({**row(0), "reason": "Fläche"})
    ledger.abandon()
    line = (tmp_path / "ledger.jsonl").read_bytes().splitlines()[1]
    assert b" " not in line
    assert json.loads(line)["reason"] == "Fläche"
