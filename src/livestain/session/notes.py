"""Notes on their way to the recorder, from whoever looks on."""

from __future__ import annotations

import threading

from livestain.store.ledger import Row


class Notes:
    """Rows that wait for the recorder; any thread may put, the recorder takes, and closes when it ends."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._closed = False
        self._lock = threading.Lock()

    def put(self, row: Row) -> bool:
        """Hand over a row; False once the recorder takes none any more."""
        with self._lock:
            if not self._closed:
                self._rows.append(row)
            return not self._closed

    def take(self) -> list[Row]:
        """Return what waits, in order."""
        with self._lock:
            rows, self._rows = self._rows, []
        return rows

    def close(self) -> list[Row]:
        """Return what waits, and refuse what comes later."""
        with self._lock:
            self._closed = True
        return self.take()
