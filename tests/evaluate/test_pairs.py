"""Pairs: found by names or by a table; sets and runs paired with their truth; every mistake named."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from livestain.errors import ImageError, RunError
from livestain.evaluate.pairs import read_pairs
from livestain.evaluate.sets import pair_run, pair_sets
from tests.evaluate.pieces import field, write_folder
from tests.store.pieces import plane as camera_plane
from tests.store.recording import Recording

STAINS = ("nuclei", "membrane")


def write_table(path: Path, *lines: Sequence[object], header: str = "label_free,nuclei") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *lines])
    return path


def test_files_of_a_folder_are_paired_by_their_names(tmp_path: Path) -> None:
    pairs = read_pairs(write_folder(tmp_path, (0, 1, 10)), STAINS)
    assert [pair.name for pair in pairs] == ["f0_bf", "f1_bf", "f10_bf"]
    for pair, seed in zip(pairs, (0, 1, 10), strict=True):
        label_free, stain, labels = field(seed)
        assert pair.label_free is not None
        assert pair.mask is not None
        assert np.array_equal(pair.label_free(), label_free)
        assert np.array_equal(pair.truth["nuclei"](), stain)
        assert pair.mask().max() == labels.max()
        assert (pair.position, pair.group, tuple(pair.truth)) == (f"f{seed}", "", ("nuclei",))


def test_subfolders_are_groups_and_other_files_do_not_matter(tmp_path: Path) -> None:
    write_folder(tmp_path / "day 1", (0,), masks=False)
    write_folder(tmp_path / "day 2", (0, 1))
    Image.fromarray(field(5)[0]).save(tmp_path / "day 2" / "lonely_bf.png")
    (tmp_path / "notes_of_mine.txt").write_text("mine")
    pairs = read_pairs(tmp_path, STAINS)
    assert [(pair.group, pair.position) for pair in pairs] == [
        ("day 1", "day 1/f0"),
        ("day 2", "day 2/f0"),
        ("day 2", "day 2/f1"),
    ]
    assert [pair.mask is None for pair in pairs] == [True, False, False]


def test_every_plane_of_a_stack_is_a_pair_of_one_position(tmp_path: Path) -> None:
    stack = np.stack([field(seed)[0] for seed in range(3)])
    for name in ("a_phase", "a_nuclei"):
        tifffile.imwrite(tmp_path / f"{name}.tif", stack, photometric="minisblack", metadata={"axes": "TYX"})
    pairs = read_pairs(tmp_path, STAINS)
    assert [pair.name for pair in pairs] == ["a_phase t0 z0", "a_phase t1 z0", "a_phase t2 z0"]
    assert {pair.position for pair in pairs} == {"a"}
    assert np.array_equal(pairs[2].truth["nuclei"](), stack[2])


def test_a_table_tells_position_group_and_optics(tmp_path: Path) -> None:
    write_folder(tmp_path / "images", (0, 1))
    header = "label_free,membrane,nuclei,mask,position,group,pixel_um,contrast"
    files = "images/f0_bf.png", "images/f1_nuc.png", "images/f0_nuc.png"
    table = write_table(
        tmp_path / "pairs.csv",
        [*files, "images/f0_mask.png", "A1", "day 1", 0.5, 0.2],
        [*files, "", "", "", "", ""],
        header=header,
    )
    first, second = read_pairs(table)
    assert (first.position, first.group, first.pixel_um, first.contrast) == ("A1", "day 1", 0.5, 0.2)
    assert (second.position, second.group, second.pixel_um, second.contrast) == ("f0_bf", "", None, None)
    assert first.mask is not None
    assert second.mask is None
    assert tuple(first.truth) == ("membrane", "nuclei")
    assert np.array_equal(first.truth["membrane"](), field(1)[1])
    assert tuple(read_pairs(table, ("nuclei",))[0].truth) == ("nuclei",)


def empty(folder: Path) -> Path:
    return folder


def only_label_free(folder: Path) -> Path:
    Image.fromarray(field(0)[0]).save(folder / "a_bf.png")
    return folder


def other_size(folder: Path) -> Path:
    write_folder(folder)
    Image.fromarray(field(0)[1][:100]).save(folder / "f1_nuc.png")
    return folder


def one_without_membrane(folder: Path) -> Path:
    write_folder(folder)
    Image.fromarray(field(0)[1]).save(folder / "f1_membrane.png")
    return folder


def colour(folder: Path) -> Path:
    write_folder(folder)
    Image.fromarray(np.zeros((112, 128, 3), np.uint8)).save(folder / "f1_nuc.png")
    return folder


def virtual(folder: Path) -> Path:
    write_folder(folder)
    metadata = {"axes": "YX", "Channel": {"Name": ["virtual: nuclei"]}}
    tifffile.imwrite(folder / "f3_nuclei.ome.tif", field(3)[1], metadata=metadata)
    Image.fromarray(field(3)[0]).save(folder / "f3_bf.png")
    return folder


def truncated(folder: Path) -> Path:
    write_folder(folder)
    tifffile.imwrite(folder / "f2_nuc.tif", field(2)[1])
    whole = (folder / "f2_nuc.tif").read_bytes()
    (folder / "f2_nuc.tif").write_bytes(whole[:100])
    (folder / "f2_nuc.png").unlink()
    return folder


def table_of(header: str, *lines: Sequence[object]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        write_folder(folder)
        return write_table(folder / "pairs.csv", *lines, header=header)

    return write


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing there": (lambda folder: folder / "nothing", "is no table and no folder of pairs"),
    "an empty folder": (empty, "holds no pair: names such as a_bf.png"),
    "label-free images alone": (only_label_free, "holds no pair.*found: bf"),
    "another size": (other_size, "are no pair: equal sizes and counts"),
    "a stain missing in one": (one_without_membrane, "the same stains in every pair"),
    "colour": (colour, "is a colour image"),
    "a virtual stain as truth": (virtual, "is a virtual stain: only a measured channel can be the truth"),
    "a truncated file": (truncated, "cannot be read"),
    "a table without label-free": (table_of("bf,nuclei", ["a", "b"]), "has no column 'label_free': it has bf, nuclei"),
    "a table without stain": (table_of("label_free,mask", ["a", "b"]), "has no stain: a column named nuclei"),
    "a table without lines": (table_of("label_free,nuclei"), "has a header and no line"),
    "a table without content": (table_of(""), "has no column 'label_free'"),
    "a line without a stain": (table_of("label_free,nuclei", ["f0_bf.png", ""]), "line 2: column 'nuclei' is empty"),
    "a short line": (table_of("label_free,nuclei", ["f0_bf.png"]), "line 2: column 'nuclei' is empty"),
    "a file that is not there": (table_of("label_free,nuclei", ["f0_bf.png", "f9.png"]), "f9.png does not exist"),
    "a pixel size that is none": (
        table_of("label_free,nuclei,pixel_um", ["f0_bf.png", "f0_nuc.png", "-1"]),
        "line 2: pixel_um '-1' is not possible: a number above 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "words"), BAD.values(), ids=BAD.keys())
def test_bad_pairs_are_refused_before_any_work(make: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=words):
        read_pairs(make(tmp_path), STAINS)


def test_two_sets_are_paired_by_name(tmp_path: Path) -> None:
    for name, number, ending in (("x", 1, "_pred"), ("y", 1, "_nuc")):
        (tmp_path / name).mkdir()
        for seed in range(3):
            Image.fromarray(field(seed)[number]).save(tmp_path / name / f"f{seed}{ending}.png")
    pairs, ours = pair_sets(tmp_path / "x", tmp_path / "y")
    assert not ours
    for seed, pair in enumerate(pairs):
        assert np.array_equal(pair.virtual["stain"](), field(seed)[1])
        assert np.array_equal(pair.truth["stain"](), field(seed)[1])


def test_a_stack_of_ours_keeps_its_own_scale(tmp_path: Path) -> None:
    stack = np.stack([field(seed)[1] for seed in range(3)])
    for name, channel in (("virtual", "virtual: nuclei"), ("measured", "measured: DAPI")):
        metadata = {"axes": "TCYX", "Channel": {"Name": [channel]}}
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", stack[:, None], photometric="minisblack", metadata=metadata)
    pairs, ours = pair_sets(tmp_path / "virtual.ome.tif", tmp_path / "measured.ome.tif")
    assert ours
    assert [pair.name for pair in pairs] == ["measured t0 z0", "measured t1 z0", "measured t2 z0"]
    with pytest.raises(ImageError, match="only a measured channel can be the truth"):
        pair_sets(tmp_path / "measured.ome.tif", tmp_path / "virtual.ome.tif")


@pytest.mark.parametrize(("names", "words"), [(("f0",), "holds 1 files, the truth 3"), (("g0", "f1", "f2"), "g0.png")])
def test_files_without_counterpart_are_named(names: Sequence[str], words: str, tmp_path: Path) -> None:
    for folder, stems in (("x", names), ("y", ("f0", "f1", "f2"))):
        (tmp_path / folder).mkdir()
        for stem in stems:
            Image.fromarray(field(0)[1]).save(tmp_path / folder / f"{stem}.png")
    with pytest.raises(ImageError, match=words):
        pair_sets(tmp_path / "x", tmp_path / "y")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A run of four time points; the second has no stain, the third no GFP, the fourth was not recorded."""
    recorded = Recording(tmp_path / "run")
    for t in range(3):
        recorded.raw(t)
        if t != 2:
            recorded.raw(t, c=1)
    recorded.raw(3, state="failed")
    for t in range(3):
        recorded.stain(t, state="failed" if t == 1 else "ok")
    return recorded.end().path


