"""``livestain build-engine``: files with sidecars, built once, whole or not at all; a mistake is one line."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile

from livestain.engine.cache import EngineCache, EngineFile, Facts
from livestain.engine.tensorrt.build import BuiltPlan, Shapes
from livestain.engine.tensorrt.cuda import find_gpu
from livestain.engine.tensorrt.plans import Wish, make_engine_file
from livestain.model import read_model
from tests.cli.demos import LIVESTAIN
from tests.conftest import Livestain
from tests.engine.tensorrt import fake_cuda, fake_tensorrt
from tests.engine.tensorrt.fake_builder import PLAN, FakeTensorRt, install
from tests.models import camera_frame, write_test_model

no_card = pytest.mark.skipif(find_gpu()[0] is not None, reason="there is a card: would show what happens without one")
NAMED = ("--targets", "sm86")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A model folder with nothing compiled."""
    return write_test_model(tmp_path / "model")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
    module = FakeTensorRt()
    install(monkeypatch, module)
    return module


def compiled(model: Path) -> list[Path]:
    return sorted((model / "compiled").glob("*.blob"))


def left(folder: Path) -> set[str]:
    """Kinds of files in a folder; locks may stay."""
    return {path.suffix for path in folder.glob("*")} - {".lock"}


@no_card
def test_without_a_card_a_model_is_built_for_all_generations_with_a_sidecar(own: Path, livestain: Livestain) -> None:
    pytest.importorskip("tensorrt_rtx", reason="not installed: would show that it builds for cards that are not here")
    done = livestain("build-engine", own)
    assert done.code == 0
    assert "no card to build for here" in done.err
    assert "building for sm75,sm86,sm89,sm120" in done.err
    assert re.search(r"SM75 SM86 SM89 SM120, 96x96 to 2304x2304 uint16: [\d.]+ MiB, built in [\d.]+ s", done.err)
    assert re.search(r"a frame of 2048 x 2048 px: [\d.]+ GFLOP, 24.3 MiB to the device and back", done.err)
    assert "built, not yet run on a GPU: gated when it is first opened" in done.err
    assert [Path(line) for line in done.out.splitlines()] != []
    assert sorted(map(Path, done.out.splitlines())) == compiled(own)
    model = read_model(own)
    sidecars = [json.loads(path.with_suffix(".json").read_text("utf-8")) for path in compiled(own)]
    assert {sidecar["facts"]["bit"] for sidecar in sidecars} == {"uint8", "uint16"}
    for sidecar in sidecars:
        facts, notes = sidecar["facts"], sidecar["notes"]
        assert facts.keys() >= {"graph", "version"}
        assert (
            facts.items()
            >= {"backend": "tensorrt", "module": "tensorrt_rtx", "wire": "bytes", "precision": "f32"}.items()
        )
        assert facts["model"] == model.identity
        assert facts["targets"] == ["SM75", "SM86", "SM89", "SM120"]
        assert facts["shapes"] == [[96, 96], [2048, 2048], [2304, 2304]]
        assert notes.keys() >= {"built", "seconds", "livestain", "log"}
        assert notes["gate"] is None


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_reduced_precisions_are_built_for_named_cards(
    own: Path, precision: str, monkeypatch: pytest.MonkeyPatch, livestain: Livestain
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="not installed: would show that it builds reduced precisions")
    monkeypatch.setattr("livestain.engine.gate.BRIGHT_RMS_MAX", 0.03)  # random weights reach 2.1 % in int8
    frames = calibration(own.parent / "frames") if precision == "int8" else None
    more = ["--calibration", frames] if frames else []
    done = livestain("build-engine", own, *NAMED, "--precision", precision, "--shape", "96x112", *more)
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 2


def test_a_quantised_network_that_misses_the_gate_is_not_kept(
    own: Path, fake: FakeTensorRt, monkeypatch: pytest.MonkeyPatch, livestain: Livestain
) -> None:
    monkeypatch.setattr("livestain.engine.gate.BRIGHT_RMS_MAX", 0.001)
    done = livestain("build-engine", own, *NAMED, "--precision", "int8", "--calibration", calibration(own.parent / "f"))
    assert done.code == 3
    assert "does not reproduce the model's own stain" in done.err
    assert fake.builds == 0
    assert not [file for file in EngineCache.of(read_model(own)).files() if file.facts["precision"] == "int8"]


def test_each_frame_size_gets_an_engine_for_both_kinds_of_cameras(
    own: Path, fake: FakeTensorRt, livestain: Livestain
) -> None:
    done = livestain("build-engine", own, *NAMED, "--shape", "96x112,512x640")
    assert done.code == 0
    assert fake.builds == len(compiled(own)) == 4
    assert fake.asked["targets"] == ["SM86"] * 4
    assert fake.asked["profile"]["frame"] == ((1, 1, 512, 640),) * 3


