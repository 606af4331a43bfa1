"""The looks of the window: its colours named once, the Fusion style dark and light, and icons drawn in code."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QIcon, QPainter, QPalette, QPen, QPixmap
from qtpy.QtWidgets import QApplication

DOCK_WIDTH = 340
"""Docks are at most this wide, in px: wider ones took half of a small screen from the image."""

AMBER, ON_AMBER = "#ffc107", "#000000"
"""The mark of virtual stains and warnings, and the text on it (contrast 12.9); the same in both themes."""

IMAGE, ON_IMAGE = "#101010", "#dcdcdc"
"""Around and behind the image and in histograms, and text on it; near-black in both themes."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of everything but the image, as ``#rrggbb``; text reaches a contrast of 4.5 on ground, card and field.

    Attributes
    ----------
    ground, card, field
        Behind everything; behind one layer or group; behind numbers and text that can be changed.
    border
        Thin lines around cards, fields and tags.
    text, muted
        Text, and text of less weight.
    accent, on_accent
        What is chosen or switched on, and the text on it.
    good, bad
        All is well; loss or failure. Never the only cue.
    """

    dark: bool
    ground: str
    card: str
    field: str
    border: str
    text: str
    muted: str
    accent: str
    on_accent: str
    good: str
    bad: str


DARK = Theme(
    dark=True,
    ground="#2b2b2b",
    card="#333333",
    field="#1f1f1f",
    border="#4a4a4a",
    text="#dcdcdc",
    muted="#a3a3a3",
    accent="#4a90c2",
    on_accent="#000000",
    good="#5ccb8f",
    bad="#ff8a80",
)
LIGHT = Theme(
    dark=False,
    ground="#f5f5f5",
    card="#ffffff",
    field="#ffffff",
    border="#c4c4c4",
    text="#1e1e1e",
    muted="#5f5f5f",
    accent="#1769aa",
    on_accent="#ffffff",
    good="#1b7a3d",
    bad="#b71c1c",
)

_STYLE = """
QToolTip {{ color: {text}; background: {card}; border: 1px solid {border}; padding: 3px; }}
QDockWidget::title {{ background: {ground}; padding: 5px 2px; }}
QFrame[role="card"] {{ background: {card}; border: 1px solid {border}; border-radius: 4px; }}
QLabel[role="muted"] {{ color: {muted}; }}
QLabel[role="bad"] {{ color: {bad}; font-weight: bold; }}
QLabel[role="tag"], QLabel[role="amber"] {{ border: 1px solid {border}; border-radius: 3px; padding: 1px 4px;
    color: {muted}; font-size: 10px; font-weight: bold; }}
