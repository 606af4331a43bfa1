"""The recorded planes: each is read once, most of them ahead of their turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from livestain.errors import StoreError
from livestain.frames import Counts, Key
from livestain.stainer.raw import RawPlanes
from livestain.store.planes import PlaneReader
from tests.session.pieces import break_engine, frame
from tests.stainer.pieces import Recorded, running


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every read of a plane, as it happens."""
    reads: list[str] = []
    plain = PlaneReader.read

    def note(reader: PlaneReader, t: int, c: int, z: int) -> Counts:
        reads.append(f"{reader.path.name} t{t}")
        return plain(reader, t, c, z)

    monkeypatch.setattr(PlaneReader, "read", note)
    return reads


def test_a_plane_read_ahead_is_not_read_again(recorded: Recorded, read: list[str]) -> None:
    recorded.add(*((0, t, 0) for t in range(4)))
    raw = RawPlanes(recorded.raw)
    raw.read_ahead([Key(0, 1, 0), Key(0, 2, 0)])
    raw.read_ahead([Key(0, 2, 0), Key(0, 3, 0)])
    for t in (2, 3, 1):
        np.testing.assert_array_equal(raw.fetch(Key(0, t, 0)), frame(t))
    raw.close()
    assert sorted(read)[-2:] == ["p000.ome.zarr t2", "p000.ome.zarr t3"]


def test_a_failure_ahead_is_that_of_the_plane(recorded: Recorded) -> None:
    recorded.add((0, 0, 0))
    raw = RawPlanes(recorded.raw)
    raw.read_ahead([Key(0, 0, 0), Key(0, 5, 0)])
    with pytest.raises(StoreError, match=r"t5 .* not on disk"):
        raw.fetch(Key(0, 5, 0))
    np.testing.assert_array_equal(raw.fetch(Key(0, 0, 0)), frame(0))
    raw.close()


def test_what_was_never_recorded_has_no_rows_and_no_planes() -> None:
    raw = RawPlanes(None)
    assert (raw.is_recorded, raw.new_rows()) == (False, [])
    with pytest.raises(StoreError, match="nothing is recorded"):
        raw.fetch(Key(0, 0, 0))
    raw.close()


@pytest.mark.parametrize("group", [1, 3])
def test_late_planes_of_several_positions_are_each_read_once(
    group: int, model_folder: Path, recorded: Recorded, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_engine(monkeypatch, lambda number: None, group)
    recorded.add(*((p, t, 0) for t in range(4) for p in range(3)))
    with running(model_folder, recorded) as loop:
        loop.end()
    # The first of each position is read once more: its background comes from it.
    assert len(read) == 12 + 3
