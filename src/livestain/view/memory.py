"""What the window keeps between sessions: its place, its docks, dark or light, and how layers are shown."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from qtpy.QtCore import QByteArray, QSettings

if TYPE_CHECKING:
    from qtpy.QtWidgets import QMainWindow

    from livestain.view.state import ViewState

log = logging.getLogger(__name__)

_DOCKS = 1
"""Raised when the docks are others than before: an old layout is then not taken over."""


def user_settings() -> QSettings:
    """Return the settings of this user: an .ini file."""
    scope = QSettings.Scope.UserScope
    return QSettings(QSettings.Format.IniFormat, scope, "livestain", "livestain")


class Memory:
    """Reads and writes the settings of a window; what is damaged is left out, named in the log."""

    def __init__(self, settings: QSettings | None) -> None:
        self._settings = settings if settings is not None else user_settings()

    @property
    def dark(self) -> bool | None:
        """Whether the window is dark; None: as the system has it."""
        kept = self._settings.value("window/dark")
        return None if kept is None else str(kept).lower() == "true"

    def keep_dark(self, dark: bool) -> None:
        """Keep dark or light."""
        self._settings.setValue("window/dark", dark)

    def restore(self, window: QMainWindow, state: ViewState) -> bool:
        """Bring a new window to where the last one was (Qt corrects a place off all screens); False: nothing kept."""
        geometry, docks = self._settings.value("window/geometry"), self._settings.value("window/docks")
        if isinstance(geometry, QByteArray):
            window.restoreGeometry(geometry)
        restored = isinstance(docks, QByteArray) and bool(window.restoreState(docks, _DOCKS))
        self._restore_layers(state)
        return restored

    def _restore_layers(self, state: ViewState) -> None:
        layers = self._settings.value("view/state")
        if not layers:
            return
        try:
            kept = json.loads(str(layers))
        except ValueError:
            log.warning("the display settings kept from before are damaged: ignored")
            return
        if isinstance(kept, dict):
            state.restore(kept)

    def keep(self, window: QMainWindow, state: ViewState) -> None:
        """Write everything down."""
        self._settings.setValue("window/geometry", window.saveGeometry())
        self._settings.setValue("window/docks", window.saveState(_DOCKS))
        self._settings.setValue("view/state", json.dumps(state.settings()))
        self._settings.sync()
