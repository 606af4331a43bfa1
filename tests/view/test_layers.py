"""The dock of the layers: what each control does to the state, and what the state does to each control."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QLocale, QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QWheelEvent
from qtpy.QtWidgets import QApplication, QColorDialog, QLabel, QMainWindow, QWidget

from livestain.frames import Counts, Key
from livestain.view import theme
from livestain.view.layer_card import LayerCard, gamma_of, gamma_step
from livestain.view.layers import LayerDock
from livestain.view.picture import LayerInfo, Picture
from livestain.view.state import PALETTES, ViewState

LAYERS = (
    LayerInfo("BF", "label-free", "FFFFFF", top=4095),
    LayerInfo("nuclei", "virtual", "00E676", limits=(0.0, 60000.0)),
    LayerInfo("membrane", "virtual", "FF00FF", limits=(0.0, 65535.0)),
)


def plane(low: int, high: int) -> Counts:
    return np.linspace(low, high, 128 * 128).reshape(128, 128).astype(np.uint16)


def picture(*planes: Counts | None, states: tuple[str, ...] = (), t: int = 0) -> Picture:
    return Picture(Key(0, t, 0), planes, states=states)


class Bench:
    """A dock in a window of 900 x 800 px beside its state, with all that the state told."""

    def __init__(self, qtbot: QtBot, layers: tuple[LayerInfo, ...] = LAYERS) -> None:
        self.bot = qtbot
        self.state = ViewState(layers)
        self.dock = LayerDock(self.state)
        self.window = QMainWindow()
        qtbot.addWidget(self.window)
        self.window.resize(900, 800)
        self.window.setCentralWidget(QWidget())
        self.window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)
        self.told: list[int] = []
        self.state.layer_changed.connect(self.told.append)

    def show(self) -> None:
        self.window.show()
        self.bot.waitExposed(self.window)

    @property
    def card(self) -> LayerCard:
        """The card of the nuclei."""
        return self.dock.cards[1]


@pytest.fixture
def bench(qtbot: QtBot) -> Bench:
    made = Bench(qtbot)
    made.state.set_picture(picture(plane(100, 4000), plane(500, 9000), plane(0, 65535)))
    made.told.clear()
    return made


def typed(bench: Bench, box: QWidget, text: str) -> None:
    bench.show()
    box.setFocus()
    box.selectAll()
    bench.bot.keyClicks(box, text)
    bench.bot.keyClick(box, Qt.Key.Key_Return)


DOES: list[tuple[str, Callable[[Bench], object], dict[str, Any]]] = [
    ("the check box hides", lambda b: b.card.shown.click(), {"visible": False}),
    ("the lock locks", lambda b: b.card.lock.click(), {"locked": True}),
    ("the opacity slider", lambda b: b.card.opacity.setValue(40), {"opacity": 0.4}),
    ("the gamma slider to the right", lambda b: b.card.gamma.setValue(100), {"gamma": 5.0}),
    ("the gamma slider to the left", lambda b: b.card.gamma.setValue(-100), {"gamma": 0.2}),
    ("a lower limit typed", lambda b: typed(b, b.card.low, "1200"), {"limits": (1200.0, 60000.0)}),
    ("an upper limit typed", lambda b: typed(b, b.card.high, "900"), {"limits": (0.0, 900.0)}),
    ("a lower limit above the upper", lambda b: typed(b, b.card.low, "65000"), {"limits": (65000.0, 65001.0)}),
    ("a handle dragged", lambda b: b.card.plot.limits_dragged.emit(10.5, 99.25), {"limits": (10.5, 99.25)}),
    ("a colour of the menu", lambda b: b.card.color.menu().actions()[3].trigger(), {"color": "FF8C00"}),
    ("the second palette", lambda b: b.dock.palette_box.textActivated.emit(list(PALETTES)[1]), {"color": "0096FF"}),
    ("lock all", lambda b: b.dock.lock_all.click(), {"locked": True}),
]


@pytest.mark.parametrize(("act", "expected"), [c[1:] for c in DOES], ids=[c[0] for c in DOES])
def test_each_control_changes_the_state_once(
    bench: Bench, act: Callable[[Bench], object], expected: dict[str, Any]
) -> None:
    act(bench)
    view = bench.state.views[1]
    assert {name: getattr(view, name) for name in expected} == expected
    assert bench.told.count(1) == 1


def test_auto_once_model_range_and_full_range(bench: Bench) -> None:
    label_free = bench.dock.cards[0]
    assert [card.range.text() for card in bench.dock.cards] == ["Full range", "Model range", "Model range"]
    bench.card.auto.click()
    assert bench.state.views[1].limits == pytest.approx((508, 8991), abs=2)
    bench.card.range.click()
    assert bench.state.views[1].limits == (0.0, 60000.0)
    label_free.range.click()
    assert bench.state.views[0].limits == (0.0, 4095.0)
    label_free.auto.click()
    assert bench.state.views[0].limits == pytest.approx((104, 3996), abs=2)


def test_any_other_colour_is_chosen_in_a_dialog(bench: Bench) -> None:
    bench.show()
    bench.card.color.menu().actions()[-1].trigger()
    dialog = bench.window.findChild(QColorDialog)
    assert dialog.currentColor().name() == "#00e676"
    dialog.setCurrentColor(QColor("#abcdef"))
    dialog.accept()
    assert bench.state.views[1].color == "ABCDEF"
    assert bench.dock.palette_box.currentIndex() == -1, "no palette has these colours"


def test_a_change_of_the_state_shows_on_the_card_and_is_told_once(bench: Bench) -> None:
    bench.state.set_layer(1, limits=(7.4, 812.6), opacity=0.255, gamma=0.5, visible=False, locked=True)
    card = bench.card
    assert bench.told == [1]
    assert (card.low.value(), card.high.value()) == (7, 813)
    assert (card.opacity.value(), card.gamma.value()) == (26, gamma_step(0.5))
    assert (card.shown.isChecked(), card.lock.isChecked()) == (False, True)
    assert {"26 %", "0.50"} <= {label.text() for label in card.findChildren(QLabel)}
    assert bench.state.views[1].limits == (7.4, 812.6), "showing whole numbers rounds nothing"


def test_a_typed_limit_that_is_not_legal_is_put_right_in_the_box(bench: Bench) -> None:
    bench.state.set_layer(1, limits=(65534, 65535))
    typed(bench, bench.card.low, "65535")
    assert bench.card.low.value() == 65534


def test_a_lock_disables_what_would_move_limits_and_nothing_else(bench: Bench) -> None:
    bench.state.set_layer(1, locked=True)
    card = bench.card
    assert not any(control.isEnabled() for control in (card.low, card.high, card.auto, card.range))
    assert all(control.isEnabled() for control in (card.opacity, card.gamma, card.color, card.shown, card.lock))


def test_lock_all_follows_the_locks(bench: Bench) -> None:
    locked = []
    for index in range(3):
        bench.state.set_layer(index, locked=True)
        locked.append(bench.dock.lock_all.isChecked())
    bench.state.set_layer(0, locked=False)
    assert [*locked, bench.dock.lock_all.isChecked()] == [False, False, True, False]


def test_the_palette_box_names_the_palette_and_only_one_as_unsafe(bench: Bench) -> None:
    names = [bench.dock.palette_box.itemText(i) for i in range(bench.dock.palette_box.count())]
    assert names == list(PALETTES)
    for name in names:
        bench.state.set_palette(name)
        assert bench.dock.palette_box.currentText() == name
    bench.state.set_layer(1, color="123456")
    assert bench.dock.palette_box.currentIndex() == -1


def test_without_virtual_layers_there_is_no_palette_to_choose(qtbot: QtBot) -> None:
    assert not Bench(qtbot, LAYERS[:1]).dock.palette_box.isEnabled()


def test_the_wheel_scrolls_and_changes_no_control(bench: Bench) -> None:
    bench.show()
    before = bench.state.views
    card = bench.card
    for control in (card.opacity, card.gamma, card.low, card.high, bench.dock.palette_box):
        turn = QWheelEvent(
            QPointF(5, 5),
            QPointF(control.mapToGlobal(QPoint(5, 5))),
            QPoint(0, 0),
            QPoint(0, -120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(control, turn)
        assert not turn.isAccepted()
    assert bench.state.views == before


def test_the_mouse_takes_the_keyboard_only_for_numbers_and_enter_gives_it_back(bench: Bench) -> None:
    bench.show()
    image = bench.window.centralWidget()
    image.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    image.setFocus()
    card = bench.card
    for control in (card.shown, card.opacity, card.gamma, card.color, card.lock, card.auto, bench.dock.lock_all):
        if control is not card.color:
            bench.bot.mouseClick(control, Qt.MouseButton.LeftButton, pos=QPoint(4, 8))
        assert not control.focusPolicy() & Qt.FocusPolicy.ClickFocus
    assert bench.window.focusWidget() is image
    card.lock.click()
    typed(bench, card.low, "77")
    assert bench.state.views[1].limits[0] == 77
    assert not card.low.hasFocus()


@pytest.mark.parametrize("gamma", [0.2, 0.45, 1.0, 2.2, 5.0])
def test_a_gamma_slider_has_a_step_for_every_gamma(gamma: float) -> None:
    assert gamma_of(gamma_step(gamma)) == pytest.approx(gamma, rel=0.01)
    assert gamma_of(0) == 1.0


# -- histograms --------------------------------------------------------------------------------------------------------


def test_histograms_come_for_cards_in_sight_and_follow_the_picture(bench: Bench) -> None:
    bench.show()
    bench.bot.waitUntil(lambda: all(card.plot.span is not None for card in bench.dock.cards), timeout=20000)
    assert bench.card.plot.span == (0.0, 63000.0)
    bench.state.set_layer(1, limits=(600, 700))
    bench.bot.waitUntil(lambda: bench.card.plot.span == (75.0, 9425.0), timeout=5000)


def test_a_hidden_dock_counts_nothing(bench: Bench) -> None:
    bench.show()
    bench.dock.hide()
    bench.bot.waitUntil(lambda: not counting(), timeout=10000)
    for t in range(5):
        bench.state.set_picture(picture(plane(0, 10 + t), None, None, t=t))
        assert not counting()
    bench.dock.show()
    assert counting()


def counting() -> bool:
    return any(thread.name == "livestain-histograms" for thread in threading.enumerate())


def test_twenty_layers_scroll_and_those_out_of_sight_wait(qtbot: QtBot) -> None:
    bench = Bench(qtbot, tuple(LayerInfo(f"stain {i}", "virtual", "FF8C00") for i in range(20)))
    bench.state.set_picture(picture(*[plane(0, 100 + i) for i in range(20)]))
    bench.show()
    qtbot.waitUntil(lambda: bench.dock.cards[0].plot.span is not None, timeout=20000)
    last = bench.dock.cards[19]
    assert last.plot.span is None
    bar = bench.dock.scroll.verticalScrollBar()
    bar.setValue(bar.maximum())
    qtbot.waitUntil(lambda: last.plot.span is not None, timeout=5000)
    assert not last.visibleRegion().isEmpty()


CONSTANT = [("zeros", 0), ("constant", 700), ("saturated", 65535)]


@pytest.mark.parametrize("value", [c[1] for c in CONSTANT], ids=[c[0] for c in CONSTANT])
def test_constant_planes_have_a_histogram_and_auto_works(qtbot: QtBot, value: int) -> None:
    bench = Bench(qtbot)
    bench.state.set_picture(picture(*[np.full((96, 96), value, np.uint16)] * 3))
    bench.show()
    bench.card.auto.click()
    qtbot.waitUntil(lambda: bench.card.plot.span is not None, timeout=20000)
    low, high = bench.state.views[1].limits
    assert low <= value <= high
    assert high == low + 1


def words(card: LayerCard) -> list[str]:
    return [label.text() for label in card.plot.findChildren(QLabel)]


def test_a_layer_that_is_not_there_says_why(bench: Bench) -> None:
    bench.state.set_picture(picture(plane(0, 9), None, None, states=("", "failed: no memory", "")))
    assert [words(card) for card in bench.dock.cards] == [[""], ["failed: no memory"], ["no picture yet"]]
    bench.state.set_picture(picture(plane(0, 9), plane(0, 9), plane(0, 9)))
    assert [words(card) for card in bench.dock.cards] == [[""]] * 3


# -- looks -------------------------------------------------------------------------------------------------------------


def test_three_cards_fit_beside_a_small_screen_s_window_and_its_status(bench: Bench) -> None:
    bench.show()
    assert bench.dock.width() <= theme.DOCK_WIDTH
    assert max(card.height() for card in bench.dock.cards) <= 150
    toolbar_and_status = 200 + 60
    assert bench.dock.sizeHint().height() <= 800 - toolbar_and_status


def test_nothing_on_a_card_is_wider_than_the_card(bench: Bench) -> None:
    bench.show()
    room = bench.dock.scroll.viewport().width()
    assert bench.dock.scroll.widget().minimumSizeHint().width() <= room


def test_a_long_name_is_cut_and_read_in_full_in_its_tool_tip(qtbot: QtBot) -> None:
    name = "DAPI & friends on the left camera of the upper deck"
    bench = Bench(qtbot, (LayerInfo(name, "measured", "0096FF"),))
    bench.show()
    shown = bench.dock.cards[0].shown
    assert shown.text().startswith("DAPI && fr")
    assert shown.text().endswith("…")
    assert shown.toolTip() == name
    assert bench.dock.width() <= theme.DOCK_WIDTH


def test_numbers_do_not_jump(bench: Bench) -> None:
    bench.show()
    only = Qt.FindChildOption.FindDirectChildrenOnly
    places = []
    for limits, opacity, gamma in (((0, 1), 0.0, 0.2), ((11111, 65535), 1.0, 5.0), ((7, 888), 0.07, 1.11)):
        bench.state.set_layer(1, limits=limits, opacity=opacity, gamma=gamma)
        QApplication.processEvents()
        places.append([child.geometry() for child in bench.card.findChildren(QWidget, options=only)])
    assert len(places[0]) > 10
    assert places[0] == places[1] == places[2]


@pytest.fixture
def locale(request: pytest.FixtureRequest) -> Iterator[str]:
    before = QLocale()
    QLocale.setDefault(QLocale(request.param))
    yield request.param
    QLocale.setDefault(before)


@pytest.mark.parametrize("locale", ["de_DE", "zh_CN", "ar_EG"], indirect=True)
def test_numbers_are_written_with_a_point_in_every_locale(qtbot: QtBot, locale: str) -> None:
    bench = Bench(qtbot)
    bench.state.set_layer(1, gamma=2.25, limits=(1234, 56789))
    assert "2.25" in {label.text() for label in bench.card.findChildren(QLabel)}
    assert (bench.card.low.text(), bench.card.high.text()) == ("1234", "56789")
    typed(bench, bench.card.low, "4321")
    assert bench.state.views[1].limits[0] == 4321.0


def test_every_control_has_a_name_for_a_screen_reader(bench: Bench) -> None:
    card = bench.card
    names = [c.accessibleName() for c in (card.shown, card.color, card.lock, card.low, card.high)]
    names += [card.opacity.accessibleName(), card.gamma.accessibleName(), bench.dock.palette_box.accessibleName()]
    assert all(names)
    assert len(set(names)) == len(names)


# -- ends --------------------------------------------------------------------------------------------------------------


def test_a_dock_that_is_gone_hears_nothing_while_its_state_lives_on(qtbot: QtBot) -> None:
    state = ViewState(LAYERS)
    kept = LayerDock(state)
    kept.show()
    state.set_picture(picture(plane(0, 9), plane(0, 9), plane(0, 9)))
    gone: list[bool] = []
    kept.destroyed.connect(lambda: gone.append(True))
    kept.deleteLater()
    qtbot.waitUntil(lambda: bool(gone), timeout=5000)
    assert len(state.layer_changed) == len(state.picture_changed) == 0
    state.set_layer(0, gamma=2.0)
    state.set_picture(picture(plane(0, 99), None, None))


def test_two_docks_of_one_state_show_the_same(bench: Bench) -> None:
    other = LayerDock(bench.state)
    bench.bot.addWidget(other)
    bench.card.opacity.setValue(33)
    assert other.cards[1].opacity.value() == 33


def test_changes_leave_no_objects_behind(bench: Bench) -> None:
    bench.show()
    bench.bot.waitUntil(lambda: bench.card.plot.span is not None, timeout=20000)
    pictures = [picture(plane(0, 900 + t), plane(0, 9), plane(0, 9), t=t) for t in range(10)]

    def work(rounds: int) -> int:
        for t in range(rounds):
            bench.state.set_picture(pictures[t % 10])
            bench.state.set_layer(1, limits=(t % 50, 1000 + t), gamma=1 + (t % 10) / 10, locked=False)
            bench.state.set_layer(1, color=f"{t % 7:06X}", locked=True)
            QApplication.processEvents()
        gc.collect()
        return len(gc.get_objects())

    before = work(20)
    assert work(200) - before < 200
