"""The background of each position, taken once from its first usable frame and kept with the stains."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from livestain.contrast import MOVED_LIMIT, Background, estimate_background, is_usable
from livestain.errors import FrameError, StoreCorruptError
from livestain.frames import Counts, Key

log = logging.getLogger(__name__)

_CHECK_EVERY = 64
"""Planes of a position between two looks whether its field has moved (a look costs as much as an estimate)."""


@dataclass(frozen=True)
class Shade:
    """One version of the background of a position, valid from a time point on."""

    p: int
    version: int
    from_t: int
    exposure_us: int
    background: Background

    def row(self) -> dict[str, object]:
        """Return the ledger row that names this version before its first use."""
        return {"v": 1, "shade": self.version, "p": self.p, "from_t": self.from_t}


class Shades:
    """Backgrounds by position and time: every plane takes the newest version with ``from_t`` <= its t.

    A new version only ever begins after the last plane stained so far, so that live, late and repeated staining of a
    plane use the same one. Used by the stainer's loop thread alone.
    """

    def __init__(self, folder: Path | None, black: float) -> None:
        self._folder = folder
        self._black = black
        self._versions: dict[int, list[Shade]] = {}
        self._newest_t: dict[int, int] = {}
        self._until_check: dict[int, int] = {}

    def load(self, row: Mapping[str, object]) -> None:
        """Take up a version from its ledger row and its file (a stainer that goes on after another)."""
        p, version, from_t = (int(str(row[name])) for name in ("p", "shade", "from_t"))
        self._versions.setdefault(p, []).append(_read(self._file(p, version), p, version, from_t))

    def find(self, key: Key) -> Shade | None:
        """Return the version for this plane; None when its position has none yet."""
        versions = self._versions.get(key.p)
        if not versions:
            return None
        return next((shade for shade in reversed(versions) if shade.from_t <= key.t), versions[0])

    def needs_first(self, p: int) -> bool:
        """Say whether the position has no background yet."""
        return p not in self._versions

    def offer_first(self, key: Key, image: Counts, exposure_us: int) -> Shade | None:
        """Take the position's background from this frame if it is usable; return the new version."""
        if not is_usable(image, self._black):
            return None
        return self._add(key.p, 0, exposure_us, image)

    def note_stained(self, key: Key, image: Counts, exposure_us: int) -> Shade | None:
        """Note a stained plane; return a new version if the illumination or the field has changed.

        Looks only at planes newer than all before: a late plane tells nothing about now.
        """
        newest = self._newest_t.get(key.p, -1)
        if key.t <= newest:
            return None
        self._newest_t[key.p] = key.t
        shade = self._versions[key.p][-1]
        if exposure_us != shade.exposure_us:
            why = f"exposure {shade.exposure_us / 1000:g} -> {exposure_us / 1000:g} ms"
        else:
            left = self._until_check.get(key.p, _CHECK_EVERY) - 1
            self._until_check[key.p] = left or _CHECK_EVERY
            moved = 0.0 if left else shade.background.moved(image)
            if moved <= MOVED_LIMIT:
                return None
            why = f"field moved by {moved:.1%}"
        if not is_usable(image, self._black):
            return None
        log.info("position %d: new background from t %d on: %s", key.p, key.t + 1, why)
        return self._add(key.p, key.t + 1, exposure_us, image)

    def _add(self, p: int, from_t: int, exposure_us: int, image: Counts) -> Shade:
        versions = self._versions.setdefault(p, [])
        background = estimate_background(image, self._black)
        shade = Shade(p, len(versions) + 1, from_t, exposure_us, background)
        if self._folder is not None:
            _write(self._file(p, shade.version), shade)
        versions.append(shade)
        return shade

    def _file(self, p: int, version: int) -> Path:
        if self._folder is None:
            raise FrameError("no folder: backgrounds of a session without a record are not kept")
        return self._folder / f"p{p:03d}-{version}.tif"


def _write(path: Path, shade: Shade) -> None:
    import tifffile

    facts = {"black": shade.background.black, "shape": shade.background.shape, "exposure_us": shade.exposure_us}
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, shade.background.blocks, description=json.dumps(facts), metadata=None)


def _read(path: Path, p: int, version: int, from_t: int) -> Shade:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            blocks = file.pages[0].asarray()
            facts = json.loads(file.pages[0].tags["ImageDescription"].value)
    except (OSError, ValueError, KeyError, tifffile.TiffFileError) as error:
        raise StoreCorruptError(
            f"background {path} cannot be read ({error}): stain this run with a new model id"
        ) from error
    height, width = facts["shape"]
    background = Background(np.asarray(blocks, np.float32), float(facts["black"]), (int(height), int(width)))
    return Shade(p, version, from_t, int(facts["exposure_us"]), background)
