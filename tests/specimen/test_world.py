"""The specimen as a whole: what it returns, and that the same seed lives the same life."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from livestain.specimen import ROSETTE, SHEET, SPINDLE, Look, Optics, Specimen, prerender

LOOKS = pytest.mark.parametrize("look", [SPINDLE, SHEET, ROSETTE], ids=["spindle", "sheet", "rosette"])


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
        (lambda: SPINDLE.replace(density_mm2=0), "every other look a number above 0"),
        (lambda: ROSETTE.replace(density_mm2=400), "density_mm2 400.0 of a rosette"),
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


_PRINT_DIGEST = """
import hashlib, sys
from livestain.specimen import Specimen
specimen = Specimen(sys.argv[1], (128, 128), seed=8)
specimen.advance(20)
print(hashlib.sha256(specimen.maps().phase.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("look", ["spindle", "rosette"])
def test_the_same_seed_draws_the_same_bytes_in_another_process(look: str) -> None:
    specimen = Specimen(look, (128, 128), seed=8)
    specimen.advance(20)
    done = subprocess.run([sys.executable, "-c", _PRINT_DIGEST, look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(specimen.maps().phase.tobytes()).hexdigest()


@LOOKS
def test_a_picture_does_not_depend_on_what_was_asked_before(look: Look) -> None:
    asked, silent = (Specimen(look, (128, 128), seed=9) for _ in range(2))
    asked.transmission(2.0)
    asked.advance(3)
    silent.advance(3)
    assert np.array_equal(asked.maps().phase, silent.maps().phase)
    assert np.array_equal(asked.transmission(), silent.transmission())


@pytest.mark.parametrize("look", [SPINDLE, SHEET], ids=["spindle", "sheet"])
def test_scale_and_numbers_of_a_look_can_be_replaced(look: Look) -> None:
    coarse = Specimen(look.replace(pixel_um=1.3), (128, 128), seed=1).maps()
    sparse = Specimen(look.replace(density_mm2=100, colonies_mm2=0), (128, 128), seed=1).maps()
    usual = Specimen(look, (128, 128), seed=1).maps()
    assert len(np.unique(coarse.cells)) > len(np.unique(usual.cells)) > len(np.unique(sparse.cells))


def test_other_optics_give_another_picture_of_the_same_cells() -> None:
    usual = Specimen(SPINDLE, (128, 128), seed=1)
    sharper = Specimen(SPINDLE.replace(optics=Optics(na=0.45, na_condenser=0.2)), (128, 128), seed=1)
    assert np.array_equal(usual.maps().phase, sharper.maps().phase)
    assert not np.allclose(usual.transmission(), sharper.transmission(), atol=0.01)


def test_short_arms_make_a_smaller_cell() -> None:
    covers = [
        np.mean(Specimen(SPINDLE.replace(arm_length=length), (256, 256), seed=1).maps().cells > 0)
        for length in (0.3, 1.0)
    ]
    assert covers[0] < 0.8 * covers[1]
