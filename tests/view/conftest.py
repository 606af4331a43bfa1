"""What all tests of the window share: settings of their own, and a clean end of every test."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

_LEAVE_S = 5.0
_OF_QT = "QTipLabel"
"""The tool tip: one for the whole application, which Qt keeps."""


@pytest.fixture(scope="session", autouse=True)
def settings_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the settings of whoever runs the tests out of them, and the tests out of the settings."""
    if _qt() is not None:
        from qtpy.QtCore import QSettings

        folder = str(tmp_path_factory.mktemp("settings"))
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder)


@pytest.fixture(autouse=True)
def no_widgets_or_files_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail a test that leaves a window, an open file of its own, or a new file in the current folder behind.

    Threads, processes and slots: `tests.conftest.nothing_left_behind`.
    """
    # Wrappers, not ids: what is held cannot be taken for what comes after it.
    widgets, here = _top_level_widgets(), set(Path.cwd().iterdir())
    yield
    until = time.monotonic() + _LEAVE_S
    while (left := _left(widgets, tmp_path_factory.getbasetemp())) and time.monotonic() < until:
        gc.collect()
        threading.Event().wait(0.01)
    left += [f"file {path}" for path in set(Path.cwd().iterdir()) - here if path.name != ".pytest_cache"]
    assert not left, f"left behind: {', '.join(sorted(left))}"


def _left(widgets: list[Any], folder: Path) -> list[str]:
    left = [widget for widget in _top_level_widgets() if widget not in widgets]
    names = [f"widget {widget!r}" for widget in left if widget.metaObject().className() != _OF_QT]
    files = [file.path for file in psutil.Process().open_files() if Path(file.path).is_relative_to(folder)]
    return names + [f"open file {path}" for path in files]


def _top_level_widgets() -> list[Any]:  # Any: widgets, which have no types here
    """Return the windows that are there after all that was to be deleted is deleted; none where Qt is not in use."""
    qt = _qt()
    app = qt.QApplication.instance() if qt is not None else None
    if qt is None or app is None:
        return []
    from qtpy.QtCore import QEvent

    app.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    app.processEvents()
    return list(app.topLevelWidgets())


def _qt() -> Any:  # Any: a module without types
    return sys.modules.get("qtpy.QtWidgets")
