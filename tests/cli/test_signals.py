"""What only POSIX has: signals to a process group, processes that fork."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from livestain.store.ledger import read_rows
from tests.cli.demos import alive, demo, kill_and_see, raw_rows
from tests.conftest import stainer_pids
from tests.session.pieces import PATIENCE_S, await_that, check_closed

if sys.platform == "win32":
    pytest.skip("no process groups to signal and no fork on Windows", allow_module_level=True)

HOLDER = """
import os, sys, threading
import livestain, useq
sys.path.insert(0, sys.argv[3])
from tests.session.pieces import camera, timed
from livestain.sources.camera import make_core
with make_core(camera(exposure_ms=10)) as core:
    session = livestain.attach(core, sys.argv[1], sys.argv[2])
    if os.fork() == 0:
        os.close(1)
        threading.Event().wait()
    core.mda.run(timed(100_000, 0.02))
"""


def test_the_stainer_ends_though_a_forked_process_holds_its_input_open(model_folder: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", HOLDER, str(model_folder), str(tmp_path / "run"), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0) as process:
        try:
            ledger = tmp_path / "run" / "stains" / "livestain-test-model" / "ledger.jsonl"
            await_that(lambda: sum("state" in row for row in read_rows(ledger)[0]) > 3)
            assert kill_and_see(process, tmp_path / "run") > 3
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("delay_s", [0.0, 0.03, 0.1, 0.2])
def test_ctrl_c_at_the_birth_of_the_stainer_ends_in_order(delay_s: float, model_folder: Path, tmp_path: Path) -> None:
    with demo(model_folder, tmp_path / "run") as process:
        await_that(lambda: stainer_pids(process.pid))
        stainers = [psutil.Process(pid) for pid in stainer_pids(process.pid)]
        if delay_s:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(delay_s)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err.decode()
    assert b"Traceback" not in err
    assert b"started again" not in out
    await_that(lambda: not any(map(alive, stainers)))
    if any("state" in row for row in raw_rows(tmp_path / "run")):  # else it came before the first frame
        check_closed(tmp_path / "run", failed=0)


@pytest.mark.parametrize("delay_s", [0.2, 0.4, 0.8])
def test_ctrl_c_in_the_first_second_shows_no_traceback(delay_s: float, model_folder: Path, tmp_path: Path) -> None:
    with demo(model_folder, tmp_path / "run") as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay_s)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err.strip()) == (130, b"")


def interrupt(model: Path, run: Path, times: int, number: int = signal.SIGINT) -> tuple[int, str, str]:
    """Send Ctrl-C (or another signal) to a demo that has recorded some frames; returns exit code, stdout, stderr."""
    with demo(model, run) as process:
        await_that(lambda: len(raw_rows(run)) > 10)
        for _ in range(times):
            os.killpg(process.pid, number)
        out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "log-out"])
def test_being_told_to_end_saves_what_came_and_closes_the_run(number: int, model_folder: Path, tmp_path: Path) -> None:
    code, out, err = interrupt(model_folder, tmp_path / "run", times=1, number=number)
    assert code == 130, err
    assert "Traceback" not in err
    counters = check_closed(tmp_path / "run", failed=0)
    assert counters["saved"] >= 10
    assert f"Recorded  {counters['saved']} of {counters['received']} frames" in out


def test_ctrl_c_held_down_costs_no_frame(model_folder: Path, tmp_path: Path) -> None:
    code, _, err = interrupt(model_folder, tmp_path / "run", times=20)
    assert code == 130, err
    assert "Traceback" not in err
    assert check_closed(tmp_path / "run", failed=0)["saved"] >= 10