def test_a_run_gives_the_planes_that_have_both(recording: Path) -> None:
    pairs = pair_run(recording, ["nuclei=GFP"])
    assert [(pair.name, pair.position) for pair in pairs] == [("p0 t0 z0", "p0")]
    assert tuple(pairs[0].truth) == ("nuclei",)
    assert np.array_equal(pairs[0].truth["nuclei"](), camera_plane(1))
    assert np.array_equal(pairs[0].virtual["nuclei"](), camera_plane(5000))
    assert pairs[0].label_free is not None
    assert np.array_equal(pairs[0].label_free(), camera_plane(0))


BAD_TRUTHS = {
    "a virtual channel": ("nuclei=virtual: membrane", "only a measured channel can be the truth"),
    "not said whose": ("GFP", "say whose truth GFP is, as nuclei=GFP"),
    "no such channel": ("nuclei=DAPI", "has no measured channel 'DAPI': it has 'measured: BF', 'measured: GFP'"),
    "no such stain": ("actin=GFP", "has no stain 'actin': it has 'nuclei', 'membrane'"),
}


@pytest.mark.parametrize(("truth", "words"), BAD_TRUTHS.values(), ids=BAD_TRUTHS.keys())
def test_bad_truths_of_a_run_are_refused(truth: str, words: str, recording: Path) -> None:
    with pytest.raises(RunError, match=words):
        pair_run(recording, [truth])


def test_a_run_without_stains_is_refused(tmp_path: Path) -> None:
    recorded = Recording(tmp_path / "run")
    recorded.raw(0)
    with pytest.raises(RunError, match="has no virtual stain"):
        pair_run(recorded.end().path, ["GFP"])
