"""Options that several commands share."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from livestain.errors import UserError
from livestain.settings import Backend

Model = Annotated[str, typer.Option(help="Model folder, or the name of a shipped model.")]
BackendName = Annotated[Backend, typer.Option("--backend", help="Engine library; auto takes the best that runs here.")]
Fsync = Annotated[
    bool, typer.Option("--fsync/--no-fsync", help="Without: faster disks, but a power cut may cost the last seconds.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")]
Channel = Annotated[str | None, typer.Option(help="Name of the label-free channel, where there are several.")]
View = Annotated[
    bool | None,
    typer.Option("--view/--no-view", help="A window with the live picture.", show_default="where there is a display"),
]
RunPath = Annotated[Path, typer.Argument(help="Run folder.", show_default=False)]


def tell(text: str) -> None:
    """Print a line on stderr; where nobody reads it any more that is no reason to end an acquisition."""
    with suppress(OSError):
        typer.echo(text, err=True)


def require_usable(backend: str) -> None:
    """Raise `UserError` for a backend that was named and cannot run here: before planes are recorded without stains."""
    if backend != "tensorrt":
        return  # the others run on every CPU; whether they are installed is asked elsewhere
    from livestain.engine.opening import find_adapter

    why = find_adapter("tensorrt").unusable()
    if why:
        raise UserError(f"--backend tensorrt cannot be used: {why}; leave it out to stain on the CPU")


def require_at_least(name: str, value: float, least: float) -> None:
    """Raise `UserError` for an option below what is possible."""
    if not value >= least:
        raise UserError(f"{name} {value:g} is not possible: at least {least:g}")


def require_above_zero(name: str, value: float) -> None:
    """Raise `UserError` for an option that is not a positive number."""
    if not 0 < value < float("inf"):
        raise UserError(f"{name} {value:g} is not possible: a number above 0")
