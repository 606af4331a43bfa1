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
    slot = Slot((4, 5), np.uint16)
    out = np.zeros((4, 5), np.uint16)
    assert slot.read(out) is None
    for k in (1, 2, 3):
        slot.write(np.full((4, 5), k, np.uint16), Tag(Key(1, k, 2), k, 10 * k, 7))
    assert slot.read(out) == Tag(Key(1, 3, 2), 3, 30, 7)
    assert (out == 3).all()
    assert slot.read(out) is None
    slot.close()
    slot.close()


def test_wrong_dtype_is_refused() -> None:
    slot = Slot((4, 5), np.uint16)
    with pytest.raises(TypeError):
        slot.write(np.zeros((4, 5), np.float32), Tag(Key(0, 0, 0), 0, 0))
    slot.close()


def test_torn_copies_are_never_accepted() -> None:
    path = slots.make_file((256, 256), np.uint16, "torn")
    writer, reader = Slot((256, 256), np.uint16, path), Slot((256, 256), np.uint16, path)
    slots.remove_file(path)
    stop = threading.Event()

    def write() -> None:
        k = 0
        while not stop.is_set():
            k = (k + 1) % 60000
            writer.write(np.full((256, 256), k, np.uint16), Tag(Key(0, k, 0), k, 0))

    thread = threading.Thread(target=write)
    thread.start()
    out = np.zeros((256, 256), np.uint16)
    accepted = 0
    for _ in range(200_000):
        tag = reader.read(out)
        if tag is not None:
            accepted += 1
            assert (out == tag.number).all()
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
    ours = slots.make_file((2, 2), np.uint8, "frame")
    slots.sweep()
    assert not orphan.exists()
    assert ours.exists()
    slots.remove_file(ours)
    slots.remove_file(Path(ours))
    assert not ours.exists()
