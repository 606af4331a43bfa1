"""Cellpose 3 itself finds the objects of ``evaluate --segment cellpose``, with weights from a file.

No weights of theirs: an untrained network, its last layer solved so that it sees cones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from livestain.errors import UserError
from livestain.evaluate.segment import CellposeSegmenter
from tests.conftest import Livestain

pytest.importorskip("cellpose", reason="would show that Cellpose 3 can be used: bash .ci/other_programs")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, not ours

SHAPE = (112, 128)
RADIUS_PX = 16
RIDGE = 1e-6
CONES = [(20, 22), (20, 66), (20, 108), (64, 30), (66, 84), (94, 58), (94, 108)]


def cones(places: list[tuple[int, int]]) -> npt.NDArray[np.float32]:
    """(4, Y, X): brightness with slopes alike everywhere, y and x of the way to the tip in -1..1, inside or not."""
    planes = np.zeros((4, *SHAPE), np.float32)
    for place in places:
        way = np.array(place)[:, None, None] - np.mgrid[: SHAPE[0], : SHAPE[1]]
        far = np.hypot(*way)
        inside = far < RADIUS_PX
        cone = np.stack([1 - far / RADIUS_PX, *(way / np.maximum(far, 1)), np.ones(SHAPE)])
        planes[:, inside] = cone[:, inside]
    return planes


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of Cellpose 3 with random weights, its last layer by least squares on one image of cones."""
    import torch
    from cellpose.resnet_torch import CPnet
    from cellpose.transforms import normalize99

    torch.manual_seed(0)
    net = CPnet([2, 32, 64, 128, 256], nout=3, sz=3, diam_mean=30.0).eval()
    image, *way, inside = cones(CONES)
    seen: list[Any] = []
    hook = net.output[2].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    last = net.output[2]
    with torch.no_grad():
        net(torch.from_numpy(np.stack([normalize99(image), np.zeros_like(image)])[None]))
        hook.remove()
        features = seen[0].reshape(len(seen[0]), -1).T
        # What it is trained to say: five times the flow, and inside (6) or not (-6).
        wanted = torch.from_numpy(np.stack([5 * way[0], 5 * way[1], 12 * inside - 6]).reshape(3, -1).T)
        known = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
        # A little ridge: else the solution hangs on the last digits, which differ with the number of threads.
        squares = known.T @ known + RIDGE * len(known) * torch.eye(known.shape[1])
        solved = torch.linalg.solve(squares, known.T @ wanted.double()).float()
        last.weight.copy_(solved[:-1].T[:, :, None, None])
        last.bias.copy_(solved[-1])
    file = tmp_path_factory.mktemp("weights") / "cones"
    net.save_model(str(file))
    return file


def test_every_cone_is_an_object(weights: Path) -> None:
    image, _, _, inside = cones(CONES)
    labels = CellposeSegmenter(weights).segment(image.astype(np.float64), RADIUS_PX)
    assert labels.shape == SHAPE
    assert sorted(labels[place] for place in CONES) == list(range(1, len(CONES) + 1))
    both = (labels > 0) & (inside > 0)
    assert both.sum() > 0.9 * max((labels > 0).sum(), inside.sum())


def test_evaluate_counts_what_cellpose_finds(weights: Path, livestain: Livestain, tmp_path: Path) -> None:
    for name, places in {"measured": CONES, "virtual": CONES[:-2]}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", (1000 + 4000 * cones(places)[0]).astype(np.uint16))
    words = ("--prediction", tmp_path / "virtual.tif", "--truth", tmp_path / "measured.tif")
    done = livestain("evaluate", *words, "--segment", "cellpose", "--cellpose-weights", weights, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    found = document["means"]["stain"]["virtual.tif"]
    assert [found[name]["mean"] for name in ("objects", "objects_found")] == [7, 5]
    assert found["ap50"]["mean"] == pytest.approx(5 / 7)
    assert document["provenance"]["objects"].startswith("cellpose 3.")
    assert "(cones, sha256 " in document["provenance"]["objects"]


def test_weights_that_are_none_of_cellpose_3_are_refused_in_one_line(tmp_path: Path) -> None:
    import torch

    torch.save({"W2": torch.zeros(1)}, tmp_path / "version 4")
    torch.save({"layer": torch.zeros(1)}, tmp_path / "another net")
    (tmp_path / "text").write_text("no weights", encoding="utf-8")
    (tmp_path / "code").write_bytes(b"cos\nsystem\n(S'exit 3'\ntR.")
    for name in ("version 4", "another net", "text", "code"):
        with pytest.raises(UserError, match="give the weights of version 3"):
            CellposeSegmenter(tmp_path / name)
