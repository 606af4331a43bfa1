"""Which part of an image is seen where on the screen: zoom, place, and the division into panes; no Qt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from livestain.view.state import Mode, Pane

Indices = npt.NDArray[np.intp]

MAX_SCALE = 64.0
GAP = 4
"""Device px between two panes beside each other."""


class Span(NamedTuple):
    """A part of a line of device px, from ``start`` up to but without ``stop``."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Its length in device px, never below 0."""
        return max(self.stop - self.start, 0)


@dataclass(frozen=True, slots=True)
class Viewport:
    """A view of ``width`` x ``height`` device px on an image; positions count from its left upper corner.

    The image never leaves the view: along an axis where it is smaller it stands in the middle, else it covers the view.

    Attributes
    ----------
    shape
        (Y, X) of the image in px.
    scale
        Device px for one image px, from what shows the whole image (or 1, if that is less) to 64.
    x, y
        Image position, in px from its left upper corner, in the middle of the view.
    """

    shape: tuple[int, int]
    width: int
    height: int
    scale: float
    x: float
    y: float

    @classmethod
    def fit(cls, shape: tuple[int, int], width: int, height: int) -> Viewport:
        """Return the view that shows the whole image as large as it can be."""
        width, height = max(width, 1), max(height, 1)
        return cls(shape, width, height, fitting_scale(shape, width, height), shape[1] / 2, shape[0] / 2)

    def scaled(self, scale: float) -> Viewport:
        """Return the view at another scale, with the same middle where the image allows it."""
        return replace(self, scale=scale)._legal()

    def zoomed(self, factor: float, x: float, y: float) -> Viewport:
        """Return the view at ``factor`` times the scale; what is seen at device px (x, y) stays there."""
        scale = self._legal_scale(self.scale * factor)
        keep_x, keep_y = x - self.width / 2, y - self.height / 2
        moved_x = self.x + keep_x / self.scale - keep_x / scale
        moved_y = self.y + keep_y / self.scale - keep_y / scale
        return replace(self, scale=scale, x=moved_x, y=moved_y)._legal()

    def panned(self, dx: float, dy: float) -> Viewport:
        """Return the view with the image moved by device px to the right and down."""
        return replace(self, x=self.x - dx / self.scale, y=self.y - dy / self.scale)._legal()

    def resized(self, width: int, height: int) -> Viewport:
        """Return the view in another size, with the same middle and scale where the image allows it."""
        return replace(self, width=max(width, 1), height=max(height, 1))._legal()

    @property
    def left(self) -> int:
        """Device px at which the image begins (negative: outside). Whole, so that 1:1 shows the camera's pixels."""
        return round(self.width / 2 - self.x * self.scale)

    @property
    def top(self) -> int:
        """Device px at which the image begins from above."""
        return round(self.height / 2 - self.y * self.scale)

    @property
    def columns(self) -> Span:
        """The device px from left to right that show the image."""
        return self._seen(self.left, self.shape[1], self.width)

    @property
    def rows(self) -> Span:
        """The device px from top to bottom that show the image."""
        return self._seen(self.top, self.shape[0], self.height)

    def sampled(self) -> tuple[Indices, Indices]:
        """Return the image rows and columns shown by each of `rows` and `columns` (nearest to the px's middle)."""
        return (
            self._nearest(self.rows, self.top, self.shape[0]),
            self._nearest(self.columns, self.left, self.shape[1]),
        )

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """Return the image position (x, y) in px that is seen at device px (x, y); may lie outside the image."""
        return (x - self.left) / self.scale, (y - self.top) / self.scale

    def to_widget(self, x: float, y: float) -> tuple[float, float]:
        """Return the device px (x, y) at which the image position (x, y) is seen; may lie outside the view."""
        return x * self.scale + self.left, y * self.scale + self.top

    def pixel_at(self, x: float, y: float) -> tuple[int, int] | None:
        """Return the image px (column, row) that is drawn at device px (x, y); None beside the image."""
        column, row = math.floor(x), math.floor(y)
        if not (self.columns.start <= column < self.columns.stop and self.rows.start <= row < self.rows.stop):
            return None
        at = self.to_image(column + 0.5, row + 0.5)
        return min(int(at[0]), self.shape[1] - 1), min(int(at[1]), self.shape[0] - 1)

    def _seen(self, start: int, length: int, view: int) -> Span:
        return Span(max(start, 0), min(start + max(round(length * self.scale), 1), view))

    def _nearest(self, span: Span, start: int, length: int) -> Indices:
        at = (np.arange(span.start, span.stop) + (0.5 - start)) / self.scale
        return np.minimum(at.astype(np.intp), length - 1)

    def _legal_scale(self, scale: float) -> float:
        fitting = fitting_scale(self.shape, self.width, self.height)
        return min(max(scale, min(fitting, 1.0)), max(fitting, MAX_SCALE))

    def _legal(self) -> Viewport:
        scale = self._legal_scale(self.scale)
        x = _legal_middle(self.x, self.shape[1], self.width / scale)
        y = _legal_middle(self.y, self.shape[0], self.height / scale)
        return replace(self, scale=scale, x=x, y=y)


@dataclass(frozen=True, slots=True)
class Area:
    """Where a pane is drawn: its view begins at device px ``left`` of the whole, and ``drawn`` columns of it are seen.

    The spans count from the left of the whole.
    """

    pane: Pane
    left: int
    drawn: Span


def view_size(mode: Mode, panes: int, width: int, height: int) -> tuple[int, int]:
    """Return (width, height) of the view of each pane in device px; all panes have the same."""
    beside = panes == 2 and mode == "split"
    return (max((width - GAP) // 2, 1) if beside else max(width, 1)), max(height, 1)


def divide(mode: Mode, panes: Sequence[Pane], curtain: float, view: Viewport) -> tuple[Area, ...]:
    """Return where each of one or two panes is drawn; ``view`` is that of each (`view_size`)."""
    if len(panes) == 1:
        return (Area(panes[0], 0, view.columns),)
    if mode == "split":
        second = view.width + GAP
        moved = Span(view.columns.start + second, view.columns.stop + second)
        return Area(panes[0], 0, view.columns), Area(panes[1], second, moved)
    at = curtain_at(curtain, view)
    return (
        Area(panes[0], 0, Span(view.columns.start, at)),
        Area(panes[1], 0, Span(at, view.columns.stop)),
    )


def curtain_at(share: float, view: Viewport) -> int:
    """Return the device px at which the curtain hangs; ``share`` 0..1 of the width of the image on the screen."""
    return view.columns.start + round(share * view.columns.size)


def fitting_scale(shape: tuple[int, int], width: int, height: int) -> float:
    """Return the scale at which an image of ``shape`` (Y, X) px just fits into a view."""
    return min(width / max(shape[1], 1), height / max(shape[0], 1))


def _legal_middle(middle: float, length: int, seen: float) -> float:
    """Return the image position in the middle of a view that shows ``seen`` px of ``length``."""
    if seen >= length:
        return length / 2
    return min(max(middle, seen / 2), length - seen / 2)
