"""``livestain train``: a model from a folder of label-free images and a folder of stained ones."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from livestain.errors import UserError
from livestain.settings import pip_install
from livestain.train.config import Device, Preset

_INTERRUPTED = 130


def train(
    output: Annotated[Path, typer.Option(help="Model folder to make.", show_default=False)],
    label_free: Annotated[
        str | None, typer.Option(help="Label-free images: file, folder, quoted glob or CSV.", show_default=False)
    ] = None,
    stain: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Stained images of similar cells, such as nuclei=FOLDER; repeatable."),
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(help="Folder or CSV of pairs: to choose and to score, or for --recipe paired.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Model whose stains a small live network learns (--recipe distill).")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Training method.", show_default="simulate")] = None,
    preset: Annotated[Preset | None, typer.Option(help="How long to train.", show_default="quick")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings, TOML.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random number.", show_default="0")] = None,
    device: Annotated[Device | None, typer.Option(help="Where to train.", show_default="auto")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was interrupted.")] = False,
) -> int:
    """Make a model for your own microscope from images without pairs."""
    options = {"recipe": recipe, "preset": preset, "seed": seed, "device": device}
    chosen = {name: value for name, value in options.items() if value is not None}
    folders = _stains(stain or [])
    _require_images(label_free, folders, pairs)
    _require_extra()
    _say("loading torch ...")
    from livestain.train.config import read_config, read_toml
    from livestain.train.recipes import find_recipe
    from livestain.train.run import train as run

    if (teacher is None) == (recipe == "distill"):
        raise UserError("--recipe distill and --teacher MODEL belong together")
    name = recipe or read_toml(config).get("recipe", "simulate")
    settings = read_config(config, find_recipe(str(name)).defaults, chosen)
    _say("reading the images ...")
    fields, known = _load(label_free, folders, pairs, settings)
    if teacher is not None:
        fields = _taught(teacher, fields)
    try:
        model = run(settings, fields, known, output, _say, resume=resume)
    except KeyboardInterrupt:
        _say("stopped; the last checkpoint is kept. To go on:")
        _say("  " + _command(resume))
        return _INTERRUPTED
    for entry in model.card.scores:
        _say(f"{entry.predictor}, {entry.stain}: {entry.metric} {entry.value:.3f} ({entry.data})")
    typer.echo(output)
    return 0


def _require_extra() -> None:
    missing = [name for name in ("torch", "lightning", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} not installed: training needs {pip_install('livestain[train]')}")


def _load(label_free: str | None, stains: dict[str, str], pairs: str | None, settings: Any) -> tuple[Any, Any]:
    """Return the fields to learn from and those to score on."""
    from livestain.evaluate.pairs import read_pairs
    from livestain.train.data import load_fields, load_known, load_pairs
    from livestain.train.inventory import describe_sources, warnings_of
    from livestain.train.sources import find_sources

    known = read_pairs(pairs, list(stains) or None) if pairs is not None else []
    if label_free is None:
        return load_pairs(known, list(known[0].truth), settings.pixel_um), []
    sources = find_sources(label_free, "label_free")
    stained = {name: find_sources(path, name) for name, path in stains.items()}
    for line in describe_sources(sources, stained):
        _say(line)
    fields = load_fields(sources, stained, settings.pixel_um)
    for line in warnings_of(sources, stained, fields):
        _say(f"warning: {line}")
    return fields, load_known(known, fields) if known else []


def _taught(teacher: str, fields: Any) -> Any:
    """Return the fields with the stains of a model folder beside them."""
    import dataclasses

    from livestain.model import read_model
    from livestain.train.recipes.distill import stainer_of_model, teach

    model = read_model(teacher)
    if model.stains != fields.stains:
        raise UserError(f"the teacher stains {', '.join(model.stains)}, the images {', '.join(fields.stains)}")
    return dataclasses.replace(fields, taught=teach([stainer_of_model(model)], fields))


def _stains(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise UserError(f"--stain {text} is not possible: NAME=PATH is needed, such as nuclei=FOLDER")
        if name in found:
            raise UserError(f"--stain {name} is given twice: put its images into one folder or CSV")
        found[name] = path
    return found


def _require_images(label_free: str | None, stains: dict[str, str], pairs: str | None) -> None:
    if label_free is None and pairs is None:
        raise UserError("no images: give --label-free PATH and --stain NAME=PATH, or --pairs PATH")
    if label_free is not None and not stains:
        raise UserError("label-free images alone teach nothing: give --stain NAME=PATH beside them")
    if label_free is None and stains:
        raise UserError("--stain without --label-free: give both, or --pairs PATH")


def _command(resumed: bool) -> str:
    words = [f'"{word}"' if set(word) & set(" *?&") else word for word in sys.argv[1:]]
    return " ".join(["livestain", *words, *([] if resumed else ["--resume"])])


def _say(text: str) -> None:
    typer.echo(text, err=True)
