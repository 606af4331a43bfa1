"""Make the two pictures of docs/specimen.md.

    python benchmarks/specimen_pictures.py docs/images REAL

REAL is a folder with the test images of experiment 170601SH11 of the aiSEGcell source data (NAME_bf.png, NAME_nuc.png).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from livestain.specimen import FLUORESCENCE_ELECTRONS, SPINDLE, Camera, CameraSettings, Look, Specimen, illumination

SIDE = 400
NUCLEI, MEMBRANE = (0, 230, 118), (255, 0, 255)
CREDIT = (
    "Upper row: aiSEGcell source data, experiment 170601SH11,"
    " D. Schirmacher, T. Schroeder et al., ETH Zurich, CC BY 4.0"
)

Picture = npt.NDArray[np.uint8]
Values = npt.NDArray[np.floating]


def main(target: Path, real: Path) -> None:
    alike = SPINDLE.replace(pixel_um=0.85, density_mm2=180, arm_length=0.8, electrons=4000, z_um=-8)
    beside = [row_of_real(real, "170601SH11_p0027_t00001b"), row_of_specimen(alike, seed=21)[:2]]
    save(target / "specimen-beside-real.png", beside, CREDIT)
    looks = [row_of_specimen(look, seed=1) for look in ("spindle", "sheet", "rosette")]
    save(
        target / "specimen-looks.png",
        [*looks, row_of_focus(seed=1)],
        "All simulated. Lowest row: one field through focus.",
    )


def row_of_real(folder: Path, name: str) -> list[Picture]:
    bright = read(folder / f"{name}_bf.png")
    return [
        caption(grey(contrast(bright)), "measured: bright field"),
        caption(colour(read(folder / f"{name}_nuc.png"), NUCLEI), "measured: nuclei"),
    ]


def row_of_specimen(look: str | Look, seed: int) -> list[Picture]:
    specimen = Specimen(look, (SIDE, SIDE), seed)
    specimen.advance(6)
    camera = Camera(CameraSettings(electrons=specimen.look.electrons), seed)
    bright = camera.expose(specimen.transmission(), 0, illumination((SIDE, SIDE), seed)).astype(np.float64) - 100
    stain_camera = Camera(CameraSettings(electrons=FLUORESCENCE_ELECTRONS), seed)
    nuclei = stain_camera.expose(specimen.fluorescence("nuclei"), 1).astype(np.float64)
    membrane = stain_camera.expose(specimen.fluorescence("membrane"), 2).astype(np.float64)
    name = specimen.look.name
    return [
        caption(grey(contrast(bright)), f"simulated {name}: bright field"),
        caption(colour(nuclei, NUCLEI), f"simulated {name}: nuclei"),
        caption(colour(membrane, MEMBRANE), f"simulated {name}: membrane"),
    ]


def row_of_focus(seed: int) -> list[Picture]:
    """One part of a field at six focal planes."""
    specimen = Specimen("spindle", (SIDE, SIDE), seed)
    focal = (-12, -6, -2, 2, 6, 12)
    part = slice(100, 360), slice(40, 40 + SIDE // 2)
    return [caption(grey(specimen.transmission(float(z))[part] - 1), f"z {z:+d} um") for z in focal]


def read(path: Path) -> Values:
    with Image.open(path) as image:
        return np.asarray(image, np.float64)[:SIDE, :SIDE]


def contrast(bright: Values) -> Values:
    """Return the deviation from the local background (Gaussian of 24 px)."""
    return bright / gaussian_filter(bright, 24) - 1


def grey(values: Values) -> Picture:
    """Show -0.25 to 0.25 as black to white."""
    one = (np.clip(values / 0.5 + 0.5, 0, 1) * 255).astype(np.uint8)
    return np.repeat(one[:, :, None], 3, axis=2)


def colour(values: Values, tint: tuple[int, int, int]) -> Picture:
    low, high = np.percentile(values, (5, 99.7))
    scaled: Picture = (np.clip((values - low) / (high - low), 0, 1)[:, :, None] * np.array(tint)).astype(np.uint8)
    return scaled


def caption(panel: Picture, text: str) -> Picture:
    image = Image.fromarray(panel)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(13)
    draw.rectangle((0, 0, draw.textlength(text, font=font) + 8, 19), fill=(0, 0, 0))
    draw.text((4, 2), text, fill=(255, 255, 255), font=font)
    return np.asarray(image)


def save(path: Path, rows: list[list[Picture]], foot: str) -> None:
    picture = np.vstack([np.hstack(row) for row in rows])
    strip = caption(np.zeros((22, picture.shape[1], 3), np.uint8), foot)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack([picture, strip])).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
