"""Frames for measuring are those of the simulated cells."""

from __future__ import annotations

import numpy as np

from livestain.bench.acquisition import one_frame
from livestain.contrast import estimate_background, is_usable


def test_a_frame_has_cells_on_a_lit_field_and_is_the_same_each_time() -> None:
    frame = one_frame(128)
    assert frame.shape == (128, 128)
    assert frame.dtype == np.uint16
    assert is_usable(frame)
    light = estimate_background(frame)
    assert light.blocks.min() > 100
    assert frame.std() > 3 * np.sqrt(frame.mean())
    np.testing.assert_array_equal(frame, one_frame(128))
