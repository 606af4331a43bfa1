"""A mistake of the user is one clear line and exit code 2, before anything is opened; never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.conftest import Livestain

SHAPE = (3, 100, 120)


def tiff(name: str, data: np.ndarray, **more: object) -> Callable[[Path], list[object]]:
    def write(folder: Path) -> list[object]:
        tifffile.imwrite(folder / name, data, **more)
        return ["--images", folder / name]

    return write


def text(name: str, content: str, *options: str) -> Callable[[Path], list[object]]:
    def write(folder: Path) -> list[object]:
        (folder / name).write_text(content, encoding="utf-8")
        return [*options, folder / name]

    return write


def occupied(folder: Path) -> list[object]:
    (folder / "run").mkdir()
    (folder / "run" / "mine.txt").write_text("mine")
    return []


def below_a_file(folder: Path) -> list[object]:
    (folder / "file").write_text("mine")
    return ["--output", folder / "file" / "run"]


GREY = {"photometric": "minisblack"}
CHANNELS = tiff("c.ome.tif", np.full((2, 2, 100, 120), 900, np.uint16), metadata={"axes": "TCYX"}, **GREY)
DEMO: dict[str, tuple[Callable[[Path], list[object]] | list[object], str]] = {
    "no frames": (["--frames", 0], "--frames 0 is not possible: at least 1"),
    "frames below zero": (["--frames", -3], "--frames -3 is not possible: at least 1"),
    "no rate": (["--fps", 0], "--fps 0 is not possible"),
    "a rate that is no number": (["--fps", "fast"], "--fps"),
    "too small": (["--size", 95], "--size 95 is not possible: 96 to 4096 px"),
    "seed below zero": (["--seed", -1], "--seed -1 is not possible"),
    "unknown model": (["--model", "nothing"], "nothing"),
    "unknown backend": (["--backend", "cuda"], "cuda"),
    "unknown option": (["--colour", "red"], "--colour"),
    "images that do not exist": (["--images", "nothing.tif"], "nothing.tif does not exist"),
    "colour images": (
        tiff("rgb.tif", np.zeros((100, 120, 3), np.uint8), photometric="rgb"),
        "is a colour image",
    ),
    "float images": (tiff("f.tif", np.ones(SHAPE, np.float32), **GREY), "float32 pixels: uint8 or uint16"),
    "32-bit images": (tiff("u.tif", np.ones(SHAPE, np.uint32), **GREY), "uint32 pixels: uint8 or uint16"),
    "small images": (tiff("s.tif", np.ones((3, 95, 120), np.uint16), **GREY), "at least 96 x 96"),
    "unreadable images": (text("x.tif", "this is no image", "--images"), "cannot be read"),
    "another type of file": (text("x.jpg", "this is no image", "--images"), "is no image type that is read here"),
    "several channels, none named": (CHANNELS, "--channel"),
    "several channels, another named": (
        lambda folder: [*CHANNELS(folder), "--channel", "BF"],
        "'BF'",
    ),
    "run folder not empty": (occupied, "is not empty: choose another name, such as run_002"),
    "run folder below a file": (below_a_file, "cannot be used to record a run"),
}


@pytest.mark.parametrize(("mistake", "words"), DEMO.values(), ids=DEMO.keys())
def test_a_mistake_in_demo_is_one_line(
    mistake: Callable[[Path], list[object]] | list[object],
    words: str,
    model_folder: Path,
    tmp_path: Path,
    livestain: Livestain,
) -> None:
    options = mistake(tmp_path) if callable(mistake) else mistake
    before = sorted(tmp_path.rglob("*"))
    done = livestain("demo", "--model", model_folder, "--output", tmp_path / "run", *options)
    assert done.code == 2
    assert done.out == ""
    lines = done.err.splitlines()
    assert lines[0].startswith("error: ")
    assert words in lines[0]
    assert [line for line in lines[1:] if not line.startswith("hint: ")] == []
    assert sorted(tmp_path.rglob("*")) == before


YAML = "time_plan: {interval: 0.01, loops: 2}\nchannels: [FITC, DAPI]\n"
RUN: dict[str, tuple[Callable[[Path], list[object]] | list[object], str]] = {
    "nothing to acquire": ([], "give either --mda SEQUENCE or --frames N"),
    "too much to acquire": (["--mda", "a.yaml", "--frames", 3], "give either --mda SEQUENCE or --frames N"),
    "no frames": (["--frames", 0], "--frames 0 is not possible: at least 1"),
    "interval below zero": (["--frames", 1, "--interval", -1], "--interval -1 is not possible"),
    "no such sequence": (["--mda", "nothing.yaml"], "sequence nothing.yaml cannot be read"),
    "a sequence that is none": (text("a.yaml", "- 1\n- 2\n", "--mda"), "is no"),
    "a sequence with a mistake": (text("a.yaml", "time_plan: {loops: many}\n", "--mda"), "time_plan"),
    "broken YAML": (text("a.yaml", "time_plan: {loops\n", "--mda"), "is no sequence"),
    "no such configuration": (["--frames", 1, "--config", "nothing.cfg"], "nothing.cfg is no file"),
    "a configuration with a mistake": (
        text("a.cfg", "Device,Camera,NoSuchLibrary,DCam\n", "--frames", "1", "--config"),
        "cannot be loaded",
    ),
    "a configuration without a camera": (
        text("a.cfg", "Property,Core,Initialize,1\n", "--frames", "1", "--config"),
        "names no camera",
    ),
    "two channels, none named": (text("a.yaml", YAML, "--mda"), "2 channels are recorded: name the label-free one"),
    "a channel that is not recorded": (
        text("a.yaml", YAML, "--channel", "Cy5", "--mda"),
        "channel 'Cy5' is not recorded by this sequence: choose one of 'FITC', 'DAPI'",
    ),
    "a channel that the configuration has not": (
        text("a.yaml", "channels: [BF]\n", "--mda"),
        "channel 'BF' is not in group 'Channel' of the configuration: 'Cy5', 'DAPI'",
    ),
    "a channel of one position that the configuration has not": (
        text("a.yaml", "stage_positions:\n- sequence: {channels: [BF]}\n", "--mda"),
        "channel 'BF' is not in group 'Channel'",
    ),
}


@pytest.mark.parametrize(("mistake", "words"), RUN.values(), ids=RUN.keys())
def test_a_mistake_in_run_is_one_line(
    mistake: Callable[[Path], list[object]] | list[object],
    words: str,
    model_folder: Path,
    tmp_path: Path,
    livestain: Livestain,
) -> None:
    options = mistake(tmp_path) if callable(mistake) else mistake
    before = sorted(tmp_path.rglob("*"))
    done = livestain("run", "--model", model_folder, "--output", tmp_path / "run", *options)
    assert (done.code, done.out) == (2, "")
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    assert words in lines[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_device_adapters_are_one_line_with_the_command_that_brings_them(
    model_folder: Path, tmp_path: Path, livestain: Livestain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pymmcore_plus.find_micromanager", lambda: None)
    done = livestain("run", "--model", model_folder, "--output", tmp_path / "run", "--frames", 1)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("error: no device adapters of Micro-Manager are installed: ")
    assert '-m pip install "mm-test-adapters"' in done.err
    assert not (tmp_path / "run").exists()


OTHERS: dict[str, tuple[list[object], str]] = {
    "no run to export": (["export", "nothing"], "nothing is no run"),
    "unknown command": (["stian"], "stian"),
    "unknown format": (["export", "nothing", "--to", "avi"], "avi"),
    "no run to view, and no display": (["view", "nothing"], "nothing is no run"),
}


@pytest.mark.parametrize(("words", "expected"), OTHERS.values(), ids=OTHERS.keys())
def test_other_mistakes_are_one_line_too(words: list[object], expected: str, livestain: Livestain) -> None:
    done = livestain(*words)
    assert (done.code, done.out) == (2, "")
    assert expected in done.err.splitlines()[0]
    assert "Traceback" not in done.err


def test_the_hint_after_a_wrong_option_names_the_command(livestain: Livestain) -> None:
    assert livestain("demo", "--frames", "x").err.splitlines()[-1] == "hint: see livestain demo --help"


@pytest.mark.parametrize(
    "command",
    [["demo"], ["run", "--model", "demo-nuclei-membrane", "--output", "r", "--frames", "1"], ["bench"]],
    ids=lambda c: c[0],
)
def test_a_card_that_is_not_there_is_said_before_anything_is_recorded(
    livestain: Livestain, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("livestain.engine.backends.tensorrt.TensorRtEngine.unusable", lambda: "no NVIDIA driver")
    done = livestain(*command, "--backend", "tensorrt")
    assert done.code == 2
    assert "--backend tensorrt cannot be used: no NVIDIA driver; leave it out to stain on the CPU" in done.err
    assert list(tmp_path.iterdir()) == []
