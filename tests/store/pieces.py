"""What several tests of the store need: small images, planes, a small full disk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from livestain.store.metadata import ChannelInfo, measured_channel
from livestain.store.planes import PlaneStore

SHAPE = (64, 80)


def plane(seed: int, shape: tuple[int, int] = SHAPE, dtype: npt.DTypeLike = np.uint16) -> npt.NDArray[Any]:
    """Noise of a camera, another one for each seed."""
    return np.random.default_rng(seed).integers(0, 255, shape).astype(dtype)


def image(
    path: Path,
    channels: Sequence[ChannelInfo] = (measured_channel("BF", 12),),
    *,
    shape: tuple[int, int] = SHAPE,
    dtype: npt.DTypeLike = np.uint16,
    fsync: bool = False,
) -> PlaneStore:
    return PlaneStore.create(
        path,
        name="p000",
        channels=channels,
        plane_shape=shape,
        dtype=dtype,
        pixel_um=0.325,
        z_um=2.0,
        interval_s=5.0,
        livestain={"kind": channels[0].kind},
        fsync=fsync,
    )


def save(store: PlaneStore, t: int, c: int = 0, z: int = 0, seed: int | None = None) -> str:
    """Write a plane, wait for it, make it visible; return its CRC."""
    seed = 100 * t + 10 * z + c if seed is None else seed
    checksum = store.begin(t, c, z, plane(seed, store.plane_shape, store.dtype)).result()
    store.ensure_visible(t, z)
    return checksum


@contextmanager
def small_disk(path: Path, options: str) -> Iterator[Path]:
    """Mount a file system of its own at ``path``; skips the test where that is not allowed."""
    path.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True)
    except OSError:
        pytest.skip("no mount command here: a full or read-only disk cannot be made")
    if mounted.returncode:
        pytest.skip("mounting needs root: a full or read-only disk cannot be made")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
