"""Quiet bars above the image: what the user should know, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from livestain.view import theme
from livestain.view.readings import Level

MOST = 3
"""Bars shown at a time; the rest is in the log."""

_SHAPES: dict[Level, str] = {"plain": "", "good": "✓", "amber": "▲", "red": "■"}
_COUNT = re.compile(r" \(\d+ times\)$")
_KEPT = 100


class Bars(QWidget):
    """At most three bars with a text and a button to dismiss it, and a line that says how many more there are.

    A matter that was dismissed does not come back. Takes no room while there is nothing to say.
    """

    log_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._matters: dict[str, Level] = {}
        self._dismissed: set[str] = set()
        self._most = MOST
        self._bars = [_Bar(self) for _ in range(MOST)]
        self._more = QToolButton(self)
        self._more.setAutoRaise(True)
        self._more.clicked.connect(self.log_asked)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        for bar in self._bars:
            bar.dismissed.connect(self._dismiss)
            layout.addWidget(bar)
        layout.addWidget(self._more, 0, Qt.AlignmentFlag.AlignRight)
        self._show()

    @property
    def texts(self) -> tuple[str, ...]:
        """What the visible bars say, newest first."""
        return tuple(bar.text for bar in self._bars if not bar.isHidden())

    def tell(self, text: str, level: Level = "amber") -> None:
        """Show a text, without how often it came: a number that counts up draws the eye."""
        matter = _COUNT.sub("", text)
        if matter in self._dismissed or self._matters.get(matter) == level:
            return
        self._matters[matter] = level
        if len(self._matters) > _KEPT:
            self._matters.pop(next(iter(self._matters)))
        self._show()

    def tell_all(self, texts: Iterable[str]) -> None:
        """Show the warnings of a session."""
        for text in texts:
            self.tell(text)

    def take_back(self, text: str) -> None:
        """Remove a text that is true no more."""
        if self._matters.pop(_COUNT.sub("", text), None) is not None:
            self._show()

    def set_most(self, most: int) -> None:
        """Show fewer bars in a small window."""
        if most != self._most:
            self._most = most
            self._show()

    def _dismiss(self, matter: str) -> None:
        self._matters.pop(matter, None)
        if len(self._dismissed) < _KEPT:
            self._dismissed.add(matter)
        self._show()

    def _show(self) -> None:
        # Newest first; what ended badly stays on top.
        newest = list(self._matters.items())[::-1]
        newest.sort(key=lambda entry: entry[1] != "red")
        for index, bar in enumerate(self._bars):
            if index < min(self._most, len(newest)):
                bar.set(*newest[index])
            bar.setVisible(index < min(self._most, len(newest)))
        more = len(newest) - self._most
        self._more.setText(f"{more} more: open the log")
        self._more.setVisible(more > 0)
        self.setVisible(bool(newest))


class _Bar(QFrame):
    dismissed = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.text = ""
        self._level: Level | None = None
        self._shape, self._label = QLabel(self), QLabel(self)
        self._label.setWordWrap(True)
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        away = QToolButton(self)
        away.setText("×")
        away.setAutoRaise(True)
        away.setToolTip("Dismiss")
        away.setAccessibleName("Dismiss")
        away.clicked.connect(lambda: self.dismissed.emit(self.text))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(10, 3, 4, 3)
        layout.setSpacing(8)
        layout.addWidget(self._shape)
        layout.addWidget(self._label, 1)
        layout.addWidget(away)

    def set(self, text: str, level: Level) -> None:
        """Show a text with a shape and a colour."""
        if text != self.text:
            self.text = text
            self._label.setText(text)
        if level == self._level:
            return
        self._level = level  # a style sheet costs 3 ms
        self._shape.setText(_SHAPES[level])
        ground, ink = _colors(level)
        self.setStyleSheet(f"QFrame {{ background: {ground}; }} QLabel, QToolButton {{ color: {ink}; }}")


def _colors(level: Level) -> tuple[str, str]:
    """Ground and text; readable in both themes (contrast at least 6)."""
    if level == "amber":
        return theme.AMBER, theme.ON_AMBER
    return {"red": ("#b71c1c", "#ffffff"), "good": ("#1b5e34", "#ffffff")}.get(level, ("#37474f", "#ffffff"))
