"""Ledger rows as tables and as the counters of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from livestain.frames import Key
from livestain.store.ledger import Row

Table = dict[str, npt.NDArray[Any]]
"""Columns of equal length, any dtype; ``pandas.DataFrame(table)`` takes it as it is."""

COUNTERS = ("received", "saved", "failed", "waiting", "live", "late", "skipped", "unstained", "behind")


def last_rows(rows: Iterable[Row]) -> list[Row]:
    """Return the rows about planes, of each plane the last one; of repeated planes at the place of the first row."""
    return _last(rows, lambda row: (row["p"], row["t"], row["z"], row.get("c")))


def columns(rows: list[Row]) -> Table:
    """Return rows as columns in order of first appearance.

    bool, int64 and float64 (NaN where a row has no such field or null) for plain values; else object arrays.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _column([row.get(name) for row in rows]) for name in names}


def extent(rows: Iterable[Row], position: int) -> tuple[int, int]:
    """Return T and Z of a position: one more than the largest t and z among its ``ok`` rows; 0 where there is none."""
    places = [(row["t"], row["z"]) for row in rows if row.get("state") == "ok" and row["p"] == position]
    t, z = (1 + max((place[axis] for place in places), default=-1) for axis in (0, 1))
    return t, z


def saved_label_free(raw: Iterable[Row]) -> list[Key]:
    """Return the keys of the label-free planes (c 0) whose last raw row is ``ok``, in order of their first row."""
    return [_key(row) for row in last_rows(raw) if row["state"] == "ok" and row.get("c") == 0]


def stain_states(rows: Iterable[Row]) -> dict[Key, str]:
    """Return what became of each plane by its last stain row: ``live``, ``late``, ``skipped`` or ``unstained``."""
    return {_key(row): _stain_state(row) for row in last_rows(rows)}


def count(raw: list[Row], label_free: Iterable[Key], stains: dict[Key, str]) -> dict[str, int]:
    """Return the counters of a run, `COUNTERS`, as far as its ledgers know them.

    ``received = saved + failed + waiting`` and, of the ``label_free`` saved planes, ``live + late + skipped +
    unstained + behind``. ``waiting`` is 0: what waits has no row. Stains of planes that were not saved do not count.
    """
    frames = _last(raw, lambda row: row.get("n", (row["p"], row["t"], row["z"], row.get("c"))))
    numbers = dict.fromkeys(COUNTERS, 0)
    for frame in frames:
        numbers["received"] += 1
        numbers["saved" if frame["state"] == "ok" else "failed"] += 1
    for key in label_free:
        numbers[stains.get(key, "behind")] += 1
    return numbers


def _last(rows: Iterable[Row], identity: Callable[[Row], object]) -> list[Row]:
    return list({identity(row): row for row in rows if "state" in row}.values())


def _key(row: Row) -> Key:
    return Key(row["p"], row["t"], row["z"])


def _stain_state(row: Row) -> str:
    if row["state"] == "ok":
        return "live" if row.get("live") else "late"
    return "skipped" if row["state"] == "skipped" else "unstained"


def _column(values: list[Any]) -> npt.NDArray[Any]:
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return np.array(values, np.bool_)
    if kinds == {int}:
        return np.array(values, np.int64)
    if kinds <= {int, float, type(None)} and kinds != {type(None)}:
        return np.array([np.nan if value is None else value for value in values], np.float64)
    column = np.empty(len(values), object)
    column[:] = values
    return column
