"""Virtual staining beside the microscope.

Nothing heavy is imported here: each public name is looked up when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from livestain.errors import (
    ChannelError,
    EngineError,
    ImageError,
    LivestainError,
    ModelError,
    RunError,
    StoreError,
    UserError,
)

if TYPE_CHECKING:
    from livestain.frames import Frame, Key, Stain

__version__ = "0.1.0.dev0"

_LAZY = {
    "Frame": "livestain.frames",
    "Key": "livestain.frames",
    "Stain": "livestain.frames",
}

__all__ = [
    "ChannelError",
    "EngineError",
    "Frame",
    "ImageError",
    "Key",
    "LivestainError",
    "ModelError",
    "RunError",
    "Stain",
    "StoreError",
    "UserError",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'livestain' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
