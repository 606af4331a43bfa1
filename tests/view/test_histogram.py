"""Histograms: what is counted, when, on which thread; and a plot whose handles are the limits."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QApplication

from livestain.frames import Counts
from livestain.view.counting import BINS, PAUSE_S, Counter, Histogram, Span, Wanted, calm_span, count
from livestain.view.histogram import REACH_PX, HistogramPlot
from livestain.view.picture import LayerInfo
from livestain.view.state import LayerView, sample

INFO = LayerInfo("nuclei", "virtual", "00E676", limits=(0.0, 65535.0))

SPANS: list[tuple[str, Span | None, Span, Span]] = [
    ("at first a little to spare", None, (1000, 2000), (950, 2050)),
    ("never below 0", None, (10, 1010), (0, 1060)),
    ("never above the top", None, (0, 4095), (0, 4095)),
    ("one value gets some room", None, (700, 700), (696, 704)),
    ("zeros get some room", None, (0, 1), (0, 5)),
    ("all at the top", None, (4095, 4095), (4091, 4095)),
    ("kept while all lies within", (950, 2050), (1100, 1990), (950, 2050)),
    ("wider when a value lies outside", (950, 2050), (1100, 2100), (1050, 2150)),
    ("narrower when mostly empty", (0, 4095), (1000, 1100), (995, 1105)),
]


@pytest.mark.parametrize(("now", "values", "span"), [c[1:] for c in SPANS], ids=[c[0] for c in SPANS])
def test_the_span_is_calm(now: Span | None, values: Span, span: Span) -> None:
    assert calm_span(now, *values, top=4095) == span


def test_a_wavering_plane_keeps_its_span() -> None:
    span: Span | None = None
    seen = set()
    for low, high in np.random.default_rng(3).integers(-20, 20, (200, 2)):
        span = calm_span(span, 1000.0 + low, 2000.0 + high, 65535)
        seen.add(span)
    assert len(seen) <= 2


PLANES: list[tuple[str, Counts, int]] = [
    ("zeros", np.zeros((96, 96), np.uint16), 65535),
    ("constant", np.full((100, 130), 812, np.uint16), 4095),
    ("bytes", np.random.default_rng(1).integers(0, 256, (300, 200)).astype(np.uint8), 255),
    ("12 bit", np.random.default_rng(2).integers(0, 4096, (513, 511)).astype(np.uint16), 4095),
    ("16 bit, large", np.random.default_rng(3).integers(0, 65536, (1030, 2048)).astype(np.uint16), 65535),
    ("few values", np.random.default_rng(4).integers(900, 903, (96, 96)).astype(np.uint16), 65535),
    ("more values than bars", np.random.default_rng(5).integers(900, 1100, (96, 96)).astype(np.uint16), 65535),
]


@pytest.mark.parametrize(("plane", "top"), [c[1:] for c in PLANES], ids=[c[0] for c in PLANES])
def test_each_pixel_of_the_sample_is_counted_once_in_equal_bars(plane: Counts, top: int) -> None:
    limits = (float(plane.min()), float(plane.min()) + 1)
    found = count(Wanted(0, plane, limits, top))
    widths = set(np.diff(found.edges))
    assert len(widths) == 1
    assert widths.pop().is_integer()
    assert len(found.heights) <= BINS
    assert found.span[0] <= limits[0]
    assert max(float(plane.max()), limits[1]) <= found.span[1] <= top
    pixels, _ = np.histogram(sample(plane), np.append(found.edges[:-1], found.edges[-1]))
    assert pixels.sum() == sample(plane).size
    assert found.heights == pytest.approx(np.log1p(pixels) / np.log1p(pixels.max()))


def test_the_span_holds_limits_that_lie_outside_the_values() -> None:
    span = count(Wanted(0, np.full((96, 96), 500, np.uint16), (100.0, 9000.0), 65535)).span
    assert span[0] <= 100
    assert span[1] >= 9000


class Desk:
    """Takes what a counter delivers; while held, a delivery waits."""

    def __init__(self) -> None:
        self.got: list[Mapping[int, Histogram]] = []
        self.at_s: list[float] = []
        self.threads: set[str] = set()
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def prepare(self) -> None:
        self.reached.set()
        assert self.go_on.wait(10)

    def deliver(self, found: Mapping[int, Histogram]) -> None:
        self.got.append(found)
        self.at_s.append(time.monotonic())
        self.threads.add(threading.current_thread().name)

    def wait(self, deliveries: int) -> None:
        until = time.monotonic() + 10
        while len(self.got) < deliveries and time.monotonic() < until:
            threading.Event().wait(0.005)
        assert len(self.got) == deliveries


def wanted(value: int, index: int = 0) -> Wanted:
    return Wanted(index, np.full((96, 96), value, np.uint16), (0.0, 65535.0), 65535)


def test_the_newest_request_replaces_those_that_wait_and_none_is_counted_here() -> None:
    desk = Desk()
    desk.go_on.clear()
    counter = Counter(desk.deliver, desk.prepare)
    counter.ask([wanted(1, index=1)])
    assert desk.reached.wait(10)
    for index in range(2, 50):
        counter.ask([wanted(index, index=index)])
    desk.go_on.set()
    desk.wait(2)
    assert [list(found) for found in desk.got] == [[1], [49]]
    assert desk.threads == {"livestain-histograms"}
    assert desk.at_s[1] - desk.at_s[0] >= PAUSE_S * 0.9


def test_a_counter_that_went_to_rest_counts_again() -> None:
    desk = Desk()
    counter = Counter(desk.deliver)
    for n in (1, 2):
        counter.ask([wanted(n), wanted(n, index=4)])
        desk.wait(n)
        while any(thread.name == "livestain-histograms" for thread in threading.enumerate()):
            threading.Event().wait(0.01)
    assert [sorted(found) for found in desk.got] == [[0, 4], [0, 4]]


def test_a_closed_counter_delivers_nothing_more() -> None:
    desk = Desk()
    desk.go_on.clear()
    counter = Counter(desk.deliver, desk.prepare)
    counter.ask([wanted(1)])
    assert desk.reached.wait(10)
    counter.close()
    desk.go_on.set()
    counter.ask([wanted(2)])
    while any(thread.name == "livestain-histograms" for thread in threading.enumerate()):
        threading.Event().wait(0.01)
    assert desk.got == []


def test_asking_for_nothing_starts_no_thread() -> None:
    Counter(Desk().deliver).ask([])
    assert all(thread.name != "livestain-histograms" for thread in threading.enumerate())


def test_the_dock_of_layers_imports_no_pyqtgraph() -> None:
    code = "import sys, livestain.view.layers; sys.exit('pyqtgraph' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


# -- the plot ----------------------------------------------------------------------------------------------------------


class Shown:
    """A plot 300 px wide of a span 0..1000, with what it emits."""

    def __init__(self, qtbot: QtBot, limits: Span = (200.0, 700.0), locked: bool = False) -> None:
        self.bot = qtbot
        self.plot = HistogramPlot()
        qtbot.addWidget(self.plot)
        self.plot.resize(300, self.plot.sizeHint().height())
        self.view = LayerView(INFO, limits, INFO.color, locked=locked)
        self.plot.set_view(self.view)
        self.plot.set_histogram(histogram((0.0, 1000.0)))
        self.plot.show()
        qtbot.waitExposed(self.plot)
        self.dragged: list[Span] = []
        self.plot.limits_dragged.connect(self._take)

    def _take(self, low: float, high: float) -> None:
        self.dragged.append((low, high))
        self.view = replace(self.view, limits=(low, high))
        self.plot.set_view(self.view)

    def drag(self, start: float, end: float) -> None:
        left, middle = Qt.MouseButton.LeftButton, self.plot.height() // 3
        self.bot.mousePress(self.plot, left, pos=QPoint(round(start), middle))
        self.bot.mouseMove(self.plot, QPoint(round((start + end) / 2), middle))
        self.bot.mouseMove(self.plot, QPoint(round(end), middle))
        self.bot.mouseRelease(self.plot, left, pos=QPoint(round(end), middle))


def histogram(span: Span) -> Histogram:
    edges = np.linspace(span[0], span[1], 11)
    return Histogram(span, edges, np.linspace(1.0, 0.1, 10))


DRAGS: list[tuple[str, Span, float, float, Span]] = [
    ("the low handle", (200, 700), 200, 400, (400, 700)),
    ("the high handle", (200, 700), 700, 900, (200, 900)),
    ("low stops before high", (200, 700), 200, 990, (699, 700)),
    ("high stops after low", (200, 700), 700, 10, (200, 201)),
    ("not beyond the left edge", (200, 700), 200, -5000, (0, 700)),
    ("not beyond the right edge", (200, 700), 700, 5000, (200, 1000)),
    ("handles at one place, to the right", (500, 501), 502, 800, (500, 800)),
    ("handles at one place, to the left", (500, 501), 496, 100, (100, 501)),
]


@pytest.mark.parametrize(("limits", "start", "end", "expected"), [c[1:] for c in DRAGS], ids=[c[0] for c in DRAGS])
def test_dragging_a_handle(qtbot: QtBot, limits: Span, start: float, end: float, expected: Span) -> None:
    shown = Shown(qtbot, limits)
    shown.drag(shown.plot.x_of(start), shown.plot.x_of(end))
    assert shown.dragged[-1] == pytest.approx(expected, abs=4)


@pytest.mark.parametrize(("start", "locked"), [(450, False), (200, True)], ids=["away from handles", "locked"])
def test_dragging_nothing(qtbot: QtBot, start: float, locked: bool) -> None:
    shown = Shown(qtbot, locked=locked)
    shown.drag(shown.plot.x_of(start), shown.plot.x_of(start) + 50)
    assert shown.dragged == []


@pytest.mark.parametrize("away", [-REACH_PX - 1, -REACH_PX + 1, 0, REACH_PX - 1, REACH_PX + 1])
def test_the_cursor_says_where_a_handle_can_be_taken(qtbot: QtBot, away: int) -> None:
    shown = Shown(qtbot)
    qtbot.mouseMove(shown.plot, QPoint(round(shown.plot.x_of(700)) + away, 10))
    grips = shown.plot.cursor().shape() == Qt.CursorShape.SplitHCursor
    assert grips == (abs(away) <= REACH_PX)


def test_the_span_stays_while_a_handle_is_held_and_is_asked_anew_after(qtbot: QtBot) -> None:
    shown = Shown(qtbot)
    x = round(shown.plot.x_of(700))
    qtbot.mousePress(shown.plot, Qt.MouseButton.LeftButton, pos=QPoint(x, 10))
    shown.plot.set_histogram(histogram((0.0, 5000.0)))
    assert shown.plot.span == (0.0, 1000.0)
    with qtbot.waitSignal(shown.plot.released, timeout=1000):
        qtbot.mouseRelease(shown.plot, Qt.MouseButton.LeftButton, pos=QPoint(x, 10))
    shown.plot.set_histogram(histogram((0.0, 5000.0)))
    assert shown.plot.span == (0.0, 5000.0)


def test_a_right_click_opens_no_menu(qtbot: QtBot) -> None:
    shown = Shown(qtbot)
    qtbot.mouseClick(shown.plot, Qt.MouseButton.RightButton, pos=QPoint(100, 10))
    assert QApplication.activePopupWidget() is None


def test_the_picture_shows_bars_in_the_layer_s_colour_and_a_line_at_each_limit(qtbot: QtBot) -> None:
    shown = Shown(qtbot)
    image = shown.plot.grab().toImage()
    ratio = image.devicePixelRatio()

    def at(counts: float, y: float, aside: int = 0) -> QColor:
        return QColor(image.pixelColor(round((shown.plot.x_of(counts) + aside) * ratio), round(y * ratio)))

    bar = at(100, 30)
    assert bar.green() > 2 * max(bar.red(), 1)
    for limit in shown.view.limits:
        assert max(at(limit, 5, aside).lightness() for aside in (-1, 0, 1)) > 150
    assert at(950, 5).lightness() < 40


def test_words_stand_where_there_is_no_plane(qtbot: QtBot) -> None:
    shown = Shown(qtbot)
    with_bars = shown.plot.grab().toImage()
    shown.plot.set_message("no stain yet")
    with_words = shown.plot.grab().toImage()
    shown.plot.set_message("")
    assert with_words != with_bars
    assert shown.plot.grab().toImage() == with_bars


def test_a_plot_without_a_histogram_paints_and_holds_no_handle(qtbot: QtBot) -> None:
    plot = HistogramPlot()
    qtbot.addWidget(plot)
    plot.resize(300, 62)
    plot.set_view(LayerView(INFO, (0.0, 1.0), INFO.color))
    assert plot.handle_at(5.0) is None
    assert plot.grab().toImage().pixelColor(20, 20).lightness() < 40
