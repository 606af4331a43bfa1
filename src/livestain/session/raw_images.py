"""The measured images of one run: one a position, channels numbered when first seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from livestain.errors import FrameError
from livestain.frames import FRAME_DTYPES, Frame
from livestain.session.intake import Sequence
from livestain.store.metadata import ChannelInfo, measured_channel
from livestain.store.planes import PendingPlane, PlaneStore, plane_context


class RawImages:
    """Opens the image of a position when its first frame comes; used by the recorder's thread alone.

    ``c`` 0 is the label-free channel (where there is one), the others are numbered when first seen. All frames of a run
    have the shape and dtype of its first.
    """

    def __init__(self, folder: Path, sequence: Sequence, *, fsync: bool, source: str) -> None:
        self._folder, self._sequence, self._fsync, self._source = folder, sequence, fsync, source
        self._channels: list[str] = [sequence.label_free] if sequence.label_free is not None else []
        self._stores: dict[int, PlaneStore] = {}
        self._context = plane_context(fsync=fsync)
        self._form: tuple[tuple[int, ...], np.dtype[np.generic]] | None = None

    def channel(self, name: str) -> int:
        """Return the c of a channel."""
        if name not in self._channels:
            self._channels.append(name)
        return self._channels.index(name)

    def require_recordable(self, image: Any) -> None:
        """Raise `FrameError` for what cannot be a plane of this run."""
        if image.ndim != 2:
            raise FrameError(f"frame has shape {image.shape}: one grey plane is needed, set the camera to monochrome")
        if image.dtype not in FRAME_DTYPES:
            raise FrameError(f"frame has dtype {image.dtype}: uint8 or uint16 is needed, set the camera's pixel type")
        form = (image.shape, image.dtype)
        self._form = self._form or form
        if form != self._form:
            raise FrameError(
                f"frame of {_words(*form)} in a run of {_words(*self._form)}: the camera's settings changed, "
                "start a new run"
            )

    def begin(self, frame: Frame) -> PendingPlane:
        """Start to write a frame; raises `StoreError` as `PlaneStore.begin` does."""
        c = self.channel(frame.channel)
        p, t, z = frame.key
        store = self._stores.get(p)
        if store is None:
            store = self._stores[p] = self._create(frame)
        while store.channel_count <= c:
            store.add_channel(self._info(store.channel_count))
        return store.begin(t, c, z, frame.image)

    def ensure_visible(self, p: int, t: int, z: int) -> str:
        """Let other programs see the plane; return why they cannot, or nothing."""
        store = self._stores[p]
        store.ensure_visible(t, z)
        return store.warning

    def close(self) -> None:
        """Write the last metadata of every image."""
        for store in self._stores.values():
            store.close()

    def _create(self, frame: Frame) -> PlaneStore:
        return PlaneStore.create(
            self._folder / f"p{frame.key.p:03d}.ome.zarr",
            name=f"position {frame.key.p}",
            channels=[self._info(c) for c in range(len(self._channels))],
            plane_shape=(frame.image.shape[0], frame.image.shape[1]),
            dtype=frame.image.dtype,
            pixel_um=frame.pixel_um,
            z_um=self._sequence.z_um,
            interval_s=self._sequence.interval_s,
            livestain={"kind": "measured", "source": self._source or "microscope"},
            fsync=self._fsync,
            context=self._context,
        )

    def _info(self, c: int) -> ChannelInfo:
        name = self._channels[c]
        depth = self._sequence.bit_depth
        if not depth and self._form is not None:
            depth = 8 * self._form[1].itemsize
        return measured_channel(name, depth, {"label_free": name == self._sequence.label_free})


def _words(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> str:
    return f"{shape[0]} x {shape[1]} px {dtype}"
