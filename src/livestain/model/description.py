"""The part of a BioImage.IO 0.5 model description (``rdf.yaml``) that livestain reads.

Other keys are ignored here, and only here: the file is shared with other programs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from livestain.errors import ModelError
from livestain.model.card import LivestainCard

FILE_NAME = "rdf.yaml"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FileSource(_Part):
    """A file of the folder and its hash."""

    source: str
    sha256: Sha256


class Author(_Part):
    """Who made the model."""

    name: str


class Axis(_Part):
    """One axis of a tensor."""

    type: str
    id: str = ""
    channel_names: tuple[str, ...] = ()


class Step(_Part):
    """One step of pre- or postprocessing."""

    id: str


class Tensor(_Part):
    """An input or an output of the network."""

    id: str
    axes: tuple[Axis, ...]
    test_tensor: FileSource
    preprocessing: tuple[Step, ...] = ()
    postprocessing: tuple[Step, ...] = ()


class Weights(_Part):
    """Where the weights lie."""

    onnx: FileSource


class Config(_Part):
    """What programs add; ours is required."""

    livestain: LivestainCard


class Description(_Part):
    """A BioImage.IO 0.5 model, as far as livestain uses it."""

    type: Literal["model"]
    format_version: Annotated[str, StringConstraints(pattern=r"^0\.5\.")]
    name: str = Field(min_length=1)
    description: str = ""
    id: str | None = None
    version: str | int | float | None = None
    authors: tuple[Author, ...] = ()
    license: str | None = None
    documentation: FileSource | str | None = None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: Weights
    config: Config


def read_description(folder: Path) -> Description:
    """Return the description of a model folder.

    Raises
    ------
    ModelError
        There is none, it is no YAML mapping, lacks something, or describes tensors that livestain cannot feed.
    """
    path = folder / FILE_NAME
    raw = _load(path)
    if "livestain" not in (raw.get("config") or {}):
        raise ModelError(
            f"{path} has no config.livestain: only models made for livestain can be used, since others expect raw "
            "counts with their own scaling, not label-free contrast"
        )
    try:
        description = Description.model_validate(raw)
    except ValidationError as error:
        raise ModelError(f"{path}: {_first(error)}") from error
    _require_planes(description, path)
    return description


def write_description(folder: Path, description: Mapping[str, Any]) -> Path:
    """Write ``description`` (plain YAML types) as the description of a model folder; return its path."""
    path = folder / FILE_NAME
    text = yaml.dump(dict(description), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
    return path


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 takes for a number: the colour 00E676 became 0.0 in bioimageio.spec without."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _load(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(f"{path.parent} is no model folder: it has no {path.name}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ModelError(f"{path} is no model description: a mapping is needed, it holds {type(raw).__name__}")
    return raw


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    value = "" if problem["type"] == "missing" else f", it holds {str(problem['input'])[:60]!r}"
    return f"{place}: {problem['msg']}{value}{more}"


def _require_planes(description: Description, path: Path) -> None:
    for what, tensors, channels in (
        ("inputs", description.inputs, 1),
        ("outputs", description.outputs, len(description.config.livestain.stains)),
    ):
        if len(tensors) != 1:
            raise ModelError(f"{path}: {len(tensors)} {what}; exactly one is needed")
        axes = tensors[0].axes
        order = [axis.id or axis.type for axis in axes]
        if [axis.type for axis in axes] != ["batch", "channel", "space", "space"] or order[2:] != ["y", "x"]:
            raise ModelError(f"{path}: {what}.0 has the axes {order}; batch, channel, y, x are needed")
        if len(axes[1].channel_names) != channels:
            raise ModelError(
                f"{path}: {what}.0 has the channels {list(axes[1].channel_names)}; {channels} needed "
                "(1 label-free input, and the stains of config.livestain)"
            )
        steps = [step.id for step in (*tensors[0].preprocessing, *tensors[0].postprocessing)]
        if any(step != "ensure_dtype" for step in steps):
            raise ModelError(f"{path}: {what}.0 asks for {steps}; only ensure_dtype can be honoured here")
