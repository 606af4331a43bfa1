"""Thousands of signals cost no reference to ``True``: with PySide6 6.12.0 each took one, until Python died of it.

From Python 3.12 on ``True`` cannot be freed and its count does not move: there the test passes whatever is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QCoreApplication, QObject, Qt, Signal
from qtpy.QtWidgets import QWidget

from livestain.frames import Key
from livestain.view.canvas import Canvas
from livestain.view.layer_card import LayerCard
from livestain.view.mailbox import Mailbox
from livestain.view.picture import Picture
from livestain.view.state import ViewState
from tests.view.pictures import BRIGHT, NUCLEI, constant

SIGNALS = 10_000
_SLACK = 50
"""References that other objects may let go meanwhile; far fewer than it takes to end the process."""

PICTURES = [Picture(Key(0, t, 0), (constant(100 * t), constant(50 * t))) for t in range(2)]

Step = Callable[[int], object]


class Slots(QObject):  # type: ignore[misc]  # Qt has no types here
    """A wake-up signal as the window has it, and how often a slot of ours was called."""

    woken = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def hear(self, *_: object) -> None:
        self.calls += 1


def wake_ups(slots: Slots, keep: list[QWidget]) -> Step:
    mailbox = Mailbox()
    mailbox.open(slots.woken.emit)

    def taken() -> None:
        mailbox.take()
        slots.hear()

    slots.woken.connect(taken, Qt.ConnectionType.QueuedConnection)

    def step(i: int) -> None:
        mailbox.put(PICTURES[i % 2])
        QCoreApplication.processEvents()

    return step


def psygnal_to_qt(slots: Slots, keep: list[QWidget]) -> Step:
    state = ViewState((BRIGHT, NUCLEI))
    canvas = Canvas(state)
    keep.append(canvas)
    state.picture_changed.connect(slots.hear)
    state.set_picture(PICTURES[0])
    return lambda i: state.set_picture(PICTURES[i % 2])


def sliders(slots: Slots, keep: list[QWidget]) -> Step:
    card = LayerCard(ViewState((BRIGHT, NUCLEI)), 1)
    keep.append(card)
    card.opacity.valueChanged.connect(slots.hear)
    return lambda i: card.opacity.setValue(i % 2)


def switches(slots: Slots, keep: list[QWidget]) -> Step:
    card = LayerCard(ViewState((BRIGHT, NUCLEI)), 1)
    keep.append(card)
    card.shown.clicked.connect(slots.hear)
    return lambda _: card.shown.click()


def paints(slots: Slots, keep: list[QWidget]) -> Step:
    state = ViewState((BRIGHT, NUCLEI))
    canvas = Canvas(state)
    keep.append(canvas)
    canvas.resize(96, 96)
    canvas.painted.connect(slots.hear)

    def step(i: int) -> None:
        state.set_picture(PICTURES[i % 2])
        canvas.grab()

    return step


CASES: dict[str, tuple[Callable[[Slots, list[QWidget]], Step], int]] = {
    "wake-ups of the mailbox": (wake_ups, SIGNALS),
    "pictures from psygnal to Qt": (psygnal_to_qt, SIGNALS),
    "values of a slider": (sliders, SIGNALS),
    "switches with True and False": (switches, SIGNALS),
    # A paint is a hundred times dearer, and each sends several signals.
    "paints": (paints, SIGNALS // 10),
}


@pytest.mark.parametrize(("make", "times"), CASES.values(), ids=CASES.keys())
def test_signals_lose_no_reference_to_true(
    make: Callable[[Slots, list[QWidget]], Step], times: int, qtbot: QtBot
) -> None:
    slots, keep = Slots(), list[QWidget]()
    step = make(slots, keep)
    for widget in keep:
        qtbot.addWidget(widget)
    before = sys.getrefcount(True)
    for i in range(times):
        step(i + 1)
        assert sys.getrefcount(True) > before - _SLACK, f"after {i + 1} signals"
    assert slots.calls >= times
