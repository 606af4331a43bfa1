"""Print what docs/specimen.md quotes: the checks of the simulated specimen and what a picture costs.

    python benchmarks/specimen.py            (about a minute; set OMP_NUM_THREADS=1 to compare)

CPU time of this process is printed, not wall time, so that a busy machine disturbs it less.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from livestain.specimen import (
    FLUORESCENCE_ELECTRONS,
    ROSETTE,
    SHEET,
    SPINDLE,
    Camera,
    CameraSettings,
    Look,
    Specimen,
)
from livestain.specimen.life import TICK_H, Population

SEEDS = range(4)
Image = npt.NDArray[np.floating]


def main() -> None:
    print(f"{platform.platform()}, numpy {np.__version__}, 512 x 512 px, mean of {len(SEEDS)} seeds")
    for look in (SPINDLE, SHEET, ROSETTE):
        rows = [check_pictures(look, seed) for seed in SEEDS]
        print(f"\n{look.name}, {look.pixel_um} um/px, z {look.z_um} um")
        for name in rows[0]:
            values = [row[name] for row in rows]
            print(f"  {name:<58} {np.mean(values):7.3f}   ({min(values):.3f} .. {max(values):.3f})")
        for name, value in (check_life(look, 1) | measure_cost(look)).items():
            print(f"  {name:<58} {value:7.3f}")


def check_pictures(look: Look, seed: int) -> dict[str, float]:
    """Return checks 1, 2, 3, 6, 7 and 10 of one field."""
    specimen = Specimen(look, (512, 512), seed)
    specimen.advance(6)
    image, maps = specimen.transmission(), specimen.maps()
    frame = Camera(seed=1).expose(image, 0).astype(np.float64)
    stain_camera = Camera(CameraSettings(electrons=FLUORESCENCE_ELECTRONS))
    nuclei, membrane = (
        stain_camera.expose(stain, number).astype(np.float64)
        for number, stain in enumerate((specimen.fluorescence("nuclei"), specimen.fluorescence("membrane")))
    )
    hand_made = gaussian_filter(local_deviation(frame, 2), 3)
    lags = autocorrelation(frame)
    inside = maps.nuclear > 0
    return {
        "1  mean of I": float(image.mean()),
        "2  sd of I": float(image.std()),
        "2  sd of I in focus, share of that": float(specimen.transmission(0.05).std() / image.std()),
        "3  r(I(z), I(-z))": correlation(image, specimen.transmission(-look.z_um)),
        "3  r(I(z), I(2z))": correlation(image, specimen.transmission(2 * look.z_um)),
        "6  autocorrelation at 1 px": lags[1],
        "6  autocorrelation at 2 px": lags[2],
        "6  largest autocorrelation beyond 4 px": float(lags[5:40].max()),
        "7  nuclear pixels in their own cell": float(np.mean(maps.cells[inside] == maps.nuclear[inside])),
        "10 r of gauss 3 of local sd 2 with nuclei": correlation(hand_made, nuclei),
        "10 r of gauss 3 of local sd 2 with membrane": correlation(hand_made, membrane),
        "10 r of gauss 1.5 of the nuclei with themselves": correlation(gaussian_filter(nuclei, 1.5), nuclei),
        "   cover of cells": float(np.mean(maps.cells > 0)),
        "   cover of nuclei": float(np.mean(inside)),
        "   mean phase in cells, rad": float(maps.phase[maps.cells > 0].mean()),
        "   99 % of the phase, rad": float(np.percentile(maps.phase, 99)),
    }


def check_life(look: Look, seed: int) -> dict[str, float]:
    """Return check 9: a day of 400 x 400 um."""
    life = Population(look, (400.0, 400.0), seed)
    before, rounded, moved = len(life.cells), [], 0.0
    for _ in range(round(24 / TICK_H)):
        places = {cell.number: complex(cell.x, cell.y) for cell in life.cells}
        life.tick()
        living = [cell for cell in life.cells if not cell.dead]
        steps = [complex(cell.x, cell.y) - places[cell.number] for cell in living if cell.number in places]
        moved = max(moved, *(abs(complex((s.real + 200) % 400 - 200, (s.imag + 200) % 400 - 200)) for s in steps))
        rounded.append(np.mean([cell.spread(life.time_h) < 0.5 for cell in living]))
    return {
        "9  cells after 24 h / before": len(life.cells) / before,
        "9  rounded share": float(np.mean(rounded)),
        "9  longest move in a tick, um": moved,
        "9  dead share": float(np.mean([cell.dead for cell in life.cells])),
    }


def measure_cost(look: Look) -> dict[str, float]:
    """Return CPU ms of the parts of a picture, medians."""
    costs: dict[str, float] = {}
    for side in (256, 512):
        for name, values in time_parts(Specimen(look, (side, side), 0)).items():
            costs[f"   {name}, {side} px, CPU ms"] = float(np.median(values))
    return costs


def time_parts(specimen: Specimen) -> dict[str, list[float]]:
    image = specimen.transmission()
    camera = Camera()
    parts: dict[str, list[float]] = {"camera": [cpu_ms(partial(camera.expose, image, n, image)) for n in range(50)]}
    for number in range(7):
        timed: dict[str, Callable[[], object]] = {
            "tick": specimen.advance,
            "drawing and bright field": specimen.transmission,
            "new focus": partial(specimen.transmission, 1.0 + number),
            "nuclei": partial(specimen.fluorescence, "nuclei"),
            "membrane": partial(specimen.fluorescence, "membrane"),
        }
        for name, call in timed.items():
            parts.setdefault(name, []).append(cpu_ms(call))
    return parts


def cpu_ms(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return 1000 * (time.process_time() - start)


def correlation(one: Image, other: Image) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def local_deviation(image: Image, sigma: float) -> Image:
    mean = gaussian_filter(image, sigma)
    deviation: Image = np.sqrt(np.maximum(gaussian_filter(image * image, sigma) - mean * mean, 0))
    return deviation


def autocorrelation(frame: Image) -> Image:
    """Mean over both axes, background removed, by lag in px."""
    flat = frame - gaussian_filter(frame, 24)
    lags = np.fft.ifft2(np.abs(np.fft.fft2(flat - flat.mean())) ** 2).real
    both: Image = (lags[0] + lags[:, 0]) / (2 * lags[0, 0])
    return both


if __name__ == "__main__":
    main()
