"""What is kept of a layer between sessions, and how much of it is believed when it comes back; no Qt."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livestain.view.state import LayerView

log = logging.getLogger(__name__)

_COLOR = re.compile(r"[0-9A-Fa-f]{6}")
_LARGEST = 1e9


def fields_of(view: LayerView) -> dict[str, object]:
    """Return the fields of a view that are kept, fit for JSON; limits and locks are of a run, not of the user."""
    return {name: getattr(view, name) for name in _WELL_FORMED}


def parse_fields(label: str, kept: Mapping[str, object]) -> dict[str, Any]:  # Any: of any field of LayerView
    """Return the fields that are well formed, ready for `dataclasses.replace`; the others are named in the log.

    Ranges are not looked at: the state brings values into theirs.
    """
    fields: dict[str, Any] = {}
    for name, value in kept.items():
        if name in _WELL_FORMED and _WELL_FORMED[name](value):
            fields[name] = value
        else:
            log.warning("kept display setting %s = %r of layer %r is not usable: ignored", name, value, label)
    return fields


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _is_color(value: object) -> bool:
    return isinstance(value, str) and _COLOR.fullmatch(value) is not None


_WELL_FORMED: dict[str, Callable[[object], bool]] = {
    "visible": _is_flag,
    "color": _is_color,
    "opacity": _is_number,
    "gamma": _is_number,
}