@pytest.mark.parametrize("targets", [[], ["--targets", "current"], ["--targets", "sm89"]])
def test_with_a_card_the_engine_is_gated_on_it(
    own: Path, targets: list[str], monkeypatch: pytest.MonkeyPatch, livestain: Livestain
) -> None:
    cards_here(monkeypatch)
    done = livestain("build-engine", own, *targets, "--shape", "160x144")
    assert done.code == 0, done.err
    assert "gate passed: relative RMS 0.00% where bright" in done.err
    assert "not yet run" not in done.err
    notes = {file.facts["bit"]: file.notes for file in engines(own)}
    assert notes["uint16"]["gate"]["passed"] is True
    assert notes["uint8"]["gate"] is None  # the test frame has 16 bits


@pytest.mark.parametrize("options", [["--targets", "sm75"], ["--output", "elsewhere"]])
def test_what_the_card_here_does_not_run_is_not_gated(
    own: Path, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, livestain: Livestain
) -> None:
    monkeypatch.chdir(tmp_path)
    cards_here(monkeypatch)
    done = livestain("build-engine", own, *options, "--shape", "160x144")
    assert done.code == 0, done.err
    assert "built, not yet run on a GPU" in done.err


def cards_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card, as far as doubles go."""
    fake_cuda.install(monkeypatch, fake_cuda.FakeCuda())
    fake_tensorrt.install(monkeypatch, fake_tensorrt.FakeTensorRt())

    def build(_module: object, graph: onnx.ModelProto, *, shapes: Shapes, bit: str, **_: object) -> BuiltPlan:
        return BuiltPlan(fake_tensorrt.plan_bytes(graph, shapes, bit), 0.1, ())

    monkeypatch.setattr("livestain.engine.tensorrt.plans.build_plan", build)


def engines(model: Path) -> list[EngineFile]:
    files = EngineCache(model / "compiled").files()
    return [file for file in files if file.facts["kind"] == "engine"]


def test_what_is_there_is_kept_unless_forced(own: Path, fake: FakeTensorRt, livestain: Livestain) -> None:
    first = livestain("build-engine", own, *NAMED)
    again = livestain("build-engine", own, *NAMED)
    assert (again.code, again.out, fake.builds) == (0, first.out, 2)
    assert again.err.count("there already: kept (--force builds it anew)") == 2
    forced = livestain("build-engine", own, *NAMED, "--force")
    assert (forced.code, forced.out, fake.builds) == (0, first.out, 4)


@pytest.mark.parametrize("damage", ["plan", "sidecar"])
def test_what_is_damaged_is_built_anew(own: Path, damage: str, fake: FakeTensorRt, livestain: Livestain) -> None:
    livestain("build-engine", own, *NAMED)
    for path in compiled(own):
        (path if damage == "plan" else path.with_suffix(".json")).write_bytes(b"cut o")
    assert livestain("build-engine", own, *NAMED).code == 0
    assert fake.builds == 4
    assert [path.read_bytes() for path in compiled(own)] == [PLAN] * 2


def test_another_folder_gets_the_files(own: Path, tmp_path: Path, fake: FakeTensorRt, livestain: Livestain) -> None:
    output = tmp_path / "new" / "engines"
    assert livestain("build-engine", own, *NAMED, "--output", output).code == 0
    assert left(output) == {".blob", ".json"}
    assert compiled(own) == []


def test_openvino_is_compiled_for_a_frame_size_and_gated(own: Path, livestain: Livestain) -> None:
    words = ("build-engine", own, "--backend", "openvino", "--shape", "96x112")
    done = livestain(*words)
    assert done.code == 0
    assert "gate passed: relative RMS" in done.err
    assert "a frame of 96 x 112 px" in done.err
    files = [file for file in EngineCache.of(read_model(own)).files() if file.facts["shape"] == [96, 112]]
    assert len(files) == 2
    assert not any("gate" in file.notes for file in files)  # the test frame has another size
    gated = [file for file in EngineCache.of(read_model(own)).files() if "gate" in file.notes]
    assert [(file.facts["shape"], file.facts["bit"], file.notes["gate"]["passed"]) for file in gated] == [
        ([160, 144], "uint16", True)
    ]
    assert "there already: kept" in livestain(*words).err
    assert "compiled and run" in livestain(*words, "--force").err


def test_onnx_runtime_is_gated_and_keeps_no_file(own: Path, livestain: Livestain) -> None:
    done = livestain("build-engine", own, "--backend", "onnxruntime", "--shape", "96x96")
    assert (done.code, done.out) == (0, "")
    assert "gate passed" in done.err
    assert "ONNX Runtime keeps no file" in done.err


def test_an_engine_that_fails_the_gate_ends_with_its_figures(tmp_path: Path, livestain: Livestain) -> None:
    other = write_test_model(tmp_path / "other", seed=1)
    own = write_test_model(
        tmp_path / "model", edit=lambda description: expect_stains_of(other, tmp_path / "model", description)
    )
    done = livestain("build-engine", own, "--backend", "openvino", "--shape", "96x96")
    assert done.code == 3
    assert "does not reproduce the model's own stain of the test frame: relative RMS" in done.err


def expect_stains_of(other: Path, model: Path, description: dict[str, Any]) -> None:
    expected = (other / "test_output.npy").read_bytes()
    (model / "test_output.npy").write_bytes(expected)
    description["outputs"][0]["test_tensor"]["sha256"] = hashlib.sha256(expected).hexdigest()


def test_the_list_shows_what_is_compiled(own: Path, fake: FakeTensorRt, livestain: Livestain) -> None:
    assert "nothing is compiled" in livestain("build-engine", own, "--list").err
    livestain("build-engine", own, *NAMED)
    livestain("build-engine", own, "--backend", "openvino", "--shape", "96x112")
    done = livestain("build-engine", own, "--list")
    assert done.code == 0
    table = done.out
    assert re.search(
        r"tensorrt_rtx 9.9 +engine +fp32 +SM86 +96x96 to 2304x2304 uint16 +0.0 +\d{4}-.* +not yet run", table
    )
    assert re.search(r"openvino \S+ +engine +fp32 +.+ +160x144 uint16 +\d.* +passed, 0.00%", table)


def test_cleaning_deletes_and_says_how_much(own: Path, fake: FakeTensorRt, livestain: Livestain) -> None:
    livestain("build-engine", own, *NAMED)
    done = livestain("build-engine", own, "--clean")
    assert done.code == 0
    assert re.search(r"deleted \d+ files, 0.0 MiB, in .*compiled", done.err)
    assert list((own / "compiled").iterdir()) == []


def test_ctrl_c_leaves_no_half_file(own: Path, monkeypatch: pytest.MonkeyPatch, livestain: Livestain) -> None:
    def interrupted(module: FakeTensorRt) -> bytes | None:
        if module.builds == 1:
            return PLAN
        signal.raise_signal(signal.SIGINT)
        return module.until_cancelled()

    module = FakeTensorRt(interrupted)
    install(monkeypatch, module)
    done = livestain("build-engine", own, *NAMED)
    assert module.ended.wait(30)  # an interrupt while its thread starts leaves the library a moment behind the command
    assert (done.code, module.builds, module.cancelled) == (130, 2, True)
    assert "Traceback" not in done.err
    assert [path.read_bytes() for path in compiled(own)] == [PLAN]  # the first was whole and stays
    assert left(own / "compiled") == {".blob", ".json"}


def test_a_full_disk_is_one_line_and_leaves_nothing(
    own: Path, fake: FakeTensorRt, monkeypatch: pytest.MonkeyPatch, livestain: Livestain
) -> None:
    def full(path: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    done = livestain("build-engine", own, *NAMED)
    assert done.code == 2
    assert re.search(
        r"error: engine file of .* MiB cannot be written to .*: No space left on device; make room", done.err
    )
    assert left(own / "compiled") == set()


def test_two_processes_build_an_engine_once(own: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="not installed: would show that two processes build once")
    command = [*LIVESTAIN, "build-engine", str(own), "--targets", "sm86", "--shape", "96x96"]
    with several(command, 2) as processes:
        texts = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], texts
    assert sum(text.count("built in") for text in texts) == 2  # one for each kind of camera
    assert sum(text.count("there already") for text in texts) == 2


@contextmanager
def several(command: list[str], count: int) -> Iterator[list[subprocess.Popen[str]]]:
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_who_waits_for_another_builder_takes_its_file(own: Path) -> None:
    asked = threading.Event()

    class Watched(EngineCache):
        @contextmanager
        def building(self, facts: Facts) -> Iterator[None]:
            asked.set()
            with super().building(facts):
                yield

    model, module = read_model(own), FakeTensorRt()
    wish = Wish("f32", Shapes(), "uint16", ("SM86",))
    first = EngineCache(own / "compiled")
    made = make_engine_file(module, model, first, wish)
    made.file.path.unlink()
    results = []
    second = threading.Thread(
        target=lambda: results.append(make_engine_file(module, model, Watched(own / "compiled"), wish))
    )
    with first.building(made.file.facts):
        second.start()
        assert asked.wait(20)
        first.store(made.file.facts, PLAN)
    second.join(20)
    assert [(result.new, result.file.path) for result in results] == [(False, made.file.path)]
    assert module.builds == 1


def calibration(folder: Path, frames: int = 4, contrast: float = 1.0) -> Path:
    """A folder of frames like those of the test model; less contrast than it knows, if asked for."""
    folder.mkdir()
    for number in range(frames):
        frame = camera_frame((160, 144), number).astype(np.float32)
        tifffile.imwrite(folder / f"{number}.tif", (frame.mean() + contrast * (frame - frame.mean())).astype(np.uint16))
    return folder


def folder_of(make: Callable[[Path], object]) -> Callable[[Path], list[object]]:
    def options(folder: Path) -> list[object]:
        frames = folder / "frames"
        make(frames)
        return ["--precision", "int8", "--calibration", frames]

    return options


MISTAKES: dict[str, tuple[Callable[[Path], list[object]] | list[object], str]] = {
    "unknown model": (["--list"], "nothing"),
    "unknown target": (
        ["--targets", "sm90"],
        "no target sm90; tensorrt_rtx 9.9 builds for sm75, sm86, sm89, sm120, or current",
    ),
    "unknown target among others": (["--targets", "sm86,rtx"], "no target rtx;"),
    "unknown precision": (["--precision", "f32"], "--precision"),
    "unknown backend": (["--backend", "cuda"], "--backend"),
    "shape below the minimum": (["--shape", "64x512"], "64 x 512 px are not possible: at least 96 x 96"),
    "shape below the minimum, OpenVINO": (["--backend", "openvino", "--shape", "64x512"], "64 x 512 px"),
    "shape above memory": (["--shape", "200000x300000"], "the largest card has 288 GiB"),
    "shape above memory, OpenVINO": (["--backend", "openvino", "--shape", "900000x900000"], "this computer has"),
    "shape that is none": (["--shape", "large"], "--shape large is not possible: height x width in px"),
    "shape with one side": (["--shape", "512"], "--shape 512 is not possible"),
    "shape and dynamic": (["--shape", "512x512", "--dynamic"], "exclude each other"),
    "list and clean": (["--list", "--clean"], "exclude each other"),
    "OpenVINO for all sizes": (["--backend", "openvino", "--dynamic"], "give --shape"),
    "OpenVINO for other machines": (
        ["--backend", "openvino", "--targets", "sm86"],
        "--targets is for --backend tensorrt",
    ),
    "OpenVINO elsewhere": (["--backend", "openvino", "--output", "x"], "--output is for --backend tensorrt"),
    "a precision that ONNX Runtime lacks": (["--backend", "onnxruntime", "--precision", "bf16"], "computes in"),
    "int8 without frames": (["--precision", "int8"], "--precision int8 needs --calibration"),
    "frames without int8": (["--calibration", "."], "--calibration is for --precision int8"),
    "no calibration folder": (["--precision", "int8", "--calibration", "no"], "no does not exist"),
    "an empty calibration folder": (folder_of(Path.mkdir), "holds no image"),
    "few calibration frames": (folder_of(lambda frames: calibration(frames, 2)), "at least 4"),
    "another modality": (
        folder_of(lambda frames: calibration(frames, contrast=0.02)),
        "Calibrate with frames like those",
    ),
    "a file where the folder should be": (
        lambda folder: ["--output", write(folder / "file")],
        "file cannot be written (",
    ),
    "below a file": (
        lambda folder: ["--output", write(folder / "file") / "engines"],
        "engines cannot be written (",
    ),
}


def write(path: Path) -> Path:
    path.write_text("mine", encoding="utf-8")
    return path


@pytest.mark.parametrize(("mistake", "words"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_and_builds_nothing(
    mistake: Callable[[Path], list[object]] | list[object],
    words: str,
    own: Path,
    tmp_path: Path,
    fake: FakeTensorRt,
    livestain: Livestain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    options = mistake(tmp_path) if callable(mistake) else mistake
    done = livestain("build-engine", "nothing" if words == "nothing" else own, *options)
    assert done.code == 2
    assert words in done.err
    errors = [line for line in done.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert (fake.builds, done.out) == (0, "")


@no_card
def test_the_current_card_without_a_driver_is_refused(own: Path, fake: FakeTensorRt, livestain: Livestain) -> None:
    done = livestain("build-engine", own, "--targets", "current")
    assert done.code == 2
    assert "--targets current is not possible" in done.err
    assert "--targets sm75,sm86,sm89,sm120" in done.err


@pytest.mark.parametrize("targets", [[], ["--targets", "current"], ["--targets", "sm86"]])
def test_without_the_library_the_command_that_installs_it_is_named(
    own: Path, targets: list[str], monkeypatch: pytest.MonkeyPatch, livestain: Livestain
) -> None:
    install(monkeypatch, None)
    done = livestain("build-engine", own, *targets)
    assert done.code == 2
    assert "pip install" in done.err
    assert "livestain[nvidia]" in done.err
