"""Simulated fields of three looks as a training finds them: camera frames on disk, unpaired, paired, and to judge by.

::

    python benchmarks/specimen_fields.py --look sheet --output DIR       about 10 s; what is there is not made again

::

    DIR/sheet/train/label-free/a00_bf.tif, train/nuclei/b00_nuclei.tif, train/membrane/b00_membrane.tif
    DIR/sheet/pairs/c00_bf.tif, c00_nuclei.tif, c00_membrane.tif
    DIR/sheet/validation/..., DIR/sheet/test/...       pairs, with the labels of the nuclei (_mask.tif)
    DIR/sheet/test-noiseless/...                       the test pairs with stains that no camera made noisy

``train`` has no pair: its label-free fields are of other cells than its stains. No two of these parts share a seed.
Each look is taken at one plain condition: its own pixel size, focus and light; the sheet has gaps (1100 cells per mm2
instead of 2046), for in a closed one half of all pixels lie in cells, and the median is no background of its membrane.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from livestain.contrast import Field
from livestain.frames import Counts
from livestain.specimen import (
    FLUORESCENCE_ELECTRONS,
    ROSETTE,
    SHEET,
    SPINDLE,
    Camera,
    CameraSettings,
    Specimen,
    illumination,
)

LOOKS = {"spindle": SPINDLE, "sheet": SHEET.replace(density_mm2=1100), "rosette": ROSETTE}
STAINS = ("nuclei", "membrane")
SIDE_PX = 512
TRAINING_FIELDS, VALIDATION_FIELDS, TEST_FIELDS = 12, 4, 8
SEEDS = {"label-free": 60_000, "stains": 61_000, "pairs": 62_000, "validation": 63_000, "test": 64_000}
"""First seed of each part; the demo model has those below."""


@dataclass(frozen=True, eq=False)
class SpecimenField:
    """One field of view of simulated cells.

    Attributes
    ----------
    bright
        (Y, X) uint16 counts of the bright-field camera.
    measured
        Stain -> (Y, X) uint16 counts of the fluorescence camera.
    noiseless
        Stain -> (Y, X) uint16, the counts that a camera without noise would give.
    nuclei
        (Y, X) uint16 number of the nucleus in each pixel, 0 outside nuclei.
    pixel_um
        Pixel size, um.
    """

    bright: Counts
    measured: Mapping[str, Counts]
    noiseless: Mapping[str, Counts]
    nuclei: npt.NDArray[np.uint16]
    pixel_um: float


def specimen_fields(look: str, seeds: Sequence[int], side_px: int = SIDE_PX) -> Iterator[SpecimenField]:
    """Yield one field of ``side_px`` squared for each seed; the same look and seed give the same field."""
    for seed in seeds:
        yield _take(Specimen(LOOKS[look], (side_px, side_px), seed), seed)


def write_fields(look: str, output: Path, side_px: int = SIDE_PX) -> Path:
    """Write every part of one look (see above) below ``output`` and return its folder; blocks, for some 10 s.

    Files that are there are left alone, and none is there half.
    """
    home = output / look
    for part, count in (("label-free", TRAINING_FIELDS), ("stains", TRAINING_FIELDS), ("pairs", TRAINING_FIELDS),
                        ("validation", VALIDATION_FIELDS), ("test", TEST_FIELDS)):  # fmt: skip
        for number in range(count):
            targets = _targets(home, part, number)
            if not all(path.is_file() for path in targets):
                (field,) = specimen_fields(look, [SEEDS[part] + number], side_px)
                for path, kind in targets.items():
                    _write(path, _plane(field, kind), field.pixel_um)
    return home


def _take(specimen: Specimen, seed: int) -> SpecimenField:
    camera = Camera(CameraSettings(electrons=specimen.look.electrons), seed)
    bright = camera.expose(specimen.transmission(), 0, illumination(specimen.grid.shape, seed))
    stains = {"nuclei": specimen.fluorescence("nuclei"), "membrane": specimen.fluorescence("membrane")}
    settings = CameraSettings(electrons=FLUORESCENCE_ELECTRONS)
    dim = Camera(settings, seed)
    return SpecimenField(
        bright,
        {name: dim.expose(stain, number) for number, (name, stain) in enumerate(stains.items(), start=1)},
        {name: _without_noise(stain, settings) for name, stain in stains.items()},
        specimen.maps().nuclear.astype(np.uint16),
        specimen.look.pixel_um,
    )


def _without_noise(stain: Field, settings: CameraSettings) -> Counts:
    counts: Counts = np.rint(stain * (settings.electrons / settings.gain) + settings.offset).astype(np.uint16)
    return counts


def _targets(home: Path, part: str, number: int) -> dict[Path, str]:
    """Return the files of one field -> what they hold."""
    if part == "label-free":
        return {home / "train" / part / f"a{number:02}_bf.tif": "bf"}
    if part == "stains":
        return {home / "train" / stain / f"b{number:02}_{stain}.tif": stain for stain in STAINS}
    name = f"{part[0]}{number:02}" if part != "pairs" else f"c{number:02}"
    kinds = ("bf", *STAINS) if part == "pairs" else ("bf", *STAINS, "mask")
    targets = {home / part / f"{name}_{kind}.tif": kind for kind in kinds}
    if part == "test":
        for kind in kinds:
            targets[home / "test-noiseless" / f"{name}_{kind}.tif"] = f"noiseless {kind}" if kind in STAINS else kind
    return targets


def _plane(field: SpecimenField, kind: str) -> Counts:
    if kind in STAINS:
        return field.measured[kind]
    if kind.startswith("noiseless "):
        return field.noiseless[kind.removeprefix("noiseless ")]
    return field.bright if kind == "bf" else field.nuclei


def _write(path: Path, plane: Counts, pixel_um: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    density = 1 / pixel_um
    tifffile.imwrite(part, plane, imagej=True, resolution=(density, density), metadata={"unit": "um"})
    part.replace(path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--look", choices=tuple(LOOKS), action="append", help="one of them, may be repeated; all if left out"
    )
    default = Path(tempfile.gettempdir()) / "livestain-specimen-fields"
    parser.add_argument("--output", type=Path, default=default, help=f"folder to fill, {default} if left out")
    chosen = parser.parse_args(arguments)
    for look in chosen.look or LOOKS:
        began = time.process_time()
        folder = write_fields(look, chosen.output)
        print(f"{folder}: {time.process_time() - began:.0f} CPU-s")


if __name__ == "__main__":
    main()
