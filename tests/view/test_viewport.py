"""What part of an image is seen: fit, 1:1, zoom, pan, and the division into panes."""

from __future__ import annotations

import numpy as np
import pytest

from livestain.view.state import Mode, Pane
from livestain.view.viewport import GAP, MAX_SCALE, Span, Viewport, curtain_at, divide, view_size

LEFT, RIGHT = Pane((0,), False, "label-free"), Pane((0, 1), True, "label-free + virtual")


@pytest.mark.parametrize(
    ("shape", "width", "height", "scale", "columns", "rows"),
    [
        ((512, 512), 1024, 512, 1.0, (256, 768), (0, 512)),
        ((2048, 2048), 1280, 800, 800 / 2048, (240, 1040), (0, 800)),
        ((100, 400), 400, 400, 1.0, (0, 400), (150, 250)),
        ((96, 4096), 400, 300, 400 / 4096, (0, 400), (145, 154)),
        ((4096, 96), 3840, 2160, 2160 / 4096, (1895, 1946), (0, 2160)),
        ((96, 96), 1, 1, 1 / 96, (0, 1), (0, 1)),
    ],
)
def test_fit_shows_the_whole_image_in_the_middle(
    shape: tuple[int, int], width: int, height: int, scale: float, columns: Span, rows: Span
) -> None:
    view = Viewport.fit(shape, width, height)
    assert view.scale == pytest.approx(scale)
    assert (view.columns, view.rows) == (columns, rows)
    y, x = view.sampled()
    assert (y[0], x[0]) == pytest.approx((0, 0), abs=1 / scale)
    assert (y[-1], x[-1]) == pytest.approx((shape[0] - 1, shape[1] - 1), abs=1 / scale)


@pytest.mark.parametrize(("width", "height"), [(200, 100), (201, 101), (640, 480), (641, 479)])
def test_one_to_one_shows_each_pixel_once(width: int, height: int) -> None:
    view = Viewport.fit((300, 401), width, height).scaled(1.0)
    rows, columns = view.sampled()
    assert np.all(np.diff(rows) == 1)
    assert np.all(np.diff(columns) == 1)
    assert (len(rows), len(columns)) == (min(300, height), min(401, width))


@pytest.mark.parametrize("scale", [0.11, 0.39, 0.5, 1.0, 1.56, 7.3, 64.0])
def test_places_go_to_the_image_and_back(scale: float) -> None:
    view = Viewport.fit((500, 700), 320, 240).scaled(scale)
    for x, y in ((0.0, 0.0), (17.25, 100.5), (319.0, 239.0)):
        assert view.to_widget(*view.to_image(x, y)) == pytest.approx((x, y))


@pytest.mark.parametrize("scale", [0.2, 0.39, 1.0, 1.56, 7.3, 64.0])
def test_the_pixel_told_is_the_pixel_drawn(scale: float) -> None:
    view = Viewport.fit((97, 131), 211, 150).scaled(scale).panned(13, -7)
    rows, columns = view.sampled()
    told = [view.pixel_at(x + 0.5, y + 0.5) for x in range(*view.columns) for y in range(*view.rows)]
    assert told == [(column, row) for column in columns.tolist() for row in rows.tolist()]
    assert view.pixel_at(-1, 0) is None
    assert view.pixel_at(view.columns.stop, view.rows.start) is None


@pytest.mark.parametrize("factor", [1.25, 4.0, 0.8])
def test_what_is_under_the_cursor_stays_there_when_zooming(factor: float) -> None:
    view = Viewport.fit((2048, 2048), 800, 800).scaled(2.0)
    before = view.to_image(620.0, 130.0)
    after = view.zoomed(factor, 620.0, 130.0)
    assert after.scale == pytest.approx(2.0 * factor)
    assert after.to_widget(*before) == pytest.approx((620.0, 130.0), abs=1.0)


def test_zooming_in_and_out_again_does_not_drift() -> None:
    start = Viewport.fit((2048, 2048), 800, 800).scaled(1.0)
    view = start
    for factor in [1.25] * 15 + [0.8] * 15:
        view = view.zoomed(factor, 311.0, 555.0)
    assert (view.x, view.y, view.scale) == pytest.approx((start.x, start.y, start.scale))


def test_the_image_never_leaves_the_view() -> None:
    draw = np.random.default_rng(3)
    view = Viewport.fit((480, 640), 500, 400)
    for _ in range(2000):
        at = draw.uniform(-200, 700, 2)
        match draw.integers(3):
            case 0:
                view = view.zoomed(float(draw.choice([0.3, 0.8, 1.25, 3.0])), *at)
            case 1:
                view = view.panned(*draw.normal(0, 300, 2))
            case _:
                view = view.resized(*(int(side) for side in draw.integers(1, 900, 2)))
        for span, length, room in ((view.columns, 640, view.width), (view.rows, 480, view.height)):
            shown = min(round(length * view.scale), room)
            assert span.size == pytest.approx(max(shown, 1), abs=1)
            assert abs((room - span.stop) - span.start) <= 1, "in the middle, or over the whole view"


@pytest.mark.parametrize(("asked", "got"), [(1e9, MAX_SCALE), (1e-9, 100 / 512), (3.0, 3.0)])
def test_scale_has_its_limits(asked: float, got: float) -> None:
    assert Viewport.fit((512, 512), 100, 100).scaled(asked).scale == pytest.approx(got)


def test_a_small_image_in_a_large_view_can_be_shown_one_to_one() -> None:
    view = Viewport.fit((96, 96), 3840, 2160)
    assert view.scale == pytest.approx(22.5)
    assert view.scaled(1.0).columns == (1872, 1968)


@pytest.mark.parametrize(
    ("mode", "panes", "size"), [("composite", 1, (801, 600)), ("split", 2, (398, 600)), ("curtain", 2, (801, 600))]
)
def test_all_panes_have_views_of_one_size(mode: Mode, panes: int, size: tuple[int, int]) -> None:
    assert view_size(mode, panes, 801, 600) == size


def test_split_panes_show_the_same_beside_each_other() -> None:
    view = Viewport.fit((512, 512), *view_size("split", 2, 804, 300))
    first, second = divide("split", (LEFT, RIGHT), 0.5, view)
    assert (first.drawn, second.left) == ((50, 350), 400 + GAP)
    assert second.drawn == (454, 754)


@pytest.mark.parametrize(("share", "at"), [(0.0, 250), (0.25, 375), (1.0, 750)])
def test_the_curtain_hangs_at_its_share_of_the_image(share: float, at: int) -> None:
    view = Viewport.fit((512, 512), 1000, 500)
    first, second = divide("curtain", (LEFT, RIGHT), share, view)
    assert curtain_at(share, view) == at
    assert (first.drawn, second.drawn) == ((250, at), (at, 750))


def test_one_pane_takes_all() -> None:
    view = Viewport.fit((512, 512), 1000, 500)
    assert [area.drawn for area in divide("split", (LEFT,), 0.5, view)] == [(250, 750)]
