"""The image pool: a discriminator also judges planes that the generator made some steps ago (Shrivastava et al. 2017).

Without it a discriminator forgets what it had already learned to tell apart, and both networks go round in circles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

POOL_PLANES = 50


class ImagePool:
    """Up to ``size`` virtual planes; the one thread that trains owns it.

    Its memory is ``size`` planes on the device that made them (50 of 512 x 512 px: 50 MiB).
    """

    def __init__(self, size: int = POOL_PLANES) -> None:
        self.size = size
        self._planes: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._planes)

    def swap(self, planes: Tensor, rng: torch.Generator) -> Tensor:
        """Return as many planes as given, (N, C, Y, X), each either itself or, with probability 1/2, an older one.

        Until the pool is full every plane is kept and returned. Later a plane that is swapped takes the place of the
        one it is swapped for. The planes are copied, and nothing flows back through them.
        """
        return torch.stack([self._swap_one(plane.detach().clone(), rng) for plane in planes])

    def _swap_one(self, plane: Tensor, rng: torch.Generator) -> Tensor:
        if len(self._planes) < self.size:
            self._planes.append(plane)
            return plane
        if self.size == 0 or torch.rand((), generator=rng) >= 0.5:
            return plane
        at = int(torch.randint(self.size, (), generator=rng))
        older, self._planes[at] = self._planes[at], plane
        return older.to(plane.device)

    def state(self) -> dict[str, Any]:
        """Return the planes for a checkpoint: one (n, C, Y, X) tensor on the CPU, or nothing while it is empty."""
        return {"planes": torch.stack(self._planes).cpu()} if self._planes else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self._planes = list(state["planes"]) if "planes" in state else []
