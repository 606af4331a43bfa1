"""The line below the picture: numbers in fields of fixed width, so that nothing jumps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

# Name -> the widest text it holds. The first two are seen in a small window too; the others, which the dock has as
# well or nobody needs at once, where they leave room for what is under the cursor.
_FIELDS: dict[str, str] = {
    "rate": "888.8 frame/s",
    "age": "age 8888 ms",
    "latency": "latency p50 8888  p99 8888 ms",
    "shown": "shown 888888  not shown 88888",
}
_ALWAYS, _AGE_FROM_PX = ("rate", "age"), 300
_READ_OUT = "x 8888  y 8888 px   label-free 88888   virtual: nuclei 88888, membrane 88888"
_SPACING = 14
_ZOOM = "8888 %"


class StatusFields(QWidget):
    """Rate, age, latency and counts on the left, what is under the cursor, the zoom on the right."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._labels = {name: self._field(widest) for name, widest in _FIELDS.items()}
        self._cursor = QLabel()
        self._cursor.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._zoom = self._field(_ZOOM)
        self._zoom.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(10, 2, 10, 2)
        layout.setSpacing(_SPACING)
        for label in self._labels.values():
            layout.addWidget(label)
        layout.addWidget(self._cursor, 1)
        layout.addWidget(self._zoom)

    def show_values(self, values: Mapping[str, str]) -> None:
        """Show the fields; those not named become empty."""
        for name, label in self._labels.items():
            _say(label, values.get(name, ""))

    def show_cursor(self, texts: Sequence[str]) -> None:
        """Show what is under the cursor: the first of ``texts`` that has room; the first of all is the tip."""
        width = self._cursor.fontMetrics().horizontalAdvance
        fitting = (text for text in texts if width(text) <= self._cursor.width())
        _say(self._cursor, next(fitting, texts[-1] if texts else ""))
        self._cursor.setToolTip(texts[0] if texts else "")

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
        width = event.size().width()
        needed = self._zoom.width() + self.fontMetrics().horizontalAdvance(_READ_OUT) + 20 + 2 * _SPACING
        for name, label in self._labels.items():
            needed += label.width() + _SPACING
            small = width >= (_AGE_FROM_PX if name == "age" else 0)
            label.setVisible(small if name in _ALWAYS else width >= needed)
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
