"""What the buttons of the window do beyond the picture itself: snapshot, movie, note, sheets to read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QDialog

from livestain.errors import LivestainError
from livestain.frames import Key
from livestain.model.description import read_description
from livestain.store.read import Note
from livestain.store.run import add_note
from livestain.view.moments import notes_at
from livestain.view.movie import same_look
from livestain.view.movie_dialog import MovieDialog
from livestain.view.notes import NoteDialog, SaveNote
from livestain.view.picture import Picture
from livestain.view.recorded import RunFeed
from livestain.view.sheets import Sheet, card_html, shortcuts_html
from livestain.view.snapshot import EXPORT_FOLDER, make_export_folder, save_png, save_tiff
from livestain.view.state import ViewState

if TYPE_CHECKING:
    from livestain.view.window import Window

log = logging.getLogger(__name__)


class Deeds(QObject):
    """Snapshot, movie, note, model card and shortcuts of one window; ``by_name`` as in `livestain.view.commands`."""

    _saved = Signal(str, str)

    def __init__(self, window: Window) -> None:
        super().__init__(window)
        self._window = window
        self._notes: list[Note] = []
        """What was noted in this window."""
        self._sheets: dict[str, Sheet] = {}
        self._saved.connect(window.tell, Qt.ConnectionType.QueuedConnection)
        self.by_name: dict[str, Callable[[], None]] = {
            "snapshot": self.snapshot, "movie": self.movie, "note": self.note, "card": self.card,
            "shortcuts": self.shortcuts,
        }  # fmt: skip

    def snapshot(self) -> None:
        """Save the whole image as its layers are shown (PNG) and its raw values (TIFF), into the run's ``export``.

        On a thread of its own; a bar says where.
        """
        window = self._window
        if window.state.picture is None:
            window.tell("there is no picture yet to save")
            return
        look = same_look(window.state)
        folder = (window.run or Path.cwd()) / EXPORT_FOLDER
        picture = window.state.picture
        known = window.feed.history.notes() if isinstance(window.feed, RunFeed) else self._notes
        save = partial(self._save, folder, look, picture, window.caption, notes_at(known, picture.key))
        threading.Thread(target=save, name="livestain-snapshot", daemon=True).start()

    def _save(self, folder: Path, look: ViewState, picture: Picture, caption: str, note: str) -> None:
        feed = self._window.feed
        p, t, z = picture.key
        name = f"p{p:03d}-t{t:05d}-z{z:03d}"
        facts = {"run": feed.title, "key": str(picture.key)}
        look.set_picture(picture)
        try:
            make_export_folder(folder)
            png = save_png(
                folder / f"{name}.png", look, pixel_um=feed.pixel_um, caption=caption, note=note, facts=facts
            )
            save_tiff(folder / f"{name}.tif", picture, feed.layers, feed.pixel_um, facts, note)
        except (OSError, LivestainError) as error:
            self._saved.emit(f"The snapshot could not be saved: {error}", "red")
        else:
            self._saved.emit(f"Snapshot saved: {png} (values: .tif beside it)", "plain")

    def movie(self) -> None:
        """Ask for a range of the run and save it as a movie; the window can be used meanwhile."""
        window = self._window
        if window.run is None:
            window.tell("nothing is recorded: a movie is made from a run folder")
            return
        if not self._is_open(MovieDialog):
            dialog = MovieDialog(window.run, window.state, window.feed.extent(), window)
            dialog.written.connect(lambda path: window.tell(f"Movie saved: {path}", "plain"))
            self._open(dialog)

    def note(self) -> None:
        """Ask for a note about the time point shown."""
        window = self._window
        save = self._save_note()
        if save is None:
            window.tell("nothing is recorded: a note has no place")
            return
        if not self._is_open(NoteDialog):
            picture = window.state.picture
            self._open(NoteDialog(partial(self._note, save), picture.key if picture is not None else None, window))

    def _note(self, save: SaveNote, text: str, key: Key | None) -> None:
        save(text, key)
        self._notes.append(Note(text, *(key or (None, None, None))))
        about = f"at t {key.t}" if key is not None else "about the run"
        self._window.tell(f"Note saved {about}: {text}", "plain")

    def _save_note(self) -> SaveNote | None:
        """Return what writes a note: the session while it has a run, else the closed run's ledger."""
        run, session = self._window.run, self._window.session
        if run is None:
            return None
        if session is not None:
            return session.note
        return partial(add_note, run)

    def _is_open(self, kind: type[QDialog]) -> bool:
        """Whether such a dialog is there already; it is then brought to the front, with what was typed."""
        for dialog in self._window.findChildren(kind):
            if dialog.isVisible():
                dialog.raise_()
                dialog.activateWindow()
                return True
        return False

    def _open(self, dialog: QDialog) -> None:
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.show()

    def card(self) -> None:
        """Show what the model is for, its scores and limits."""
        html = self._card_html()
        if html:
            self._show("card", "Model card", html, (640, 560))
        else:
            self._window.tell("no model is known here: there are no virtual stains")

    def shortcuts(self) -> None:
        """Show the keys."""
        self._show("shortcuts", "Shortcuts", shortcuts_html(self._window.actions_by_name), (520, 520))

    def _show(self, name: str, title: str, html: str, size: tuple[int, int]) -> None:
        sheet = self._sheets.get(name)
        if sheet is None:
            sheet = self._sheets[name] = Sheet(title, html, size, self._window)
        sheet.show()
        sheet.raise_()

    def _card_html(self) -> str:
        session, run = self._window.session, self._window.run
        if session is not None:
            m = session.model
            return card_html(m.name, m.version, m.description, m.card, license_name=m.license, authors=m.authors)
        for folder in sorted(run.glob("stains/*/model")) if run is not None else []:
            try:
                d = read_description(folder)
            except LivestainError as error:
                log.warning("%s", error)
                continue
            authors = [author.name for author in d.authors]
            return card_html(
                d.name, str(d.version or ""), d.description, d.config.livestain, license_name=d.license or "",
                authors=authors,
            )  # fmt: skip
        return ""
