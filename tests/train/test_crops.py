"""Batches: decided by seed, epoch and step alone, slot by slot from one group, mostly where something is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from livestain.train.config import TrainConfig
from livestain.train.crops import Sampler, quiet_crop, window
from livestain.train.data import FULL_SCALE, Fields
from livestain.train.render import SimulatedPairs, render_relief
from tests.train.pieces import small_fields


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    return small_fields(Path(tmp_path_factory.mktemp("fields")))


@pytest.mark.parametrize("source", [Sampler, SimulatedPairs])
def test_a_batch_depends_on_its_numbers_alone(source: type[Sampler] | type[SimulatedPairs], fields: Fields) -> None:
    config = TrainConfig(batch=4)
    one, other = source(fields, config), source(fields, config)
    other.batch(0, 0)
    first, again, next_step = one.batch(2, 5), other.batch(2, 5), one.batch(2, 6)
    assert torch.equal(first.a, again.a)
    assert torch.equal(first.b, again.b)
    assert not torch.equal(first.a, next_step.a)
    assert first.a.shape == first.b.shape == (4, 1, 64, 64)
    assert first.a.dtype == torch.float32
    assert float(first.a.abs().max()) <= 1


def test_balanced_crops_hold_more_foreground_than_uniform_ones(fields: Fields) -> None:
    def share(balanced: float) -> float:
        sampler = Sampler(fields, TrainConfig(balanced=balanced, batch=32, crop_px=32))
        return float((sampler.batch(0, 0).b * FULL_SCALE > 0.5).float().mean())

    assert share(1.0) > 1.3 * share(0.0)


@pytest.mark.parametrize("centre", [(0, 0), (99, 99), (50, 0)])
def test_a_window_lies_inside_and_near_its_centre(centre: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        rows, columns = window(rng, (100, 100), 32, np.array([centre]))
        for place, at in ((rows, centre[0]), (columns, centre[1])):
            assert 0 <= place.start < place.stop <= 100
            assert place.start - 11 <= at <= place.stop + 11


def test_quiet_crops_are_calmer_than_the_field(fields: Fields) -> None:
    group = fields.groups[""]
    rng = np.random.default_rng(0)
    quiet = np.mean([quiet_crop(rng, group, 32).std() for _ in range(40)])
    assert quiet < np.mean([field.std() for field in group.label_free])


def test_cells_are_rendered_around_nuclei_and_distractors_anywhere() -> None:
    nuclei = np.zeros((64, 64), np.float32)
    nuclei[28:36, 28:36] = 1.0
    near, far, empty = [], [], []
    for seed in range(60):
        relief = np.abs(render_relief(np.random.default_rng(seed), nuclei))
        near.append(relief[24:40, 24:40].mean())
        far.append(relief[:8, :8].mean())
        empty.append(np.abs(render_relief(np.random.default_rng(seed), 0 * nuclei)).max())
    assert np.mean(near) > 3 * np.mean(far)
    assert np.mean(np.array(empty) > 0.2) > 0.4  # dots and blobs stand there with an empty target
