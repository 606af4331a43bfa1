"""A small run folder written by hand for tests of its readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from livestain.store.ledger import Ledger
from livestain.store.metadata import measured_channel, virtual_channel
from livestain.store.planes import PlaneStore
from livestain.store.read import Run, open_run
from livestain.store.run import RunFolder, image_path
from tests.store.pieces import image, save


class Recording:
    """A run written by hand: rows as asked for, planes for those that are ok."""

    def __init__(self, path: Path, dtype: npt.DTypeLike = np.uint16) -> None:
        self.folder = RunFolder.create(path, {})
        self.ledgers = {"raw": Ledger(self.folder.raw / "ledger.jsonl", fsync=False)}
        self.images: dict[Path, PlaneStore] = {}
        self.number = 0
        self.dtype = dtype

    def raw(
        self, t: int, *, p: int = 0, c: int = 0, z: int = 0, state: str = "ok", n: int | None = None, **more: object
    ) -> None:
        number = self.number if n is None else n
        self.number += n is None
        checksum = ""
        if state == "ok":
            path = image_path(self.folder.raw, p)
            if path not in self.images:
                self.images[path] = image(path, [measured_channel("BF", 12), measured_channel("GFP")], dtype=self.dtype)
            checksum = save(self.images[path], t, c, z, seed=1000 * p + 100 * t + 10 * z + c)
        place = {"n": number, "p": p, "t": t, "z": z, "c": c}
        self.ledgers["raw"].row({"v": 1, **place, "kind": "measured", "state": state, "crc32": checksum, **more})

    def stain(
        self, t: int, model: str = "unet", *, p: int = 0, z: int = 0, state: str = "ok", live: bool = True
    ) -> None:
        folder = self.folder.stains(model, model[:1] * 64)
        if model not in self.ledgers:
            self.ledgers[model] = Ledger(folder / "ledger.jsonl", fsync=False)
        checksums = []
        if state == "ok":
            path = image_path(folder, p)
            if path not in self.images:
                self.images[path] = image(path, [virtual_channel("nuclei"), virtual_channel("membrane")])
            checksums = [save(self.images[path], t, c, z, seed=5000 + 10 * t + c) for c in range(2)]
        self.ledgers[model].row(
            {"v": 1, "p": p, "t": t, "z": z, "kind": "virtual", "state": state, "live": live, "crc32": checksums}
        )

    def end(self, *, close: bool = True) -> Run:
        for ledger in self.ledgers.values():
            if close:
                ledger.close({})
            else:
                ledger.abandon()
        self.ledgers.clear()
        self.folder.close()
        return open_run(self.folder.path)
