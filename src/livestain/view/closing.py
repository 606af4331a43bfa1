"""The question on closing a window while a run goes on."""

from __future__ import annotations

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QAbstractButton, QMessageBox, QWidget


class CloseQuestion(QObject):
    """Asks whether the run goes on without the window (default) or stops; Escape keeps the window.

    Returns at once: the picture goes on behind the question. ``answered(bool)``: True = stop; nothing is emitted when
    the window stays.
    """

    answered = Signal(bool)

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._box = box = QMessageBox(window)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Close the window?")
        box.setInformativeText("Without the window everything is still recorded and stained; the terminal shows it.")
        role = QMessageBox.ButtonRole
        self.go_on = box.addButton("Go on without the window", role.AcceptRole)
        self.stop = box.addButton("Stop the run", role.DestructiveRole)
        self.stay = box.addButton("Keep the window", role.RejectRole)
        box.setDefaultButton(self.go_on)
        box.setEscapeButton(self.stay)
        box.buttonClicked.connect(self._clicked)

    def ask(self, what: str) -> None:
        """Ask; ``what`` says what is going on, such as ``"Recording: 12 of 20 frames."``."""
        self._box.setText(what)
        self._box.open()

    def _clicked(self, button: QAbstractButton) -> None:
        if button is not self.stay:
            self.answered.emit(button is self.stop)
