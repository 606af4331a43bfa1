"""The commands from beginning to end, with the stainer in its process."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from pymmcore_plus import find_micromanager

from livestain.store.planes import PlaneStore
from livestain.store.read import open_run
from livestain.view.recorded import RecordedRun
from tests.conftest import Livestain
from tests.session.pieces import await_that, check_closed, frame, raw_plane


@pytest.fixture
def small_config(tmp_path: Path) -> Path:
    """The demo devices with a small camera."""
    demo = Path(str(find_micromanager())) / "MMConfig_demo.cfg"
    lines = demo.read_text(encoding="utf-8").splitlines()
    lines += [f"Property,Camera,OnCameraCCD{axis}Size,128" for axis in "XY"]
    path = tmp_path / "small.cfg"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_demo_shows_simulated_cells(model_folder: Path, tmp_path: Path, livestain: Livestain) -> None:
    done = livestain(
        "demo", "--model", model_folder, "--output", tmp_path / "run", "--frames", 6, "--size", 128, "--fps", 20
    )
    assert done.code == 0
    check_closed(tmp_path / "run", received=6, saved=6, behind=0, unstained=0)
    assert f"Recorded  6 of 6 frames in {tmp_path / 'run'}" in done.out
    assert "random weights, for tests only" in done.out
    assert "virtual: nuclei, virtual: membrane" in done.out
    assert "LOSS" not in done.out
    assert "crash" not in done.err  # all of the plan fits into memory: there is no number that says anything
    assert "waiting for the engine ..." in done.err


def test_demo_without_an_output_takes_the_next_free_folder(
    model_folder: Path, tmp_path: Path, livestain: Livestain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo-run").mkdir()
    (tmp_path / "demo-run" / "mine.txt").write_text("mine")
    done = livestain("demo", "--model", model_folder, "--frames", 1, "--size", 96, "--fps", 20)
    assert done.code == 0
    check_closed(tmp_path / "demo-run_002", received=1)


def test_demo_shows_recorded_images_and_says_all_as_json(
    model_folder: Path, tmp_path: Path, livestain: Livestain
) -> None:
    frames = np.stack([frame(k) for k in range(3)])
    tifffile.imwrite(tmp_path / "a.tif", frames, metadata={"axes": "TYX"}, photometric="minisblack")
    done = livestain(
        "demo", "--model", model_folder, "--output", tmp_path / "run", "--images", tmp_path / "a.tif", "--fps", 20,
        "--json", "--no-fsync", "--backend", "onnxruntime",
    )  # fmt: skip
    assert done.code == 0
    said = json.loads(done.out)
    assert (said["acquisition"], said["camera"]) == ("completed", "")
    (run,) = said["runs"]
    assert run["counters"] == check_closed(tmp_path / "run", received=3, saved=3, behind=0)
    engine = run["engine"]
    assert engine["backend"] == "onnxruntime"
    facts = RecordedRun(tmp_path / "run").facts
    assert facts["Engine"] == f"onnxruntime {engine['version']}, {engine['precision']}"  # as in the live window
    assert (facts["Device"], facts["Source"]) == (engine["device"], "replay of a.tif, channel 0")
    for t in range(3):
        np.testing.assert_array_equal(raw_plane(tmp_path / "run", (0, t, 0)), frames[t])


def test_an_image_that_breaks_in_mid_run_is_named_and_the_code_is_3(
    model_folder: Path, tmp_path: Path, livestain: Livestain
) -> None:
    for k in range(4):
        tifffile.imwrite(tmp_path / f"t{k}.tif", frame(k), photometric="minisblack", compression="zlib")
    damaged = bytearray((tmp_path / "t2.tif").read_bytes())
    damaged[400:-400] = bytes(len(damaged) - 800)
    (tmp_path / "t2.tif").write_bytes(damaged)
    done = livestain(
        "demo", "--model", model_folder, "--output", tmp_path / "run", "--images", tmp_path / "t*.tif", "--fps", 20
    )
    assert done.code == 3
    assert "The camera failed:" in done.out
    assert "t2.tif" in done.out
    check_closed(tmp_path / "run", received=3, saved=3, behind=0)


SEQUENCE = """
axis_order: tpcz
time_plan: {interval: 0, loops: 2}
stage_positions: [{x: 0, y: 0}, {x: 10, y: 10}]
channels: [FITC, DAPI]
z_plan: {range: 1, step: 1}
"""


def test_run_acquires_channels_positions_and_sections(
    model_folder: Path, small_config: Path, tmp_path: Path, livestain: Livestain
) -> None:
    (tmp_path / "plan.yaml").write_text(SEQUENCE)
    done = livestain(
        "run", "--model", model_folder, "--output", tmp_path / "run", "--config", small_config,
        "--mda", tmp_path / "plan.yaml", "--channel", "DAPI",
    )  # fmt: skip
    assert done.code == 0, done.err
    check_closed(tmp_path / "run", received=16, saved=16, labelfree=8, behind=0, unstained=0)
    run = open_run(tmp_path / "run")
    assert run.channels == ("measured: DAPI", "measured: FITC", "virtual: nuclei", "virtual: membrane")
    assert run.positions == (0, 1)
    assert run.array("virtual: membrane", 1).shape == (2, 2, 128, 128)


def test_run_makes_a_time_lapse_of_the_demo_devices(model_folder: Path, tmp_path: Path, livestain: Livestain) -> None:
    done = livestain("run", "--model", model_folder, "--output", tmp_path / "run", "--frames", 2, "--interval", 0.1)
    assert done.code == 0
    check_closed(tmp_path / "run", received=2, saved=2, behind=0, unstained=0)
    assert "512" in str(open_run(tmp_path / "run").array("measured: Camera").shape)


def test_export_writes_what_was_recorded(model_folder: Path, tmp_path: Path, livestain: Livestain) -> None:
    livestain("demo", "--model", model_folder, "--output", tmp_path / "run", "--frames", 2, "--size", 96, "--fps", 20)
    done = livestain("export", tmp_path / "run", "--to", "ome-tiff", "--output", tmp_path / "out")
    assert done.code == 0
    written = [Path(line) for line in done.out.splitlines()]
    assert len(written) == 2
    assert all(path.is_file() and path.parent == tmp_path / "out" for path in written)


def test_a_run_that_loses_frames_says_so_in_its_last_line_and_the_code_is_3(
    model_folder: Path, tmp_path: Path, livestain: Livestain, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = PlaneStore.begin

    def refuse_third(store: PlaneStore, t: int, *passed: object) -> object:
        if t == 2:
            raise MemoryError("no memory for this one")
        return begin(store, t, *passed)  # type: ignore[arg-type]

    monkeypatch.setattr(PlaneStore, "begin", refuse_third)
    done = livestain(
        "demo", "--model", model_folder, "--output", tmp_path / "run", "--frames", 4, "--size", 96, "--fps", 20
    )
    assert done.code == 3
    assert done.out.splitlines()[-1] == "LOSS      1 frames are not recorded; 0 recorded ones have no stain"
    assert "no memory for this one" in done.out


@pytest.mark.skipif("sys.platform == 'win32'", reason="Windows does not delete what is open")
def test_a_run_folder_deleted_in_mid_run_is_said_and_the_code_is_3(
    model_folder: Path, tmp_path: Path, livestain: Livestain
) -> None:
    def delete() -> None:
        ledger = tmp_path / "run" / "raw" / "ledger.jsonl"
        await_that(lambda: ledger.exists() and b'"n":3' in ledger.read_bytes())
        while (tmp_path / "run").exists():
            shutil.rmtree(tmp_path / "run", ignore_errors=True)

    deleting = threading.Thread(target=delete)
    deleting.start()
    done = livestain(
        "demo", "--model", model_folder, "--output", tmp_path / "run", "--frames", 40, "--size", 96, "--fps", 20
    )
    deleting.join()
    assert done.code == 3
    assert done.out.splitlines()[-1].startswith("LOSS      40 frames are not recorded")
    assert "deleted" in done.out


def test_the_list_of_commands_has_no_line_cut_off(livestain: Livestain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "..." not in livestain("--help").out.split("Commands:")[1]


def test_help_and_version_are_shown(livestain: Livestain) -> None:
    assert "Exit codes:" in livestain("--help").out
    assert livestain("--version").out.strip()
    assert "--frames" in livestain("demo", "-h").out
