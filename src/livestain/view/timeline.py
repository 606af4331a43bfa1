"""The time line of a recorded run: what became of each time point, where we are, and the way elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QHelpEvent, QIcon, QImage, QMouseEvent, QPainter, QPaintEvent, QPixmap, QPolygonF
from qtpy.QtWidgets import (
    QAbstractSlider,
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from livestain.frames import Key
from livestain.view import theme
from livestain.view.moments import (
    MARK_WORDS,
    STRIP_COLORS,
    STRIP_GROUND,
    bar_range,
    describe,
    notes_at,
    place_text,
    strip,
)
from livestain.view.picture import ABSENT
from livestain.view.recorded import RunFeed
from livestain.view.state import ViewState

_LOOK_MS = 500
_STRIP_PX = 16
_NOTES_PX = 9
_KNOB_PX = 9
_RATE = 10
_NARROW_PX = 560


class TimeBar(QAbstractSlider):
    """A slider over time with the marks painted on it; arrow keys, Home, End and the wheel move it.

    ``place`` (position, z) says whose marks are shown; `refresh` asks the feed for them.
    """

    def __init__(self, feed: RunFeed, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.place = (0, 0)
        self._feed = feed
        self._marks = feed.marks(0, 0)
        self._noted: tuple[int, ...] = ()
        self._strip: QImage | None = None
        self.setOrientation(Qt.Orientation.Horizontal)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("time")

    def refresh(self) -> None:
        """Take marks and notes of the place anew."""
        position, z = self.place
        self._marks = self._feed.marks(position, z)
        noted = {note.t for note in self._feed.history.notes() if note.t is not None and note.p in (None, position)}
        self._noted = tuple(sorted(noted))
        self._strip = None
        self.setRange(0, max(0, self._marks.size - 1))
        self.setPageStep(max(1, self._marks.size // 10))
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name, as all below)
        """Wide as there is room, high as its parts."""
        return QSize(200, _NOTES_PX + _STRIP_PX + _KNOB_PX)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return the least size that can be used."""
        return QSize(80, _NOTES_PX + _STRIP_PX + _KNOB_PX)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint notes, marks and the knob."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        area = self._area()
        painter.drawImage(area, self._marks_image(area))
        painter.setBrush(QColor(theme.AMBER))
        for t in self._noted:
            painter.drawPolygon(_diamond(QPointF(self._x(t), _NOTES_PX / 2), 3.5))
        self._paint_knob(painter, area)
        painter.end()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Paint anew in another theme."""
        self.update()
        super().changeEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Go to the time point under the mouse."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.setSliderDown(True)
            self.setSliderPosition(self._t(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Follow the mouse."""
        if self.isSliderDown():
            self.setSliderPosition(self._t(event.position().x()))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Let go."""
        self.setSliderDown(False)

    def event(self, event: QEvent) -> bool:
        """Tell what became of the time points under the mouse."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            QToolTip.showText(event.globalPos(), self.tip(event.pos().x()), self)
            return True
        return bool(super().event(event))

    def tip(self, x: float) -> str:
        """Return the text for a place of the mouse, in px from the left."""
        size = self._marks.size
        if not size:
            return "nothing recorded yet"
        width = max(1, int(self._area().width()))
        count = min(size, width)
        bar = min(max(int((x - self._area().left()) * count / width), 0), count - 1)
        return describe(self._feed.history, *self.place, *bar_range(bar, count, size))

    def _area(self) -> QRectF:
        """Where the marks are; half a knob stays free on both sides."""
        return QRectF(_KNOB_PX, _NOTES_PX, max(1, self.width() - 2 * _KNOB_PX), _STRIP_PX)

    def _x(self, t: int) -> float:
        area = self._area()
        return float(area.left() + (t + 0.5) * area.width() / max(1, self._marks.size))

    def _t(self, x: float) -> int:
        area = self._area()
        t = int((x - area.left()) * max(1, self._marks.size) / area.width())
        return min(max(t, 0), int(self.maximum()))

    def _marks_image(self, area: QRectF) -> QImage:
        ratio = self.devicePixelRatioF()
        width, height = max(1, round(area.width() * ratio)), max(1, round(area.height() * ratio))
        if self._strip is None or (self._strip.width(), self._strip.height()) != (width, height):
            pixels = strip(self._marks, width, height)
            # A copy, so that nothing refers to the array any more.
            self._strip = QImage(pixels.data, width, height, 4 * width, QImage.Format.Format_RGB32).copy()
        return self._strip

    def _paint_knob(self, painter: QPainter, area: QRectF) -> None:
        now, x = theme.current(), self._x(self.sliderPosition())
        painter.setBrush(QColor(f"#{STRIP_GROUND}"))
        painter.drawRect(QRectF(x - 2.0, area.top() - 2, 4.0, area.height() + 4))
        painter.setBrush(QColor("#ffffff"))
        painter.drawRect(QRectF(x - 1.0, area.top() - 2, 2.0, area.height() + 3))
        painter.setBrush(QColor(now.accent if self.hasFocus() else now.text))
        bottom = area.bottom() + 1
        points = [(x, bottom), (x + 6, bottom + 4), (x + 6, bottom + 8), (x - 6, bottom + 8), (x - 6, bottom + 4)]
        painter.drawPolygon(QPolygonF([QPointF(*point) for point in points]))


