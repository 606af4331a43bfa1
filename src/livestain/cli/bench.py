"""``livestain bench``: how fast this machine stains with a model, and what limits it."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livestain.cli.options import require_usable, tell
from livestain.errors import UserError

if TYPE_CHECKING:
    from livestain.bench.result import Result

_WIDTH = 140


def bench(
    model: Annotated[
        str, typer.Argument(help="Model folder, or the name of a shipped model.")
    ] = "demo-nuclei-membrane",
    backend: Annotated[
        str, typer.Option(help="Engine libraries, with commas: auto, tensorrt, openvino, onnxruntime.")
    ] = "auto",
    sizes: Annotated[str, typer.Option(help="Sides of square frames in px, with commas.")] = "512,1024,2048",
    frames: Annotated[int, typer.Option(help="Frames of each engine and size that count.")] = 40,
    end_to_end: Annotated[
        bool, typer.Option("--end-to-end", help="Also from a camera to durable stains and the screen.")
    ] = False,
    against: Annotated[
        str, typer.Option(help="Beside ours, with commas: torch, compile, onnxruntime.", show_default="none")
    ] = "",
    contend: Annotated[
        bool, typer.Option("--contend", help="All of it once more beside a second process that records.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option(help="On the disk to be measured.", show_default="the temp folder")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--json", help="Write everything to this file.", show_default="none")
    ] = None,
) -> int:
    """Measure how fast this machine stains, with what, what limits it, and how far that is from what it can do."""
    place = folder or Path(tempfile.gettempdir())
    if not place.is_dir():
        raise UserError(f"--folder {place} is no folder: name one on the disk to be measured")
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise UserError(f"--json {output} cannot be written: name a file in a folder that is there")
    # Of the core's own signals: Qt's would be told on another thread.
    os.environ.setdefault("PYMM_SIGNALS_BACKEND", "psygnal")
    from pymmcore_plus import configure_logging

    from livestain.bench.plan import parse_wanted, run
    from livestain.model import read_model

    configure_logging(stderr_level="ERROR")  # each frame is a line of its log otherwise
    wanted = parse_wanted(backend, sizes, frames, against, end_to_end=end_to_end, contend=contend)
    for name in wanted.backends:
        require_usable(name)
    result = run(read_model(model), wanted, place, tell)
    _print(result)
    if output is not None:
        _write(output, result)
    return 0


def _print(result: Result) -> None:
    from rich.console import Console
    from rich.table import Table

    from livestain.bench import report

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDTH
    for line in report.machine_lines(result):
        console.print(line, soft_wrap=True)
    for sheet in report.sheets(result):
        table = Table(box=None, padding=(0, 2, 0, 0))
        for number, heading in enumerate(sheet.headings):
            table.add_column(heading, justify="right" if number else "left", no_wrap=True)
        for row in sheet.rows:
            table.add_row(*row)
        console.print(f"\n{sheet.title}", soft_wrap=True)
        console.print(table)
        for note in sheet.notes:
            console.print(note, soft_wrap=True)
    console.print()
    for sentence in result.said:
        console.print(sentence, soft_wrap=True)


def _write(path: Path, result: Result) -> None:
    try:
        path.write_text(json.dumps(dataclasses.asdict(result), indent=1) + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(f"--json {path} cannot be written: {error.strerror or error}") from error
    tell(f"written: {path}")
