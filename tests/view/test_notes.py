"""A note goes to its time point, or stays in the dialog with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("qtpy")
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QDialogButtonBox

from livestain.errors import RunError
from livestain.frames import Key
from livestain.store.read import open_run
from livestain.store.run import add_note
from livestain.view.notes import NoteDialog
from tests.store.recording import Recording


@pytest.mark.parametrize(("whole_run", "place"), [(False, (0, 3, 1)), (True, (None, None, None))], ids=["plane", "run"])
def test_a_note_is_in_the_ledger_of_its_run(
    qtbot: QtBot, tmp_path: Path, whole_run: bool, place: tuple[int | None, ...]
) -> None:
    made = Recording(tmp_path / "run")
    made.raw(3, z=1)
    path = made.end().path
    dialog = NoteDialog(lambda text, key: add_note(path, text, key), Key(0, 3, 1))
    qtbot.addWidget(dialog)
    save = dialog.buttons.button(QDialogButtonBox.StandardButton.Save)
    assert not save.isEnabled()
    dialog.text.setText("  drug added, 药 ")
    dialog.whole_run.setChecked(whole_run)
    save.click()
    assert dialog.result() == 1
    (note,) = open_run(path).notes
    assert (note.text, (note.p, note.t, note.z)) == ("drug added, 药", place)
    assert open_run(path).closed


def test_what_cannot_be_saved_stays_in_the_dialog_with_the_reason(qtbot: QtBot) -> None:
    def refuse(_text: str, _key: Key | None) -> None:
        raise RunError("run is being recorded: add the note in the window that records it")

    dialog = NoteDialog(refuse, None)
    qtbot.addWidget(dialog)
    dialog.show()
    assert not dialog.whole_run.isEnabled()
    dialog.text.setText("drug added")
    dialog.accept()
    assert dialog.isVisible()
    assert "is being recorded" in dialog.problem.text()
    assert dialog.text.text() == "drug added"
