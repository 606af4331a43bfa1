"""The gate: an engine is used only when its stain of the test frame is the one that the model was released with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from livestain.engine.graph import FULL_SCALE
from livestain.engine.protocol import Engine, GateResult
from livestain.model import Model

BRIGHT = 0.1
"""Where the expected stain is above this, differences are judged relative to it."""

BRIGHT_RMS_MAX = 0.02
DARK_RMS_MAX = 0.005
F32_ABS_MAX = 1e-4

_HALF_COUNT = 0.5 / FULL_SCALE


def check_engine(engine: Engine, model: Model) -> GateResult:
    """Stain the model's test frame and compare with the expected stains; blocks.

    Each stain is judged by itself; the figures are those of the worst one.

    Raises
    ------
    EngineError
        The engine cannot stain at all.
    ModelError
        The files of the test frame were altered.
    """
    frame, shade, black = model.gate_frame()
    stains = engine.stain(frame, shade, black, 1 / model.card.contrast.constant)
    return compare(stains, model.test_output()[0], full=engine.info.precision == "f32")


def compare(stains: npt.NDArray[np.uint16], expected: npt.NDArray[np.float32], *, full: bool) -> GateResult:
    """Compare (S, Y, X) uint16 stains with the (S, Y, X) float32 in [0, 1] that were expected.

    ``full`` asks for what float32 must reach: no pixel off by more than 1e-4, and half a count for the rounding.
    """
    difference = stains / np.float64(FULL_SCALE) - expected
    pairs = list(zip(difference, expected, strict=True))
    bright = float(np.max([_bright_rms(d, e) for d, e in pairs]))
    dark = float(np.max([_rms(d[~(e > BRIGHT)]) for d, e in pairs]))
    largest = float(np.max(np.abs(difference)))
    # Written so that a NaN passes nothing: it is not bright, np.max keeps it, and no comparison holds for it.
    passed = bright <= BRIGHT_RMS_MAX and dark <= DARK_RMS_MAX and (not full or largest <= F32_ABS_MAX + _HALF_COUNT)
    return GateResult(bright, dark, largest, passed)


def describe(result: GateResult) -> str:
    """Return the figures in one line, each with its limit."""
    full = f", largest difference {result.max_abs:.2g} (allowed at fp32 {F32_ABS_MAX:.0e})"
    return (
        f"relative RMS {result.bright_rms:.2%} where bright (allowed {BRIGHT_RMS_MAX:.0%}), "
        f"RMS {result.dark_rms:.5f} elsewhere (allowed {DARK_RMS_MAX}){full}"
    )


def _bright_rms(difference: npt.NDArray[np.float64], expected: npt.NDArray[np.float32]) -> float:
    bright = expected > BRIGHT
    return _rms(difference[bright]) / _rms(expected[bright]) if bright.any() else 0.0


def _rms(values: npt.NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0
