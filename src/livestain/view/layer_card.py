"""The controls of one layer: shown or not, colour, opacity, gamma and limits."""

from __future__ import annotations

import math
from collections.abc import Callable

from qtpy.QtCore import QEvent, QLocale, QSignalBlocker, QSize, Qt
from qtpy.QtGui import QColor, QResizeEvent, QWheelEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QColorDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from livestain.view import theme
from livestain.view.histogram import HistogramPlot
from livestain.view.picture import LayerInfo
from livestain.view.state import COLORS, GAMMA, LayerView, ViewState

_GAMMA_STEPS = 100


class LayerCard(QFrame):
    """About 150 px high; shows what the state says of its layer and asks the state for every change.

    The mouse takes the keyboard away from the image only to type a number.
    """

    _drawn: tuple[str, bool] | None = None

    def __init__(self, state: ViewState, index: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "card")
        self._state, self._index = state, index
        info = state.views[index].info
        self._make_head(info)
        self.plot = HistogramPlot()
        self.plot.limits_dragged.connect(self._set_limits)
        self._make_limits(info)
        self._make_sliders(info)
        self._arrange()
        self.refresh()

    def refresh(self) -> None:
        """Show the present state of the layer; tells nobody."""
        view = self._view
        _set_quietly(self.shown, view.visible)
        _set_quietly(self.lock, view.locked)
        for box, limit in zip((self.low, self.high), view.limits, strict=True):
            _set_quietly(box, round(limit))
        _set_quietly(self.opacity, round(view.opacity * 100))
        _set_quietly(self.gamma, gamma_step(view.gamma))
        self._opacity_value.setText(f"{view.opacity * 100:.0f} %")
        self._gamma_value.setText(f"{view.gamma:.2f}")
        for control in (self.low, self.high, self.auto, self.range):
            control.setEnabled(not view.locked)
        if self._drawn != (view.color, view.locked):
            self._draw_icons()
        self.plot.set_view(view)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802  # Qt's name
        """Draw the icons again in the colours of another theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and self._drawn is not None:
            self._draw_icons()

    @property
    def _view(self) -> LayerView:
        return self._state.views[self._index]

    # -- making ----------------------------------------------------------------------------------------------------

    def _make_head(self, info: LayerInfo) -> None:
        self.shown = _Name(info.name)
        self.shown.setAccessibleName(f"show {info.label}")
        self.shown.clicked.connect(lambda on: self._set(visible=on))
        self._tag = QLabel(info.kind.upper())
        self._tag.setProperty("role", "amber" if info.kind == "virtual" else "tag")
        self._tag.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.color = QToolButton()
        self.color.setProperty("role", "swatch")
        self.color.setAccessibleName(f"colour of {info.label}")
        self.color.setToolTip("Colour of this layer")
        self.color.setIconSize(QSize(22, 14))
        self.color.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.color.setMenu(self._color_menu())
        self.lock = QToolButton()
        self.lock.setCheckable(True)
        self.lock.setAccessibleName(f"lock limits of {info.label}")
        self.lock.setToolTip("Lock the limits: pictures stay comparable")
        self.lock.clicked.connect(lambda on: self._set(locked=on))

    def _color_menu(self) -> QMenu:
        menu = QMenu(self)
        for name, color in COLORS.items():
            action = menu.addAction(theme.swatch((color,)), name)
            action.triggered.connect(lambda _=False, color=color: self._set(color=color))
        menu.addSeparator()
        menu.addAction("other colour ...").triggered.connect(self._ask_color)
        return menu

    def _make_limits(self, info: LayerInfo) -> None:
        self.low, self.high = _Counts(info.top), _Counts(info.top)
        self.low.setAccessibleName(f"black of {info.label}")
        self.low.setToolTip("Counts shown as black")
        self.low.valueChanged.connect(lambda value: self._set_limits(value, self._view.limits[1]))
        self.high.setAccessibleName(f"full colour of {info.label}")
        self.high.setToolTip("Counts shown as full colour")
        self.high.valueChanged.connect(lambda value: self._set_limits(self._view.limits[0], value))
        self.auto = _button("Auto once", "Limits from this picture (0.1 % to 99.9 % of its pixels), once")
        self.auto.clicked.connect(lambda: self._do(self._state.auto_once))
        if info.kind == "virtual" and info.limits is not None:
            self.range = _button("Model range", "The fixed limits of the model: stains stay comparable")
            self.range.clicked.connect(lambda: self._do(self._state.reset_limits))
        else:
            self.range = _button("Full range", "All values that a pixel can have")
            self.range.clicked.connect(lambda: self._do(self._state.full_range))
        for button, widest in ((self.auto, "Auto once"), (self.range, "Model range")):
            button.setFixedWidth(button.fontMetrics().horizontalAdvance(widest) + 16)

    def _make_sliders(self, info: LayerInfo) -> None:
        self.opacity, self._opacity_value = _Slider(0, 100), _value_label("100 %")
        self.opacity.setAccessibleName(f"opacity of {info.label}")
        self.opacity.valueChanged.connect(lambda value: self._set(opacity=value / 100))
        self.gamma, self._gamma_value = _Slider(gamma_step(GAMMA[0]), gamma_step(GAMMA[1])), _value_label("0.00")
        self.gamma.setAccessibleName(f"gamma of {info.label}")
        self.gamma.setToolTip("Below 1 faint structures become brighter, above 1 darker")
        self.gamma.valueChanged.connect(lambda value: self._set(gamma=gamma_of(value)))

    def _arrange(self) -> None:
        rows = QVBoxLayout(self)
        rows.setContentsMargins(8, 5, 8, 6)
        rows.setSpacing(4)
        rows.addLayout(_row(self.shown, self._tag, self.color, self.lock))
        rows.addWidget(self.plot)
        rows.addLayout(_row(self.low, None, self.auto, self.range, None, self.high))
        words = QLabel("Opacity"), QLabel("Gamma")
        for word in words:
            word.setProperty("role", "muted")
        sliders = _row(words[0], self.opacity, self._opacity_value, words[1], self.gamma, self._gamma_value)
        sliders.insertSpacing(3, 6)
        rows.addLayout(sliders)

    # -- what the user does ----------------------------------------------------------------------------------------

    def _set(self, **changes: object) -> None:
        self._state.set_layer(self._index, **changes)
        self.refresh()

    def _set_limits(self, low: float, high: float) -> None:
        self._set(limits=(low, high))

    def _do(self, change: Callable[[int], None]) -> None:
        change(self._index)
        self.refresh()

    def _ask_color(self) -> None:
        dialog = QColorDialog(QColor(f"#{self._view.color}"), self)
        dialog.setOption(QColorDialog.ColorDialogOption.DontUseNativeDialog)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle(f"Colour of {self._view.info.label}")
        dialog.colorSelected.connect(lambda color: self._set(color=color.name()[1:].upper()))
        dialog.open()

    def _draw_icons(self) -> None:
        view = self._view
        self._drawn = view.color, view.locked
        self.color.setIcon(theme.swatch((view.color,), 22, 14))
        self.lock.setIcon(theme.lock_icon(view.locked))


def gamma_of(step: int) -> float:
    """Return the gamma of a slider's step: 1 in the middle, each step the same factor."""
    return float(GAMMA[1] ** (step / _GAMMA_STEPS))


