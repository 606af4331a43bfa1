"""The line below the picture: numbers in fields of fixed width, so that nothing jumps."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

# Name -> the widest text it holds, and from which width of the window on it is shown.
_FIELDS: dict[str, tuple[str, int]] = {
    "rate": ("888.8 frame/s", 0),
    "age": ("age 8888 ms", 300),
    "latency": ("latency p50 8888  p99 8888 ms", 760),
    "shown": ("shown 888888  not shown 88888", 900),
}
_ZOOM = "8888 %"


class StatusFields(QWidget):
    """Rate, age, latency and counts on the left, what is under the cursor, the zoom on the right."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._labels = {name: self._field(widest) for name, (widest, _) in _FIELDS.items()}
        self._cursor = QLabel()
        self._cursor.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._zoom = self._field(_ZOOM)
        self._zoom.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(10, 2, 10, 2)
        layout.setSpacing(14)
        for label in self._labels.values():
            layout.addWidget(label)
        layout.addWidget(self._cursor, 1)
        layout.addWidget(self._zoom)

    def show_values(self, values: Mapping[str, str]) -> None:
        """Show the fields; those not named become empty."""
        for name, label in self._labels.items():
            _say(label, values.get(name, ""))

    def show_cursor(self, text: str) -> None:
        """Show what is under the cursor."""
        _say(self._cursor, text)

    def show_zoom(self, scale: float) -> None:
        """Show the zoom; 1 = one pixel of the camera on one of the screen."""
        _say(self._zoom, f"{100 * scale:.0f} %")

    @property
    def values(self) -> dict[str, str]:
        """What the visible fields say."""
        labels = {**self._labels, "cursor": self._cursor, "zoom": self._zoom}
        return {name: label.text() for name, label in labels.items() if not label.isHidden()}

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave out what has no room."""
        for name, (_, least) in _FIELDS.items():
            self._labels[name].setVisible(event.size().width() >= least)
        super().resizeEvent(event)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """As narrow as need be."""
        return QSize(0, self._zoom.sizeHint().height() + 4)

    def _field(self, widest: str) -> QLabel:
        label = QLabel()
        label.setFixedWidth(self.fontMetrics().horizontalAdvance(widest) + 4)
        return label


def _say(label: QLabel, text: str) -> None:
    if label.text() != text:
        label.setText(text)
