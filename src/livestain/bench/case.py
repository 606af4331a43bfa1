"""One thing that is timed: a call that stains one frame or does some other known work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Case:
    """A name, what is timed, and how its memory is freed.

    Attributes
    ----------
    name
        What it is, in words; different for each case of a table.
    call
        Blocks until the result is there, (S, Y, X) uint16 for whatever stains.
    close
        Frees what it holds; the case cannot be used afterwards.
    """

    name: str
    call: Callable[[], npt.NDArray[np.generic]]
    close: Callable[[], None]
