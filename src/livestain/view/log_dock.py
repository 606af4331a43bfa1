"""The log behind the warnings: the last lines of the program's logger, after those of a recorded run."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from pathlib import Path

from qtpy.QtCore import QTimer
from qtpy.QtGui import QFontDatabase, QHideEvent, QShowEvent
from qtpy.QtWidgets import QDockWidget, QPlainTextEdit, QWidget

LINES = 1000
"""Lines kept; older ones are in the run's log.txt."""

_EVERY_MS = 250
_TAIL_BYTES = 1 << 18
_LEVELS = {"WARNING": "warning", "ERROR": "error", "CRITICAL": "error"}


class LogDock(QDockWidget):
    """Shows what ``livestain`` logged since the window was made; costs nothing while it is hidden.

    Any thread may log: lines are kept in a bounded queue and brought into the text four times a second. ``file``: the
    log of a recorded run, whose last lines come first; it is read when the dock is shown for the first time.
    """

    def __init__(self, parent: QWidget | None = None, file: Path | None = None) -> None:
        super().__init__("Log", parent)
        self.setObjectName("log")
        self._text = QPlainTextEdit()
        self._text.setReadOnly(True)
        self._text.setMaximumBlockCount(LINES)
        self._text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._text.setPlaceholderText("Nothing was logged yet.")
        self.setWidget(self._text)
        self._file = file
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
        if self._file is not None:
            self._text.appendPlainText("\n".join(_last_lines(self._file)))
            self._file = None
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


def _last_lines(file: Path) -> list[str]:
    """Return at most `LINES` whole lines from the end of a file; what is wrong with it where it cannot be read."""
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - _TAIL_BYTES))
            lines = opened.read().decode("utf-8", "replace").splitlines()
    except OSError as error:
        return [f"the log of the run could not be read: {error}"]
    return lines[1 if size > _TAIL_BYTES else 0 :][-LINES:]


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
