"""The looks: contrast that can be read, both themes on every widget, digits of one width."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QPalette
from qtpy.QtWidgets import QApplication, QLabel

from livestain.view import theme
from livestain.view.theme import DARK, LIGHT, Theme


@pytest.fixture(autouse=True)
def afterwards(qapp: QApplication) -> Iterator[None]:
    yield
    theme.apply(qapp, True)


def contrast(one: str, other: str) -> float:
    """WCAG 2.1: (L1 + 0.05) / (L2 + 0.05) of the relative luminances."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    parts = [float(part) for part in QColor(color).getRgbF()[:3]]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


@pytest.mark.parametrize("colors", [DARK, LIGHT], ids=["dark", "light"])
@pytest.mark.parametrize("text", ["text", "muted", "good", "bad"])
@pytest.mark.parametrize("behind", ["ground", "card", "field"])
def test_text_can_be_read(colors: Theme, text: str, behind: str) -> None:
    assert contrast(getattr(colors, text), getattr(colors, behind)) >= 4.5


PAIRS = [
    ("the mark", theme.ON_AMBER, theme.AMBER),
    ("on the image", theme.ON_IMAGE, theme.IMAGE),
    ("chosen, dark", DARK.on_accent, DARK.accent),
    ("chosen, light", LIGHT.on_accent, LIGHT.accent),
]


@pytest.mark.parametrize(("text", "behind"), [c[1:] for c in PAIRS], ids=[c[0] for c in PAIRS])
def test_text_on_colour_can_be_read(text: str, behind: str) -> None:
    assert contrast(text, behind) >= 4.5


@pytest.mark.parametrize(("dark", "colors"), [(True, DARK), (False, LIGHT)], ids=["dark", "light"])
def test_a_theme_reaches_every_widget(qtbot: QtBot, qapp: QApplication, dark: bool, colors: Theme) -> None:
    label = QLabel("words")
    qtbot.addWidget(label)
    theme.apply(qapp, not dark)
    theme.apply(qapp, dark)
    assert theme.current() is colors
    assert label.palette().color(QPalette.ColorRole.WindowText).name() == colors.text
    assert label.palette().color(QPalette.ColorRole.Window).name() == colors.ground


def test_the_system_is_followed_only_when_asked(qapp: QApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    theme.apply(qapp, None)
    system = qapp.styleHints().colorScheme()
    assert theme.current() is (LIGHT if system == Qt.ColorScheme.Light else DARK)
    theme.apply(qapp, False)
    qapp.styleHints().colorSchemeChanged.emit(Qt.ColorScheme.Dark)
    assert theme.current() is LIGHT


def test_all_digits_are_equally_wide(qapp: QApplication) -> None:
    theme.apply(qapp, True)
    widths = {QFontMetricsF(qapp.font()).horizontalAdvance(digit * 10) for digit in "0123456789"}
    assert len(widths) == 1
    assert QFont.Tag("tnum") in qapp.font().featureTags()


@pytest.mark.parametrize("closed", [True, False])
def test_icons_follow_the_theme(qapp: QApplication, closed: bool) -> None:
    drawn = []
    for dark in (True, False):
        theme.apply(qapp, dark)
        drawn.append(theme.lock_icon(closed).pixmap(16).toImage())
    assert drawn[0] != drawn[1]


def test_a_swatch_shows_its_colours_beside_each_other() -> None:
    image = theme.swatch(("00E676", "FF00FF"), 24, 12).pixmap(24, 12).toImage()
    quarter, middle = image.width() // 4, image.height() // 2
    assert image.pixelColor(quarter, middle).name() == "#00e676"
    assert image.pixelColor(3 * quarter, middle).name() == "#ff00ff"
