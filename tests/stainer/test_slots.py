"""Slots: the newest array, never a torn one."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from livestain.frames import Key
from livestain.stainer import slots
from livestain.stainer.slots import Slot, Tag


def test_reader_gets_the_newest_once() -> None:
    slot = Slot([((4, 5), np.uint16)])
    out = np.zeros((4, 5), np.uint16)
    assert slot.read([out]) is None
    for k in (1, 2, 3):
        slot.write([np.full((4, 5), k, np.uint16)], Tag(Key(1, k, 2), k, 10 * k, 7))
    assert slot.read([out]) == Tag(Key(1, 3, 2), 3, 30, 7)
    assert (out == 3).all()
    assert slot.read([out]) is None
    slot.close()
    slot.close()


@pytest.mark.parametrize(("written", "wanted"), [(1, 1), (1, 4), (4, 1), (4, 4)])
def test_as_many_parts_are_read_as_were_written_and_are_wanted(written: int, wanted: int) -> None:
    parts = slots.result_parts((5, 7), np.uint8, 2)
    slot = Slot(parts)
    tag = Tag(Key(0, 1, 2), 3, 4)
    slot.write([np.full(shape, k + 1, dtype) for k, (shape, dtype) in enumerate(parts)][:written], tag)
    out = [np.zeros(shape, dtype) for shape, dtype in parts][:wanted]
    read = slot.read(out)
    assert read is not None
    assert read.parts == min(written, wanted)
    assert [int(array.max()) for array in out] == [k + 1 if k < read.parts else 0 for k in range(wanted)]
    assert [array.shape for array in out] == [(2, 5, 7), (5, 7), (2, 3, 4), (3, 4)][:wanted]
    slot.close()


def test_wrong_dtype_is_refused() -> None:
    slot = Slot([((4, 5), np.uint16)])
    with pytest.raises(TypeError):
        slot.write([np.zeros((4, 5), np.float32)], Tag(Key(0, 0, 0), 0, 0))
    slot.close()


def test_torn_copies_are_never_accepted() -> None:
    parts: list[slots.Part] = [((256, 256), np.uint16), ((64, 64), np.uint8)]
    path = slots.make_file(parts, "torn")
    writer, reader = Slot(parts, path), Slot(parts, path)
    slots.remove_file(path)
    stop = threading.Event()

    def write() -> None:
        k = 0
        while not stop.is_set():
            k = (k + 1) % 60000
            arrays = np.full((256, 256), k, np.uint16), np.full((64, 64), k % 251, np.uint8)
            writer.write(arrays, Tag(Key(0, k, 0), k, 0))

    thread = threading.Thread(target=write)
    thread.start()
    out, beside = np.zeros((256, 256), np.uint16), np.zeros((64, 64), np.uint8)
    accepted = 0
    for _ in range(200_000):
        tag = reader.read([out, beside])
        if tag is not None:
            accepted += 1
            assert (out == tag.number).all()
            assert (beside == tag.number % 251).all()
        if accepted >= 200 and reader.torn:
            break
    stop.set()
    thread.join()
    writer.close()
    reader.close()
    assert accepted > 0


def test_files_of_dead_processes_are_swept_and_others_stay() -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    orphan = slots._folder() / f"livestain-{int(dead.stdout)}-frame-x.slot"
    orphan.write_bytes(b"x")
    ours = slots.make_file([((2, 2), np.uint8)], "frame")
    slots.sweep()
    assert not orphan.exists()
    assert ours.exists()
    slots.remove_file(ours)
    slots.remove_file(Path(ours))
    assert not ours.exists()
