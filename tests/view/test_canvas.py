"""The canvas: zoom, pan, curtain, cursor, and how often it paints."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("qtpy")
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from livestain.frames import Key
from livestain.view.canvas import Canvas, Cursor
from livestain.view.picture import Picture
from livestain.view.render import Renderer
from tests.view.pictures import AMBER, constant, noise_picture, pixels, shown

MakeCanvas = Callable[..., Canvas]


@pytest.fixture
def make(qtbot: QtBot) -> MakeCanvas:
    """Make a canvas of 400 x 400 on the screen, by default of a picture of 200 x 200."""

    def make(state: Any = None, size: tuple[int, int] = (400, 400), **kwargs: Any) -> Canvas:
        canvas = Canvas(state if state is not None else shown(noise_picture((200, 200))), **kwargs)
        qtbot.addWidget(canvas)
        canvas.resize(*size)
        with qtbot.waitExposed(canvas):
            canvas.show()
        # A move to where the cursor rests already would not be sent.
        QTest.mouseMove(canvas, QPoint(2, 2))
        return canvas

    return make


def turn_wheel(canvas: Canvas, x: int, y: int, notches: int) -> None:
    at = QPointF(x, y)
    event = QWheelEvent(
        at, canvas.mapToGlobal(at), QPoint(0, 0), QPoint(0, 120 * notches), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(canvas, event)


def drag(canvas: Canvas, start: tuple[int, int], stop: tuple[int, int]) -> None:
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=QPoint(*start))
    QTest.mouseMove(canvas, QPoint(*stop))
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=QPoint(*stop))


def cursors(canvas: Canvas) -> list[Cursor | None]:
    seen: list[Cursor | None] = []
    canvas.cursor_moved.connect(seen.append)
    return seen


def is_marked(canvas: Canvas) -> bool:
    return bool(np.any(np.all(pixels(canvas.grab().toImage()) == AMBER, axis=-1)))


def test_the_wheel_zooms_about_the_cursor(make: MakeCanvas) -> None:
    canvas = make()
    seen = cursors(canvas)
    QTest.mouseMove(canvas, QPoint(301, 101))
    turn_wheel(canvas, 301, 101, 4)
    assert canvas.zoom == pytest.approx(2 * 1.25**4)
    assert seen[0] is not None
    assert seen[-1] is not None
    assert seen[-1][:2] == pytest.approx(seen[0][:2], abs=1)
    assert not canvas.is_fitted


def test_dragging_pans_and_a_double_click_fits_again(make: MakeCanvas) -> None:
    canvas = make()
    turn_wheel(canvas, 200, 200, 4)
    seen = cursors(canvas)
    QTest.mouseMove(canvas, QPoint(150, 150))
    before = seen[-1]
    drag(canvas, (150, 150), (180, 140))
    assert before is not None
    assert seen[-1] is not None
    assert seen[-1][:2] == pytest.approx(before[:2], abs=1), "the image went with the cursor"
    QTest.mouseDClick(canvas, Qt.MouseButton.LeftButton, pos=QPoint(5, 5))
    assert (canvas.zoom, canvas.is_fitted) == (2.0, True)


def test_one_to_one_and_fit(make: MakeCanvas) -> None:
    canvas = make()
    zooms: list[float] = []
    canvas.view_changed.connect(lambda: zooms.append(canvas.zoom))
    canvas.one_to_one()
    canvas.zoom_by(3.0)
    canvas.fit()
    assert zooms == [1.0, 3.0, 2.0]


def test_a_fitted_image_stays_fitted_and_another_scale_stays(make: MakeCanvas) -> None:
    canvas = make()
    canvas.resize(600, 800)
    assert canvas.zoom == 3.0
    canvas.one_to_one()
    canvas.resize(300, 200)
    assert canvas.zoom == 1.0


def test_frames_of_another_size_are_fitted_anew(make: MakeCanvas) -> None:
    state = shown(noise_picture((200, 200)))
    canvas = make(state)
    canvas.one_to_one()
    state.set_picture(noise_picture((100, 50)))
    assert (canvas.zoom, canvas.is_fitted) == (4.0, True)


@pytest.mark.parametrize(("grip", "moves"), [(200, True), (193, True), (207, True), (185, False), (215, False)])
def test_the_curtain_is_dragged_at_its_handle(grip: int, moves: bool, make: MakeCanvas) -> None:
    state = shown(noise_picture((200, 200)), "curtain")
    canvas = make(state)
    told: list[float] = []
    canvas.curtain_moved.connect(told.append)
    drag(canvas, (grip, 300), (100, 300))
    assert (state.curtain, bool(told)) == (0.25 if moves else 0.5, moves)
    drag(canvas, (round(state.curtain * 400), 300), (9000, 300))
    assert state.curtain == 1.0


def test_the_cursor_tells_place_and_values_of_every_layer(make: MakeCanvas) -> None:
    picture = noise_picture((200, 200))
    planes = (*picture.planes[:2], None, picture.planes[3])
    state = shown(Picture(Key(0, 0, 0), planes))
    canvas = make(state, (600, 400))
    seen = cursors(canvas)
    QTest.mouseMove(canvas, QPoint(100 + 2 * 17, 2 * 31 + 1))
    values = tuple(None if plane is None else int(plane[31, 17]) for plane in planes)
    assert seen == [Cursor(17, 31, values)]
    QTest.mouseMove(canvas, QPoint(50, 50))
    assert seen[-1] is None


def test_both_panes_tell_the_same_pixel(make: MakeCanvas) -> None:
    canvas = make(shown(noise_picture((200, 200)), "split"), (404, 200))
    seen = cursors(canvas)
    QTest.mouseMove(canvas, QPoint(40, 60))
    QTest.mouseMove(canvas, QPoint(40 + 204, 60))
    assert seen[0] is not None
    assert seen[0] == seen[1]


def test_a_new_picture_tells_its_values_under_a_resting_cursor(make: MakeCanvas) -> None:
    state = shown(Picture(Key(0, 0, 0), (constant(1), constant(2), constant(3), constant(4))))
    canvas = make(state)
    seen = cursors(canvas)
    QTest.mouseMove(canvas, QPoint(200, 200))
    state.set_picture(Picture(Key(0, 1, 0), (constant(5), constant(6), constant(7), constant(8))))
    assert [cursor.values for cursor in seen if cursor] == [(1, 2, 3, 4), (5, 6, 7, 8)]


@pytest.mark.parametrize(("rate", "most"), [(30.0, 12), (10.0, 5), (None, 10**6)])
def test_it_paints_no_more_often_than_told(rate: float | None, most: int, make: MakeCanvas) -> None:
    state = shown(noise_picture())
    canvas = make(state)
    painted: list[Picture] = []
    canvas.painted.connect(painted.append)
    canvas.set_max_rate(rate)
    pictures, end_s = [noise_picture(t=t) for t in range(2)], time.perf_counter() + 0.3
    while time.perf_counter() < end_s:
        state.set_picture(pictures[0])
        pictures.reverse()
        QApplication.processEvents()
    assert 2 <= len(painted) <= most
    if rate is None:
        assert len(painted) > 12


def test_the_newest_picture_is_on_the_screen_in_the_end(make: MakeCanvas, qtbot: QtBot) -> None:
    state = shown(noise_picture())
    canvas = make(state)
    painted: list[Picture] = []
    canvas.painted.connect(painted.append)
    pictures = [noise_picture(t=t) for t in range(5)]
    for picture in pictures:
        state.set_picture(picture)
    qtbot.waitUntil(lambda: bool(painted) and painted[-1] is pictures[-1])
    assert len(painted) < 5


def test_a_hidden_canvas_paints_nothing(make: MakeCanvas) -> None:
    state = shown(noise_picture())
    canvas = make(state)
    canvas.hide()
    painted: list[Picture] = []
    canvas.painted.connect(painted.append)
    canvas.set_max_rate(None)
    for t in range(5):
        state.set_picture(noise_picture(t=t))
        QApplication.processEvents()
    assert painted == []


def test_an_error_while_painting_is_told_once_and_goes_with_the_next_picture(
    make: MakeCanvas, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    state = shown(noise_picture())
    canvas = make(state, report=told.append)

    def broken(*_: object) -> None:
        raise RuntimeError("the screen went away")

    with monkeypatch.context() as broken_renderer:
        broken_renderer.setattr(Renderer, "image", broken)
        for t in range(3):
            state.set_picture(noise_picture(t=t))
            canvas.repaint()
            canvas.repaint()
        assert not is_marked(canvas)
    assert told == ["the picture cannot be drawn: RuntimeError: the screen went away"]
    state.set_picture(noise_picture(t=9))
    assert is_marked(canvas)


@pytest.mark.parametrize("ratio", [1.25, 2.0])
def test_on_a_high_resolution_screen_one_pixel_is_one_of_the_screen(
    ratio: float, make: MakeCanvas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Canvas, "devicePixelRatioF", lambda _: ratio)
    canvas = make(size=(320, 320))
    assert canvas.zoom == pytest.approx(320 * ratio / 200)
    canvas.one_to_one()
    seen = cursors(canvas)
    QTest.mouseMove(canvas, QPoint(160, 160))
    assert seen[-1] is not None
    assert seen[-1][:2] == (100, 100)


@pytest.mark.parametrize("frozen", [True, False])
def test_freezing_shows_at_once(frozen: bool, make: MakeCanvas) -> None:
    state = shown(noise_picture())
    canvas = make(state)
    before = pixels(canvas.grab().toImage())
    state.set_frozen(frozen)
    assert np.array_equal(pixels(canvas.grab().toImage()), before) is not frozen


def test_without_a_picture_it_says_so_and_bears_the_mouse(make: MakeCanvas) -> None:
    canvas = make(shown())
    drag(canvas, (10, 10), (50, 50))
    turn_wheel(canvas, 50, 50, 2)
    canvas.one_to_one()
    canvas.fit()
    assert canvas.zoom == 0.0
    assert np.any(pixels(canvas.grab().toImage()) > 0x40)
