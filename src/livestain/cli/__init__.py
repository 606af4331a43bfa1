"""The command line: one file per command, thin; results on stdout, talk on stderr."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line and end the program with its exit code."""
    try:
        # Here and not above: it takes a second, and Ctrl-C within it is no error of ours to be shown.
        from livestain.cli.app import run_command

        code = run_command()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)
