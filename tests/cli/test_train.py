"""``livestain train``: mistakes are one line, and a folder without pairs becomes a model that stains."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from livestain.model import read_model
from livestain.train.recipes import RECIPES
from tests.conftest import Livestain
from tests.train.pieces import cells, write_cells

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
    assert re.search(r"label-free +3 +128 x 128 +uint16 +not stated", done.err)
    assert "warning: 3 label-free planes are few" in done.err
    assert "student: step 12 of 12" in done.err
    assert read_model(tmp_path / "model").stains == ("nuclei",)


def write(folder: Path, *planes: npt.NDArray[np.generic]) -> Path:
    folder.mkdir()
    for number, plane in enumerate(planes):
        tifffile.imwrite(folder / f"f{number}.tif", plane)
    return folder


def truncated(folder: Path) -> Path:
    path = write(folder, cells(0)[0]) / "f0.tif"
    path.write_bytes(path.read_bytes()[:9000])
    return folder


def virtual(folder: Path) -> Path:
    metadata = {"axes": "CYX", "Channel": {"Name": ["virtual: nuclei"]}}
    write(folder)
    tifffile.imwrite(folder / "f0.ome.tif", cells(0)[1][None], metadata=metadata, photometric="minisblack")
    return folder


BRIGHT, NUCLEI = cells(1)
REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "an empty folder": (write, "holds no image to learn from"),
    "colour": (lambda d: write(d, np.dstack([BRIGHT // 256] * 3).astype(np.uint8)), "is a colour image"),
    "a truncated file": (truncated, "f0.tif cannot be read"),
    "a constant image": (lambda d: write(d, np.full_like(BRIGHT, 9000)), "is 9000 counts everywhere"),
    "an image below the least size": (lambda d: write(d, BRIGHT[:64, :64]), "at least 96 x 96 is needed"),
    "a virtual stain": (virtual, "is a virtual stain: only a measured channel can be the truth"),
}


@pytest.mark.parametrize("side", ["label-free", "nuclei"])
@pytest.mark.parametrize(("images", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_images_that_cannot_be_used_are_named_in_one_line(
    images: Callable[[Path], Path], said: str, side: str, places: dict[str, str], tmp_path: Path, livestain: Livestain
) -> None:
    bad = str(images(tmp_path / "bad"))
    label_free, nuclei = (bad, places["NUCLEI"]) if side == "label-free" else (places["LABEL_FREE"], bad)
    done = livestain("train", "--label-free", label_free, "--stain", f"nuclei={nuclei}", "--output", tmp_path / "model")
    assert done.code == 2
    assert said in done.err.strip().splitlines()[-1]


def test_swapped_folders_are_refused(places: dict[str, str], tmp_path: Path, livestain: Livestain) -> None:
    words = ["--label-free", places["NUCLEI"], "--stain", f"nuclei={places['LABEL_FREE']}"]
    done = livestain("train", *words, "--output", tmp_path / "model")
    assert done.code == 2
    assert "error: the folders look swapped: the images given as label-free" in done.err
    assert "exchange the two paths" in done.err


def test_two_stains_of_different_counts_are_refused(
    places: dict[str, str], tmp_path: Path, livestain: Livestain
) -> None:
    membrane = write(tmp_path / "membrane", NUCLEI)
    words = ["--label-free", places["LABEL_FREE"], "--stain", f"nuclei={places['NUCLEI']}"]
    done = livestain("train", *words, "--stain", f"membrane={membrane}", "--output", tmp_path / "model")
    assert done.code == 2
    assert "3 images of 'nuclei' and 1 of 'membrane'" in done.err


def test_what_is_suspicious_is_said_before_the_training(tmp_path: Path, livestain: Livestain) -> None:
    label_free = write(tmp_path / "label-free", cells(0)[0], (cells(1)[0] // 64).astype(np.uint8), cells(2)[0][:100])
    nuclei, pairs = write(tmp_path / "nuclei", NUCLEI), tmp_path / "pairs"
    pairs.mkdir()
    for seed in range(3):
        frame, stain = cells(seed, 256, 40)
        tifffile.imwrite(pairs / f"f{seed}_bf.tif", frame)
        tifffile.imwrite(pairs / f"f{seed}_nuclei.tif", np.roll(stain, 9, 0))
    words = ["--label-free", label_free, "--stain", f"nuclei={nuclei}", "--pairs", pairs]
    done = livestain("train", *words, "--output", tmp_path / "model", "--resume")
    for row in (
        ["label-free", "3", "100 x 128 and 128 x 128", "uint16 and uint8", "not stated"],
        ["nuclei", "1", "128 x 128", "uint16", "not stated"],
        ["pairs: nuclei", "3", "256 x 256", "not stated"],
    ):
        assert re.search(r"\s+".join(map(re.escape, row)), done.err)
    for sentence in (
        "1 nuclei planes are few",
        "label-free images are of mixed dtypes",
        "label-free images have the sizes",
        "measured nuclei lies 9 px below and 0 px right of the label-free images: are they registered?",
    ):
        assert f"warning: {sentence}" in done.err
    assert "nothing to resume" in done.err.splitlines()[-1]


def test_a_model_teaches_from_label_free_images_alone_and_is_trained_on_with_pairs(
    places: dict[str, str], tmp_path: Path, livestain: Livestain
) -> None:
    words = fill(["--label-free", "LABEL_FREE", "--teacher", DEMO, "--recipe", "distill", "--config", "TINY"], places)
    done = livestain("train", *words, "--output", tmp_path / "student")
    assert done.code == 0, done.err
    student = read_model(tmp_path / "student")
    assert student.stains == ("nuclei", "membrane")
    assert student.card.training["teacher"].startswith("livestain/demo-nuclei-membrane@")
    folder = tmp_path / "pairs"
    folder.mkdir()
    frame, nuclei = cells(1)
    for ending, plane in {"bf": frame, "nuclei": nuclei, "membrane": nuclei}.items():
        tifffile.imwrite(folder / f"a_{ending}.tif", plane)
    again = ["--pairs", folder, "--teacher", tmp_path / "student", "--recipe", "paired", *words[-2:]]
    done = livestain("train", *again, "--output", tmp_path / "tuned")
    assert done.code == 0, done.err
    assert read_model(tmp_path / "tuned").card.training["teacher"] == student.identity


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


def test_the_help_names_every_recipe(livestain: Livestain) -> None:
    shown = " ".join(livestain("train", "--help").out.split())
    assert [name for name in RECIPES if name not in shown] == []
