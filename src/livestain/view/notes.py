"""The dialog in which a person writes a note about the time point shown, into the ledger of the run."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QCheckBox, QDialog, QDialogButtonBox, QLabel, QLineEdit, QVBoxLayout, QWidget

from livestain.errors import LivestainError
from livestain.frames import Key

SaveNote = Callable[[str, Key | None], object]
"""Writes a note about a plane, or about the run (None): `Session.note`, or `livestain.store.run.add_note` on a run."""

_LIMIT = 2000
_WIDTH_PX = 420


class NoteDialog(QDialog):
    """Asks for one line and hands it to ``save``; what cannot be saved is told here, and the text stays.

    Parameters
    ----------
    save
        Called on the GUI thread, some ms; raises `LivestainError` for what cannot be saved.
    key
        The plane shown; None: only the run can be noted about.
    """

    def __init__(self, save: SaveNote, key: Key | None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._save, self._key = save, key
        self.setWindowTitle("Note")
        self.setMinimumWidth(_WIDTH_PX)
        self.text = QLineEdit()
        self.text.setMaxLength(_LIMIT)
        self.text.setPlaceholderText("what you did or saw, such as: drug added")
        self.whole_run = QCheckBox("About the whole run")
        self.whole_run.setChecked(key is None)
        self.whole_run.setEnabled(key is not None)
        self.problem = QLabel()
        self.problem.setProperty("role", "bad")
        self.problem.setWordWrap(True)
        self.problem.hide()
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel
        )  # fmt: skip
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.text.textChanged.connect(self._allow)
        layout = QVBoxLayout(self)
        layout.setSpacing(8)
        layout.addWidget(QLabel(_about(key)))
        for widget in (self.text, self.whole_run, self.problem, self.buttons):
            layout.addWidget(widget)
        self._allow(self.text.text())

    def accept(self) -> None:
        """Save; the dialog closes when that went well."""
        try:
            self._save(self.text.text().strip(), None if self.whole_run.isChecked() else self._key)
        except LivestainError as error:
            self.problem.setText(str(error))
            self.problem.show()
            return
        super().accept()

    def _allow(self, text: str) -> None:
        self.buttons.button(QDialogButtonBox.StandardButton.Save).setEnabled(bool(text.strip()))


def _about(key: Key | None) -> str:
    if key is None:
        return "A note about the run; it is kept in its ledger."
    return f"A note about time point {key.t}, position {key.p}, z {key.z}; it is kept in the ledger of the run."
