"""The specimen as a whole: what it returns, and that the same seed lives the same life."""

from __future__ import annotations

import numpy as np
import pytest

from livestain.specimen import SHEET, SPINDLE, Look, Specimen, prerender

LOOKS = pytest.mark.parametrize("look", [SPINDLE, SHEET], ids=["spindle", "sheet"])


@LOOKS
def test_every_picture_has_the_shape_of_the_frame(look: Look) -> None:
    shape = (131, 160)
    specimen = Specimen(look, shape, seed=1)
    maps = specimen.maps()
    for image in (maps.phase, maps.absorption, maps.nuclei, maps.membrane, specimen.transmission()):
        assert image.shape == shape
        assert image.dtype == np.float32
    for target in ("nuclei", "membrane"):
        assert specimen.fluorescence(target).shape == shape
        assert specimen.fluorescence(target).dtype == np.float32
    for labels in (maps.cells, maps.nuclear):
        assert labels.shape == shape
        assert labels.dtype == np.int32


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Specimen("neuron"), "'neuron'"),
        (lambda: Specimen("spindle", (95, 200)), "95 x 200"),
        (
            lambda: Specimen("spindle", (96, 96)).fluorescence("golgi"),  # type: ignore[arg-type]
            "'golgi'",
        ),
        (lambda: SPINDLE.replace(pixel_um=-1), "pixel_um"),
        (lambda: SPINDLE.replace(colour=1), "colour"),
    ],
)
def test_a_wrong_argument_is_named(call: object, said: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=said):
        call()


def test_prerender_shows_one_life() -> None:
    film = prerender("spindle", (96, 128), frames=3, seed=4, ticks_apart=2)
    specimen = Specimen("spindle", (96, 128), seed=4)
    specimen.advance(4)
    assert film.shape == (3, 96, 128)
    assert np.array_equal(film[2], specimen.transmission())


def test_returned_arrays_belong_to_the_caller() -> None:
    specimen = Specimen("spindle", (96, 96), seed=2)
    before = specimen.maps().nuclei
    specimen.maps().nuclei[:] = 7
    assert np.array_equal(specimen.maps().nuclei, before)
