"""What is written upon a picture: the mark of virtual stains, names, scale bar, place; the same on screen and in files.

All is anchored to the part of the image that is seen, so that a picture cut out of a window keeps it. Sizes are in
logical px. Painting on a `QImage` is allowed on any thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPen, QPolygonF, QTextOption

from livestain.view.picture import MARK, NO_STAIN_YET, Picture
from livestain.view.state import LayerView, Pane
from livestain.view.theme import AMBER, ON_AMBER, ON_IMAGE

WHITE = "#ffffff"
GREY = "#bdbdbd"
_SCRIM = (0, 0, 0, 178)
"""70 % black: white text then has 8.5 : 1 contrast over white."""

MARK_MIN_PX = 9
_MARK_WORDS = ("VIRTUAL", "STAIN -", "predicted,", "not", "measured")
_STALE, _FROZEN = "STALE:", "FROZEN"
NO_STAIN = "no virtual stain on this frame"
"""Begins the tag that stands in the mark's place where there is nothing virtual to see."""
_MARGIN, _PAD_X, _PAD_Y = 8.0, 7.0, 4.0
_SWATCH = 10.0
_LEGEND_WIDTH = 320.0
_BAR_HEIGHT = 4.0


@dataclass(frozen=True, slots=True)
class Tags:
    """What is told of a picture besides its layers.

    Attributes
    ----------
    pixel_um
        Pixel size in um for the scale bar; 0: not known, no bar.
    caption
        Time and place, such as ``"time 12, 0:02:24"``; empty: none.
    frozen
        The display stands still by choice.
    stale_s
        Seconds without a new frame, when that is too long; 0: all is well.
    note
        What was noted at this time point; cut where it has no room. Empty: nothing.
    """

    pixel_um: float = 0.0
    caption: str = ""
    frozen: bool = False
    stale_s: float = 0.0
    note: str = ""

    def lines(self) -> list[str]:
        """Return the tags of the left lower corner, from top to bottom."""
        stale = f"{_STALE} no new frames for {self.stale_s:.0f} s" if self.stale_s else ""
        return [line for line in (stale, _FROZEN if self.frozen else "", self.note, self.caption) if line]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the legend: a layer's colour and name, and why it is not there (then ``missing``)."""

    color: str
    text: str
    missing: bool = False


