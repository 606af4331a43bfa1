"""When staining was switched off and on again: which frames are left out by choice."""

from __future__ import annotations

from collections.abc import Iterable

OFF = "staining was switched off"
"""The reason in the rows of planes that were left out."""


class Switch:
    """The changes of one run, in order: (running number of the first frame concerned, on or off); on before the first.

    Given by numbers and not by the moment, so that a stainer that is started again leaves out the same frames.
    """

    def __init__(self, changes: Iterable[tuple[int, bool]] = ()) -> None:
        self.changes = [(int(number), bool(on)) for number, on in changes]

    @property
    def is_on(self) -> bool:
        """Whether what comes now is to be stained."""
        return not self.changes or self.changes[-1][1]

    def was_on(self, number: int) -> bool:
        """Say whether the frame of this running number is to be stained."""
        return next((on for first, on in reversed(self.changes) if first <= number), True)
