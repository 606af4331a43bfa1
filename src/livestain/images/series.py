"""Many files as one time series: a folder of TIFF or PNG, or what a glob finds."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from itertools import accumulate
from pathlib import Path

from livestain.errors import ImageError
from livestain.frames import Counts
from livestain.images.facts import Facts, Reader


class SeriesReader:
    """Files of equal planes, one after the other in time; at most one file is open.

    Every file's header is read at the start, so that one that does not fit is named before any work begins.

    Parameters
    ----------
    paths
        The files in the order of time.
    read
        Opens one of them.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[Path], Reader]) -> None:
        self._paths = paths
        self._read = read
        self._current: tuple[int, Reader] | None = None
        every = [self._facts_of(path) for path in paths]
        for path, facts in zip(paths, every, strict=True):
            _require_equal(paths[0], every[0], path, facts)
        self._ends = list(accumulate(facts.axes.t for facts in every))
        self.facts = Facts(
            every[0].axes._replace(t=self._ends[-1]),
            every[0].dtype,
            every[0].channels,
            every[0].kind,
            every[0].pixel_um,
        )

    def plane(self, t: int, c: int, z: int) -> Counts:
        """Read one (Y, X) plane."""
        number = bisect_right(self._ends, t)
        if self._current is None or self._current[0] != number:
            self.close()
            self._current = number, self._read(self._paths[number])
        start = self._ends[number - 1] if number else 0
        return self._current[1].plane(t - start, c, z)

    def close(self) -> None:
        """Close the file that is open, if one is."""
        if self._current is not None:
            self._current[1].close()
            self._current = None

    def _facts_of(self, path: Path) -> Facts:
        reader = self._read(path)
        reader.close()
        return reader.facts


def _require_equal(first: Path, expected: Facts, path: Path, facts: Facts) -> None:
    """Raise `ImageError` unless the planes of ``path`` are like those of the first file of the series."""
    same = expected.axes[1:] == facts.axes[1:] and expected.dtype == facts.dtype
    if not same or expected.channels != facts.channels:
        raise ImageError(
            f"{path} ({_describe(facts)}) differs from the first file of the series, {first.name} "
            f"({_describe(expected)}): equal size, dtype and channels are needed; "
            f'choose files that belong together, such as "{_alike(first, path)}"'
        )


def _describe(facts: Facts) -> str:
    axes = facts.axes
    sections = f", {axes.z} z sections" if axes.z > 1 else ""
    return f"{axes.x} x {axes.y} px, {facts.dtype}, {', '.join(facts.channels)}{sections}"


def _alike(first: Path, other: Path) -> Path:
    """The glob of files named like the first but for its last number; the first alone where the other is such a one."""
    pattern = re.sub(r"\d+(?=\D*$)", "*", first.name)
    return first if fnmatch(other.name, pattern) else first.with_name(pattern)
