"""Bad days of a window: what is shown, and that it goes on, when screens, runs or pictures are not as one would wish.

What is not here: no display (`test_app`, `tests/cli/test_stage.py`), tiny and huge windows (`test_window`), a session
that fails and two windows on one session (`test_window`, `test_live`), and damaged runs (`test_recorded`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy import API
from qtpy.QtCore import QSettings, Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QDockWidget

from livestain.frames import Counts, Key
from livestain.view.picture import LayerInfo, Picture
from livestain.view.recorded import RunFeed
from livestain.view.render import render
from livestain.view.snapshot import natural_size
from livestain.view.window import Window
from tests.view.doubles import FeedDouble, SessionDouble
from tests.view.pictures import AMBER, BRIGHT, MEMBRANE, NUCLEI, constant, noise, pixels
from tests.view.runs import GrowingRun, stained_run

LIMIT_MS = 20_000
SIGNS = dict.fromkeys(map(ord, "·■◆"))
ROOT = Path(__file__).parents[2]

Open = Callable[..., Window]


@pytest.fixture
def settings(tmp_path: Path) -> QSettings:
    return QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)


@pytest.fixture
def opened(qtbot: QtBot, settings: QSettings) -> Iterator[Open]:
    """Open a window; it is closed at the end."""
    windows: list[Window] = []

    def open_one(feed: Any, session: SessionDouble | None = None) -> Window:
        run = feed.path if isinstance(feed, RunFeed) else None
        window = Window(feed, session=session.as_session() if session else None, run=run, settings=settings)
        windows.append(window)
        window.show()
        qtbot.waitExposed(window)
        return window

    yield open_one
    for window in windows:
        window.finish("test over", "plain")
        window.close()
        window.deleteLater()


class FeedOf(FeedDouble):
    """A feed of these layers."""

    def __init__(self, *layers: LayerInfo) -> None:
        super().__init__()
        self.layers = layers


def seen(window: Window) -> Counts:
    """Return (Y, X, 3) uint8: the canvas as it is drawn."""
    return pixels(window.canvas.grab().toImage().convertToFormat(QImage.Format.Format_RGB32))


def middle_of(window: Window) -> Counts:
    """Return (3,) uint8: red, green, blue in the middle of the canvas."""
    image = seen(window)
    middle: Counts = image[image.shape[0] // 2, image.shape[1] // 2]
    return middle


def has_mark(window: Window) -> bool:
    return bool(np.all(seen(window) == AMBER, axis=-1).sum() > 500)


# -- pictures ----------------------------------------------------------------------------------------------------------

FLAT = {
    "a stain of all zeros": (noise(top=4095), 0, False),
    "a saturated stain": (noise(top=4095), 65535, True),
    "a black image without a stain": (constant(0), 0, False),
    "a black image with a stain": (constant(0), 30_000, True),
    "an even image": (constant(700), 30_000, True),
    "a saturated image": (constant(4095), 0, False),
}


@pytest.mark.parametrize(("frame", "stain", "green"), FLAT.values(), ids=FLAT.keys())
def test_flat_planes_are_shown_as_they_are(frame: Counts, stain: int, green: bool, qtbot: QtBot, opened: Open) -> None:
    feed = FeedOf(BRIGHT, NUCLEI, MEMBRANE)
    window = opened(feed)
    feed.put(Picture(Key(0, 0, 0), (frame, constant(stain), constant(0))))
    qtbot.waitUntil(lambda: all(card.plot.span is not None for card in window.layers.cards), timeout=LIMIT_MS)
    red, level, blue = (int(value) for value in middle_of(window))
    assert (level > red + 20 and level > blue + 20) == green
    assert green or red == level == blue
    assert has_mark(window)
    for index in range(3):
        window.state.auto_once(index)
    assert has_mark(window)
    assert window.bars.texts == ()


def test_twenty_stains_leave_room_for_the_image_and_each_can_be_switched_off(qtbot: QtBot, opened: Open) -> None:
    stains = [LayerInfo(f"stain {i}", "virtual", "00E676", limits=(0.0, 65535.0)) for i in range(20)]
    feed = FeedOf(BRIGHT, *stains)
    window = opened(feed)
    feed.put(Picture(Key(0, 0, 0), (constant(0), *[constant(0)] * 19, constant(50_000))))
    qtbot.waitUntil(lambda: window.canvas.zoom > 0)
    assert window.layers.width() <= 340
    assert window.canvas.width() > 900
    assert middle_of(window)[1] > 100
    window.layers.scroll.ensureWidgetVisible(window.layers.cards[20])
    qtbot.mouseClick(window.layers.cards[20].lock, Qt.MouseButton.LeftButton)
    window.layers.cards[20].shown.click()
    assert list(middle_of(window)) == [0, 0, 0]
    assert has_mark(window)
    assert window.state.views[20].locked


# -- places and times --------------------------------------------------------------------------------------------------


def test_a_thousand_positions_can_all_be_followed(
    qtbot: QtBot, opened: Open, model_folder: Path, tmp_path: Path
) -> None:
    feed, session = FeedDouble(), SessionDouble(model_folder, tmp_path)
    feed.size = (1000, 1, 1)
    window = opened(feed, session)
    box = window.toolbar.follow._position
    qtbot.waitUntil(box.isVisible)
    box.setFocus()
    box.selectAll()
    qtbot.keyClicks(box, "999")
    qtbot.keyClick(box, Qt.Key.Key_Return)
    assert session.followed == [(999, 0)]
    assert box.fontMetrics().horizontalAdvance("999") < box.lineEdit().width()


def test_a_hundred_thousand_time_points_leave_the_window_free(
    qtbot: QtBot, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livestain.view.timeline._LOOK_MS", 20)
    count = 100_000
    path = stained_run(tmp_path / "run", times=2)
    row = '{"v":1,"n":%d,"p":0,"t":%d,"z":0,"c":0,"kind":"measured","state":"ok","crc32":"","reason":""}'
    with (path / "raw" / "ledger.jsonl").open("a", encoding="utf-8", newline="\n") as ledger:
        ledger.write('{"v":1,"open":0}\n')
        ledger.writelines(row % (t, t) + "\n" for t in range(2, count))
    window = opened(RunFeed(path))
    timeline, began_s = window.timeline, time.thread_time()
    assert timeline is not None
    qtbot.waitUntil(lambda: timeline.bar.maximum() == count - 1, timeout=60_000)
    # Measured: 0.35 s of the GUI's thread, of which most is the first look of the window.
    assert time.thread_time() - began_s < 3.0
    qtbot.keyClick(timeline.bar, Qt.Key.Key_End)
    qtbot.waitUntil(lambda: window.state.picture is not None and window.state.picture.key.t == count - 1)
    assert window.caption.startswith(f"t {count - 1} · frame {count} of {count}")
    qtbot.keyClick(timeline.bar, Qt.Key.Key_Home)
    qtbot.waitUntil(lambda: has_mark(window) and window.caption.startswith("t 0 · frame 1 of"))


def test_a_run_that_disappears_while_viewed_is_told_and_its_last_picture_stays(
    qtbot: QtBot, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livestain.view.recorded._POLL_S", 0.02)
    monkeypatch.setattr("livestain.view.window._LOOK_MS", 20)
    path = stained_run(tmp_path / "run")
    window = opened(RunFeed(path))
    qtbot.waitUntil(lambda: window.state.picture is not None)
    before = seen(window)
    path.rename(tmp_path / "taken away")
    qtbot.waitUntil(lambda: any(str(path) in text and "gone" in text for text in window.bars.texts), timeout=LIMIT_MS)
    assert window.timeline is not None
    window.timeline.go_last()
    window.deeds.snapshot()
    qtbot.waitUntil(lambda: any("could not be saved" in text for text in window.bars.texts), timeout=LIMIT_MS)
    assert not path.exists(), "nothing is made where the run was"
    assert window.state.picture is not None
    assert np.array_equal(middle_of(window), before[before.shape[0] // 2, before.shape[1] // 2])


def test_a_slider_on_a_growing_run_finds_what_was_added(
    qtbot: QtBot, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livestain.view.recorded._POLL_S", 0.02)
    monkeypatch.setattr("livestain.view.timeline._LOOK_MS", 20)
    run = GrowingRun(tmp_path / "run", (96, 96))
    run.add(constant(100), constant(0), constant(0))
    window = opened(RunFeed(run.folder.path))
    timeline = window.timeline
    assert timeline is not None
    for t in (1, 2):
        run.add(constant(1000 * t), constant(20_000), constant(0))
        qtbot.waitUntil(lambda t=t: timeline.bar.maximum() == t, timeout=LIMIT_MS)  # type: ignore[misc]
        qtbot.waitUntil(lambda t=t: window.caption.startswith(f"t {t} · frame {t + 1} of"), timeout=LIMIT_MS)  # type: ignore[misc]
    qtbot.keyClick(timeline.bar, Qt.Key.Key_Home)
    run.add(constant(4000), constant(20_000), constant(0))
    qtbot.waitUntil(lambda: timeline.bar.maximum() == 3, timeout=LIMIT_MS)
    qtbot.waitUntil(lambda: window.caption.startswith("t 0 · frame 1 of 4"), timeout=LIMIT_MS)
    run.end()


def test_a_snapshot_is_the_whole_image_as_its_layers_are_seen(qtbot: QtBot, opened: Open, tmp_path: Path) -> None:
    path = stained_run(tmp_path / "run")
    window = opened(RunFeed(path))
    qtbot.waitUntil(lambda: window.state.picture is not None)
    window.state.set_mode("curtain")
    window.state.set_curtain(0.3)
    window.state.set_layer(1, color="FF8C00", gamma=0.5)
    window.canvas.one_to_one()
    size, um = natural_size(window.state), window.feed.pixel_um
    whole = render(window.state, size, pixel_um=um, caption=window.caption)
    window.deeds.snapshot()
    qtbot.waitUntil(lambda: any("Snapshot saved" in text for text in window.bars.texts), timeout=LIMIT_MS)
    (file,) = (path / "export").glob("*.png")
    saved = pixels(QImage(str(file)).convertToFormat(QImage.Format.Format_RGB32))
    assert np.array_equal(saved, pixels(whole))


# -- screens -----------------------------------------------------------------------------------------------------------

LAPTOP = {"name": "laptop", "x": 0, "y": 0, "width": 1280, "height": 800}
SECOND = {"name": "second", "x": 1280, "y": 0, "width": 2560, "height": 1600}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A window where a second screen has twice the resolution, in German; then without that screen, in Chinese."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run, facts = stained_run(folder / "run"), []
    for language, screens in (("de_DE", [LAPTOP, SECOND]), ("zh_CN", [LAPTOP])):
        described = [{**screen, "logicalDpi": 96, "logicalBaseDpi": 96, "dpr": 1} for screen in screens]
        (folder / "screens.json").write_text(json.dumps({"screens": described}), encoding="utf-8")
        environment = {
            **os.environ, "QT_API": API, "LANG": f"{language}.UTF-8", "LC_ALL": "",
            "QT_QPA_PLATFORM": "offscreen:configfile=screens.json", "QT_SCREEN_SCALE_FACTORS": "1;2",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.view.elsewhere", str(run), "window.ini"]
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        facts.append(json.loads(done.stdout))
    return facts


def test_a_screen_of_twice_the_resolution_shows_twice_the_pixels(elsewhere: list[dict[str, Any]]) -> None:
    laptop, second = elsewhere[0]["looks"][:2]
    assert (laptop["screen"], laptop["ratio"], second["screen"], second["ratio"]) == ("laptop", 1.0, "second", 2.0)
    assert second["canvas"] == laptop["canvas"]
    assert second["pixels"] == [2 * side for side in second["canvas"]]
    assert second["zoom"] == pytest.approx(2 * laptop["zoom"])
    assert second["mark"] == pytest.approx([2 * side for side in laptop["mark"]], abs=4)


def test_a_window_whose_screen_is_removed_looks_as_before_on_the_other(elsewhere: list[dict[str, Any]]) -> None:
    first, _, back, _ = elsewhere[0]["looks"]
    assert back == first


def test_a_window_that_was_closed_on_a_screen_that_is_gone_opens_in_sight(elsewhere: list[dict[str, Any]]) -> None:
    assert elsewhere[0]["looks"][-1]["screen"] == "second"
    assert len({look["screen"] for look in elsewhere[1]["looks"]}) == 1
    assert elsewhere[1]["in sight"]


def test_docks_that_a_small_window_hid_are_there_in_a_large_one(
    qtbot: QtBot, opened: Open, settings: QSettings
) -> None:
    small = opened(FeedDouble())
    small.resize(500, 400)
    qtbot.waitUntil(lambda: not small.layers.isVisible())
    small.close()
    settings.remove("window/geometry")  # as Qt refuses one that was kept on a much larger screen
    large = opened(FeedDouble())
    assert (large.width(), large.layers.isVisible(), large.status_dock.isVisible()) == (1280, True, True)


def test_the_docks_at_the_side_cannot_be_closed_as_nothing_would_bring_them_back(opened: Open) -> None:
    window = opened(FeedDouble())
    for dock in (window.layers, window.status_dock):
        assert not dock.features() & QDockWidget.DockWidgetFeature.DockWidgetClosable


@pytest.mark.parametrize(("which", "language"), [(0, "de_DE"), (1, "zh_CN")])
def test_the_language_of_the_system_changes_no_text(which: int, language: str, elsewhere: list[dict[str, Any]]) -> None:
    assert elsewhere[which]["system"] == language
    texts = elsewhere[which]["texts"]
    assert {"Opacity", "1.00", "t 3 · frame 4 of 4, 0:00:03", "stained live"} <= set(texts)
    assert all(text.translate(SIGNS).isascii() or len(text) == 1 for text in texts)


def test_no_window_is_drawn_by_opengl(elsewhere: list[dict[str, Any]]) -> None:
    # Qt gives a window another surface as soon as one widget in it wants OpenGL; without OpenGL: `test_real_input`.
    assert {look["surface"] for facts in elsewhere for look in facts["looks"]} == {"RasterSurface"}
