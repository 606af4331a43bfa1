"""``livestain export``: a run as files that programs without OME-Zarr 0.5 open."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from livestain.cli.options import RunPath


class Format(enum.StrEnum):
    """What can be written."""

    OME_TIFF = "ome-tiff"


def export(
    run: RunPath,
    to: Annotated[Format, typer.Option(help="File format.")] = Format.OME_TIFF,
    channels: Annotated[
        str | None,
        typer.Option(help="Names separated by commas, such as 'virtual: nuclei,measured: BF'.", show_default="all"),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write into.", show_default="RUN/export")] = None,
) -> int:
    """Write a run as OME-TIFF (for Fiji and others): measured and virtual channels in separate files."""
    from livestain.store.export import export_ome_tiff
    from livestain.store.read import open_run

    opened = open_run(run)
    counters = opened.counters()
    if not opened.closed:
        typer.echo(
            "note: the run was not closed (it is being recorded, or was interrupted): a part is exported", err=True
        )
    if counters["failed"]:
        typer.echo(f"note: {counters['failed']} of {counters['received']} frames were never recorded", err=True)
    if not opened.stains:
        typer.echo("note: the run has no virtual stains", err=True)
    wanted = [name.strip() for name in channels.split(",")] if channels else None
    for written in export_ome_tiff(opened, output if output is not None else run / "export", wanted):
        typer.echo(written.path)
        if written.empty:
            text = f"note: {len(written.empty)} planes in {written.path.name} are black: not recorded or not stained"
            typer.echo(text, err=True)
    return 0
