"""TensorRT on an NVIDIA card: one program for all frame sizes of its profile."""

from __future__ import annotations

from typing import ClassVar

from livestain.engine.backends.base import BaseEngine
from livestain.engine.graph import Wire
from livestain.engine.tensorrt_module import find_here
from livestain.errors import BackendMissingError, EngineLostError


class TensorRtEngine(BaseEngine):
    """A generator in TensorRT (under construction: never usable yet)."""

    backend: ClassVar[str] = "tensorrt"
    wire: ClassVar[Wire] = "bytes"
    fixed_shape: ClassVar[bool] = False
    halves_in_graph: ClassVar[bool] = True

    @classmethod
    def unusable(cls) -> str:
        """Return why no card can be used."""
        try:
            find_here()
        except (BackendMissingError, EngineLostError) as error:
            return str(error)
        return "this version of livestain cannot run it yet"