QLabel[role="amber"] {{ color: {on_amber}; background: {amber}; border-color: {amber}; }}
QToolButton[role="swatch"]::menu-indicator {{ image: none; }}
QScrollArea {{ border: none; }}
QScrollBar:vertical {{ width: 10px; background: transparent; margin: 0; }}
QScrollBar::handle:vertical {{ background: {border}; border-radius: 4px; min-height: 24px; margin: 1px; }}
QScrollBar::handle:vertical:disabled {{ background: transparent; }}
QScrollBar::add-line:vertical, QScrollBar::sub-line:vertical {{ height: 0; }}
"""

_current = DARK
_following = True


def current() -> Theme:
    """Return the theme in use; widgets that paint ask again on `QEvent.Type.PaletteChange`."""
    return _current


def apply(app: QApplication, dark: bool | None = None) -> None:
    """Give the whole program the Fusion style in dark or light; None: as the system has it, also when that changes.

    Where the system does not say, dark: microscopes stand in dark rooms. All digits become equally wide, so that
    numbers do not jump. May be called again at any time on the GUI thread; every widget follows.

    A widget asks for a look by the property ``role``: a label by ``"muted"``, ``"bad"``, ``"tag"`` or ``"amber"`` (a
    tag too), a frame by ``"card"``, a button whose icon is a colour by ``"swatch"``.
    """
    global _following
    hints = app.styleHints()
    if not app.property("livestain-themed"):
        app.setProperty("livestain-themed", True)
        app.setStyle("Fusion")
        app.setFont(tabular(app.font()))
        hints.colorSchemeChanged.connect(_follow_system)
    _following = dark is None
    schemes = {None: Qt.ColorScheme.Unknown, True: Qt.ColorScheme.Dark, False: Qt.ColorScheme.Light}
    hints.setColorScheme(schemes[dark])
    wanted = hints.colorScheme() != Qt.ColorScheme.Light if dark is None else dark
    _use(app, DARK if wanted else LIGHT)


def tabular(font: QFont) -> QFont:
    """Return the font with digits that are all equally wide."""
    with_digits = QFont(font)
    with_digits.setFeature(QFont.Tag("tnum"), 1)
    return with_digits


def swatch(colors: tuple[str, ...], width: int = 16, height: int = 12) -> QIcon:
    """Return an icon that shows colours (hexadecimal RGB, without #) beside each other, with a thin border."""
    pixmap = _empty(width, height)
    painter = QPainter(pixmap)
    part = width / len(colors)
    for index, color in enumerate(colors):
        painter.fillRect(QRectF(index * part, 0, part, height), QColor(f"#{color}"))
    painter.setPen(QColor(_current.border))
    painter.drawRect(QRectF(0.5, 0.5, width - 1, height - 1))
    painter.end()
    return QIcon(pixmap)


def lock_icon(closed: bool) -> QIcon:
    """Return a padlock, closed or open, in the colour of text."""
    pixmap = _empty(16, 16)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    color = QColor(_current.text if closed else _current.muted)
    painter.setPen(QPen(color, 1.6))
    arc = QRectF(4.8, 2.0, 6.4, 7.0)
    painter.drawArc(arc, 0, 180 * 16)
    painter.drawLine(QPointF(4.8, 5.5), QPointF(4.8, 8.0))
    if closed:
        painter.drawLine(QPointF(11.2, 5.5), QPointF(11.2, 8.0))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    painter.drawRoundedRect(QRectF(3.0, 7.6, 10.0, 6.6), 1.2, 1.2)
    painter.end()
    return QIcon(pixmap)


def _follow_system() -> None:
    app = QApplication.instance()
    if _following and app is not None:
        light = app.styleHints().colorScheme() == Qt.ColorScheme.Light
        _use(app, LIGHT if light else DARK)


def _use(app: QApplication, theme: Theme) -> None:
    global _current
    _current = theme
    app.setPalette(_palette(theme))
    colors = {name: getattr(theme, name) for name in ("ground", "card", "border", "text", "muted", "bad")}
    app.setStyleSheet(_STYLE.format(amber=AMBER, on_amber=ON_AMBER, **colors))


def _palette(theme: Theme) -> QPalette:
    role = QPalette.ColorRole
    colors = {
        role.Window: theme.ground,
        role.WindowText: theme.text,
        role.Base: theme.field,
        role.AlternateBase: theme.card,
        role.Text: theme.text,
        role.PlaceholderText: theme.muted,
        role.Button: theme.card,
        role.ButtonText: theme.text,
        role.BrightText: theme.bad,
        role.ToolTipBase: theme.card,
        role.ToolTipText: theme.text,
        role.Highlight: theme.accent,
        role.HighlightedText: theme.on_accent,
        role.Link: theme.accent,
    }
    palette = QPalette(QColor(theme.card), QColor(theme.ground))
    for name, color in colors.items():
        palette.setColor(name, QColor(color))
    faint = QColor(theme.muted)
    faint.setAlphaF(0.55)
    for name in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, name, faint)
    return palette


def _empty(width: int, height: int) -> QPixmap:
    pixmap = QPixmap(width * 2, height * 2)
    pixmap.setDevicePixelRatio(2.0)
    pixmap.fill(Qt.GlobalColor.transparent)
    return pixmap
