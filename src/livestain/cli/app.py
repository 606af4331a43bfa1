"""All commands under one name, and what a mistake looks like."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from livestain.cli.bench import bench
from livestain.cli.build_engine import build_engine
from livestain.cli.demo import demo
from livestain.cli.evaluate import evaluate
from livestain.cli.export import export
from livestain.cli.fetch_weights import fetch_weights
from livestain.cli.run import run
from livestain.cli.train import train
from livestain.cli.view import view
from livestain.errors import LivestainError, UserError

USER_MISTAKE = 2
INTERRUPTED = 130

app = typer.Typer(
    name="livestain",
    help="Virtual staining beside the microscope: every label-free frame stained live, everything recorded.",
    epilog="Exit codes: 0 all saved and stained; 2 a mistake in what was asked for; 3 frames failed or were not "
    "stained; 130 stopped by Ctrl-C.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(short_help="Try it: simulated cells or your images, no microscope.")(demo)
app.command(short_help="Stain and record an acquisition on your microscope.")(run)
app.command(short_help="Look at a run, or save a picture or movie of it.")(view)
app.command(short_help="Write a run as OME-TIFF, for Fiji and others.")(export)
app.command(short_help="Make a model from your own images, without pairs.")(train)
app.command(short_help="Compile a model before it is needed, also for other cards.")(build_engine)
app.command(short_help="Compare virtual stains with measured ones.")(evaluate)
app.command(short_help="Measure how fast this machine stains, and what limits it.")(bench)
app.command(short_help="Fetch the weights of LPIPS (64 MB, once).")(fetch_weights)


def _print_version(asked: bool) -> None:
    if asked:
        from livestain import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Virtual staining beside the microscope: every label-free frame stained live, everything recorded."""


def run_command() -> int:
    """Run the command line; a user's mistake is one line and exit code 2, never a traceback. Returns the exit code."""
    try:
        return int(app(sys.argv[1:] or ["--help"], prog_name="livestain", standalone_mode=False) or 0)
    except typer.Abort:
        return INTERRUPTED
    except _UsageError as error:
        return _complain(error.format_message(), f"see {error.ctx.command_path if error.ctx else 'livestain'} --help")
    except UserError as error:
        return _complain(str(error))
    except LivestainError as error:
        return _complain(str(error), code=3)


# typer carries its own copy of click and names only this one of its errors.
_UsageError: Any = typer.BadParameter.__mro__[1]


def _complain(text: str, hint: str = "", code: int = USER_MISTAKE) -> int:
    lines = [f"error: {text}"] + ([f"hint: {hint}"] if hint else [])
    typer.echo("\n".join(" ".join(line.split()) for line in lines), err=True)
    return code
