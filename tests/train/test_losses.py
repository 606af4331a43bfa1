from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from livestain.train import losses


def plane(*values: float) -> Tensor:
    """A (1, 1, 2, 2) plane."""
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 2, 2)


A, B = plane(0.0, 0.5, -0.5, 1.0), plane(1.0, -1.0, 0.0, 0.0)
REBUILT_A, REBUILT_B = plane(0.5, 0.5, -0.5, 0.0), plane(1.0, 0.0, 0.0, 0.5)
# |REBUILT_A - A| = (0.5, 0, 0, 1): mean 0.375.  |REBUILT_B - B| = (0, 1, 0, 0.5): mean 0.375.  A off alone: see below.


@pytest.mark.parametrize(
    ("value", "by_hand"),
    [
        pytest.param(losses.cycle_loss(REBUILT_A, A, B, B), 0.375, id="(1)"),
        pytest.param(losses.cycle_loss(A, A, REBUILT_B, B), 0.375, id="(2)"),
        pytest.param(losses.cycle_loss(REBUILT_A, A, REBUILT_B, B), 0.75, id="(3)"),
        pytest.param(losses.mask_loss(REBUILT_A, A, B, B), 0.375, id="(4)"),
        pytest.param(losses.mask_loss(A, A, REBUILT_B, B), 0.375, id="(5)"),
        pytest.param(losses.mask_loss(REBUILT_A, A, REBUILT_B, B), 0.75, id="(6)"),
        # ((0.5 - 1)^2 + (1 - 1)^2 + ...) of verdicts (0.5, 1, 1, 2) is (0.25 + 0 + 0 + 1) / 4 = 0.3125;
        # of (0, 0.5, 1, 0) squared (0 + 0.25 + 1 + 0) / 4 = 0.3125: half of their sum.
        pytest.param(losses.discriminator_loss(plane(0.5, 1, 1, 2), plane(0, 0.5, 1, 0)), 0.3125, id="(7), (8)"),
        pytest.param(losses.discriminator_loss(plane(1, 1, 1, 1), plane(0, 0, 0, 0)), 0.0, id="(7), (8): never wrong"),
        pytest.param(losses.discriminator_loss(plane(*4 * [0.5]), plane(*4 * [0.5])), 0.25, id="(7), (8): no idea"),
        pytest.param(losses.gan_loss(plane(0.5, 1, 1, 2)), 0.3125, id="(9), (10)"),
        pytest.param(losses.identity_loss(REBUILT_B, B, A, A), 0.375, id="(12)"),
        pytest.param(losses.identity_loss(B, B, REBUILT_A, A), 0.375, id="(13)"),
        pytest.param(losses.identity_loss(REBUILT_B, B, REBUILT_A, A), 0.75, id="(14)"),
        # |0.5 - 1| + |0 - 0| + ..., one plane of four values each side: 0.125 + 0.25.
        pytest.param(
            losses.saliency_loss(plane(0.5, 0, 0, 0), plane(1, 0, 0, 0), plane(1, 0, 0, 0), plane(0, 0, 0, 0)),
            0.375,
            id="UTOM",
        ),
    ],
)
def test_each_equation_has_the_value_computed_by_hand(value: Tensor, by_hand: float) -> None:
    assert float(value) == pytest.approx(by_hand, abs=1e-7)


@pytest.mark.parametrize(
    ("side", "share", "block", "hidden"),
    [(64, 0.25, 4, 64), (64, 0.5, 4, 128), (64, 0.25, 8, 16), (20, 0.25, 4, 6), (512, 0.25, 4, 4096), (64, 0.0, 4, 0)],
)
def test_the_mask_hides_exactly_its_share_in_whole_blocks(side: int, share: float, block: int, hidden: int) -> None:
    planes = torch.zeros(3, 2, side, side)
    mask = losses.block_mask(planes, torch.Generator().manual_seed(0), share, block)
    assert mask.shape == (3, 1, side, side)
    blocks = mask.reshape(3, side // block, block, side // block, block)
    assert torch.equal(blocks.any(4).any(2), blocks.all(4).all(2))
    assert blocks.all(4).all(2).sum((1, 2)).tolist() == 3 * [hidden]


def test_every_plane_and_every_step_hides_other_blocks_and_a_seed_hides_the_same() -> None:
    planes, rng = torch.zeros(2, 1, 32, 32), torch.Generator().manual_seed(7)
    first, second = losses.block_mask(planes, rng), losses.block_mask(planes, rng)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first, losses.block_mask(planes, torch.Generator().manual_seed(7)))


def test_no_block_is_favoured() -> None:
    rng = torch.Generator().manual_seed(0)
    drawn = losses.block_mask(torch.zeros(4000, 1, 16, 16), rng)[:, 0, ::4, ::4].double().mean(0)
    assert (drawn - 0.25).abs().max() < 0.03


