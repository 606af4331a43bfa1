"""Each example runs as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=120).stdout


def test_stain_live_and_read_run(tmp_path: Path) -> None:
    said = run("stain_live.py", str(tmp_path / "run"))
    assert "received=10, saved=10, failed=0" in said
    read = run("read_run.py", str(tmp_path / "run"))
    assert "virtual: nuclei: (10, 1, 256, 256) uint16" in read
    assert "rows: 10 without a stain: []" in read


def test_stain_image() -> None:
    assert "virtual membrane: (256, 256) uint16" in run("stain_image.py")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
