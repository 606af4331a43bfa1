"""What a stainer is told at its start, and the words it exchanges with its session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from livestain.engine.protocol import Precision
from livestain.errors import EngineLostError, EngineMemoryError, LivestainError
from livestain.settings import Backend, Settings

Message = dict[str, Any]
"""One JSON object a line.

To the stainer, by ``"do"``: ``frames`` (geometry, and the slots as file names or, to a thread, as objects), ``look``
(something new lies in the frame slot; at most one unanswered), ``pictures`` (whether a viewer wants the plane and
half-size copies with each live result), ``switch`` (all changes of staining on and off in this run), ``close`` (finish
what is recorded, then end), ``quit`` (end after the plane in hand).

From it, by ``"is"``: ``hello``, ``ready`` (engine), ``mapped`` (the slot files may be unlinked), ``warm`` (made ready
for this shape; from now on it speaks at least once a second), ``live`` (a result lies in the stain slot), ``idle``
(nothing to show), ``rows`` (totals, and the last row), ``alive``, ``warning``, ``log``, ``closed``, and, before it ends
without that, ``failed`` (why; and whether the device is lost or full, so that another backend must go on).
"""


def last_words(error: LivestainError) -> Message:
    """Return what a stainer says that ends because of this error."""
    return {"is": "failed", "text": str(error), "lost": isinstance(error, EngineLostError | EngineMemoryError)}


class Job(Settings):
    """What to stain, with what, and where to."""

    model: Path = Field(description="model folder")
    raw: Path | None = Field(None, description="RUN/raw; None: live only, nothing is stored")
    stains: Path | None = Field(None, description="RUN/stains/MODEL")
    backend: Backend = "auto"
    precision: Precision | None = Field(None, description="fixed by an earlier stainer of this run")
    fsync: bool = True
    black: float = Field(0.0, ge=0, description="camera offset in counts")
    queue_bytes: int = Field(256 << 20, description="stains waiting for the disk, bytes")
    planned_shape: tuple[int, int] | None = Field(None, description="(Y, X) to get ready for, before a frame comes")
    planned_dtype: str = "uint16"
    parent_pid: int = Field(0, description="end when this process is gone; 0: we are a thread of it")


class Geometry(Settings):
    """What the stain images take over from the raw ones."""

    shape: tuple[int, int] = Field(description="(Y, X) px")
    dtype: str
    pixel_um: float = 0.0
    z_um: float = 0.0
    interval_s: float = 0.0
