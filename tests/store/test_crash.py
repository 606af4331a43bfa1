"""A writer killed in the middle: every row that says ok is true."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from livestain.store.ledger import Ledger, LedgerTail, crc32, read_rows
from livestain.store.planes import PlaneReader, PlaneStore
from tests.store.pieces import plane
from tests.store.writer_to_kill import SIDE

ROOT = Path(__file__).parents[2]


def kill_writer_when(folder: Path, enough: Callable[[int], bool], mode: str = "new") -> None:
    """Run the writer and kill it at once when ``enough`` rows are there (the killing moment itself is random)."""
    command = [sys.executable, "-m", "tests.store.writer_to_kill", str(folder), mode]
    tail = LedgerTail(folder / "ledger.jsonl")
    rows = sum("state" in row for row in tail.new_rows())
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"writing"
        while not enough(rows):
            rows += sum("state" in row for row in tail.new_rows())
            assert process.poll() is None
        process.kill()


def check_every_row(folder: Path) -> int:
    rows, problems = read_rows(folder / "ledger.jsonl")
    assert problems == []
    raw, stain = PlaneReader(folder / "raw.ome.zarr"), PlaneReader(folder / "stain.ome.zarr")
    shapes = [
        json.loads((folder / name / "0" / "zarr.json").read_text())["shape"]
        for name in ("raw.ome.zarr", "stain.ome.zarr")
    ]
    saved = [row for row in rows if "state" in row]
    for row in saved:
        t, z = row["t"], row["z"]
        planes = [raw.read(t, 0, z), stain.read(t, 0, z), stain.read(t, 1, z)]
        assert [crc32(one) for one in planes] == row["crc32"]
        for i, one in enumerate(planes):
            np.testing.assert_array_equal(one, plane(t + i, SIDE))
        assert all(shape[0] > t and shape[2] > z for shape in shapes)
    return len(saved)


@pytest.mark.parametrize("rows", [0, 1, 7, 40, 150])
def test_every_acknowledged_plane_survives_a_kill(tmp_path: Path, rows: int) -> None:
    kill_writer_when(tmp_path, lambda seen: seen >= rows)
    assert check_every_row(tmp_path) >= rows


def test_a_writer_killed_again_and_again_goes_on(tmp_path: Path) -> None:
    kill_writer_when(tmp_path, lambda seen: seen >= 5)
    before = check_every_row(tmp_path)
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b'{"v":1,"p":0,"t":9')
    kill_writer_when(tmp_path, lambda seen: seen >= before + 5, "again")
    assert check_every_row(tmp_path) > before
    ledger = Ledger(tmp_path / "ledger.jsonl", fsync=False)
    ledger.close({})
    assert sum("open" in row for row in read_rows(tmp_path / "ledger.jsonl")[0]) == 3
    for name in ("raw.ome.zarr", "stain.ome.zarr"):
        store = PlaneStore.reopen(tmp_path / name, fsync=False)
        store.close()
        last = json.loads((tmp_path / name / "0" / "zarr.json").read_text())["shape"][0]
        assert last == 1 + max(int(entry.name) for entry in (tmp_path / name / "0" / "c").iterdir())
