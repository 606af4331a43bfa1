"""Other programs open the images, while they grow and after: axes, names, scales and pixels as we wrote them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from livestain.store.metadata import measured_channel, virtual_channel
from livestain.store.planes import PlaneStore
from tests.store.pieces import image, plane, save

bioio = pytest.importorskip("bioio", reason="bioio is not installed: whether it opens our images cannot be seen")
bioio_ome_zarr = pytest.importorskip("bioio_ome_zarr", reason="bioio-ome-zarr is not installed")
ome_zarr_io = pytest.importorskip("ome_zarr.io", reason="ome-zarr is not installed")
ome_zarr_reader = pytest.importorskip("ome_zarr.reader", reason="ome-zarr is not installed")

CHANNELS = {
    "raw": [measured_channel("BF", 12), measured_channel("GFP")],
    "stains": [virtual_channel("nuclei"), virtual_channel("membrane")],
}
LABELS = {"raw": ["measured: BF", "measured: GFP"], "stains": ["virtual: nuclei", "virtual: membrane"]}


def growing(path: Path, kind: str) -> PlaneStore:
    store = image(path / "p000.ome.zarr", CHANNELS[kind], dtype=np.uint8 if kind == "raw" else np.uint16)
    for t in range(3):
        for c in range(2):
            for z in range(2):
                save(store, t, c, z)
    return store


@pytest.mark.parametrize("closed", [False, True], ids=["mid-run", "closed"])
@pytest.mark.parametrize("kind", ["raw", "stains"])
def test_bioio_opens_an_image(tmp_path: Path, kind: str, closed: bool) -> None:
    store = growing(tmp_path, kind)
    if closed:
        store.close()
    opened = bioio.BioImage(store.path, reader=bioio_ome_zarr.Reader)
    assert opened.dims.order == "TCZYX"
    assert opened.channel_names == LABELS[kind]
    assert (opened.physical_pixel_sizes.Z, opened.physical_pixel_sizes.Y, opened.physical_pixel_sizes.X) == (
        2,
        0.325,
        0.325,
    )
    assert opened.data.dtype == store.dtype
    np.testing.assert_array_equal(opened.data[2, 1, 0], plane(201, dtype=store.dtype))
    if closed:
        assert opened.shape[:3] == (3, 2, 2)


@pytest.mark.parametrize("closed", [False, True], ids=["mid-run", "closed"])
@pytest.mark.parametrize("kind", ["raw", "stains"])
def test_ome_zarr_opens_an_image(tmp_path: Path, kind: str, closed: bool) -> None:
    store = growing(tmp_path, kind)
    if closed:
        store.close()
    location = ome_zarr_io.parse_url(store.path)
    assert location is not None
    node = next(iter(ome_zarr_reader.Reader(location)()))
    assert [axis["name"] for axis in node.metadata["axes"]] == list("tczyx")
    assert node.metadata["channel_names"] == LABELS[kind]
    np.testing.assert_array_equal(np.asarray(node.data[0][1, 0, 1]), plane(110, dtype=store.dtype))
