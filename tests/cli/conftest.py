from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from livestain import cli


class Done(NamedTuple):
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


Livestain = Callable[..., Done]


@pytest.fixture
def livestain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Livestain:
    """Run a command line in this process."""
    monkeypatch.setenv("COLUMNS", "500")
    # It would change the log of every later test, and leaves its file open.
    monkeypatch.setattr("pymmcore_plus.configure_logging", lambda **_: None)

    def run(*words: object) -> Done:
        monkeypatch.setattr("sys.argv", ["livestain", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        written = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, written.out, written.err)

    return run
