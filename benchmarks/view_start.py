"""Run a command of livestain and print, as one JSON line on stderr, when its window and its first picture were there.

    python benchmarks/view_start.py BEGAN demo --frames 20 ...

BEGAN is the time (``time.time()``) at which this process was started. The run is stopped after the first picture.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

HEAVY = ("pymmcore_plus", "tensorstore", "openvino", "torch", "onnx", "scipy", "pyqtgraph")


def main(began_s: float, command: list[str]) -> int:
    import livestain.view.app as app

    found: dict[str, Any] = {}
    plain = app.run_with_window

    def observed(work: Any) -> int:
        from livestain.view import shell

        observe(shell, found, began_s)
        return plain(work)

    app.run_with_window = observed
    from livestain.cli import main as livestain

    sys.argv[1:] = command
    try:
        livestain()
    finally:
        print(json.dumps(found), file=sys.stderr)
    return 0


def observe(shell: Any, found: dict[str, Any], began_s: float) -> None:
    """Note when the starting window was painted, and when the first picture was."""
    from qtpy.QtCore import Qt

    class Starting(shell.StartingWindow):  # type: ignore[misc]  # found when it runs
        def paintEvent(self, event: object) -> None:  # noqa: N802
            super().paintEvent(event)
            if "window_s" not in found:
                found["window_s"] = time.time() - began_s
                found["heavy"] = [name for name in HEAVY if imported(name)]

    plain = shell.Shell._open

    def opened(self: Any, session: Any) -> None:
        plain(self, session)
        window = self._window

        def note(picture: Any) -> None:
            if "picture_s" not in found:
                found["picture_s"] = time.time() - began_s
            if "stained_s" not in found and not any(picture.states):
                found["stained_s"] = time.time() - began_s
                window.stop_asked.emit()
                window.finish("measured", "plain")
                window.close()

        window.canvas.painted.connect(note, Qt.ConnectionType.QueuedConnection)

    shell.StartingWindow, shell.Shell._open = Starting, opened


def imported(name: str) -> bool:
    """Whether the import of a module has ended."""
    module = sys.modules.get(name)
    return module is not None and not getattr(module.__spec__, "_initializing", False)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
