"""What can be done in the window: names, keys and one sentence each, for the toolbar and the shortcut sheet. No Qt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One thing to do.

    Attributes
    ----------
    name
        What the program calls it.
    text
        On the button.
    keys
        As Qt writes them, such as ``"Ctrl+L"``; empty when there is no key.
    what
        One sentence.
    needs
        What must be there for it: ``""`` nothing, ``"session"`` a live session, ``"run"`` a run folder,
        ``"live"`` pictures that come by themselves, ``"recorded"`` a time bar.
    """

    name: str
    text: str
    keys: str
    what: str
    needs: str = ""


MODES = (
    Command("composite", "Composite", "C", "All layers in one picture."),
    Command(
        "split", "Side by side", "S", "Measured on the left, label-free with virtual stains on the right; one zoom."
    ),
    Command("curtain", "Curtain", "W", "Both in one picture, divided by a line to drag."),
)
VIEWS = (
    Command("alone", "Hold B: label-free", "B", "While held: the label-free picture alone."),
    Command("fit", "Fit", "F", "The whole image."),
    Command("one_to_one", "1:1", "1", "One pixel of the camera on one pixel of the screen."),
    Command("freeze", "Freeze", "Space", "Hold the picture; recording and staining go on.", "live"),
)
STAINING = Command("staining", "Staining", "T", "Stain live or not; recording goes on.", "session")
OPEN = Command("open", "Open the run", "O", "The finished run with its time bar, to go back in time.", "session")
ACTIONS = (
    Command("snapshot", "Snapshot", "P", "Save the picture (PNG with bar and mark) and its raw values (TIFF)."),
    Command("movie", "Movie", "M", "Save a range of time points as a movie.", "run"),
    Command("note", "Note", "N", "Write a note at this time point into the run.", "run"),
)
TIME = (
    Command("play", "Play", "Space", "Play or pause.", "recorded"),
    Command("back", "Back", "Left", "The time point before.", "recorded"),
    Command("on", "On", "Right", "The next time point.", "recorded"),
    Command("first", "First", "Home", "The first time point.", "recorded"),
    Command("last", "Last", "End", "The last time point.", "recorded"),
)
"""Of the time bar; no buttons."""

HELP = (
    Command("card", "Model card", "I", "What the model is for, its scores and limits."),
    Command("shortcuts", "Shortcuts", "?", "This list."),
    Command("theme", "Light", "Ctrl+D", "Dark or light window; the image stays on black."),
)
HIDDEN = (
    Command("log", "Log", "Ctrl+L", "What the program wrote, newest last."),
    Command("full", "Full screen", "F11", "Full screen and back."),
    Command("close", "Close", "Ctrl+W", "Close the window; a recording asks first."),
)
BY_MOUSE = (
    ("Wheel", "Zoom about the cursor."),
    ("Drag", "Move the image."),
    ("Double click", "The whole image."),
)

ALL: tuple[Command, ...] = (*MODES, *VIEWS, STAINING, OPEN, *ACTIONS, *TIME, *HELP, *HIDDEN)