def gamma_step(gamma: float) -> int:
    """Return the slider's step nearest to a gamma."""
    return round(_GAMMA_STEPS * math.log(gamma, GAMMA[1]))


class _Name(QCheckBox):
    """A check box whose text is cut with an ellipsis when there is too little room."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name.replace("\n", " ")
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        font = self.font()
        font.setBold(True)
        self.setFont(font)
        self.setToolTip(name)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802  # Qt's name
        """Cut the name to the width."""
        super().resizeEvent(event)
        room = self.width() - 24
        self.setText(self.fontMetrics().elidedText(self._name, Qt.TextElideMode.ElideRight, room).replace("&", "&&"))


class _Counts(QSpinBox):
    """A value in camera counts, typed: takes effect on Enter, which gives the keyboard back, or when left."""

    def __init__(self, top: int) -> None:
        super().__init__()
        self.setLocale(QLocale.c())
        self.setRange(0, top)
        self.setKeyboardTracking(False)
        self.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.setFixedWidth(self.fontMetrics().horizontalAdvance("00000") + 14)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.lineEdit().returnPressed.connect(self.clearFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802  # Qt's name
        """Leave the wheel to the list of layers: scrolling changes no limit."""
        event.ignore()


class _Slider(QSlider):
    def __init__(self, low: int, high: int) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setRange(low, high)
        self.setPageStep(10)
        self.setMinimumWidth(40)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802  # Qt's name
        """Leave the wheel to the list of layers: scrolling changes no slider."""
        event.ignore()


def _button(text: str, tip: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tip)
    return button


def _value_label(widest: str) -> QLabel:
    label = QLabel()
    label.setFixedWidth(label.fontMetrics().horizontalAdvance(widest) + 2)
    label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return label


def _row(*parts: QWidget | None) -> QHBoxLayout:
    """Return widgets beside each other; None takes what room is left."""
    row = QHBoxLayout()
    row.setSpacing(6)
    for part in parts:
        if part is None:
            row.addStretch(1)
        else:
            row.addWidget(part, int(isinstance(part, _Name | _Slider)))
    return row


def _set_quietly(control: QCheckBox | QToolButton | QSpinBox | QSlider, value: bool | int) -> None:
    with QSignalBlocker(control):
        if isinstance(value, bool):
            control.setChecked(value)
        else:
            control.setValue(value)
