"""The status dock: what is recorded and stained, how fast, by what, and whether the input looks as in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QDockWidget, QFrame, QGridLayout, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from livestain.frames import InputCheck
from livestain.model.card import ContrastRange
from livestain.session.status import Counters, Status
from livestain.view import theme
from livestain.view.readings import (
    Level,
    Reading,
    counter_readings,
    disk_reading,
    engine_readings,
    input_readings,
    loss_text,
    speed_readings,
    state_reading,
)

_ROLES: dict[Level, str] = {"plain": "", "good": "", "amber": "amber", "red": "bad"}
_OF_A_RUN = ("Source", "Model", "Engine", "Device")
_LIGHTS: dict[Level, tuple[str, str]] = {
    "red": ("●", "#ff5252"), "amber": ("◐", theme.AMBER), "good": ("✓", ""), "plain": ("○", ""),
}  # fmt: skip


class StatusDock(QDockWidget):
    """The state of a session at a glance; loss, doubts about the input and the model's caution never scroll away.

    `show_status` for a live session, `show_input` for the frame that is shown.
    """

    def __init__(self, caution: str, known: ContrastRange | None = None, parent: QWidget | None = None) -> None:
        super().__init__("Status", parent)
        self.setObjectName("status")
        self._known = known
        self._light = _Light()
        self._loss, self._doubt = _wrapped("bad"), _wrapped("amber")
        self._counters, self._input, self._speed = _Cells(5), _Cells(3), _Cells(3)
        self._engine = _Rows()
        self.trust = QFrame()
        """A place for trust lights; hidden until something reports them."""
        self.trust.hide()
        body = QWidget()
        layout = QVBoxLayout(body)
        layout.setContentsMargins(10, 2, 10, 4)
        layout.setSpacing(8)
        for part in (self._counters, self._input, self.trust, self._engine, self._speed):
            layout.addWidget(part)
        layout.addStretch(1)
        self.setWidget(_framed(body, [self._light, self._loss, self._doubt], _caution(caution)))
        self.setMaximumWidth(theme.DOCK_WIDTH)
        self.show_input(None)

    @property
    def readings(self) -> dict[str, str]:
        """Every value shown, by its name."""
        return self._counters.values | self._speed.values | self._engine.values | self._input.values

    @property
    def loss(self) -> str:
        """What is lost, in words; empty when nothing is."""
        return str(self._loss.text())

    @property
    def doubt(self) -> str:
        """What is unusual about the input, in words; empty when nothing is."""
        return str(self._doubt.text())

    def show_status(self, status: Status, age_ms: float | None) -> None:
        """Show a snapshot of a session and the age of the frame shown."""
        closed = status.state == "closed"
        self._light.set(state_reading(status), disk_reading(status))
        self.show_counters(status.counters, closed=closed)
        self._speed.set(speed_readings(status, age_ms))
        self._engine.set(engine_readings(status))
        # Of the newest stained frame: says nothing of those that come while none is stained.
        self.show_input(status.input if status.staining else None)

    def show_counters(self, counters: Counters, *, closed: bool) -> None:
        """Show the counters of the run, and what is lost."""
        _say(self._loss, loss_text(counters, closed=closed), "bad")
        self._loss.setVisible(bool(self._loss.text()))
        self._counters.set(counter_readings(counters, closed=closed))

    def show_input(self, check: InputCheck | None) -> None:
        """Show how the newest frame compares with training."""
        readings = input_readings(check, self._known)
        self._input.set(readings)
        doubts = [f"▲ {reading.name}: {reading.reason}" for reading in readings if reading.level == "amber"]
        _say(self._doubt, "\n".join(doubts), "amber")
        self._doubt.setVisible(bool(doubts))

    def show_recorded(
        self, check: InputCheck | None, facts: Mapping[str, str], counters: Counters | None = None, closed: bool = False
    ) -> None:
        """Show a run from disk: where it comes from, what became of its frames, the input of the plane; no speed."""
        self._light.set(Reading("state", "from disk"), None)
        if counters is not None:
            self.show_counters(counters, closed=closed)
        self._counters.setVisible(counters is not None)
        self._speed.hide()
        self._engine.set([Reading(name, text) for name, text in facts.items() if name in _OF_A_RUN])
        self._input.setVisible(check is not None)
        self.show_input(check)


class _Light(QWidget):
    """Shape, colour and word; what is left of the disk on the right."""

    def __init__(self) -> None:
        super().__init__()
        self._shape, self._word, self._disk = QLabel(), QLabel(), QLabel()
        font = self._word.font()
        font.setBold(True)
        self._word.setFont(font)
        self._shape.setFixedWidth(16)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self._shape)
        layout.addWidget(self._word, 1)
        layout.addWidget(self._disk)

    def set(self, state: Reading, disk: Reading | None) -> None:
        shape, color = _LIGHTS[state.level]
        if self._shape.text() != shape:
            self._shape.setText(shape)
            self._shape.setStyleSheet(f"color: {color};" if color else "")
        _say(self._word, state.value, "")
        if disk is not None:
            _say(self._disk, f"disk: {disk.value}", "amber" if disk.level == "amber" else "muted")
            self._disk.setToolTip("Free on the disk of the run, and for how long at this rate")


class _Cells(QWidget):
    """Values, each above its name, so many in a row."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._columns = columns
        self._labels: list[QLabel] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(4)
        self._grid.setVerticalSpacing(0)

    def set(self, readings: Sequence[Reading]) -> None:
        if not self._labels:
            self._build(readings)
        for label, reading in zip(self._labels, readings, strict=True):
            shape = {"good": "✓ ", "amber": "▲ "}.get(reading.level, "")
            _say(label, shape + reading.value, _ROLES[reading.level])
            label.setToolTip(reading.reason)
        self.values = {reading.name: label.text() for reading, label in zip(readings, self._labels, strict=True)}

    def _build(self, readings: Sequence[Reading]) -> None:
        for index, reading in enumerate(readings):
            row, column = divmod(index, self._columns)
            value, name = QLabel(), QLabel(reading.name)
            small = name.font()
            small.setPointSizeF(small.pointSizeF() * 0.85)
            name.setFont(small)
            name.setProperty("role", "muted")
            self._grid.addWidget(value, 3 * row, column, Qt.AlignmentFlag.AlignLeft)
            self._grid.addWidget(name, 3 * row + 1, column)
            self._grid.setColumnStretch(column, 1)
            self._grid.setColumnMinimumWidth(column, 280 // self._columns)
            self._labels.append(value)
            if row:
                self._grid.setRowMinimumHeight(3 * row - 1, 6)


class _Rows(QWidget):
    """Names and values below each other."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._labels: dict[str, QLabel] = {}
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnMinimumWidth(0, 56)
        self._grid.setColumnStretch(1, 1)

    def set(self, readings: Sequence[Reading]) -> None:
        for reading in readings:
            _say(self._labels.get(reading.name) or self._add(reading.name), reading.value, _ROLES[reading.level])
            self.values[reading.name] = reading.value

    def _add(self, name: str) -> QLabel:
        heading, value = QLabel(name), QLabel()
        heading.setProperty("role", "muted")
        value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        value.setWordWrap(True)
        row = len(self._labels)
        self._grid.addWidget(heading, row, 0, Qt.AlignmentFlag.AlignTop)
        self._grid.addWidget(value, row, 1)
        self._labels[name] = value
        return value


class _Body(QScrollArea):
    """Scrolls by height only and asks for little, so that the layers above keep their room."""

    def sizeHint(self) -> QSize:  # noqa: N802
        return QSize(300, 120)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        return QSize(200, 60)


def _framed(body: QWidget, above: Sequence[QWidget], below: QWidget) -> QWidget:
    scroll = _Body()
    scroll.setWidget(body)
    scroll.setWidgetResizable(True)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    frame = QWidget()
    layout = QVBoxLayout(frame)
    layout.setContentsMargins(0, 6, 0, 0)
    layout.setSpacing(4)
    top = QVBoxLayout()
    top.setContentsMargins(10, 0, 10, 0)
    for part in above:
        top.addWidget(part)
    layout.addLayout(top)
    layout.addWidget(scroll, 1)
    layout.addWidget(below)
    return frame


def _caution(text: str) -> QLabel:
    label = _wrapped("")
    label.setText(f"<span style='color: {theme.AMBER}'>▲</span> {escape(text)}")
    label.setToolTip("The caution of the model that stains")
    label.setContentsMargins(10, 6, 10, 8)
    label.setVisible(bool(text))
    return label


def _wrapped(role: str) -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setProperty("role", role)
    label.hide()
    return label


def _say(label: QLabel, text: str, role: str) -> None:
    """Change text and look only where they are others: each change costs a layout."""
    if label.text() != text:
        label.setText(text)
    if (label.property("role") or "") != role:
        label.setProperty("role", role)
        label.style().unpolish(label)
        label.style().polish(label)
