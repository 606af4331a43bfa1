"""A second process that records as fast as the disk takes it: what a live engine has beside it on a bad day."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from livestain.errors import StoreError
from livestain.store.metadata import measured_channel
from livestain.store.planes import PlaneStore, plane_context

_SIDE = 2048
_KEPT = 64
_LIMIT_S = 60.0


@contextlib.contextmanager
def busy_recorder(folder: Path) -> Iterator[None]:
    """Within, another process writes 2048 x 2048 px planes to ``folder``, one after the other, each durable.

    A ring of 64 planes, 512 MiB at the most, is deleted at the end. Blocks until the first plane is written.

    Raises
    ------
    StoreError
        It cannot write there; what it said is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="livestain-bench-", dir=folder, ignore_cleanup_errors=True) as place:
        command = [sys.executable, "-P", "-m", __name__, place]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stderr is not None
            try:
                if not child.stdout.readline():
                    why = child.stderr.read().decode(errors="replace").strip().splitlines()
                    raise StoreError(f"the busy recorder cannot write to {folder}: {why[-1] if why else 'it ended'}")
                yield
            finally:
                child.stdin.close()  # that is how it is told to end
                try:
                    child.wait(_LIMIT_S)
                except subprocess.TimeoutExpired:
                    child.kill()


def main(folder: Path) -> None:
    """Write planes until stdin ends; a line on stdout when the first one is durable."""
    rng = np.random.default_rng(0)
    planes = [rng.normal(2000, 20, (_SIDE, _SIDE)).astype(np.uint16) for _ in range(4)]
    store = PlaneStore.create(
        folder / "busy.ome.zarr", name="busy", channels=[measured_channel("busy", 0)], plane_shape=(_SIDE, _SIDE),
        dtype=np.uint16, pixel_um=0.65, z_um=1.0, interval_s=1.0, livestain={}, fsync=True,
        context=plane_context(fsync=True),
    )  # fmt: skip
    ended = threading.Event()

    def await_end() -> None:
        sys.stdin.buffer.read()
        ended.set()

    threading.Thread(target=await_end, daemon=True).start()
    number = 0
    while not ended.is_set():
        store.begin(number % _KEPT, 0, 0, planes[number % len(planes)]).result()
        if number == 0:
            sys.stdout.write("writing\n")
            sys.stdout.flush()
        number += 1
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
