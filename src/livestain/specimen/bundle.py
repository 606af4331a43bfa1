"""Hair bundles: tufts on the hair cells in the middle of a rosette; half of them point one way, half the other."""

from __future__ import annotations

import numpy as np

from livestain.specimen.grid import Dots
from livestain.specimen.life import Population
from livestain.specimen.scene import Scene

_STEP_UM = 0.55
_WIDTHS_UM = (0.42, 0.30, 0.26, 0.22)
"""The long hair and the short ones behind it, from the highest to the lowest."""
_INDEX_STEP = 0.05
_HEIGHT = 4.0
"""Height of a hair in parts of its width."""
_STAIN = 1.2


def draw_bundles(scene: Scene, life: Population) -> None:
    """Add to ``scene`` the bundles of all living hair cells that are not rounded up: phase and membrane stain."""
    tufts = [
        (x, y, cell.home.hair)
        for cell in life.cells
        if cell.home is not None and cell.home.hair is not None and cell.spread(life.time_h) == 1
        for x, y in scene.grid.copies(cell.x, cell.y, life.size_um, 2.0)
    ]
    middle = np.array(tufts, np.float64).reshape(-1, 3)
    along = _STEP_UM * (np.arange(len(_WIDTHS_UM)) - 1.5)
    x = middle[:, :1] + along * np.cos(middle[:, 2:])
    y = middle[:, 1:2] + along * np.sin(middle[:, 2:])
    sigma = np.broadcast_to(_WIDTHS_UM, x.shape).ravel()
    phase = life.look.optics.phase_per_um * _INDEX_STEP * _HEIGHT * sigma
    hairs = Dots(x.ravel(), y.ravel(), sigma, phase)
    scene.dots.append(hairs)
    scene.membrane += scene.grid.stamp(Dots(hairs.x, hairs.y, sigma, _STAIN * sigma / sigma.max(initial=1e-6)))
