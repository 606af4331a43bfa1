"""What is written upon a picture: the mark, the legend, the scale bar."""

from __future__ import annotations

import pytest

pytest.importorskip("qtpy")
from qtpy.QtCore import QRectF
from qtpy.QtGui import QFont, QFontMetricsF

from livestain.frames import Counts, Key
from livestain.view.overlays import MARK_MIN_PX, Row, Tags, bar_um, lay_out_mark, legend_rows, length_label, wrap
from livestain.view.picture import MARK, NO_STAIN_YET, Picture
from livestain.view.state import ViewState
from tests.view.pictures import BRIGHT, GFP, NUCLEI, constant

pytestmark = pytest.mark.usefixtures("qapp")


def bold(size: int) -> QFontMetricsF:
    font = QFont()
    font.setPixelSize(size)
    font.setBold(True)
    return QFontMetricsF(font)


@pytest.mark.parametrize(
    ("um_per_px", "longest_px", "um"),
    [
        (1.0, 100, 100), (1.0, 99.9, 50), (1.0, 49.9, 20), (0.65, 200, 100), (0.1, 240, 20), (0.003, 100, 0.2),
        (13.0, 240, 2000), (1.0, 1.0, 1.0),
    ],
)  # fmt: skip
def test_a_bar_is_the_longest_round_length_that_fits(um_per_px: float, longest_px: float, um: float) -> None:
    assert bar_um(um_per_px, longest_px) == pytest.approx(um)


@pytest.mark.parametrize(("um", "label"), [(0.2, "0.2 um"), (50.0, "50 um"), (500.0, "500 um"), (2000.0, "2 mm")])
def test_a_length_is_told_with_its_unit(um: float, label: str) -> None:
    assert length_label(um) == label


@pytest.mark.parametrize(
    ("limit", "lines"),
    [
        (30, ("aa bb cccc dd",)), (12, ("aa bb", "cccc dd")), (7, ("aa bb", "cccc dd")), (5, ("aa bb", "cccc", "dd")),
        (4, ("aa", "bb", "cccc", "dd")), (1, ("aa", "bb", "cccc", "dd")),
    ],
)  # fmt: skip
def test_words_are_broken_into_few_and_even_lines(limit: float, lines: tuple[str, ...]) -> None:
    assert wrap(("aa", "bb", "cccc", "dd"), limit, len) == lines


@pytest.mark.parametrize("width", [20, 60, 90, 120, 150, 200, 300, 400, 800, 1600])
@pytest.mark.parametrize("height", [12, 96, 300, 2000])
@pytest.mark.parametrize("size", [11, 18])
def test_the_mark_is_always_complete(width: float, height: float, size: int) -> None:
    whole = QRectF(0, 0, 400, 2000)
    seen = QRectF(300, 40, width, height).intersected(whole)
    mark = lay_out_mark(seen, whole, size)
    metrics = bold(mark.font_px)
    assert " ".join(mark.lines) == MARK
    assert MARK_MIN_PX <= mark.font_px <= size
    assert max(metrics.horizontalAdvance(line) for line in mark.lines) <= mark.rect.width()
    assert metrics.height() * len(mark.lines) <= mark.rect.height()
    assert whole.contains(mark.rect)


@pytest.mark.parametrize(
    ("narrower_px", "of_size", "font_px", "lines"), [(-1, 13, 13, 1), (1, 13, 12, 1), (-1, 9, 9, 1), (1, 9, 9, 2)]
)
def test_the_mark_lies_within_the_image_and_shrinks_before_it_wraps(
    narrower_px: int, of_size: int, font_px: int, lines: int
) -> None:
    margins = 2 * (8 + 7)
    seen = QRectF(100, 50, bold(of_size).horizontalAdvance(MARK) + margins - narrower_px, 400)
    mark = lay_out_mark(seen, QRectF(0, 0, 1000, 500), 13)
    assert seen.contains(mark.rect)
    assert (mark.font_px, len(mark.lines)) == (font_px, lines)


@pytest.mark.parametrize(
    ("stain", "state", "rows"),
    [
        (constant(7), "", ("virtual: nuclei", False)),
        (None, "", (f"virtual: nuclei - {NO_STAIN_YET}", True)),
        (None, "failed: no memory", ("virtual: nuclei - failed: no memory", True)),
        (constant(7, (64, 32)), "", ("virtual: nuclei - of another size: 32 x 64 px", True)),
    ],
)
def test_the_legend_names_each_layer_and_why_it_is_not_there(
    stain: Counts | None, state: str, rows: tuple[str, bool]
) -> None:
    shown = ViewState((BRIGHT, NUCLEI, GFP))
    shown.set_picture(Picture(Key(0, 0, 0), (constant(90), stain, None), (), ("", state, "")))
    (pane,) = shown.panes()
    assert shown.picture is not None
    assert legend_rows(pane, shown.views, shown.picture) == [
        Row("FFFFFF", "label-free: BF"),
        Row("00E676", *rows),
        Row("0096FF", "measured: GFP - not there", True),
    ]


@pytest.mark.parametrize(
    ("tags", "lines"),
    [
        (Tags(), []),
        (Tags(caption="time 3"), ["time 3"]),
        (Tags(caption="time 3", frozen=True, stale_s=4.6), ["STALE: no new frames for 5 s", "FROZEN", "time 3"]),
    ],
)
def test_tags_tell_what_is_wrong_first(tags: Tags, lines: list[str]) -> None:
    assert tags.lines() == lines
