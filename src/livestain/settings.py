"""Settings shared by the rooms: the frozen base model, folders of this program, names legal on every file system."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from livestain.errors import BackendMissingError, UserError

Backend = Literal["auto", "tensorrt", "openvino", "onnxruntime"]
WhenFull = Literal["skip", "wait"]

_RESERVED = {"con", "prn", "aux", "nul"} | {f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10)}


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SessionSettings(Settings):
    """How a session behaves; written whole into ``run.json``."""

    channel: str | None = Field(None, description="name of the label-free channel; None = the only one there is")
    follow: tuple[int, int] | None = Field(None, description="(position, z) shown live; None = every one")
    when_full: WhenFull = Field("skip", description="intake full: failed row, or the acquisition waits")
    backend: Backend = Field("auto", description="engine library")
    isolate: bool = Field(True, description="stain in a child process at low priority (False: in a thread)")
    fsync: bool = Field(True, description="a row means the plane survives a power cut")
    source: str = Field("", description="where the frames come from, in words, where it is not a microscope")
    intake_min_bytes: int = Field(64 << 20, ge=1 << 16, description="intake queue, lower bound in bytes")
    intake_max_bytes: int = Field(1 << 30, ge=1 << 16, description="intake queue, upper bound in bytes")
    stain_queue_bytes: int = Field(256 << 20, ge=1 << 16, description="stains waiting for the disk, bytes")
    planes_in_flight: int = Field(4, ge=1, le=32, description="raw planes being written at a time")


def pip_install(package: str) -> str:
    """Return the command that installs a package beside this program, whichever ``pip`` is found first."""
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    return f'{python} -m pip install "{package}"'


INSTALL = {
    "tensorrt": pip_install("livestain[nvidia]"),
    "openvino": pip_install("openvino"),
    "onnxruntime": pip_install("onnxruntime"),
}
"""What brings the library of a backend."""

_MODULES = {"tensorrt": ("tensorrt_rtx", "tensorrt"), "openvino": ("openvino",), "onnxruntime": ("onnxruntime",)}


def is_installed(backend: str) -> bool:
    """Say whether the library of a backend is installed; imports nothing."""
    return any(importlib.util.find_spec(name) is not None for name in _MODULES[backend])


def cache_folder() -> Path:
    """Return the user's cache folder of this program (made when first used)."""
    from platformdirs import user_cache_path

    return user_cache_path("livestain", appauthor=False)


def legal_name(name: str, limit: int = 80) -> str:
    """Return ``name`` as a file name that Windows and Linux accept: at most ``limit`` characters, never empty."""
    text = re.sub(r'[<>:"/\\|?*\x00-\x1f]+', "-", name).strip(" .")[:limit].rstrip(" .")
    if not text:
        return "unnamed"
    return f"{text}_" if text.split(".")[0].lower() in _RESERVED else text


def parse_settings(**options: object) -> SessionSettings:
    """Return session settings; `UserError` names the option that is not possible and says what is allowed."""
    try:
        settings = SessionSettings.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UserError(f"option {name} = {first['input']!r} is not possible: {first['msg']}") from None
    if settings.backend != "auto" and not is_installed(settings.backend):
        raise BackendMissingError(f"{settings.backend} is not installed; {INSTALL[settings.backend]}")
    return settings