@dataclass(frozen=True, slots=True)
class MarkLayout:
    """Where and how the mark is written."""

    lines: tuple[str, ...]
    font_px: int
    rect: QRectF


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a pane is on the screen, in logical px, and what is told of it.

    Attributes
    ----------
    seen, whole
        The part of the image that is seen in it, and all room there is in the window.
    rows
        `legend_rows` of the pane.
    caption
        What a pane without virtual stains is called, or why it has none; empty: no need to say.
    """

    pane: Pane
    seen: QRectF
    whole: QRectF
    rows: Sequence[Row]
    caption: str = ""


def legend_rows(pane: Pane, views: Sequence[LayerView], picture: Picture) -> list[Row]:
    """Return the legend of a pane, one row a layer."""
    rows = []
    for layer in pane.layers:
        view, missing = views[layer], _missing(picture, layer, virtual=views[layer].info.kind == "virtual")
        text = f"{view.info.label} - {missing}" if missing else view.info.label
        rows.append(Row(view.color, text, bool(missing)))
    return rows


def bar_um(um_per_px: float, longest_px: float) -> float:
    """Return the longest length in um of the series 1, 2, 5, 10 .. that takes at most ``longest_px``."""
    longest = um_per_px * longest_px
    decade = 10.0 ** math.floor(math.log10(longest))
    return next(step * decade for step in (5, 2, 1) if step * decade <= longest * (1 + 1e-9))


def length_label(um: float) -> str:
    """Return a length of the 1-2-5 series with its unit, such as ``"50 um"`` or ``"2 mm"``."""
    return f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} um"


def lay_out_mark(seen: QRectF, whole: QRectF, font_px: int) -> MarkLayout:
    """Return how the mark is written in the left upper corner of ``seen``, the image's part of the pane.

    In one line of at most ``font_px``, smaller down to 9 px, then in more lines. Where even that does not fit into the
    image it reaches beyond it, but stays within ``whole`` and complete.
    """
    for room in (seen, whole):
        limit = room.width() - 2 * (_MARGIN + _PAD_X)
        for size in range(font_px, MARK_MIN_PX - 1, -1):
            if _metrics(size, bold=True).horizontalAdvance(MARK) <= limit:
                return _placed_mark((MARK,), size, seen, whole)
        metrics = _metrics(MARK_MIN_PX, bold=True)
        lines = wrap(_MARK_WORDS, limit, metrics.horizontalAdvance)
        if max(metrics.horizontalAdvance(line) for line in lines) <= limit:
            break
    return _placed_mark(lines, MARK_MIN_PX, seen, whole)


def wrap(words: Sequence[str], limit: float, width: Callable[[str], float]) -> tuple[str, ...]:
    """Return the words in as few lines as have at most the width ``limit``, the widest as narrow as can be.

    One word a line where nothing fits.
    """
    for breaks in range(len(words) - 1):
        ways = [_split(words, at) for at in combinations(range(1, len(words)), breaks)]
        best = min(ways, key=lambda lines: max(map(width, lines)))
        if max(map(width, best)) <= limit:
            return best
    return tuple(words)


def font_px(height: float) -> int:
    """Return the size of text on a pane of this height: 11 px when small, 13 on a laptop, 18 at most."""
    return int(min(max(10 + height / 250, 11), 18))


def draw_frames(painter: QPainter, frames: Sequence[Frame], tags: Tags, scale: float) -> None:
    """Write upon one picture, which is one frame, or two where a curtain hangs; ``scale``: logical px for an image px.

    The mark comes first, and what has no room beside it is left out.
    """
    size = font_px(frames[0].whole.height())
    image = frames[0].seen.united(frames[-1].seen)
    if tags.stale_s:
        _draw_border(painter, image)
    marks = [lay_out_mark(frame.seen, frame.whole, size) for frame in frames if frame.pane.virtual]
    tops = [_draw_mark(painter, mark).bottom() for mark in marks]
    tops.extend(_draw_caption(painter, frame, marks, size) for frame in frames)
    top = max(tops, default=image.top())
    bottom = _draw_foot(painter, QRectF(image.left(), top, image.width(), image.bottom() - top), tags, scale, size)
    for frame in frames:
        _draw_legend(painter, QRectF(frame.seen.left(), top, frame.seen.width(), bottom - top), frame.rows, size)


def draw_curtain(painter: QPainter, x: float, seen: QRectF) -> None:
    """Draw the curtain's edge and its handle over the image."""
    painter.fillRect(QRectF(x - 2, seen.top(), 4, seen.height()), QColor(*_SCRIM))
    painter.fillRect(QRectF(x - 1, seen.top(), 2, seen.height()), QColor(WHITE))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(*_SCRIM), 1))
    painter.setBrush(QColor(WHITE))
    middle = seen.center().y()
    painter.drawEllipse(QPointF(x, middle), 10, 10)
    painter.setPen(QPen(QColor("#1e1e1e"), 2, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
    for side in (-1, 1):
        tip, ends = QPointF(x + side * 6, middle), x + side * 3
        painter.drawPolyline(QPolygonF([QPointF(ends, middle - 3), tip, QPointF(ends, middle + 3)]))


def draw_text(painter: QPainter, whole: QRectF, text: str) -> None:
    """Write a plain text into the middle, where there is no picture."""
    painter.setFont(_font(font_px(whole.height())))
    painter.setPen(QColor(ON_IMAGE))
    option = QTextOption(Qt.AlignmentFlag.AlignCenter)
    option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
    painter.drawText(whole.adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN), text, option)


def _missing(picture: Picture, layer: int, virtual: bool) -> str:
    """Say why a layer is not drawn; empty when it is."""
    plane = picture.planes[layer]
    if layer < len(picture.states) and picture.states[layer]:
        return picture.states[layer]
    if plane is None:
        return NO_STAIN_YET if virtual else "not there"
    return "" if plane.shape == picture.shape else f"of another size: {plane.shape[1]} x {plane.shape[0]} px"


def _split(words: Sequence[str], at: Sequence[int]) -> tuple[str, ...]:
    return tuple(" ".join(words[a:b]) for a, b in zip((0, *at), (*at, len(words)), strict=True))


def _font(size: int, bold: bool = False) -> QFont:
    font = QFont()
    font.setPixelSize(size)
    font.setBold(bold)
    return font


def _metrics(size: int, bold: bool = False) -> QFontMetricsF:
    return QFontMetricsF(_font(size, bold))


def _placed_mark(lines: tuple[str, ...], size: int, seen: QRectF, whole: QRectF) -> MarkLayout:
    metrics = _metrics(size, bold=True)
    width = math.ceil(max(map(metrics.horizontalAdvance, lines))) + 2 * _PAD_X
    height = math.ceil(metrics.height()) * len(lines) + 2 * _PAD_Y
    left = min(seen.left() + _MARGIN, seen.right() - _MARGIN - width)
    left = min(max(left, whole.left()), max(whole.right() - width, whole.left()))
    top = min(max(min(seen.top() + _MARGIN, whole.bottom() - height), whole.top()), seen.top() + _MARGIN)
    return MarkLayout(lines, size, QRectF(round(left), round(top), width, height))


def _draw_mark(painter: QPainter, mark: MarkLayout) -> QRectF:
    painter.fillRect(mark.rect, QColor(AMBER))
    painter.setFont(_font(mark.font_px, bold=True))
    painter.setPen(QColor(ON_AMBER))
    painter.drawText(mark.rect, Qt.AlignmentFlag.AlignCenter, "\n".join(mark.lines))
    return mark.rect


def _draw_caption(painter: QPainter, frame: Frame, marks: Sequence[MarkLayout], size: int) -> float:
    """Draw a pane's name where the other has its mark; return where it ends."""
    caption = frame.caption
    if frame.pane.unstained:
        room = frame.seen.width() - 2 * (_MARGIN + _PAD_X)
        caption = _metrics(size).elidedText(caption, Qt.TextElideMode.ElideRight, room)
    rect = _tag_rect(QPointF(frame.seen.left() + _MARGIN, frame.seen.top() + _MARGIN), caption, size)
    fits = rect.right() + _MARGIN <= frame.seen.right() and not any(mark.rect.intersects(rect) for mark in marks)
    if not caption or not fits:
        return float(frame.seen.top())
    _draw_tag(painter, rect, caption, size, grey=bool(frame.pane.unstained))
    return float(rect.bottom())


def _tag_rect(corner: QPointF, text: str, size: int) -> QRectF:
    metrics = _metrics(size)
    width = math.ceil(metrics.horizontalAdvance(text)) + 2 * _PAD_X
    return QRectF(round(corner.x()), round(corner.y()), width, math.ceil(metrics.height()) + 2 * _PAD_Y)


def _draw_tag(painter: QPainter, rect: QRectF, text: str, size: int, *, grey: bool = False) -> None:
    painter.fillRect(rect, QColor(GREY) if grey else QColor(*_SCRIM))
    painter.setFont(_font(size))
    painter.setPen(QColor(ON_AMBER if grey else WHITE))
    painter.drawText(rect, Qt.AlignmentFlag.AlignCenter, text)


def _draw_foot(painter: QPainter, room: QRectF, tags: Tags, scale: float, size: int) -> float:
    """Draw scale bar and tags at the lower end of ``room``; return where they begin from above."""
    bar = _draw_bar(painter, room, tags.pixel_um, scale, size) if tags.pixel_um > 0 else None
    limit = room.width() - 2 * (_MARGIN + _PAD_X) - (bar.width() + _MARGIN if bar is not None else 0)
    note = _metrics(size).elidedText(tags.note, Qt.TextElideMode.ElideRight, max(limit, 0))
    lines = replace(tags, note=note).lines()
    rects = [_tag_rect(QPointF(room.left() + _MARGIN, 0), line, size) for line in lines]
    beside = bar is None or all(rect.right() + _MARGIN < bar.left() for rect in rects)
    begin = room.bottom() - _MARGIN if bar is None or beside else bar.top() - _MARGIN / 2
    for line, rect in reversed(list(zip(lines, rects, strict=True))):
        if begin - rect.height() < room.top() or rect.right() + _MARGIN > room.right():
            break
        begin -= rect.height()
        rect.moveTop(begin)
        _draw_tag(painter, rect, line, size, grey=line.startswith(_STALE))
    return float(begin if bar is None else min(begin, bar.top()))


def _draw_bar(painter: QPainter, room: QRectF, pixel_um: float, scale: float, size: int) -> QRectF | None:
    """Draw the scale bar in the right lower corner; None where there is no room for it."""
    um = bar_um(pixel_um / scale, min(max(room.width() / 4, 48), 240))
    length, metrics = round(um / pixel_um * scale), _metrics(size)
    width = max(length, math.ceil(metrics.horizontalAdvance(length_label(um)))) + 2 * _PAD_X
    height = math.ceil(metrics.height()) + _BAR_HEIGHT + 2 * _PAD_Y + 1
    box = QRectF(round(room.right() - _MARGIN - width), round(room.bottom() - _MARGIN - height), width, height)
    if box.left() < room.left() or box.top() < room.top():
        return None
    painter.fillRect(box, QColor(*_SCRIM))
    painter.setFont(_font(size))
    painter.setPen(QColor(WHITE))
    painter.drawText(box.adjusted(0, _PAD_Y - 1, 0, 0), Qt.AlignmentFlag.AlignHCenter, length_label(um))
    left, top = round(box.center().x() - length / 2), box.bottom() - _PAD_Y - _BAR_HEIGHT
    painter.fillRect(QRectF(left, top, length, _BAR_HEIGHT), QColor(WHITE))
    return box


def _draw_legend(painter: QPainter, room: QRectF, rows: Sequence[Row], size: int) -> None:
    """Draw as many rows as there is room for, and say how many are left out."""
    metrics = _metrics(size)
    line = math.ceil(metrics.height()) + 3
    count = min(len(rows), int((min(room.height(), 360.0) - 2 * _MARGIN) // line))
    indent = _SWATCH + 2 * _PAD_X
    limit = min(room.width() - 2 * _MARGIN, _LEGEND_WIDTH) - indent - _PAD_X
    if count < 1 or limit < 4 * size:
        return
    shown = list(rows) if count == len(rows) else [*rows[: count - 1], Row("", f"and {len(rows) - count + 1} more")]
    texts = [metrics.elidedText(row.text, Qt.TextElideMode.ElideRight, limit) for row in shown]
    width = math.ceil(max(map(metrics.horizontalAdvance, texts))) + indent + _PAD_X
    box = QRectF(room.left() + _MARGIN, room.top() + _MARGIN / 2, width, line * len(shown) + _PAD_Y)
    painter.fillRect(box, QColor(*_SCRIM))
    painter.setFont(_font(size))
    for at, (row, text) in enumerate(zip(shown, texts, strict=True)):
        cell = QRectF(box.left() + indent, box.top() + _PAD_Y / 2 + at * line, width - indent, line)
        if row.color:
            swatch = QRectF(box.left() + _PAD_X, round(cell.center().y() - _SWATCH / 2), _SWATCH, _SWATCH)
            painter.fillRect(swatch, QColor(f"#{row.color}"))
        painter.setPen(QColor(AMBER if row.missing else WHITE))
        painter.drawText(cell, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, text)


def _draw_border(painter: QPainter, seen: QRectF) -> None:
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for color, width in ((QColor(*_SCRIM), 7), (QColor(GREY), 4)):
        painter.setPen(QPen(color, width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.SquareCap, Qt.PenJoinStyle.MiterJoin))
        painter.drawRect(seen.adjusted(2, 2, -2, -2))