def test_a_plane_that_is_no_multiple_of_the_block_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"30 x 32 px.*4 px"):
        losses.block_mask(torch.zeros(1, 1, 30, 32), torch.Generator())


def test_a_cover_changes_hidden_pixels_only() -> None:
    planes = torch.arange(32.0).reshape(2, 1, 4, 4)
    mask = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    mask[:, :, :2, :2] = True
    covered = losses.cover(planes, mask, planes.mean((2, 3), keepdim=True))
    assert torch.equal(covered[~mask], planes[~mask])
    assert covered[0][mask[0]].tolist() == 4 * [7.5]
    assert covered[1][mask[1]].tolist() == 4 * [23.5]


def _cells(seed: int) -> Tensor:
    """(2, 1, 64, 64): rough patches on a calm ground."""
    rng = np.random.default_rng(seed)
    where = ndimage.gaussian_filter(rng.standard_normal((2, 64, 64)), (0, 5, 5)) > 0.05
    return torch.from_numpy(np.where(where, 0.3, 0.02) * rng.standard_normal((2, 64, 64)))[:, None]


def test_blur_and_energy_are_those_of_scipy() -> None:
    cells = _cells(0)
    blurred = ndimage.gaussian_filter(cells.numpy(), (0, 0, 2, 2), mode="mirror", truncate=3)
    np.testing.assert_allclose(losses.blur(cells, 2.0).numpy(), blurred, atol=1e-12)
    square = ndimage.gaussian_filter(cells.numpy() ** 2, (0, 0, 2, 2), mode="mirror", truncate=3)
    rough = np.sqrt(np.maximum(square - blurred**2, 1e-6))
    expected = ndimage.gaussian_filter(rough, (0, 0, 3, 3), mode="mirror", truncate=3)
    np.testing.assert_allclose(losses.local_energy(cells).numpy(), expected, atol=1e-12)


def test_the_energy_of_a_constant_plane_can_be_learned_through() -> None:
    flat = torch.zeros(1, 1, 16, 16, requires_grad=True)
    losses.local_energy(flat).sum().backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


@pytest.mark.parametrize(
    ("gain", "offset", "expected"),
    [(1.0, 0.0, 0.0), (0.2, 5.0, 0.0), (-1.0, 0.0, 1.8)],
    ids=["same place", "another gain", "the gaps"],
)
def test_position_is_judged_without_the_scale_of_the_stain(gain: float, offset: float, expected: float) -> None:
    energy = losses.local_energy(_cells(1))
    assert float(losses.position_loss(energy, gain * energy + offset)) == pytest.approx(expected, abs=1e-3)


def test_a_level_for_each_plane_is_no_position() -> None:
    energy = losses.local_energy(_cells(1)) + torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    levels = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand_as(energy)
    assert float(losses.position_loss(energy, levels)) == pytest.approx(0.8, abs=1e-3)


def test_position_asks_no_more_than_enough() -> None:
    energy = losses.local_energy(_cells(1))
    alike = energy + 0.3 * energy.std() * losses.blur(torch.randn(2, 1, 64, 64, dtype=torch.double), 3.0)
    assert float(losses.position_loss(energy, alike)) == 0.0
    assert float(losses.position_loss(energy, alike, enough=1.0)) > 0.0


def test_position_is_the_mean_over_the_stains() -> None:
    energy = losses.local_energy(_cells(1))
    both = losses.position_loss(energy, torch.cat([energy, -energy], 1))
    assert float(both) == pytest.approx(0.9, abs=1e-3)


def test_a_coarse_scale_forgives_what_a_fine_one_does_not() -> None:
    energy = losses.local_energy(_cells(2))
    moved = energy.roll(4, 3)
    assert losses.position_loss(energy, moved, 16.0, 1.0) < losses.position_loss(energy, moved, 1.0, 1.0)


@pytest.mark.parametrize(("x", "expected"), [(0.2, 0.5), (0.21, 1 / (1 + math.exp(-1))), (1.0, 1.0), (-1.0, 0.0)])
def test_saliency_is_a_threshold_with_a_soft_edge(x: float, expected: float) -> None:
    assert float(losses.saliency(torch.tensor(x), 0.2)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_a_filter_without_a_side_is_equivariant_and_a_shift_is_not(seed: int) -> None:
    cells = _cells(3)

    def shift(planes: Tensor) -> Tensor:
        return planes.roll((3, 5), (2, 3))

    def loss(net: object) -> float:
        rng = torch.Generator().manual_seed(seed)
        return float(losses.equivariance_loss(net, cells, net(cells), rng))  # type: ignore[operator,arg-type]

    assert loss(losses.local_energy) == pytest.approx(0.0, abs=1e-12)
    assert loss(shift) > 0.01
