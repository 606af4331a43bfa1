"""How one training is done: frozen, read from TOML, written whole beside the model."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from livestain.errors import UserError, plain
from livestain.settings import Settings

Preset = Literal["quick", "standard", "paper"]
Device = Literal["auto", "cpu", "gpu"]


class TrainConfig(Settings):
    """All that decides the weights, beside the images; a recipe brings its own defaults (`Recipe.defaults`)."""

    recipe: str = Field("simulate", description="training method: a name of livestain.train.recipes")
    preset: Preset = Field("quick", description="how long: sets `steps` from the measured step time where it is None")
    seed: int = Field(0, ge=0, description="seed of every random number")
    steps: int | None = Field(None, ge=1, description="optimiser steps of one network; None = what the preset allows")
    networks: int = Field(2, ge=1, le=16, description="teachers of different seeds, in recipes that distil")
    batch: int = Field(6, ge=1, description="crops in a step")
    crop_px: int = Field(64, ge=32, multiple_of=16, description="height and width of a crop")
    width: int = Field(16, ge=2, description="channels of the generator's first level")
    learning_rate: float = Field(1e-3, gt=0, description="of the generators; a recipe may have others beside it")
    betas: tuple[float, float] = Field((0.5, 0.99), description="of Adam")
    weights: dict[str, float] = Field(default_factory=dict, description="loss term -> weight, over the recipe's own")
    options: dict[str, float] = Field(default_factory=dict, description="numbers that only this recipe knows")
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the averaged generator, which is the one exported")
    balanced: float = Field(0.7, ge=0, le=1, description="share of the crops that are centred on foreground")
    turns: bool = Field(True, description="quarter turns and flips; off for DIC or oblique light, which have a side")
    epoch_steps: int = Field(100, ge=1, description="steps between checkpoints")
    device: Device = Field("auto", description="where to train")
    devices: int = Field(1, ge=1, description="GPUs, or CPU processes, of each node that train one network together")
    nodes: int = Field(1, ge=1, description="machines that do so")
    precision: str = Field("32-true", description="as Lightning names it")
    modality: str = Field("bright field", description="of the label-free images, in words")
    pixel_um: float | None = Field(None, gt=0, description="pixel size of the model, um; None = the coarsest given")
    defocus_um: tuple[float, float] | None = Field(
        None, description="focus of the label-free images, from and to, um from the plane of best focus; None = unknown"
    )
    author: str = Field("not named", min_length=1, description="who stands in the model's description")
    license: str | None = Field(None, description="SPDX identifier of the model's licence; None = none is given")

    def weight(self, term: str, default: float) -> float:
        """Return the weight of a loss term: the user's, else the recipe's ``default``."""
        return self.weights.get(term, default)


def read_config(path: Path | None, defaults: Mapping[str, Any], chosen: Mapping[str, Any]) -> TrainConfig:
    """Return the settings of a training: ``chosen`` on the command line, over the file, over the recipe's defaults.

    ``weights`` and ``options`` are joined key by key, so that one option of the user's leaves the recipe's others.

    Parameters
    ----------
    path
        A TOML file whose keys are those of `TrainConfig`; None for none.

    Raises
    ------
    UserError
        The file cannot be read, has an unknown key, or a value that is not possible.
    """
    layers = (defaults, read_toml(path), chosen)
    values: dict[str, Any] = {name: value for layer in layers for name, value in layer.items()}
    for name in ("weights", "options"):
        tables = [layer[name] for layer in layers if name in layer]
        if len(tables) > 1 and all(isinstance(table, Mapping) for table in tables):
            values[name] = {key: number for table in tables for key, number in table.items()}
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        where = f"{path}: " if path is not None and name.split(".")[0] not in chosen else ""
        if first["type"] == "extra_forbidden":
            raise UserError(f"{where}there is no setting {name}: {', '.join(TrainConfig.model_fields)}") from None
        raise UserError(
            f"{where}setting {name} = {first['input']!r} is not possible: {first['msg'].removeprefix('Value error, ')}"
        ) from None


def require_new(output: Path) -> None:
    """Raise `UserError` where the model folder to be made is there already."""
    if output.exists():
        raise UserError(f"{output} is there already: choose another --output, or remove it")


def read_toml(path: Path | None) -> dict[str, Any]:
    """Return the keys of a TOML file; nothing for None. `UserError` where it cannot be read."""
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"settings {path} cannot be read: {plain(error)}; a TOML file is needed") from None
