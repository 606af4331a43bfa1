"""A real mouse and keyboard on a real window: run by `test_real_input` on a screen of its own, not by itself.

xdotool moves the pointer of the X server; what is seen is read back from the screen.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, QSettings
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QWidget

from livestain.view.canvas import ZOOM_STEP
from livestain.view.recorded import RunFeed
from livestain.view.window import Window
from tests.view.pictures import AMBER, pixels
from tests.view.runs import stained_run

LIMIT_MS = 15_000


class Person:
    """Somebody before the window: mouse, keyboard and eyes."""

    def __init__(self, qtbot: QtBot, window: Window) -> None:
        self._qtbot, self.window, self.canvas = qtbot, window, window.canvas

    def do(self, *words: object) -> None:
        """Run xdotool while Qt goes on."""
        process = subprocess.Popen(["xdotool", *map(str, words)])
        self._qtbot.waitUntil(lambda: process.poll() is not None, timeout=LIMIT_MS)
        assert process.returncode == 0

    def at(self, widget: QWidget, x: float, y: float) -> tuple[int, int]:
        """Return the place on the screen at shares of a widget's width and height."""
        place = widget.mapToGlobal(QPoint(round(x * widget.width()), round(y * widget.height())))
        return place.x(), place.y()

    def point(self, widget: QWidget, x: float = 0.5, y: float = 0.5) -> None:
        self.do("mousemove", *self.at(widget, x, y))

    def click(self, widget: QWidget, x: float = 0.5, y: float = 0.5) -> None:
        self.do("mousemove", *self.at(widget, x, y), "click", 1)

    def drag(self, start: tuple[int, int], stop: tuple[int, int]) -> None:
        between = (start[0] + stop[0]) // 2, (start[1] + stop[1]) // 2
        self.do("mousemove", *start, "mousedown", 1)
        self.do("mousemove", *between)
        self.do("mousemove", *stop)
        self.do("mouseup", 1)

    def sees(self, x: float, y: float = 0.5) -> tuple[int, int, int]:
        """Return red, green, blue on the screen at shares of the canvas."""
        left, top = self.at(self.canvas, x, y)
        red, green, blue = (int(level) for level in self._screen()[top, left])
        return red, green, blue

    def sees_stain(self, x: float, y: float = 0.5) -> bool:
        """Whether what is at shares of the canvas is greener than grey."""
        red, green, _ = self.sees(x, y)
        return green > red + 20

    def sees_mark(self) -> bool:
        """Whether the amber mark of virtual stains is in the upper half of the canvas."""
        left, top = self.at(self.canvas, 0, 0)
        right, bottom = self.at(self.canvas, 1, 0.5)
        return bool(np.all(self._screen()[top:bottom, left:right] == AMBER, axis=-1).sum() > 500)

    def _screen(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        grabbed = QApplication.primaryScreen().grabWindow(0).toImage()
        return pixels(grabbed.convertToFormat(QImage.Format.Format_RGB32))


@pytest.fixture
def person(qtbot: QtBot, tmp_path: Path) -> Iterator[Person]:
    """A run of four time points, open at its first."""
    path = stained_run(tmp_path / "run")
    settings = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    window = Window(RunFeed(path), run=path, settings=settings)
    window.move(0, 0)
    window.resize(1280, 800)
    window.show()
    qtbot.waitExposed(window)
    window.activateWindow()
    qtbot.waitUntil(lambda: window.isActiveWindow() and window.canvas.zoom > 0, timeout=LIMIT_MS)
    person = Person(qtbot, window)
    qtbot.waitUntil(person.sees_mark, timeout=LIMIT_MS)
    yield person
    window.close()
    window.deleteLater()


def test_the_platform_is_a_real_screen() -> None:
    assert QApplication.platformName() == "xcb"


def test_the_mode_buttons_change_what_is_seen(person: Person, qtbot: QtBot) -> None:
    looks = {"split": [False, True], "curtain": [False, True], "composite": [True, True]}

    def looks_so(mode: str) -> bool:
        return person.window.state.mode == mode and [person.sees_stain(0.3), person.sees_stain(0.75)] == looks[mode]

    for mode in looks:
        person.click(person.window.toolbar.widgetForAction(person.window.actions_by_name[mode]))
        qtbot.waitUntil(partial(looks_so, mode), timeout=LIMIT_MS)
        assert person.sees_mark()


def test_the_curtain_is_dragged(person: Person, qtbot: QtBot) -> None:
    person.do("key", "w")
    qtbot.waitUntil(lambda: not person.sees_stain(0.4), timeout=LIMIT_MS)
    person.drag(person.at(person.canvas, 0.5, 0.5), person.at(person.canvas, 0.3, 0.55))
    qtbot.waitUntil(lambda: person.sees_stain(0.4), timeout=LIMIT_MS)
    assert not person.sees_stain(0.2)
    assert person.window.state.curtain == pytest.approx(0.3, abs=0.05)
    assert person.canvas.is_fitted, "the image was moved, not the curtain"


def test_the_wheel_zooms_dragging_moves_and_a_key_fits_again(person: Person, qtbot: QtBot) -> None:
    fitted = person.canvas.zoom
    person.point(person.canvas, 0.25, 0.5)
    grey = person.sees(0.25)
    person.do("click", "--repeat", 3, 4)
    qtbot.waitUntil(lambda: person.canvas.zoom == pytest.approx(fitted * ZOOM_STEP**3), timeout=LIMIT_MS)
    assert person.sees(0.25) == pytest.approx(grey, abs=3), "what is under the cursor stays there"
    person.drag(person.at(person.canvas, 0.25, 0.5), person.at(person.canvas, 0.4, 0.5))
    qtbot.waitUntil(lambda: person.sees(0.4) == pytest.approx(grey, abs=3), timeout=LIMIT_MS)
    person.do("key", "f")
    qtbot.waitUntil(lambda: person.canvas.is_fitted and person.canvas.zoom == fitted, timeout=LIMIT_MS)


def test_b_shows_label_free_alone_while_it_is_held(person: Person, qtbot: QtBot) -> None:
    person.point(person.canvas)
    for _ in range(2):
        person.do("keydown", "b")
        qtbot.waitUntil(lambda: not person.sees_stain(0.5, 0.7) and not person.sees_mark(), timeout=LIMIT_MS)
        person.do("keyup", "b")
        qtbot.waitUntil(lambda: person.sees_stain(0.5, 0.7) and person.sees_mark(), timeout=LIMIT_MS)


def test_a_limit_is_dragged_on_the_histogram(person: Person, qtbot: QtBot) -> None:
    plot = person.window.layers.cards[1].plot
    person.window.state.set_layer(1, limits=(0, 40_000))
    qtbot.waitUntil(lambda: plot.span is not None and plot.span[1] >= 40_000, timeout=LIMIT_MS)
    before = person.sees(0.5)
    start, stop = (plot.mapToGlobal(QPointF(plot.x_of(limit), 20).toPoint()) for limit in (40_000, 21_000))
    person.drag((start.x(), start.y()), (stop.x(), stop.y()))
    assert person.window.state.views[1].limits == pytest.approx((0, 21_000), rel=0.05)
    qtbot.waitUntil(lambda: person.sees(0.5)[1] > before[1] + 40, timeout=LIMIT_MS)


def test_the_time_line_is_clicked_and_stepped_by_keys(person: Person, qtbot: QtBot) -> None:
    timeline = person.window.timeline
    assert timeline is not None
    person.click(timeline.bar, 0.6, 0.5)
    qtbot.waitUntil(lambda: person.window.caption.startswith("t 2 · frame 3 of 4"), timeout=LIMIT_MS)
    timeline.bar.setFocus()
    person.do("key", "Right")
    qtbot.waitUntil(lambda: person.window.caption.startswith("t 3 · frame 4 of 4"), timeout=LIMIT_MS)


def test_a_shortcut_closes_the_window(person: Person, qtbot: QtBot) -> None:
    with qtbot.waitSignal(person.window.closed, timeout=LIMIT_MS):
        person.do("key", "ctrl+w")
    assert not person.window.isVisible()
