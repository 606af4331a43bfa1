"""Real images through the whole program: raw planes bit for bit, and every image opens in the programs of others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from livestain.store.read import open_run
from tests.conftest import Livestain
from tests.session.pieces import check_closed

pytestmark = pytest.mark.real_data

SHIPPED = Path(__file__).parents[1] / "engines" / "demo-nuclei-membrane"

SETS = {
    "phase contrast, uint16": ("t98g_phase/t98g_xy01_t01-t12_tyx.tif", None),
    "bright field of several channels, uint8": ("movie_bf_p65_nuc/220524DS30_p0011_tcyx.ome.tif", 0),
}


@pytest.fixture
def model(model_folder: Path) -> Path:
    """The shipped model, or one with random weights where none is shipped yet."""
    return SHIPPED if (SHIPPED / "rdf.yaml").is_file() else model_folder


def source_planes(path: Path, channel: int | None) -> npt.NDArray[np.generic]:
    """(T, Y, X) as another reader reads them."""
    stack: npt.NDArray[np.generic] = tifffile.imread(path)
    return stack if channel is None else stack[:, channel]


@pytest.mark.parametrize(("name", "channel"), SETS.values(), ids=SETS.keys())
def test_real_images_come_through_whole(
    name: str, channel: int | None, model: Path, real_data: Path, tmp_path: Path, livestain: Livestain
) -> None:
    planes = source_planes(real_data / name, channel)
    options = [] if channel is None else ["--channel", channel_name(real_data / name, channel)]
    done = livestain(
        "demo", "--images", real_data / name, *options, "--model", model, "--output", tmp_path / "run", "--fps", 10
    )
    assert done.code == 0, done.err
    check_closed(tmp_path / "run", received=len(planes), saved=len(planes), unstained=0, behind=0)

    run = open_run(tmp_path / "run")
    recorded = run.array(run.channels[0])[:, 0]
    assert recorded.dtype == planes.dtype
    np.testing.assert_array_equal(recorded, planes)
    stains = [run.array(label) for label in run.channels if label.startswith("virtual: ")]
    assert [stain.shape for stain in stains] == [(len(planes), 1, *planes.shape[1:])] * 2
    assert all(np.ptp(stain[t, 0]) > 0 for stain in stains for t in range(len(planes)))

    state = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    caution = state["model"]["caution"]
    assert caution
    assert caution in done.out
    for image in sorted((tmp_path / "run").rglob("*.ome.zarr")):
        opens_everywhere(image, recorded if "raw" in image.parts else None)


def channel_name(path: Path, channel: int) -> str:
    from livestain.images import open_images

    with open_images(path) as images:
        return images.channels[channel]


def opens_everywhere(image: Path, planes: npt.NDArray[np.generic] | None) -> None:
    """Open an image with the validators and readers of others; warnings are errors here."""
    yaozarrs = pytest.importorskip("yaozarrs", reason="would show that the image follows OME-Zarr 0.5")
    models = pytest.importorskip("ome_zarr_models", reason="would show that the image follows OME-Zarr 0.5")
    bioio = pytest.importorskip("bioio", reason="would show that bioio opens the image")
    bioio_ome_zarr = pytest.importorskip("bioio_ome_zarr", reason="would show that bioio opens the image")
    ome_zarr_io = pytest.importorskip("ome_zarr.io", reason="would show that ome-zarr opens the image")
    ome_zarr_reader = pytest.importorskip("ome_zarr.reader", reason="would show that ome-zarr opens the image")
    import zarr

    yaozarrs.validate_zarr_store(image)
    models.open_ome_zarr(zarr.open_group(image, mode="r"))
    opened = bioio.BioImage(image, reader=bioio_ome_zarr.Reader).data
    location = ome_zarr_io.parse_url(image)
    assert location is not None
    node = next(iter(ome_zarr_reader.Reader(location)()))
    np.testing.assert_array_equal(np.asarray(node.data[0]), opened)
    if planes is not None:
        np.testing.assert_array_equal(opened[:, 0, 0], planes)
