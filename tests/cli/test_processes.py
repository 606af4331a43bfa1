"""The demo as a process of its own: killed at any moment, started in an odd folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from livestain.store.ledger import read_rows
from livestain.store.read import open_run
from tests.cli.demos import LIVESTAIN, demo, kill_and_see
from tests.session.pieces import await_that, check_closed

# The moments are those of a seeded draw, from before the first file to some seconds of recording.
MOMENTS_S = sorted(np.random.default_rng(5).uniform(0.5, 6.0, 30))
QUICK = [MOMENTS_S[8], MOMENTS_S[15], MOMENTS_S[25]]


@pytest.mark.parametrize(
    "moment_s",
    [*QUICK, *(pytest.param(moment_s, marks=pytest.mark.slow) for moment_s in MOMENTS_S)],
    ids="{:.2f} s".format,
)
def test_killed_at_any_moment_the_demo_loses_nothing_that_has_a_row(
    moment_s: float, model_folder: Path, tmp_path: Path
) -> None:
    with demo(model_folder, tmp_path / "run") as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(moment_s)
        kill_and_see(process, tmp_path / "run")


def test_killed_while_it_stains_the_demo_loses_nothing_that_has_a_row(model_folder: Path, tmp_path: Path) -> None:
    with demo(model_folder, tmp_path / "run") as process:
        ledger = tmp_path / "run" / "stains" / "livestain-test-model" / "ledger.jsonl"
        await_that(lambda: len(read_rows(ledger)[0]) > 20)
        assert kill_and_see(process, tmp_path / "run") > 10
    run = open_run(tmp_path / "run")
    assert not run.closed
    assert any("was not closed" in problem for problem in run.problems)


def test_files_named_like_libraries_in_the_folder_do_no_harm(model_folder: Path, tmp_path: Path) -> None:
    for name in ("numpy", "json", "livestain"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('taken from the wrong folder')")
    command = [*LIVESTAIN, "demo", "--model", str(model_folder), "--output", "run", "--size", "96", "--no-view"]
    command += ["--frames", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    check_closed(tmp_path / "run", received=2, saved=2, behind=0, unstained=0)


def test_a_terminal_that_is_gone_ends_no_acquisition(model_folder: Path, tmp_path: Path) -> None:
    command = [*LIVESTAIN, "demo", "--model", str(model_folder), "--output", str(tmp_path / "run")]
    command += ["--size", "96", "--fps", "10", "--frames", "50", "--no-view"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.readline()
        process.stderr.close()
        said = process.stdout.read().decode()
    assert "Recorded  50 of 50 frames" in said
    assert process.returncode == 0
    check_closed(tmp_path / "run", received=50, saved=50, failed=0)