class Timeline(QWidget):
    """The row below the image of a recorded run: time bar, play, place, "follow the end".

    It asks the feed for what is chosen and shows the key and time of the picture that is really there. Looks for new
    time points twice a second while it is visible.
    """

    def __init__(self, feed: RunFeed, state: ViewState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._feed, self._state = feed, state
        self._version = -1
        self._placed = False
        self.bar = TimeBar(feed)
        self.play_button = _play_button()
        self.rate = QSpinBox()
        self.rate.setRange(1, 50)
        self.rate.setValue(_RATE)
        self.rate.setSuffix(" / s")
        self.rate.setToolTip("Time points shown a second while playing")
        self.place_label, self.mark_label = QLabel(), QLabel()
        self.mark_label.setProperty("role", "muted")
        self.mark_label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.legend, self.note_label = QLabel(), QLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.note_label.setTextFormat(Qt.TextFormat.PlainText)
        self.note_label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.position, self.z = QSpinBox(), QSpinBox()
        self.follow_box = QCheckBox("Follow the end")
        self.follow_box.setChecked(feed.following)
        self.follow_box.setVisible(feed.growing)
        self._lay_out()
        self._player, self._looker = QTimer(self), QTimer(self)
        self._player.timeout.connect(self._play_on)
        self._looker.timeout.connect(self._look)
        self._looker.setInterval(_LOOK_MS)
        self.bar.valueChanged.connect(self._chosen)
        self.position.valueChanged.connect(self._moved)
        self.z.valueChanged.connect(self._moved)
        self.play_button.toggled.connect(self._set_playing)
        self.rate.valueChanged.connect(lambda rate: self._player.setInterval(1000 // rate))
        self.follow_box.toggled.connect(self._follow)
        state.picture_changed.connect(self._on_picture)
        self._look()

    @property
    def by_name(self) -> dict[str, Callable[[], None]]:
        """What keys do here, by names as in `livestain.view.commands`."""
        return {
            "play": self.toggle_play, "back": lambda: self.step(-1), "on": lambda: self.step(1),
            "first": self.go_first, "last": self.go_last,
        }  # fmt: skip

    def key(self) -> Key:
        """Return the key that is chosen; the one shown may be a moment behind."""
        return Key(self.position.value(), self.bar.value(), self.z.value())

    def step(self, count: int) -> None:
        """Go on by some time points, back if negative."""
        self.bar.setValue(self.bar.value() + count)

    def go_first(self) -> None:
        """Go to the first time point."""
        self.bar.setValue(self.bar.minimum())

    def go_last(self) -> None:
        """Go to the last time point."""
        self.bar.setValue(self.bar.maximum())

    def toggle_play(self) -> None:
        """Play or pause."""
        self.play_button.toggle()

    def showEvent(self, event: QEvent) -> None:  # noqa: N802
        """Look for new time points from now on."""
        self._looker.start()
        super().showEvent(event)

    def hideEvent(self, event: QEvent) -> None:  # noqa: N802
        """Stop looking, and playing."""
        self._looker.stop()
        self.play_button.setChecked(False)
        super().hideEvent(event)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Draw the icon anew in another theme."""
        if event.type() == QEvent.Type.PaletteChange:
            self.play_button.setIcon(_icon(self.play_button.isChecked()))
        super().changeEvent(event)

    def resizeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Leave out what there is no room for."""
        roomy = self.width() >= _NARROW_PX
        self.rate.setVisible(roomy)
        self.legend.setVisible(roomy)
        self.mark_label.setVisible(roomy)
        super().resizeEvent(event)

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(8)
        for widget in (self.play_button, self.rate, self.place_label):
            row.addWidget(widget)
        row.addWidget(self.mark_label, 1)
        for spin, name in ((self.position, "Position"), (self.z, "z")):
            spin.setPrefix(f"{name} ")
            spin.setKeyboardTracking(False)
            row.addWidget(spin)
        row.addWidget(self.follow_box)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 8, 6)
        column.setSpacing(4)
        told = QHBoxLayout()
        told.setSpacing(8)
        told.addWidget(self.note_label, 1)
        told.addWidget(self.legend)
        column.addWidget(self.bar)
        column.addLayout(told)
        column.addLayout(row)

    def _look(self) -> None:
        """Take over what the run has gained."""
        if self._version == self._feed.history.version:
            return
        self._version = self._feed.history.version
        positions, _, sections = self._feed.extent()
        for spin, size in ((self.position, positions), (self.z, sections)):
            spin.setRange(0, max(0, size - 1))
            spin.setSuffix(f" of {size}")
            spin.setVisible(size > 1)
        self.bar.refresh()
        self._tell_legend()
        self._tell()

    def _chosen(self, _: int) -> None:
        self._placed = True
        self.follow_box.setChecked(False)
        self._feed.show(self.key())

    def _moved(self, _: int) -> None:
        self._placed = True
        self.bar.place = (self.position.value(), self.z.value())
        self.bar.refresh()
        self._tell_legend()
        self._feed.show(self.key())

    def _follow(self, on: bool) -> None:
        if on:
            self.play_button.setChecked(False)
        self._feed.follow(on)

    def _set_playing(self, playing: bool) -> None:
        self.play_button.setIcon(_icon(playing))
        if not playing:
            self._player.stop()
            return
        self.follow_box.setChecked(False)
        if self.bar.value() == self.bar.maximum():
            self.go_first()
        self._player.start(1000 // self.rate.value())

    def _play_on(self) -> None:
        """Go on when the last one is there: a slow disk makes it slower, and leaves nothing out."""
        if self.bar.value() == self.bar.maximum():
            self.play_button.setChecked(False)
        elif self._state.picture is not None and self._state.picture.key == self.key():
            self.step(1)

    def _on_picture(self) -> None:
        picture = self._state.picture
        # The first one shows where the feed was when the window was opened.
        if picture is not None and (self._feed.following or not self._placed):
            self._look()
            self._stand_at(picture.key)
        self._tell()

    def _stand_at(self, key: Key) -> None:
        self._placed = True
        if self.bar.place != (key.p, key.z):
            self.bar.place = (key.p, key.z)
            self.bar.refresh()
        for widget, place in ((self.position, key.p), (self.z, key.z), (self.bar, key.t)):
            widget.blockSignals(True)
            widget.setValue(place)
            widget.blockSignals(False)
        self.bar.update()

    def _tell_legend(self) -> None:
        """Say what the colours of this place mean, those that are there."""
        found = np.unique(self._feed.marks(*self.bar.place)).tolist()
        there = [(color, MARK_WORDS[mark]) for mark, color in STRIP_COLORS.items() if mark in found]
        text = " &nbsp; ".join(f"<span style='color: #{color}'>■</span> {word}" for color, word in there)
        noted = f" &nbsp; <span style='color: {theme.AMBER}'>◆</span> note" if self._feed.history.notes() else ""
        self.legend.setText(text + noted)

    def _tell(self) -> None:
        """Say which key and time are shown, and what became of that plane."""
        picture = self._state.picture
        if picture is None:
            self.place_label.setText("")
            return
        key = picture.key
        note = notes_at(self._feed.history.notes(), key)
        self.note_label.setText(note)
        self.note_label.setToolTip(note)
        marks = self._feed.marks(key.p, key.z)
        extent = (1, self._feed.extent()[1], 1)  # position and z stand beside it
        text = place_text(key, extent, picture.time_s, self._feed.interval_s)
        # Only ever wider, so that nothing beside it jumps.
        needed = self.place_label.fontMetrics().horizontalAdvance(text) + 2
        self.place_label.setMinimumWidth(max(self.place_label.minimumWidth(), needed))
        self.place_label.setText(text)
        self.mark_label.setText(MARK_WORDS[int(marks[key.t]) if key.t < marks.size else ABSENT])


def _play_button() -> QToolButton:
    button = QToolButton()
    button.setCheckable(True)
    button.setIcon(_icon(False))
    button.setToolTip("Play or pause")
    button.setAutoRaise(True)
    return button


def _icon(playing: bool) -> QIcon:
    """Return a triangle, or two bars while playing, in the colour of text."""
    pixmap = QPixmap(32, 32)
    pixmap.setDevicePixelRatio(2.0)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(theme.current().text))
    if playing:
        painter.drawRect(QRectF(4, 3, 3, 10))
        painter.drawRect(QRectF(9, 3, 3, 10))
    else:
        painter.drawPolygon(QPolygonF([QPointF(4, 2.5), QPointF(13, 8), QPointF(4, 13.5)]))
    painter.end()
    return QIcon(pixmap)


def _diamond(center: QPointF, half: float) -> QPolygonF:
    x, y = center.x(), center.y()
    return QPolygonF([QPointF(x, y - half), QPointF(x + half, y), QPointF(x, y + half), QPointF(x - half, y)])
