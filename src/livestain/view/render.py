"""From the state of a window to one picture: layers, mark, legend and scale bar; for the screen and for files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from qtpy.QtCore import QRect, QRectF
from qtpy.QtGui import QColor, QImage, QPainter

from livestain.view import overlays
from livestain.view.compose import Composer, Levels, make_colors
from livestain.view.overlays import NO_STAIN, Frame, Tags, legend_rows
from livestain.view.picture import Picture
from livestain.view.state import ViewState
from livestain.view.theme import IMAGE
from livestain.view.viewport import Area, Span, Viewport, curtain_at, divide, view_size

NO_PICTURE = "no picture yet"
NO_LAYER = "every layer is switched off"


class Renderer:
    """Draws states, and keeps between pictures what did not change. Belongs to one thread, which may be any."""

    def __init__(self) -> None:
        self.composer = Composer()
        self._image = QImage()

    def image(
        self, state: ViewState, view: Viewport | None, width: int, height: int, ratio: float, tags: Tags
    ) -> QImage:  # fmt: skip
        """Return the picture of ``width`` x ``height`` device px; valid until the next call.

        Parameters
        ----------
        view
            What is seen in each pane (`livestain.view.viewport.view_size`); None: there is no picture.
        ratio
            Device px for one logical px, in which text is measured.
        """
        if (self._image.width(), self._image.height()) != (width, height):
            self._image = QImage(max(width, 1), max(height, 1), QImage.Format.Format_RGB32)
        image, picture, whole = self._image, state.picture, QRectF(0, 0, width / ratio, height / ratio)
        image.setDevicePixelRatio(1.0)
        image.fill(QColor(IMAGE))
        if view is None or picture is None:
            with _painting(image, ratio) as painter:
                overlays.draw_text(painter, whole, NO_PICTURE)
            return image
        areas = divide(state.mode, state.panes(), state.curtain, view)
        with _painting(image, 1.0) as painter:
            for area in areas:
                self._draw_area(painter, state, picture, view, area)
        with _painting(image, ratio) as painter:
            _write(painter, state, picture, _Place(view, areas, whole, ratio), tags)
        return image

    def _draw_area(
        self, painter: QPainter, state: ViewState, picture: Picture, view: Viewport, area: Area
    ) -> None:  # fmt: skip
        rows, first = view.rows, area.left + view.columns.start
        target = QRect(area.drawn.start, rows.start, area.drawn.size, rows.size)
        source = QRect(area.drawn.start - first, 0, area.drawn.size, rows.size)
        painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_SourceOver)
        painter.fillRect(target, QColor("#000000"))
        painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Plus)
        for layer in area.pane.layers:
            shown = state.views[layer]
            levels = self.composer.levels(layer, shown, picture, view)
            opacity = state.opacity(layer)
            if levels is not None and opacity > 0:
                painter.drawImage(target, _indexed(levels, _color_table(shown.color, opacity)), source)


def render(
    state: ViewState, size: tuple[int, int], *, pixel_um: float, caption: str, note: str = "", device_ratio: float = 1.0
) -> QImage:  # fmt: skip
    """Return what a window with a canvas of this size would show of the whole image, with mark and scale bar burnt in.

    Needs a ``QGuiApplication`` (platform ``offscreen`` will do) for its fonts; may be called on any thread that owns
    the state. The image is the caller's own.

    Parameters
    ----------
    size
        (width, height) in logical px; the picture has ``device_ratio`` times as many.
    pixel_um
        Pixel size in um; 0 where it is not known: then there is no scale bar.
    caption, note
        Time and place, and what was noted there; empty: none.
    """
    width, height = round(size[0] * device_ratio), round(size[1] * device_ratio)
    shape = state.picture.shape if state.picture is not None else (0, 0)
    view = Viewport.fit(shape, *view_size(state.mode, len(state.panes()), width, height)) if min(shape) else None
    return Renderer().image(state, view, width, height, device_ratio, Tags(pixel_um, caption, note=note))


class _Place(NamedTuple):
    """Where the panes are: view and areas in device px, all of it in logical px."""

    view: Viewport
    areas: tuple[Area, ...]
    whole: QRectF
    ratio: float

    @property
    def beside(self) -> bool:
        """Whether there are two pictures, not one with a curtain."""
        return len(self.areas) == 2 and self.areas[1].left > 0

    def seen(self, columns: Span) -> QRectF:
        """Return these columns of the image."""
        return _logical(columns.start, self.view.rows.start, columns.size, self.view.rows.size, self.ratio)


def _write(painter: QPainter, state: ViewState, picture: Picture, place: _Place, tags: Tags) -> None:
    """Write upon the layers."""
    frames = [_frame(state, picture, place, area) for area in place.areas]
    for frame in frames:
        if not frame.pane.layers:
            overlays.draw_text(painter, frame.seen, NO_LAYER)
    scale = place.view.scale / place.ratio
    if place.beside:
        # Bar and age stand in each picture, as one may be cut out; the rest once.
        overlays.draw_frames(painter, frames[:1], tags, scale)
        overlays.draw_frames(painter, frames[1:], replace(tags, caption="", note="", frozen=False), scale)
        return
    if len(frames) == 2:
        x = curtain_at(state.curtain, place.view) / place.ratio
        overlays.draw_curtain(painter, x, frames[0].seen.united(frames[1].seen))
    overlays.draw_frames(painter, frames, tags, scale)


def _frame(state: ViewState, picture: Picture, place: _Place, area: Area) -> Frame:
    rows = legend_rows(area.pane, state.views, picture)
    caption = area.pane.caption if (len(place.areas) == 2 or state.alone) and not area.pane.virtual else ""
    if area.pane.unstained:
        caption = f"{NO_STAIN}: {area.pane.unstained}"
        rows = [row for row, layer in zip(rows, area.pane.layers, strict=True) if _is_measured(state, layer)]
    elif caption and len(rows) == 1 and not rows[0].missing:
        caption, rows = rows[0].text, []
    return Frame(area.pane, place.seen(area.drawn), place.whole, rows, caption)


def _is_measured(state: ViewState, layer: int) -> bool:
    return state.views[layer].info.kind != "virtual"


@contextmanager
def _painting(image: QImage, ratio: float) -> Iterator[QPainter]:
    """Give a painter that ends in any case: Qt aborts when an image goes while it is painted on."""
    image.setDevicePixelRatio(ratio)
    painter = QPainter(image)
    try:
        yield painter
    finally:
        painter.end()


def _logical(left: int, top: int, width: int, height: int, ratio: float) -> QRectF:
    return QRectF(left / ratio, top / ratio, width / ratio, height / ratio)


def _indexed(levels: Levels, colors: list[int]) -> QImage:
    """Return a picture over the memory of ``levels``, which must live as long."""
    height, width = levels.shape
    image = QImage(levels.data, width, height, levels.strides[0], QImage.Format.Format_Indexed8)
    image.setColorTable(colors)
    return image


@lru_cache(maxsize=64)
def _color_table(color: str, opacity: float) -> list[int]:
    """Return 256 opaque colours as Qt wants them, 0xAARRGGBB."""
    red, green, blue = (column.astype(int) for column in make_colors(color, opacity).T)
    return [int(value) for value in 0xFF000000 + (red << 16) + (green << 8) + blue]
