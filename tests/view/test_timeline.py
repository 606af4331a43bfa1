"""The time line: what it asks the feed for, what it shows of it, and how it plays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("qtpy")
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from livestain.frames import Key
from livestain.store.run import add_note
from livestain.view.moments import MARK_WORDS
from livestain.view.picture import LIVE, Marks
from livestain.view.recorded import RunFeed
from livestain.view.state import ViewState
from livestain.view.timeline import Timeline
from tests.store.recording import Recording

WIDTH = 800
FIRST = Key(0, 0, 0)


class Window:
    """A feed, a state and the time line between them, as a window has them."""

    def __init__(self, path: Path, qtbot: QtBot, first: Key) -> None:
        self.feed = RunFeed(path)
        self.feed.history.update()
        self.feed.show(first)
        self.state = ViewState(self.feed.layers)
        self.line = Timeline(self.feed, self.state)
        qtbot.addWidget(self.line)
        self.line.resize(WIDTH, self.line.sizeHint().height())
        with qtbot.waitExposed(self.line):
            self.line.show()
        self.feed.start(lambda: None)

    def take(self) -> bool:
        """Take what the feed has; whether it is what is chosen."""
        picture = self.feed.take()
        if picture is not None:
            self.state.set_picture(picture)
        return self.state.picture is not None and self.state.picture.key == self.line.key()


OpenWindow = Callable[..., Window]


@pytest.fixture
def open_window(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenWindow]:
    monkeypatch.setattr("livestain.view.recorded._POLL_S", 0.01)
    opened: list[Window] = []

    def open_one(path: Path, first: Key = FIRST) -> Window:
        opened.append(Window(path, qtbot, first))
        return opened[-1]

    yield open_one
    for window in opened:
        window.feed.close()


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """Two positions, three sections, 10 time points; stained at position 0."""
    made = Recording(tmp_path / "run")
    for t in range(10):
        for p, z in ((0, 0), (1, 2)):
            made.raw(t, p=p, z=z, elapsed_ms=12_000.0 * t)
        made.stain(t, state="failed" if t == 4 else "ok")
    return made


@pytest.fixture
def window(recording: Recording, open_window: OpenWindow) -> Window:
    """On the recording, finished."""
    path = recording.end().path
    recording.folder.write_state(force=True, closed=1.0)
    return open_window(path)


def test_the_slider_asks_for_a_time_point_and_the_label_says_what_is_really_shown(window: Window, qtbot: QtBot) -> None:
    qtbot.waitUntil(window.take)
    assert window.line.place_label.text() == "t 0 · frame 1 of 10, 0:00:00"
    window.line.bar.setValue(7)
    qtbot.waitUntil(window.take)
    assert window.line.place_label.text() == "t 7 · frame 8 of 10, 0:01:24"
    assert window.line.mark_label.text() == "stained live"
    window.line.bar.setValue(4)
    qtbot.waitUntil(window.take)
    assert window.line.mark_label.text() == "failed"


def test_it_begins_where_the_feed_was_asked_to_be(
    recording: Recording, open_window: OpenWindow, qtbot: QtBot
) -> None:  # fmt: skip
    recording.folder.write_state(force=True, closed=1.0)
    path = recording.end().path
    recording.folder.write_state(force=True, closed=1.0)
    window = open_window(path, Key(1, 6, 2))
    qtbot.waitUntil(window.take)
    assert window.line.key() == Key(1, 6, 2)
    window.line.step(1)
    qtbot.waitUntil(window.take)
    assert window.state.picture is not None
    assert window.state.picture.key == Key(1, 7, 2)


@pytest.mark.parametrize(
    ("key", "begin", "end"),
    [
        (Qt.Key.Key_Right, 5, 6),
        (Qt.Key.Key_Left, 5, 4),
        (Qt.Key.Key_Home, 5, 0),
        (Qt.Key.Key_End, 5, 9),
        (Qt.Key.Key_Left, 0, 0),
        (Qt.Key.Key_Right, 9, 9),
    ],
)
def test_keys_move_it(window: Window, key: Qt.Key, begin: int, end: int) -> None:
    window.line.bar.setValue(begin)
    QTest.keyClick(window.line.bar, key)
    assert window.line.key() == Key(0, end, 0)


@pytest.mark.parametrize(("share", "t"), [(0.0, 0), (0.5, 5), (0.999, 9), (1.0, 9)])
def test_a_click_goes_where_the_mark_is(window: Window, share: float, t: int) -> None:
    bar = window.line.bar
    area = bar._area()
    at = QPoint(round(area.left() + share * area.width()), 15)
    QTest.mousePress(bar, Qt.MouseButton.LeftButton, pos=at)
    assert bar.value() == t
    QTest.mouseRelease(bar, Qt.MouseButton.LeftButton, pos=at)
    assert f"t {t}: " in bar.tip(at.x())
    assert abs(bar._x(t) - at.x()) <= area.width() / 10


def test_position_and_z_are_chosen_and_their_marks_shown(window: Window, qtbot: QtBot) -> None:
    assert window.line.position.isVisible()
    assert window.line.z.isVisible()
    assert (window.line.position.maximum(), window.line.z.maximum()) == (1, 2)
    window.line.position.setValue(1)
    window.line.z.setValue(2)
    qtbot.waitUntil(window.take)
    assert window.state.picture is not None
    assert window.state.picture.key == Key(1, 0, 2)
    assert window.line.mark_label.text() == "no stain"
    assert "t 0: no stain" in window.line.bar.tip(20)


def test_playing_shows_every_time_point_once_and_stops_at_the_end(window: Window, qtbot: QtBot) -> None:
    shown: list[int] = []
    window.state.picture_changed.connect(lambda: shown.append(window.state.picture.key.t))  # type: ignore[union-attr]
    window.line.rate.setValue(50)
    window.line.toggle_play()
    qtbot.waitUntil(lambda: window.take() and not window.line.play_button.isChecked())
    assert shown == list(range(10))
    window.line.toggle_play()
    assert window.line.key().t == 0


def test_a_finished_run_has_no_end_to_follow(window: Window) -> None:
    assert not window.line.follow_box.isVisible()


def test_a_growing_run_is_followed_until_somebody_chooses_a_time_point(
    recording: Recording, open_window: OpenWindow, qtbot: QtBot
) -> None:
    window = open_window(recording.folder.path)
    assert window.line.follow_box.isVisible()
    assert window.line.follow_box.isChecked()
    qtbot.waitUntil(lambda: window.take() and window.line.key().t == 9)
    recording.raw(10)
    qtbot.waitUntil(lambda: window.take() and window.line.key().t == 10)
    window.line.bar.setValue(3)
    assert not window.line.follow_box.isChecked()
    recording.raw(11)
    qtbot.waitUntil(lambda: window.line.bar.maximum() == 11)
    qtbot.waitUntil(window.take)
    assert window.line.key().t == 3
    window.line.follow_box.setChecked(True)
    qtbot.waitUntil(lambda: window.take() and window.line.key().t == 11)
    recording.end()


def test_a_note_appears_at_its_time_point(window: Window, qtbot: QtBot) -> None:
    add_note(window.feed.path, "drug added", Key(0, 6, 0))
    x = window.line.bar._x(6)
    qtbot.waitUntil(lambda: "drug added" in window.line.bar.tip(x))
    qtbot.waitUntil(lambda: window.line.bar._noted == (6,))
    assert window.line.note_label.text() == ""
    assert "note" in window.line.legend.text()
    add_note(window.feed.path, "cells round up", Key(0, 6, 0))
    window.line.bar.setValue(6)
    qtbot.waitUntil(lambda: window.take() and window.line.note_label.text() == "t 6: drug added; cells round up")
    pixel = window.line.bar.grab().toImage().pixelColor(round(x), 4)
    assert (pixel.red(), pixel.green(), pixel.blue()) == (255, 193, 7)


def test_the_legend_names_the_colours_that_are_there(window: Window, qtbot: QtBot) -> None:
    def named() -> list[str]:
        return [word for word in MARK_WORDS.values() if f"</span> {word}" in window.line.legend.text()]

    qtbot.waitUntil(window.take)
    assert named() == ["stained live", "failed"]
    window.line.position.setValue(1)
    window.line.z.setValue(2)
    assert named() == ["no stain"]


def test_a_hundred_thousand_time_points_are_painted_at_the_cost_of_the_screen(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: Marks = np.full(100_000, LIVE, np.uint8)
    monkeypatch.setattr(window.feed, "marks", lambda p, z: marks)
    window.line.bar.refresh()
    assert window.line.bar.maximum() == 99_999
    image = window.line.bar.grab().toImage()
    assert image.width() == window.line.bar.width()
    assert image.pixelColor(400, 24).green() > image.pixelColor(400, 12).green()


@pytest.mark.parametrize("width", [300, 400, 560, 3840])
def test_nothing_is_cut_off_in_a_narrow_or_wide_window(window: Window, width: int, qtbot: QtBot) -> None:
    window.line.resize(width, window.line.sizeHint().height())
    qtbot.waitUntil(lambda: window.line.bar.width() > 0)
    shown = [child for child in (window.line.place_label, window.line.position, window.line.z) if child.isVisible()]
    assert all(child.geometry().right() <= window.line.width() for child in shown)
    assert window.line.place_label in shown


def test_hidden_it_looks_no_more(window: Window) -> None:
    assert window.line._looker.isActive()
    window.line.toggle_play()
    window.line.hide()
    assert not window.line._looker.isActive()
    assert not window.line._player.isActive()
