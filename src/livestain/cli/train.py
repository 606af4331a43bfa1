"""``livestain train``: a model from a folder of label-free images and a folder of stained ones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livestain.errors import UserError
from livestain.settings import pip_install
from livestain.train.config import Device, Preset, require_new

if TYPE_CHECKING:
    from livestain.model import Model
    from livestain.train.data import Fields, Known

_INTERRUPTED = 130
_RECIPES = "simulate, gan, cyclegan, mvs-cyclegan, utom, paired or distill"
_TAUGHT = ("distill", "paired")
"""Recipes that do something with ``--teacher``."""


def train(
    output: Annotated[Path, typer.Option(help="Model folder to make.", show_default=False)],
    label_free: Annotated[
        str | None, typer.Option(help="Label-free images: file, folder, run, quoted glob or CSV.", show_default=False)
    ] = None,
    stain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="Stained images of similar cells, such as nuclei=FOLDER or nuclei=RUN::DAPI; repeatable.",
        ),
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(help="Folder or CSV of pairs: to choose and to score, or for --recipe paired.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Model that teaches (--recipe distill) or is trained on (--recipe paired).")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help=f"Training method: {_RECIPES}.", show_default="simulate")] = None,
    preset: Annotated[
        Preset | None,
        typer.Option(
            help="How long: minutes on two cores, an evening on a GPU, or the published network at full size.",
            show_default="quick",
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings, TOML.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random number.", show_default="0")] = None,
    device: Annotated[Device | None, typer.Option(help="Where to train.", show_default="auto")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was interrupted.")] = False,
) -> int:
    """Make a model for your own microscope from images without pairs."""
    options = {"recipe": recipe, "preset": preset, "seed": seed, "device": device}
    chosen = {name: value for name, value in options.items() if value is not None}
    folders = _stains(stain or [])
    _require_images(label_free, folders, pairs, teacher)
    require_new(output)
    _require_extra()
    _say("loading torch ...")
    from livestain.train.config import read_toml
    from livestain.train.facts import beaten_by_a_filter
    from livestain.train.plan import recipe_of, settle
    from livestain.train.run import train as run

    given = {**read_toml(config), **chosen}
    name = recipe_of(given)
    model = _teacher(teacher, name, list(folders))
    if model is not None and name == "paired":
        from livestain.train.start import settings_to_start_at

        chosen |= settings_to_start_at(model, given)
    settings = settle(config, chosen)
    _say("reading the images ...")
    fields, known = _load(label_free, folders, pairs, settings.pixel_um, model)
    try:
        made = run(settings, fields, known, output, _say, resume=resume, start=model if name == "paired" else None)
    except KeyboardInterrupt:
        _say_how_to_go_on(output, resume)
        return _INTERRUPTED
    for entry in made.card.scores:
        _say(f"{entry.predictor}, {entry.stain}: {entry.metric} {entry.value:.3f} ({entry.data})")
    for line in beaten_by_a_filter(made.card.scores):
        _say(f"warning: {line}")
    _say(f"how it went: {output / 'report.html'}; {output.name}.training is no longer needed")
    typer.echo(output)
    return 0


def _say_how_to_go_on(output: Path, resumed: bool) -> None:
    from livestain.train.loop import LAST
    from livestain.train.plan import PLAN, work_folder

    work = work_folder(output)
    if any(work.glob(f"*/{LAST}")):
        _say("stopped; the last checkpoint is kept. To go on:")
    else:
        _say("stopped before the first checkpoint. To begin again:")
    _say("  " + _command(resumed or not (work / PLAN).is_file()))


def _require_extra() -> None:
    missing = [name for name in ("torch", "lightning", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} not installed: training needs {pip_install('livestain[train]')}")


def _teacher(teacher: str | None, recipe: str, stains: list[str]) -> Model | None:
    """Return the model that teaches or is trained on, if the recipe knows what to do with one."""
    if teacher is None and recipe != "distill":
        return None
    if teacher is None or recipe not in _TAUGHT:
        raise UserError(f"--teacher MODEL and --recipe {' or '.join(_TAUGHT)} belong together, not --recipe {recipe}")
    from livestain.model import read_model

    model = read_model(teacher)
    if stains and list(model.stains) != stains:
        raise UserError(f"the teacher stains {', '.join(model.stains)}, the images {', '.join(stains)}")
    return model


def _load(
    label_free: str | None, stains: dict[str, str], pairs: str | None, pixel_um: float | None, model: Model | None
) -> tuple[Fields, list[Known]]:
    """Return the fields to learn from and those to score on; says what they are, and what looks wrong."""
    from livestain.evaluate.pairs import read_pairs
    from livestain.train.data import load_fields, load_known, load_pairs
    from livestain.train.inventory import pair_warnings, require_unswapped, table_of, warnings_of
    from livestain.train.sources import find_sources

    names = list(stains) or (list(model.stains) if model else [])
    known = read_pairs(pairs, names or None) if pairs is not None else []
    sources = [] if label_free is None else find_sources(label_free, "label_free")
    stained = {name: find_sources(path, name) for name, path in stains.items()}
    _show(table_of(sources, stained, known))
    pixel_um = pixel_um or (model.card.trained_pixel_um if model else None)
    if label_free is None:
        fields, learned = load_pairs(known, names or list(known[0].truth), pixel_um), True
    else:
        require_unswapped(sources, stained)
        fields, learned = load_fields(sources, stained, pixel_um), False
    for line in (*warnings_of(sources, stained, fields), *pair_warnings(known)):
        _say(f"warning: {line}")
    if model is not None:
        fields = _taught(model, fields)
    return fields, load_known(known, fields) if known and not learned else []


def _taught(model: Model, fields: Fields) -> Fields:
    """Return the fields with the stains that a model gives to them, and its name."""
    import dataclasses

    from livestain.train.recipes.distill import stainer_of_model, teach

    taught = None if fields.paired else teach([stainer_of_model(model)], fields)
    return dataclasses.replace(fields, stains=model.stains, taught=taught, teacher=model.identity)


def _show(rows: Sequence[Sequence[str]]) -> None:
    """Print the table of the images on stderr."""
    from rich.console import Console
    from rich.table import Table

    from livestain.train.inventory import HEADINGS

    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if number == HEADINGS.index("planes") else "left")
    for row in rows:
        table.add_row(*row)
    Console(stderr=True, highlight=False, markup=False).print(table)


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


def _require_images(label_free: str | None, stains: dict[str, str], pairs: str | None, teacher: str | None) -> None:
    if label_free is None and pairs is None:
        raise UserError("no images: give --label-free PATH and --stain NAME=PATH, or --pairs PATH")
    if label_free is not None and not stains and teacher is None:
        raise UserError("label-free images alone teach nothing: give --stain NAME=PATH beside them, or --teacher MODEL")
    if label_free is None and stains:
        raise UserError("--stain without --label-free: give both, or --pairs PATH")


def _command(resumed: bool) -> str:
    words = [f'"{word}"' if set(word) & set(" *?&") else word for word in sys.argv[1:]]
    return " ".join(["livestain", *words, *([] if resumed else ["--resume"])])


def _say(text: str) -> None:
    typer.echo(text, err=True)
