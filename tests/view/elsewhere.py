"""A window on screens that the tests do not have; `test_bad_days` runs it in a process of its own.

``python -m tests.view.elsewhere RUN SETTINGS`` opens a run where the last window was, takes it to every screen from
the first to the last, back to the first, as Qt does when a screen is taken away, and closes it on the last. It prints
what was seen.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

LIMIT_S = 60.0


def main(run: Path, file: Path) -> dict[str, object]:
    from qtpy.QtCore import QLocale, QSettings
    from qtpy.QtWidgets import QApplication, QLabel

    from livestain.view.recorded import RunFeed
    from livestain.view.shell import application
    from livestain.view.window import Window

    system = QLocale.system().name()
    app = application()
    window = Window(RunFeed(run), run=run, settings=QSettings(str(file), QSettings.Format.IniFormat))
    window.show()
    timeline = window.timeline
    assert timeline is not None
    wait(lambda: "0:00:03" in timeline.place_label.text())  # its ledgers are read
    screens = QApplication.screens()
    in_sight = any(screen.geometry().contains(window.geometry().center()) for screen in screens)
    looks = []
    for screen in (*screens, screens[0], screens[-1]):
        window.windowHandle().setScreen(screen)
        window.setGeometry(screen.geometry())
        looks.append(look(window))
    texts = [label.text() for label in window.findChildren(QLabel) if label.isVisible()]
    window.close()
    del app
    return {"system": system, "in sight": in_sight, "looks": looks, "texts": texts}


def look(window: object) -> dict[str, object]:
    """Wait until all is drawn; return what is there."""
    from livestain.view.window import Window
    from tests.view.pictures import AMBER, pixels

    assert isinstance(window, Window)
    canvas, plot = window.canvas, window.layers.cards[1].plot
    wait(lambda: canvas.zoom > 0 and plot.span is not None)
    image = canvas.grab().toImage()
    amber = np.all(pixels(image) == AMBER, axis=-1)
    return {
        "screen": window.screen().name(),
        "surface": window.windowHandle().surfaceType().name,
        "ratio": canvas.devicePixelRatioF(),
        "canvas": [canvas.width(), canvas.height()],
        "pixels": [image.width(), image.height()],
        "zoom": canvas.zoom,
        "mark": [int(np.ptp(places)) for places in np.nonzero(amber)],
    }


def wait(condition: Callable[[], bool]) -> None:
    from qtpy.QtWidgets import QApplication

    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until, f"waited {LIMIT_S:g} s in vain"
        QApplication.processEvents()
    QApplication.processEvents()


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
