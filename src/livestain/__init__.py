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
    from livestain.engine.opening import open_engine
    from livestain.frames import Frame, Key, Stain
    from livestain.model.read import read_model as open_model
    from livestain.session.session import Session
    from livestain.sources.mda import attach
    from livestain.store.read import open_run

__version__ = "0.1.0.dev0"

_LAZY = {
    "Frame": ("livestain.frames", "Frame"),
    "Key": ("livestain.frames", "Key"),
    "Session": ("livestain.session.session", "Session"),
    "Stain": ("livestain.frames", "Stain"),
    "attach": ("livestain.sources.mda", "attach"),
    "open_engine": ("livestain.engine.opening", "open_engine"),
    "open_model": ("livestain.model.read", "read_model"),
    "open_run": ("livestain.store.read", "open_run"),
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
    "Session",
    "Stain",
    "StoreError",
    "UserError",
    "attach",
    "open_engine",
    "open_model",
    "open_run",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'livestain' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
