"""Sheets to read: the model card and the list of shortcuts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from qtpy.QtWidgets import QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout, QWidget

from livestain.model.card import LivestainCard
from livestain.view import commands


class Sheet(QDialog):
    """A text to read beside the picture; the window stays usable."""

    def __init__(self, title: str, html: str, size: tuple[int, int], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.resize(*size)
        self._text = QTextBrowser()
        self._text.setOpenExternalLinks(False)
        self._text.setHtml(html)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        layout = QVBoxLayout(self)
        layout.addWidget(self._text)
        layout.addWidget(buttons)

    @property
    def text(self) -> str:
        """What it says, without marks."""
        return str(self._text.toPlainText())


def card_html(
    name: str, version: str, what: str, card: LivestainCard, *, license_name: str, authors: Sequence[str]
) -> str:
    """Return a model card: what the model is for, optics, scores and limits."""
    low, high = card.pixel_um_tolerated
    facts = [
        ("Stains", ", ".join(f"virtual: {stain.name}" for stain in card.stains)),
        ("For", card.modality),
        ("Pixel size", f"{card.pixel_um:g} um (tolerates {low:g} to {high:g} um)"),
    ]
    if card.defocus_um is not None:
        facts.append(("Focus in training", f"{card.defocus_um[0]:g} to {card.defocus_um[1]:g} um"))
    facts += [("Made by", ", ".join(authors)), ("Licence of the weights", license_name)]
    parts = [f"<h2>{escape(name)} {escape(version)}</h2>"]
    if card.caution:
        parts.append(f"<p><b>{escape(card.caution)}</b></p>")
    parts += [f"<p>{escape(what)}</p>", _table([(name, value) for name, value in facts if value])]
    if card.limits:
        parts.append("<h3>Limits</h3><ul>" + "".join(f"<li>{escape(limit)}</li>" for limit in card.limits) + "</ul>")
    if card.scores:
        head = ("Predictor", "Data", "Stain", "Measure", "Value")
        rows = [(s.predictor, s.data, s.stain, s.metric, f"{s.value:g}") for s in card.scores]
        parts.append("<h3>Scores on held-out images</h3>" + _table([head, *rows], head=True))
    return "".join(parts)


def shortcuts_html(usable: Collection[str]) -> str:
    """Return the keys and what they do, of the commands with these names."""
    shown = [command for command in commands.ALL if command.keys and command.name in usable]
    rows = [(command.keys, f"{command.text}: {command.what}") for command in shown]
    return "<h2>Shortcuts</h2>" + _table([*rows, *commands.BY_MOUSE])


def _table(rows: Sequence[Sequence[str]], *, head: bool = False) -> str:
    lines = []
    for index, row in enumerate(rows):
        tag = "th align='left'" if head and not index else "td"
        lines.append("<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag.split()[0]}>" for cell in row) + "</tr>")
    return f"<table cellpadding='3'>{''.join(lines)}</table>"
