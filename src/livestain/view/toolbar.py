"""The toolbar: one action for each command, the modes as one group, and the place that is followed."""

from __future__ import annotations

from collections.abc import Collection

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QAction, QActionGroup, QKeySequence
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSpinBox, QToolBar, QWidget

from livestain.view import commands
from livestain.view.commands import Command

_CHECKABLE = {"composite", "split", "curtain", "freeze", "staining", "log", "full"}
_HELD = "alone"


class Toolbar(QToolBar):
    """Buttons with words; what has no room goes behind an arrow.

    Attributes
    ----------
    actions_by_name
        Every action, also those without a button; a command that cannot be used here has none.
    """

    def __init__(self, usable: Collection[str], parent: QWidget | None = None) -> None:
        """``usable``: the needs that are met (see `Command.needs`)."""
        super().__init__("Tools", parent)
        self.setObjectName("tools")
        self.setMovable(False)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        self.actions_by_name: dict[str, QAction] = {}
        self.follow = FollowBox(self)
        modes = QActionGroup(self)
        of_session = (commands.STAINING, commands.OPEN)
        for group in (commands.MODES, commands.VIEWS, of_session, commands.ACTIONS, commands.HELP):
            usable_here = [command for command in group if command.needs in ("", *usable)]
            for command in usable_here:
                self.addAction(self._action(command))
            if group is commands.MODES:
                for action in self.actions():
                    modes.addAction(action)
            if group is commands.VIEWS:
                self._follow_action = self.addWidget(self.follow)
                self._follow_action.setVisible(False)
            if usable_here and group is not commands.HELP:
                self.addSeparator()
        for command in (*commands.TIME, *commands.HIDDEN):
            if command.needs in ("", *usable):
                self._action(command)

    def show_follow(self, visible: bool) -> None:
        """Show the place that is followed, or not."""
        self._follow_action.setVisible(visible)

    def _action(self, command: Command) -> QAction:
        action = QAction(command.text, self)
        action.setCheckable(command.name in _CHECKABLE)
        keys = f" ({command.keys})" if command.keys else ""
        action.setToolTip(f"{command.what}{keys}")
        if command.keys and command.name != _HELD:  # B is held, not pressed: the window hears it
            action.setShortcut(QKeySequence(command.keys))
        self.actions_by_name[command.name] = action
        return action


class FollowBox(QWidget):
    """Position and z section that are shown live; position "all": whatever comes.

    ``changed(object)``: (position, z), or None for all.
    """

    changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._position, self._z = self._box("Position that is shown and stained live"), self._box("z section")
        self._position.setMinimum(-1)
        self._position.setSpecialValueText("all")
        self._position.setValue(-1)
        self._z.setEnabled(False)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 0, 6, 0)
        for name, box in (("Position", self._position), ("z", self._z)):
            layout.addWidget(QLabel(name))
            layout.addWidget(box)
            box.valueChanged.connect(self._changed)

    @property
    def place(self) -> tuple[int, int] | None:
        """The (position, z) that is followed; None for all."""
        return None if self._position.value() < 0 else (self._position.value(), self._z.value())

    def set_extent(self, positions: int, sections: int) -> None:
        """Allow the positions and sections there are."""
        self._position.setMaximum(max(0, positions - 1))
        self._z.setMaximum(max(0, sections - 1))

    def _changed(self) -> None:
        self._z.setEnabled(self.place is not None)
        self.changed.emit(self.place)

    def _box(self, tip: str) -> QSpinBox:
        box = QSpinBox(self)
        box.setToolTip(tip)
        box.setMaximum(0)
        box.setKeyboardTracking(False)
        return box
