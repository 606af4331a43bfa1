"""The dock of the layers: one card each, a palette for the stains, and a lock for all limits."""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Callable, Mapping

from psygnal import SignalInstance
from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtGui import QShowEvent, QWheelEvent
from qtpy.QtWidgets import QComboBox, QDockWidget, QHBoxLayout, QScrollArea, QToolButton, QVBoxLayout, QWidget

from livestain.view import theme
from livestain.view.counting import Counter, Histogram, Wanted
from livestain.view.layer_card import LayerCard
from livestain.view.state import PALETTES, ViewState


class LayerDock(QDockWidget):
    """Shows and changes how each layer of a state is shown; GUI thread only.

    Histograms are counted on a thread of the dock, of the cards in sight only; a hidden dock counts nothing.
    """

    _counted = Signal(object)

    def __init__(self, state: ViewState, parent: QWidget | None = None) -> None:
        super().__init__("Layers", parent)
        self.setObjectName("layers")
        self.setMaximumWidth(theme.DOCK_WIDTH)
        self._state = state
        self._counter = Counter(self._counted.emit, prepare=lambda: importlib.import_module("pyqtgraph"))
        self._counted.connect(self._show_histograms)
        self.destroyed.connect(self._counter.close)
        self.cards = tuple(LayerCard(state, index) for index in range(len(state.views)))
        self._make_top()
        self._arrange()
        self._show_top()
        for signal, slot in (
            (state.layer_changed, self._on_layer),
            (state.picture_changed, self._on_picture),
        ):
            _listen(self, signal, slot)
        self._on_picture()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802  # Qt's name
        """Count what may have changed while hidden."""
        super().showEvent(event)
        self._ask()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802  # Qt's name
        """Draw the icons again in the colours of another theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "lock_all"):
            self._show_top()

    # -- making ----------------------------------------------------------------------------------------------------

    def _make_top(self) -> None:
        self.palette_box = _Palettes()
        self.palette_box.setAccessibleName("colours of the stains")
        self.palette_box.setIconSize(QSize(24, 12))
        self.palette_box.setPlaceholderText("own colours")
        self.palette_box.setToolTip("Colours of the virtual stains")
        self.palette_box.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        for name, colors in PALETTES.items():
            self.palette_box.addItem(theme.swatch(colors, 24), name)
        self.palette_box.textActivated.connect(self._state.set_palette)
        self.lock_all = QToolButton()
        self.lock_all.setText("Lock all")
        self.lock_all.setCheckable(True)
        self.lock_all.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.lock_all.setToolTip("Lock the limits of all layers: pictures stay comparable")
        self.lock_all.clicked.connect(self._state.lock_all)

    def _arrange(self) -> None:
        top = QHBoxLayout()
        top.setContentsMargins(6, 0, 12, 0)
        top.addWidget(self.palette_box, 1)
        top.addWidget(self.lock_all)
        inside = QWidget()
        cards = QVBoxLayout(inside)
        cards.setContentsMargins(6, 0, 2, 4)
        cards.setSpacing(5)
        for card in self.cards:
            card.plot.released.connect(self._ask)
            cards.addWidget(card)
        cards.addStretch(1)
        self.scroll = _Tall()
        self.scroll.setWidgetResizable(True)
        self.scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.scroll.setWidget(inside)
        bar = self.scroll.verticalScrollBar()
        bar.rangeChanged.connect(lambda low, high: bar.setEnabled(high > low))
        bar.valueChanged.connect(lambda _: self._ask())
        whole = QWidget()
        rows = QVBoxLayout(whole)
        rows.setContentsMargins(0, 2, 0, 0)
        rows.setSpacing(5)
        rows.addLayout(top)
        rows.addWidget(self.scroll)
        self.setWidget(whole)

    # -- following the state ---------------------------------------------------------------------------------------

    def _on_layer(self, index: int) -> None:
        self.cards[index].refresh()
        self._show_top()
        self._ask()

    def _on_picture(self) -> None:
        picture = self._state.picture
        for index, card in enumerate(self.cards):
            states = picture.states if picture is not None else ()
            words = states[index] if index < len(states) else ""
            missing = self._state.plane(index) is None
            card.plot.set_message((words or "no picture yet") if missing else "")
        self._ask()

    def _show_top(self) -> None:
        views = self._state.views
        self.palette_box.setEnabled(any(view.info.kind == "virtual" for view in views))
        self.palette_box.setCurrentIndex(self.palette_box.findText(self._state.palette))
        locked = bool(views) and all(view.locked for view in views)
        self.lock_all.setChecked(locked)
        self.lock_all.setIcon(theme.lock_icon(locked))

    def _ask(self) -> None:
        if self.isVisible():
            self._counter.ask([wanted for index in range(len(self.cards)) if (wanted := self._wanted(index))])

    def _wanted(self, index: int) -> Wanted | None:
        plane, plot, view = self._state.plane(index), self.cards[index].plot, self._state.views[index]
        if plane is None or plot.visibleRegion().isEmpty():
            return None
        return Wanted(index, plane, view.limits, view.info.top, plot.span)

    def _show_histograms(self, found: Mapping[int, Histogram]) -> None:
        for index, histogram in found.items():
            self.cards[index].plot.set_histogram(histogram)


class _Palettes(QComboBox):
    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802  # Qt's name
        """Change no colours because the mouse happens to be here."""
        event.ignore()


class _Tall(QScrollArea):
    """Asks for the height of all that is inside; a plain scroll area asks for two cards' height at most."""

    def sizeHint(self) -> QSize:  # noqa: N802  # Qt's name
        """Return the size wished for, in px."""
        return self.widget().sizeHint()


def _listen(widget: QWidget, signal: SignalInstance, slot: Callable[..., None]) -> None:
    """Connect a method of a widget until the widget is gone, although the state may live on."""
    signal.connect(slot)
    method = weakref.WeakMethod(slot)

    def forget() -> None:
        if (bound := method()) is not None:
            signal.disconnect(bound, missing_ok=True)

    widget.destroyed.connect(forget)
