"""``livestain train``: mistakes are one line, and a folder without pairs becomes a model that stains."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from livestain.model import read_model
from tests.conftest import Livestain
from tests.train.pieces import write_cells

TINY = "steps = 12\nepoch_steps = 6\nlearning_rate = 0.03\nwidth = 2\nbatch = 2\ncrop_px = 32\n"

DEMO = "demo-nuclei-membrane"

MISTAKES: dict[str, tuple[list[str], str]] = {
    "no images": ([], "give --label-free PATH and --stain"),
    "no stain": (["--label-free", "LABEL_FREE"], "give --stain NAME=PATH"),
    "a stain without a name": (["--label-free", "LABEL_FREE", "--stain", "NUCLEI"], "NAME=PATH is needed"),
    "one stain twice": (["--label-free", "A", "--stain", "nuclei=A", "--stain", "nuclei=B"], "given twice"),
    "a stain alone": (["--stain", "nuclei=NUCLEI", "--pairs", "NUCLEI"], "--stain without --label-free"),
    "no such recipe": (["--label-free", "LABEL_FREE", "--stain", "nuclei=NUCLEI", "--recipe", "x"], "no recipe 'x'"),
    "no such folder": (["--label-free", "NOWHERE", "--stain", "nuclei=NUCLEI"], "does not exist"),
    "an unknown setting": (["--label-free", "LABEL_FREE", "--stain", "nuclei=NUCLEI", "--config", "BAD"], "stepz"),
    "no renderer": (
        ["--label-free", "LABEL_FREE", "--stain", "actin=NUCLEI", "--config", "TINY"],
        "around nuclei only, not actin",
    ),
    "crops larger than the images": (
        ["--label-free", "LABEL_FREE", "--stain", "nuclei=NUCLEI", "--config", "WIDE"],
        "crop_px",
    ),
    "a teacher for another recipe": (
        ["--label-free", "LABEL_FREE", "--stain", "nuclei=NUCLEI", "--teacher", DEMO],
        "belong together",
    ),
    "a teacher of other stains": (
        ["--label-free", "LABEL_FREE", "--stain", "nuclei=NUCLEI", "--recipe", "distill", "--teacher", DEMO],
        "teacher stains nuclei, membrane",
    ),
    "nothing to resume": (
        ["--label-free", "LABEL_FREE", "--stain", "nuclei=NUCLEI", "--config", "TINY", "--resume"],
        "nothing to resume",
    ),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = Path(tmp_path_factory.mktemp("images"))
    label_free, nuclei = write_cells(folder)
    for name, text in {"TINY": TINY, "BAD": "stepz = 3\n", "WIDE": TINY.replace("32", "256")}.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    found = {name: str(folder / f"{name}.toml") for name in ("TINY", "BAD", "WIDE")}
    return found | {"LABEL_FREE": str(label_free), "NUCLEI": str(nuclei), "NOWHERE": str(folder / "nowhere")}


def fill(words: list[str], places: dict[str, str]) -> list[str]:
    for name, path in places.items():
        words = [word.replace(name, path) if word.split("=")[-1] == name else word for word in words]
    return words


@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line(
    words: list[str], said: str, places: dict[str, str], tmp_path: Path, livestain: Livestain
) -> None:
    done = livestain("train", *fill(words, places), "--output", tmp_path / "model")
    assert done.code == 2, done.err
    error = done.err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert said in error
    assert not (tmp_path / "model").exists()


def test_two_folders_become_a_model(places: dict[str, str], tmp_path: Path, livestain: Livestain) -> None:
    words = fill(["--label-free", "LABEL_FREE", "--stain", "nuclei=NUCLEI", "--config", "TINY"], places)
    done = livestain("train", *words, "--output", tmp_path / "model")
    assert done.code == 0, done.err
    assert done.out.strip() == str(tmp_path / "model")
    assert "label-free: 3 planes in 1 group, 128 x 128 px, uint16, pixel not stated" in done.err
    assert "warning: 3 label-free planes are few" in done.err
    assert "student: step 12 of 12" in done.err
    assert read_model(tmp_path / "model").stains == ("nuclei",)


def test_swapped_folders_are_refused(places: dict[str, str], tmp_path: Path, livestain: Livestain) -> None:
    swapped = {**places, "LABEL_FREE": places["NUCLEI"], "NUCLEI": places["LABEL_FREE"]}
    words = fill(["--label-free", "LABEL_FREE", "--stain", "nuclei=NUCLEI", "--config", "TINY"], swapped)
    done = livestain("train", *words, "--output", tmp_path / "model")
    assert "swapped" in done.err


def test_ctrl_c_says_how_to_go_on(
    places: dict[str, str], tmp_path: Path, livestain: Livestain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(text: str) -> None:
        print(text)
        if text.startswith("teacher-0: step 6 "):
            signal.raise_signal(signal.SIGINT)

    words = fill(["--label-free", "LABEL_FREE", "--stain", "nuclei=NUCLEI", "--config", "TINY"], places)
    with monkeypatch.context() as patched:
        patched.setattr("livestain.cli.train._say", press)
        done = livestain("train", *words, "--output", tmp_path / "model")
    assert done.code == 130
    assert "--resume" in done.out
    assert not (tmp_path / "model").exists()
    assert livestain("train", *words, "--output", tmp_path / "model", "--resume").code == 0


def test_a_missing_extra_is_one_line_with_the_command(
    places: dict[str, str], tmp_path: Path, livestain: Livestain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livestain.cli.train.find_spec", lambda name: None)
    words = fill(["--label-free", "LABEL_FREE", "--stain", "nuclei=NUCLEI"], places)
    done = livestain("train", *words, "--output", tmp_path / "model")
    assert done.code == 2
    assert 'pip install "livestain[train]"' in done.err
    assert done.err.count("error:") == 1
