"""The log behind the warnings: the last lines of the program's logger."""

from __future__ import annotations

import logging
import threading
from collections import deque

from qtpy.QtCore import QTimer
from qtpy.QtGui import QFontDatabase, QHideEvent, QShowEvent
from qtpy.QtWidgets import QDockWidget, QPlainTextEdit, QWidget

LINES = 1000
"""Lines kept; older ones are in the run's log.txt."""

_EVERY_MS = 250
_LEVELS = {"WARNING": "warning", "ERROR": "error", "CRITICAL": "error"}


class LogDock(QDockWidget):
    """Shows what ``livestain`` logged since the window was made; costs nothing while it is hidden.

    Any thread may log: lines are kept in a bounded queue and brought into the text four times a second.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Log", parent)
        self.setObjectName("log")
        self._text = QPlainTextEdit()
        self._text.setReadOnly(True)
        self._text.setMaximumBlockCount(LINES)
        self._text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._text.setPlaceholderText("Nothing was logged yet.")
        self.setWidget(self._text)
        self._lines = _Lines()
        logging.getLogger("livestain").addHandler(self._lines)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._bring)

    @property
    def text(self) -> str:
        """The lines shown."""
        return str(self._text.toPlainText())

    def release(self) -> None:
        """Take no more lines."""
        self._timer.stop()
        logging.getLogger("livestain").removeHandler(self._lines)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Bring the lines up to date."""
        self._bring()
        self._timer.start(_EVERY_MS)
        super().showEvent(event)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Rest."""
        self._timer.stop()
        super().hideEvent(event)

    def _bring(self) -> None:
        lines = self._lines.take()
        if lines:
            self._text.appendPlainText("\n".join(lines))


class _Lines(logging.Handler):
    """The newest lines, at most `LINES`."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        self._kept: deque[str] = deque(maxlen=LINES)
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        word = _LEVELS.get(record.levelname)
        line = self.format(record)
        with self._guard:
            self._kept.append(f"{line[:8]}  {word}: {line[10:]}" if word else line)

    def take(self) -> list[str]:
        with self._guard:
            lines = list(self._kept)
            self._kept.clear()
        return lines
