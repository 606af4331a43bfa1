"""Everything that livestain raises on purpose.

::

    LivestainError
    ├── UserError                 what the user asked for cannot be done: one line, exit code 2 (also ValueError)
    │   ├── ChannelError          the label-free channel is unknown or not clear
    │   ├── ImageError            images on disk cannot be used as frames
    │   ├── ModelError            a model folder is incomplete, altered or not usable here
    │   ├── RunError              a run folder exists already, is no run, is locked or cannot be written
    │   └── BackendMissingError   the engine library asked for is not installed
    ├── FrameError                a frame cannot be recorded or stained; the text is its row's reason (also ValueError)
    ├── StoreError                a plane could not be written or read (also OSError)
    │   ├── StoreFullError        no space left on the device
    │   ├── StoreDeniedError      no permission, or a read-only file system
    │   └── StoreCorruptError     what was read back is not what was written
    ├── EngineError               an engine cannot do its work (also RuntimeError)
    │   ├── EngineFileError       a compiled engine file is damaged or was made for another device
    │   ├── EngineLostError       the device went away
    │   ├── EngineMemoryError     the device has too little memory
    │   └── GateError             the engine's stain of the test frame differs from the model's own
    ├── StainerError              the stainer process did not start, died or fell silent (also RuntimeError)
    └── TrainingError             a training went wrong and was stopped; its last checkpoint is kept (also RuntimeError)

A message says what failed, the value, what is allowed, and what to do next.
"""

from __future__ import annotations


class LivestainError(Exception):
    """Base of every error that livestain raises on purpose."""


class UserError(LivestainError, ValueError):
    """What was asked for cannot be done; the message is one line and needs no traceback."""


class ChannelError(UserError):
    """The label-free channel is unknown or not clear."""


class ImageError(UserError):
    """Images on disk cannot be used as frames."""


class ModelError(UserError):
    """A model folder is incomplete, altered or not usable here."""


class RunError(UserError):
    """A run folder exists already, is no run, is locked or cannot be written."""


class BackendMissingError(UserError):
    """The engine library that was asked for is not installed."""


class FrameError(LivestainError, ValueError):
    """One frame cannot be recorded or stained; the text becomes the reason in its ledger row."""


class StoreError(LivestainError, OSError):
    """A plane could not be written or read."""


class StoreFullError(StoreError):
    """No space is left on the device."""


class StoreDeniedError(StoreError):
    """No permission to write, or a read-only file system."""


class StoreCorruptError(StoreError):
    """What was read back is not what was written."""


class EngineError(LivestainError, RuntimeError):
    """An engine cannot do its work."""


class EngineFileError(EngineError):
    """A compiled engine file is damaged or was made for another device."""


class EngineLostError(EngineError):
    """The device went away."""


class EngineMemoryError(EngineError):
    """The device has too little memory for this frame."""


class GateError(EngineError):
    """The engine's stain of the test frame differs from the model's own by more than is allowed."""


class StainerError(LivestainError, RuntimeError):
    """The stainer process did not start, died or fell silent."""


class TrainingError(LivestainError, RuntimeError):
    """A training went wrong and was stopped; its last good checkpoint is kept."""


def plain(error: BaseException) -> str:
    """Return what an error of a library says, without its number: for our own messages."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
