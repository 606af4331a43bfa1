"""Label-free normalisation: from camera counts to contrast, the same in training, live, late and offline.

With ``B`` the background of one position and illumination, ``g`` the gain of one frame and ``c`` the contrast
constant of the model::

    x = ((I - black) / (g (B - black)) - 1) / c        clipped to [-1, 1]

``B`` comes from one frame (block medians, a wide median filter, a light blur), so that slow shade, vignetting and dust
of the optics go and cells stay. ``g`` is the median over blocks of the ratio of block medians, so that a lamp drift
goes and one bright object moves nothing elsewhere. Nothing here looks at percentiles of a single frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from livestain.errors import FrameError
from livestain.frames import FRAME_DTYPES, MIN_SIDE_PX, Counts, InputCheck

Field = npt.NDArray[np.float32]

BLOCK_PX = 16
SHADE_PX = 8
_WIDE_BLOCKS = 15
_BLUR_BLOCKS = 1.0
_SAMPLE_PX = 4
_GAIN_RANGE = (1 / 64, 64.0)
MOVED_LIMIT = 0.05
"""The background field is taken anew when its shape has changed by more than this share."""


@dataclass(frozen=True, eq=False)
class Background:
    """The empty field of one position and illumination.

    Attributes
    ----------
    blocks
        (ceil(Y / 16), ceil(X / 16)) float32, counts above ``black`` of the empty field, floored at 1/16 of its median.
    black
        Camera offset in counts.
    shape
        (Y, X) of the frames it belongs to, in px.
    """

    blocks: Field
    black: float
    shape: tuple[int, int]

    @cached_property
    def field(self) -> Field:
        """(ceil(Y / 8), ceil(X / 8)) float32 counts above ``black``: the blocks interpolated to the shade's grid."""
        return enlarge(self.blocks, BLOCK_PX // SHADE_PX, shade_shape(self.shape))

    def gain(self, image: Counts) -> float:
        """Return the brightness of ``image`` (Y, X) relative to this background (1 = the same; 1/64 to 64)."""
        self._require_shape(image)
        medians = _sampled_block_medians(image) - np.float32(self.black)
        return float(np.clip(np.median(medians / self.blocks), *_GAIN_RANGE))

    def shade(self, constant: float, gain: float = 1.0) -> Field:
        """Return what the runtime graph multiplies by: 1 / (constant gain (B - black)), float32 on the 1/8 grid."""
        return (1.0 / (constant * gain * self.field)).astype(np.float32)

    def moved(self, image: Counts) -> float:
        """Return by which share the shape of the empty field differs in ``image`` (95th percentile; 0.05 = moved)."""
        self._require_shape(image)
        now = estimate_background(image, self.black).blocks / self.blocks
        return float(np.percentile(np.abs(now / np.median(now) - 1.0), 95))

    def _require_shape(self, image: Counts) -> None:
        if image.shape != self.shape:
            raise FrameError(f"frame of {image.shape} px, background of {self.shape} px: new size, new run")


def require_stainable(image: npt.NDArray[np.generic]) -> None:
    """Raise `FrameError` unless ``image`` is a (Y, X) uint8 or uint16 plane of at least 96 x 96 px."""
    if image.ndim != 2:
        raise FrameError(f"frame has shape {image.shape}: one grey plane (Y, X) is needed, colour is not supported")
    if image.dtype not in FRAME_DTYPES:
        raise FrameError(f"frame has dtype {image.dtype}: uint8 or uint16 is needed")
    if min(image.shape) < MIN_SIDE_PX:
        raise FrameError(
            f"frame of {image.shape[0]} x {image.shape[1]} px: at least {MIN_SIDE_PX} x {MIN_SIDE_PX} is needed"
        )


def estimate_background(image: Counts, black: float = 0.0) -> Background:
    """Return the empty field of a (Y, X) uint8 or uint16 frame; ``black`` is the camera offset in counts.

    Medians of 16 px blocks, a median filter of 15 blocks, a Gaussian blur of 1 block. About 30 ms at 512 x 512.

    Raises
    ------
    FrameError
        The frame is not a grey plane of at least 96 x 96 px.
    """
    require_stainable(image)
    wide = ndimage.median_filter(_block_medians(image), size=_WIDE_BLOCKS, mode="nearest")
    field = ndimage.gaussian_filter(wide, _BLUR_BLOCKS, mode="nearest") - np.float32(black)
    floor = max(float(np.median(field)) / 16, 1e-3)
    return Background(np.maximum(field, np.float32(floor)).astype(np.float32), float(black), _shape2(image))


def is_usable(image: Counts, black: float = 0.0, bit_depth: int = 0) -> bool:
    """Say whether a background can be taken from this frame: lit (median above black + 4 counts), not mostly saturated.

    ``bit_depth`` 0 means that of the dtype.
    """
    top = (1 << (bit_depth or image.dtype.itemsize * 8)) - 1
    medians = _sampled_block_medians(image)
    return bool(np.median(medians) > black + 4 and np.mean(medians >= top) < 0.5)


def normalise(image: Counts, background: Background, constant: float, gain: float | None = None) -> Field:
    """Return the contrast of a frame: (Y, X) float32 in [-1, 1].

    The reference in numpy of what the runtime graph computes. ``gain=None`` measures it on the frame.
    """
    measured = background.gain(image) if gain is None else gain
    full = enlarge(background.shade(constant, measured), SHADE_PX, background.shape)
    x = (image.astype(np.float32) - np.float32(background.black)) * full - np.float32(1 / constant)
    return np.clip(x, -1.0, 1.0, out=x)


def check_input(
    image: Counts,
    background: Background,
    constant: float,
    gain: float,
    sd_range: tuple[float, float],
    saturated_max: float,
    gain_range: tuple[float, float],
) -> InputCheck:
    """Compare a frame with the training ranges of a model, on every 4th pixel of every 4th row (about 1 ms at 512)."""
    rows = slice(_SAMPLE_PX // 2, None, _SAMPLE_PX)
    shade = background.shade(constant, gain)
    y = np.arange(image.shape[0])[rows] // SHADE_PX
    x = np.arange(image.shape[1])[rows] // SHADE_PX
    sample = (image[rows, rows].astype(np.float32) - np.float32(background.black)) * shade[np.ix_(y, x)]
    sample -= np.float32(1 / constant)
    saturated = float(np.mean(np.abs(sample) >= 1.0))
    sd = float(np.clip(sample, -1, 1).std())
    warnings = []
    if sd < sd_range[0]:
        warnings.append(
            f"contrast {sd:.3f} below the training range {_span(sd_range)}: blurred, out of focus or empty?"
        )
    elif sd > sd_range[1]:
        warnings.append(
            f"contrast {sd:.3f} above the training range {_span(sd_range)}: other sample, optics or modality?"
        )
    if saturated > saturated_max:
        warnings.append(f"{saturated:.1%} of the contrast is clipped (training: at most {saturated_max:.1%})")
    if not gain_range[0] <= gain <= gain_range[1]:
        warnings.append(f"brightness {gain:.2f} x background outside {_span(gain_range)}: lamp or exposure changed?")
    return InputCheck(sd, saturated, gain, tuple(warnings))


def shade_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the shade grid for frames of ``shape`` (Y, X) px: one value for 8 px, rounded up."""
    return -(-shape[0] // SHADE_PX), -(-shape[1] // SHADE_PX)


def enlarge(grid: Field, factor: int, shape: tuple[int, int]) -> Field:
    """Interpolate ``grid`` linearly by a whole factor and crop it to ``shape``.

    Pixel centres at half positions, edges held: what ONNX ``Resize`` does in mode ``linear`` with ``half_pixel``.
    """
    lines = _enlarge_axis(grid, factor, 0)[: shape[0]]
    return _enlarge_axis(lines, factor, 1)[:, : shape[1]]


def _enlarge_axis(grid: Field, factor: int, axis: int) -> Field:
    size = grid.shape[axis]
    at = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
    low = np.minimum(at.astype(np.intp), max(size - 2, 0))
    weight = (at - low).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
    high = np.minimum(low + 1, size - 1)
    enlarged: Field = np.take(grid, low, axis) * (1 - weight) + np.take(grid, high, axis) * weight
    return enlarged


def _block_medians(image: Counts, step: int = 1) -> Field:
    """Medians of 16 px blocks, of every ``step``-th pixel; blocks cut by an edge are filled by reflection."""
    height, width = image.shape
    wide = np.pad(image, ((0, -height % BLOCK_PX), (0, -width % BLOCK_PX)), mode="symmetric")
    few = wide[step // 2 :: step, step // 2 :: step]
    side = BLOCK_PX // step
    rows, columns = few.shape[0] // side, few.shape[1] // side
    blocks = few.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows, columns, side * side)
    middle = side * side // 2
    ordered = np.partition(blocks, (middle - 1, middle), axis=-1)
    halves = ordered[..., middle - 1].astype(np.float32) + ordered[..., middle].astype(np.float32)
    return halves * np.float32(0.5)


def _sampled_block_medians(image: Counts) -> Field:
    return _block_medians(image, _SAMPLE_PX)


def _shape2(image: Counts) -> tuple[int, int]:
    return int(image.shape[0]), int(image.shape[1])


def _span(limits: tuple[float, float]) -> str:
    return f"{limits[0]:.2f} to {limits[1]:.2f}"
