"""What the buttons of the window do beyond the picture itself: snapshot, movie, note, sheets to read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from livestain.errors import LivestainError
from livestain.model.description import read_description
from livestain.settings import legal_name
from livestain.view.sheets import Sheet, card_html, shortcuts_html

if TYPE_CHECKING:
    from livestain.view.window import Window

log = logging.getLogger(__name__)


class Deeds:
    """Snapshot, movie, note, model card and shortcuts of one window; ``by_name`` as in `livestain.view.commands`."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._sheets: dict[str, Sheet] = {}
        self.by_name: dict[str, Callable[[], None]] = {
            "snapshot": self.snapshot, "movie": self.movie, "note": self.note, "card": self.card,
            "shortcuts": self.shortcuts,
        }  # fmt: skip

    def snapshot(self) -> None:
        """Save the picture as it is drawn (PNG) and its raw values (TIFF) into the run's ``snapshots``."""
        from livestain.view.snapshot import save_png, save_tiff

        window = self._window
        picture = window.state.picture
        if picture is None:
            window.tell("there is no picture yet to save")
            return
        folder = (window.run or Path.cwd()) / "snapshots"
        p, t, z = picture.key
        name = legal_name(f"p{p:03d}-t{t:05d}-z{z:03d}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            size = window.canvas.size()
            png = save_png(
                folder / f"{name}.png", window.state, pixel_um=window.feed.pixel_um,
                caption=str(picture.key), size=(size.width(), size.height()),
            )  # fmt: skip
            save_tiff(folder / f"{name}.tif", picture, window.feed.layers, window.feed.pixel_um)
        except (OSError, LivestainError) as error:
            window.tell(f"the snapshot could not be saved: {error}", "red")
            return
        window.tell(f"Snapshot: {png} (and .tif with the raw values)", "plain")

    def movie(self) -> None:
        """Open the movie dialog for the run."""

    def note(self) -> None:
        """Write a note at the time point shown."""

    def card(self) -> None:
        """Show what the model is for, its scores and limits."""
        html = self._card_html()
        if html:
            self._show("card", "Model card", html, (640, 560))
        else:
            self._window.tell("no model is known here: there are no virtual stains")

    def shortcuts(self) -> None:
        """Show the keys."""
        self._show("shortcuts", "Shortcuts", shortcuts_html(), (520, 520))

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
