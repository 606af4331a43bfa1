"""The window: what it shows of a feed and a session, what its keys and buttons do, how it closes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QLocale, QSettings, Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QLineEdit, QSlider

from livestain.frames import InputCheck
from livestain.session.status import Counters
from livestain.view.commands import ALL
from livestain.view.movie_dialog import MovieDialog
from livestain.view.notes import NoteDialog
from livestain.view.recorded import RunFeed
from livestain.view.shell import errors_told
from livestain.view.snapshot import natural_size
from livestain.view.window import Window
from tests.store.recording import Recording
from tests.view.doubles import CAUTION, FeedDouble, SessionDouble, picture


@pytest.fixture
def settings(tmp_path: Path) -> QSettings:
    return QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)


@pytest.fixture
def feed() -> FeedDouble:
    return FeedDouble()


@pytest.fixture
def session(model_folder: Path, tmp_path: Path) -> SessionDouble:
    return SessionDouble(model_folder, tmp_path)


MakeWindow = Callable[..., Window]


@pytest.fixture
def make(qtbot: QtBot, settings: QSettings) -> Iterator[MakeWindow]:
    """Show a window; it is closed at the end."""
    made: list[Window] = []

    def show(feed: FeedDouble, session: SessionDouble | None = None, **more: object) -> Window:
        window = Window(
            feed, session=session.as_session() if session else None, settings=settings, **more  # type: ignore[arg-type]
        )  # fmt: skip
        made.append(window)
        window.show()
        qtbot.waitExposed(window)
        return window

    yield show
    for window in made:
        window.finish("test over", "plain")
        window.close()
        window.deleteLater()


def look(window: Window) -> None:
    """As the timer does twice a second."""
    window._look()


def press(qtbot: QtBot, window: Window, key: Qt.Key) -> None:
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    qtbot.keyClick(window, key)


def test_a_picture_of_the_feed_is_shown_with_its_time(qtbot: QtBot, make: MakeWindow, feed: FeedDouble) -> None:
    window = make(feed)
    feed.size = (1, 8, 1)
    new = picture(7)
    feed.put(new)
    qtbot.waitUntil(lambda: window.state.picture is new)
    assert window.caption == "t 7 · frame 8 of 8, 0:00:07.0"


def test_the_numbers_are_those_of_the_session(
    qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    window = make(feed, session)
    feed.put(picture())
    qtbot.waitUntil(lambda: window.state.picture is not None)
    look(window)
    assert window.fields.values["rate"] == "5.0 frame/s"
    assert window.fields.values["age"].startswith("age ")
    assert window.fields.values["latency"] == "latency p50 80 ms of 8"
    readings = window.status_dock.readings
    assert (readings["received"], readings["live"], readings["behind"]) == ("12", "8", "1")
    assert readings["Model"] == "test@12345678"


def test_what_is_under_the_cursor_is_named_virtual_or_measured(make: MakeWindow, feed: FeedDouble) -> None:
    window = make(feed)
    window.canvas.cursor_moved.emit((20, 10, (120, 30000, None)))
    assert window.fields.values["cursor"] == (
        "x 20  y 10 px  (10.0, 5.0 um)   label-free 120   virtual: nuclei 30000, membrane –"
    )
    feed.pixel_um = 0.0
    window.canvas.cursor_moved.emit((20, 10, (120, 30000, None)))
    assert "um" not in window.fields.values["cursor"]
    window.canvas.cursor_moved.emit(None)
    assert window.fields.values["cursor"] == ""


KEYS: dict[str, tuple[Qt.Key, Callable[[Window], object], object]] = {
    "side by side": (Qt.Key.Key_S, lambda window: window.state.mode, "split"),
    "curtain": (Qt.Key.Key_W, lambda window: window.state.mode, "curtain"),
    "one to one": (Qt.Key.Key_1, lambda window: round(window.canvas.zoom, 2), 1.0),
    "freeze": (Qt.Key.Key_Space, lambda window: window.state.frozen, True),
    "model card": (Qt.Key.Key_I, lambda window: "Random weights" in window.deeds._sheets["card"].text, True),
    "shortcuts": (Qt.Key.Key_Question, lambda window: "Side by side" in window.deeds._sheets["shortcuts"].text, True),
}


@pytest.mark.parametrize(("key", "seen", "expected"), KEYS.values(), ids=KEYS.keys())
def test_a_key_does_what_the_sheet_says(
    key: Qt.Key,
    seen: Callable[[Window], object],
    expected: object,
    qtbot: QtBot,
    make: MakeWindow,
    feed: FeedDouble,
    session: SessionDouble,
) -> None:
    window = make(feed, session)
    feed.put(picture())
    qtbot.waitUntil(lambda: window.canvas.zoom > 0)
    press(qtbot, window, key)
    assert seen(window) == expected


def test_no_two_commands_have_the_same_key() -> None:
    for not_here in ("live", "recorded"):  # a window is one or the other
        keys = [command.keys for command in ALL if command.keys and command.needs != not_here]
        assert len(keys) == len(set(keys))


def test_b_shows_label_free_alone_while_it_is_held(qtbot: QtBot, make: MakeWindow, feed: FeedDouble) -> None:
    window = make(feed)
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    qtbot.keyPress(window.canvas, Qt.Key.Key_B)
    assert window.state.alone
    qtbot.keyRelease(window.canvas, Qt.Key.Key_B)
    assert not window.state.alone


def test_b_in_a_text_is_a_letter(qtbot: QtBot, make: MakeWindow, feed: FeedDouble) -> None:
    window = make(feed)
    window.activateWindow()
    text = QLineEdit(window)
    text.show()
    text.setFocus()
    qtbot.waitUntil(text.hasFocus)
    qtbot.keyClick(text, Qt.Key.Key_B)
    assert (window.state.alone, text.text()) == (False, "b")


def test_staining_and_the_followed_place_go_to_the_session(
    qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    window = make(feed, session)
    feed.size = (3, 5, 2)
    look(window)
    window.toolbar.follow._position.setValue(2)
    window.toolbar.follow._z.setValue(1)
    window.toolbar.follow._position.setValue(-1)
    assert session.followed == [(2, 0), (2, 1), None]
    press(qtbot, window, Qt.Key.Key_T)
    assert session.switched == [False]
    session.say(staining=False)
    look(window)
    assert not window.actions_by_name["staining"].isChecked()
    assert "off" in window.status_dock.readings["Staining"]


def test_without_a_session_or_a_run_there_are_no_buttons_for_them(make: MakeWindow, feed: FeedDouble) -> None:
    window = make(feed)
    assert not {"staining", "movie", "note"} & set(window.actions_by_name)


@pytest.mark.parametrize(
    ("age_s", "interval_s", "state", "stale"),
    [
        (0.2, 0.2, "recording", False),
        (1.5, 0.2, "recording", True),
        (90.0, 300.0, "recording", False),
        (500.0, 300.0, "recording", True),
        (1.5, 0.2, "closed", False),
    ],
)
def test_a_frame_is_stale_when_it_is_older_than_the_plan_explains(
    age_s: float,
    interval_s: float,
    state: str,
    stale: bool,
    qtbot: QtBot,
    make: MakeWindow,
    feed: FeedDouble,
    session: SessionDouble,
) -> None:
    window = make(feed, session)
    feed.interval_s = interval_s
    feed.put(picture(age_s=age_s))
    qtbot.waitUntil(lambda: window.state.picture is not None)
    session.say(state=state)
    look(window)
    assert (window.canvas._tags.stale_s >= 1) == stale


def test_a_window_shown_again_says_at_once_that_its_picture_is_old(
    qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    window = make(feed, session)
    feed.put(picture(age_s=3600.0))
    qtbot.waitUntil(lambda: window.state.picture is not None)
    window.canvas.set_stale(0.0)
    window.hide()
    window.show()
    assert window.canvas._tags.stale_s >= 3600


@pytest.mark.parametrize(("backend", "paints_per_s"), [("openvino", 15.0), ("tensorrt", 30.0)])
def test_beside_an_engine_on_the_cpu_there_are_fewer_paints(
    backend: str, paints_per_s: float, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    window = make(feed, session)
    before = window.canvas._rate
    session.say(engine={})
    other = make(FeedDouble(), session)
    session.say(engine={"backend": backend, "version": "1", "device": "any", "precision": "f32"})
    look(other)
    assert before == 15.0
    assert other.canvas._rate == paints_per_s


def test_warnings_are_bars_that_stay_dismissed(make: MakeWindow, feed: FeedDouble, session: SessionDouble) -> None:
    window = make(feed, session)
    session.say(warnings=("disk is slow", "lamp is off"))
    look(window)
    assert window.bars.texts == ("lamp is off", "disk is slow")
    window.bars._dismiss("lamp is off")
    session.say(warnings=("disk is slow (7 times)", "lamp is off (3 times)"))
    look(window)
    assert list(window.bars.texts) == ["disk is slow"]


def test_a_doubt_about_the_input_stands_in_the_dock_and_as_a_bar_only_where_there_is_no_dock(
    qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    window = make(feed, session)
    session.say(warnings=("input: contrast 0.5 above the training range",))
    look(window)
    assert window.bars.texts == ()
    window.resize(400, 300)
    qtbot.waitUntil(lambda: not window.status_dock.isVisible())
    look(window)
    assert len(window.bars.texts) == 1


def test_loss_is_named_and_the_caution_of_the_model_stays(
    make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    window = make(feed, session)
    look(window)
    assert window.status_dock.loss == ""
    session.say(counters=Counters(received=12, saved=10, failed=2, labelfree=10, live=9, unstained=1))
    look(window)
    assert window.status_dock.loss == "LOSS: 2 frames not recorded, 1 recorded frame without a stain"
    said = [label.text() for label in window.status_dock.findChildren(type(window.fields._zoom)) if label.isVisible()]
    assert any(CAUTION in text for text in said)


def test_a_blurred_input_is_amber_with_the_reason(make: MakeWindow, feed: FeedDouble, session: SessionDouble) -> None:
    window = make(feed, session)
    low = session.model.card.contrast.sd[0]
    session.say(input=InputCheck(low / 2, 0.0, 1.0))
    look(window)
    assert window.status_dock.doubt == "▲ contrast: blurred or out of focus?"
    assert window.status_dock.readings["gain"] == "✓ 1.00"


def test_a_hidden_or_frozen_window_asks_for_no_pictures(make: MakeWindow, feed: FeedDouble) -> None:
    window = make(feed)
    assert feed.paused == [False]
    window._freeze(True)
    window._freeze(False)
    window.hide()
    window.show()
    window.showMinimized()
    assert feed.paused[:5] == [False, True, False, True, False]
    assert feed.paused[-1]


@pytest.mark.parametrize(("button", "stopped"), [("go_on", False), ("stop", True)])
def test_closing_while_recording_asks_whether_to_go_on_or_to_stop(
    button: str, stopped: bool, qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    window = make(feed, session)
    asked: list[bool] = []
    window.stop_asked.connect(lambda: asked.append(True))
    window.close()
    assert window.isVisible()
    assert not feed.closed
    with qtbot.waitSignal(window.closed):
        getattr(window._question, button).click()
    assert bool(asked) == stopped
    assert feed.closed
    assert not window.isVisible()


def test_escape_keeps_the_window_and_enter_goes_on_without_it(
    qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    window = make(feed, session)
    window.close()
    qtbot.keyClick(window._question._box, Qt.Key.Key_Escape)
    assert window.isVisible()
    assert not window._question._box.isVisible()
    window.close()
    with qtbot.waitSignal(window.closed):
        qtbot.keyClick(window._question._box, Qt.Key.Key_Return)


@pytest.mark.parametrize("state", ["closed", None])
def test_closing_asks_nothing_when_nothing_goes_on(
    state: str | None, qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    window = make(feed, session if state else None)
    if state:
        session.say(state=state)
    with qtbot.waitSignal(window.closed):
        window.close()


def test_a_session_that_fails_while_the_window_is_open_is_said_and_the_picture_stays(
    qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    window = make(feed, session)
    last = picture()
    feed.put(last)
    qtbot.waitUntil(lambda: window.state.picture is last)
    session.say(state="closed", run="", engine={}, warnings=("the run could not be opened: disk full",))
    feed.problem = "no more pictures"
    look(window)
    assert set(window.bars.texts) == {"the run could not be opened: disk full", "no more pictures"}
    assert window.state.picture is last
    assert window.status_dock.readings["Engine"] == "–"


def test_two_windows_on_one_session_live_and_close_apart(
    qtbot: QtBot, make: MakeWindow, session: SessionDouble
) -> None:
    feeds = FeedDouble(), FeedDouble()
    first, second = make(feeds[0], session), make(feeds[1], session)
    first.state.set_mode("split")
    assert second.state.mode == "composite"
    first.finish("done", "good")
    first.close()
    session.say(frames_per_s=7.0)
    look(second)
    assert second.fields.values["rate"] == "7.0 frame/s"
    assert (feeds[0].closed, feeds[1].closed) == (True, False)


def test_an_error_in_a_slot_is_logged_once_shown_and_ends_nothing(
    qtbot: QtBot, make: MakeWindow, feed: FeedDouble, caplog: pytest.LogCaptureFixture
) -> None:
    window = make(feed)

    def broken() -> None:
        raise RuntimeError("a slip")

    window.actions_by_name["fit"].triggered.connect(broken)
    with errors_told(window.tell), caplog.at_level(logging.ERROR):
        for _ in range(3):
            press(qtbot, window, Qt.Key.Key_F)
    assert any("a slip" in text for text in window.bars.texts)
    assert len([record for record in caplog.records if "a slip" in record.getMessage()]) == 1
    assert window.isVisible()


SIZES = {"tiny": (400, 300), "laptop": (1280, 800), "4K": (3840, 2160)}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_every_size_leaves_room_for_the_image(
    size: tuple[int, int], qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    window = make(feed, session)
    feed.put(picture())
    for text in ("one", "two", "three", "four"):
        window.tell(text)
    window.resize(*size)
    qtbot.waitUntil(lambda: (window.width(), window.height()) == size)
    qtbot.waitUntil(lambda: window.canvas.width() >= 0.6 * size[0] and window.canvas.height() >= 0.5 * size[1])
    for dock in (window.layers, window.status_dock):
        assert dock.isVisible() == (size[0] > 400)
        assert dock.width() <= 340


def test_the_docks_come_back_when_the_window_grows(qtbot: QtBot, make: MakeWindow, feed: FeedDouble) -> None:
    window = make(feed)
    window.resize(400, 300)
    qtbot.waitUntil(lambda: not window.layers.isVisible())
    window.resize(1280, 800)
    qtbot.waitUntil(window.layers.isVisible)


@pytest.mark.parametrize("language", [QLocale.Language.German, QLocale.Language.Chinese])
def test_numbers_have_points_in_every_language(
    language: QLocale.Language, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    before = QLocale()
    QLocale.setDefault(QLocale(language))
    try:
        window = make(feed, session)
        look(window)
        assert window.fields.values["rate"] == "5.0 frame/s"
        assert "," not in "".join(window.status_dock.readings.values()).replace(", ", "")
    finally:
        QLocale.setDefault(before)


def test_what_the_user_chose_is_there_again(
    qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    first = make(feed)
    first.state.set_mode("curtain")
    first.state.set_layer(1, gamma=2.0)
    was_dark = first.actions_by_name["theme"].text()
    first._switch_theme()
    first.close()
    second = make(FeedDouble())
    assert second.state.mode == "curtain"
    assert second.actions_by_name["curtain"].isChecked()
    assert second.state.views[1].gamma == 2.0
    assert second.actions_by_name["theme"].text() != was_dark


def test_damaged_settings_are_left_out(make: MakeWindow, feed: FeedDouble, settings: QSettings) -> None:
    for key in ("window/geometry", "window/docks", "view/state"):
        settings.setValue(key, "{damaged")
    assert make(feed).state.mode == "composite"


def test_a_snapshot_lies_in_the_run_with_its_values(
    qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble, tmp_path: Path
) -> None:
    window = make(feed, session)
    feed.put(picture(3))
    qtbot.waitUntil(lambda: window.state.picture is not None)
    press(qtbot, window, Qt.Key.Key_P)
    qtbot.waitUntil(lambda: any("Snapshot saved" in text for text in window.bars.texts))
    names = {path.name for path in (tmp_path / "export").iterdir()}
    assert names == {"p000-t00003-z000.png", "p000-t00003-z000.tif"}
    saved = QImage(str(tmp_path / "export" / "p000-t00003-z000.png"))
    assert (saved.width(), saved.height()) == natural_size(window.state), "the whole image without margins"


def test_a_snapshot_that_cannot_be_saved_says_why(
    qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble, tmp_path: Path
) -> None:
    (tmp_path / "export").write_text("in the way")
    window = make(feed, session)
    press(qtbot, window, Qt.Key.Key_P)
    assert "no picture yet" in window.bars.texts[0]
    feed.put(picture())
    qtbot.waitUntil(lambda: window.state.picture is not None)
    press(qtbot, window, Qt.Key.Key_P)
    qtbot.waitUntil(lambda: any("could not be saved" in text for text in window.bars.texts))


def test_a_note_goes_to_the_session_with_the_key_of_the_picture(
    qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    window = make(feed, session)
    feed.put(picture(3))
    qtbot.waitUntil(lambda: window.state.picture is not None)
    press(qtbot, window, Qt.Key.Key_N)
    (dialog,) = window.findChildren(NoteDialog)
    dialog.text.setText("drug added")
    window.deeds.note()
    assert window.findChildren(NoteDialog) == [dialog], "a second N brings the one back"
    dialog.accept()
    assert session.notes == [("drug added", (0, 3, 0))]
    assert window.bars.texts == ("Note saved at t 3: drug added",)


def test_the_movie_dialog_offers_the_time_points_there_are(
    qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    window = make(feed, session)
    feed.size = (1, 40, 1)
    press(qtbot, window, Qt.Key.Key_M)
    (dialog,) = window.findChildren(MovieDialog)
    assert (dialog.first.value(), dialog.last.value()) == (0, 39)
    dialog.close()


def test_where_nothing_is_recorded_note_and_movie_say_so(
    qtbot: QtBot, make: MakeWindow, feed: FeedDouble, session: SessionDouble
) -> None:
    session.run = None
    window = make(feed, session)
    press(qtbot, window, Qt.Key.Key_N)
    press(qtbot, window, Qt.Key.Key_M)
    assert len(window.bars.texts) == 2
    assert all("nothing is recorded" in text for text in window.bars.texts)


@pytest.fixture
def recorded(qtbot: QtBot, tmp_path: Path, settings: QSettings) -> Iterator[Window]:
    """The window of a finished run of 6 time points with warnings, at its newest."""
    made = Recording(tmp_path / "run")
    for t in range(6):
        made.raw(t)
        made.stain(t)
    made.folder.log_path.write_text("the recording began\n")
    made.folder.write_state(force=True, warnings=["the pixel size is not known", "input: contrast 0.5 (6 times)"])
    path = made.end().path
    made.folder.write_state(force=True, closed=1.0)
    window = Window(RunFeed(path), run=path, settings=settings)
    window.show()
    qtbot.waitUntil(lambda: window.state.picture is not None and window.state.picture.key.t == 5)
    yield window
    window.close()
    window.deleteLater()


def test_a_recorded_run_is_played_and_stepped_by_keys_without_a_click(qtbot: QtBot, recorded: Window) -> None:
    assert recorded.timeline is not None
    bar, seen = recorded.timeline.bar, []
    for key in (Qt.Key.Key_Left, Qt.Key.Key_Home, Qt.Key.Key_Right, Qt.Key.Key_End):
        press(qtbot, recorded, key)
        seen.append(bar.value())
    assert seen == [4, 0, 1, 5]
    slider = recorded.findChildren(QSlider)[0]
    slider.setFocus()
    press(qtbot, recorded, Qt.Key.Key_Space)
    assert recorded.timeline.play_button.isChecked()
    assert not recorded.state.frozen
    assert "freeze" not in recorded.actions_by_name
    recorded.timeline.toggle_play()
    at = bar.value()
    slider.setFocus()
    value = slider.value()
    qtbot.keyClick(slider, Qt.Key.Key_Left)
    assert (bar.value(), slider.value() != value) == (at, True), "a slider that has the focus keeps its keys"


def test_a_recorded_run_shows_its_warnings_its_counters_and_its_log(qtbot: QtBot, recorded: Window) -> None:
    look(recorded)
    assert recorded.bars.texts == ("the pixel size is not known",)
    assert recorded.status_dock.readings["received"] == "6"
    recorded.actions_by_name["log"].setChecked(True)
    assert recorded.log_dock.text == "the recording began"


def test_an_open_log_is_not_there_in_the_next_window(make: MakeWindow, feed: FeedDouble) -> None:
    first = make(feed)
    first.actions_by_name["log"].setChecked(True)
    assert first.log_dock.isVisible()
    first.close()
    second = make(FeedDouble())
    assert not second.log_dock.isVisible()
    assert not second.actions_by_name["log"].isChecked()
