"""A session's newest status for a window: brought by the session's thread, looked at by the GUI's."""

from __future__ import annotations

from dataclasses import replace

from livestain.session.session import Session
from livestain.session.status import Status


class SessionLink:
    """Holds the newest `Status`; `status` is a plain look, since asking the session looks at the disk."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.status = session.status
        session.status_changed.connect(self._came)
        session.finished.connect(self._fetch)
        session.warning.connect(self._fetch)

    def recount(self) -> None:
        """Bring the counters, and nothing else, up to this moment."""
        self.status = replace(self.status, counters=self._session.counters)

    def close(self) -> None:
        """Hear no more."""
        self._session.status_changed.disconnect(self._came)
        self._session.finished.disconnect(self._fetch)
        self._session.warning.disconnect(self._fetch)

    def _came(self, status: Status) -> None:
        self.status = status

    def _fetch(self, _: str) -> None:
        self.status = self._session.status
