"""``livestain evaluate`` and ``livestain fetch-weights`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tifffile

from livestain.evaluate import lpips, weights
from tests.conftest import Livestain
from tests.evaluate.pieces import field, write_folder
from tests.store.recording import Recording


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own cache decides nothing here."""
    monkeypatch.setattr(lpips, "lpips_file", lambda: tmp_path / "none")
    monkeypatch.setattr(weights, "lpips_file", lambda: tmp_path / "none")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pairs")


def test_a_model_is_judged_and_reported(livestain: Livestain, model_folder: Path, folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    words = ("evaluate", model_folder, "--pairs", folder, "--segment", "masks", "--segment-input", "--output", report)
    done = livestain(*words)
    assert done.code == 0, done.err
    for text in ("nuclei: images", "nuclei: objects", "local energy", "shuffled", "label-free image", "Pearson r"):
        assert text in done.out
    assert "LPIPS is n/a: the weights are not here: livestain fetch-weights lpips" in done.err
    assert "virtual: nuclei" in report.read_text(encoding="utf-8")
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert document["provenance"]["caution"] == "random weights, for tests only"
    assert document["judged"].startswith("livestain/test-model@")


def test_json_is_all_that_is_on_stdout(livestain: Livestain, model_folder: Path, folder: Path) -> None:
    done = livestain("evaluate", model_folder, "--pairs", folder, "--json")
    assert done.code == 0, done.err
    assert set(json.loads(done.out)["means"]) == {"nuclei"}


def test_a_measured_set_against_itself_is_perfect(livestain: Livestain, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", field(0)[1])
    done = livestain("evaluate", "--prediction", tmp_path / "a.tif", "--truth", tmp_path / "a.tif", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["means"]["stain"]["a.tif"]["psnr"]["mean"] == 100
    assert set(document["means"]["stain"]) == {"a.tif", "constant", "shuffled"}


def test_a_run_is_judged_by_its_measured_channel(livestain: Livestain, tmp_path: Path) -> None:
    recorded = Recording(tmp_path / "run")
    recorded.raw(0)
    recorded.raw(0, c=1)
    recorded.stain(0)
    done = livestain("evaluate", "--run", recorded.end().path, "--truth", "nuclei=GFP", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert abs(document["means"]["nuclei"]["run"]["r"]["mean"]) < 0.1


QUESTION = "give either MODEL --pairs PATH, or --prediction PATH --truth PATH, or --run RUN --truth CHANNEL"
MISTAKES: dict[str, tuple[list[str], str]] = {
    "nothing asked": ([], QUESTION),
    "a model alone": (["MODEL"], QUESTION),
    "pairs alone": (["--pairs", "PAIRS"], QUESTION),
    "two questions": (["MODEL", "--pairs", "PAIRS", "--run", "x", "--truth", "y"], QUESTION),
    "pairs with a truth": (["MODEL", "--pairs", "PAIRS", "--truth", "x"], "the measured stains are in PATH"),
    "a prediction without truth": (["--prediction", "PAIRS"], "--prediction needs --truth"),
    "a run without truth": (["--run", "x"], "--run needs --truth"),
    "two truths": (["--prediction", "x", "--truth", "y", "--truth", "z"], "needs one --truth, 2 were given"),
    "no such model": (["nothing", "--pairs", "PAIRS"], "no model folder at nothing"),
    "no such pairs": (["MODEL", "--pairs", "nothing"], "is no table and no folder of pairs"),
    "no run": (["--run", "PAIRS", "--truth", "x"], "is no run"),
    "no such prediction": (["--prediction", "nothing.tif", "--truth", "PAIRS"], "nothing.tif does not exist"),
    "an unknown segmenter": (["MODEL", "--pairs", "PAIRS", "--segment", "stardist"], "stardist"),
    "objects of the input alone": (["MODEL", "--pairs", "PAIRS", "--segment-input"], "--segment-input needs --segment"),
    "cellpose without weights": (["MODEL", "--pairs", "PAIRS", "--segment", "cellpose"], "needs --cellpose-weights"),
    "weights without cellpose": (["MODEL", "--pairs", "PAIRS", "--cellpose-weights", "x"], "is for --segment cellpose"),
    "a report of another type": (["MODEL", "--pairs", "PAIRS", "--output", "a.pdf"], "a name that ends in .html"),
    "a report in no folder": (["MODEL", "--pairs", "PAIRS", "--output", "nothing/a.html"], "folder nothing does not"),
}


@pytest.mark.parametrize(("words", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line(
    words: list[str], expected: str, livestain: Livestain, model_folder: Path, folder: Path
) -> None:
    known = {"MODEL": model_folder, "PAIRS": folder}
    done = livestain("evaluate", *(known.get(word, word) for word in words))
    assert (done.code, done.out) == (2, "")
    lines = done.err.splitlines()
    assert expected in lines[0]
    assert [line for line in lines[1:] if not line.startswith("hint: ")] == []


def test_weights_from_another_file_are_refused(livestain: Livestain, tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"something else")
    done = livestain("fetch-weights", "lpips", "--archive", tmp_path / "x.tar.gz")
    assert (done.code, done.out) == (2, "")
    assert weights.SHA256 in done.err
    assert livestain("fetch-weights", "vgg").code == 2
