"""The parts around the picture: readings, status dock, bars, log, sheets."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QLabel

from livestain.frames import InputCheck
from livestain.model.card import ContrastRange
from livestain.session.status import Counters, Status
from livestain.view import log_dock
from livestain.view.bars import Bars
from livestain.view.log_dock import LogDock
from livestain.view.picture import LayerInfo
from livestain.view.readings import (
    Level,
    age_text,
    counter_readings,
    cursor_texts,
    disk_reading,
    engine_readings,
    finished_text,
    input_readings,
    latency_text,
    loss_text,
    speed_readings,
    state_reading,
)
from livestain.view.sheets import shortcuts_html
from livestain.view.status_bar import StatusFields
from livestain.view.status_dock import StatusDock
from tests.view.doubles import LAYERS, RECORDING

KNOWN = ContrastRange(constant=0.3, sd=(0.1, 0.3), saturated_max=0.02, gain=(0.5, 2.0))

CHECKS: dict[str, tuple[InputCheck, list[tuple[Level, str]]]] = {
    "as in training": (InputCheck(0.2, 0.01, 1.0), [("good", ""), ("good", ""), ("good", "")]),
    "at the edges": (InputCheck(0.1, 0.02, 2.0), [("good", ""), ("good", ""), ("good", "")]),
    "no contrast": (InputCheck(0.05, 0.0, 1.0), [("amber", "blurred or out of focus?"), ("good", ""), ("good", "")]),
    "much contrast": (InputCheck(0.5, 0.0, 1.0), [("amber", "other sample or optics?"), ("good", ""), ("good", "")]),
    "clipped": (InputCheck(0.2, 0.1, 1.0), [("good", ""), ("amber", "too bright or too dense?"), ("good", "")]),
    "dark": (InputCheck(0.2, 0.0, 0.4), [("good", ""), ("good", ""), ("amber", "lamp or exposure changed?")]),
}


@pytest.mark.parametrize(("check", "expected"), CHECKS.values(), ids=CHECKS.keys())
def test_the_input_is_judged_by_the_range_of_training(check: InputCheck, expected: list[tuple[Level, str]]) -> None:
    readings = input_readings(check, KNOWN)
    assert [reading.name for reading in readings] == ["contrast", "saturation", "gain"]
    for reading, (level, reason) in zip(readings, expected, strict=True):
        assert reading.level == level
        assert reading.reason == reason if level == "amber" else reading.reason.startswith("training:")


@pytest.mark.parametrize(("check", "known"), [(None, KNOWN), (InputCheck(0.2, 0.0, 1.0), None)])
def test_an_input_that_nobody_judged_is_neither_good_nor_bad(
    check: InputCheck | None, known: ContrastRange | None
) -> None:
    assert {(reading.value, reading.level) for reading in input_readings(check, known)} == {("–", "plain")}


LOSSES = {
    "none": (Counters(received=5, saved=5, labelfree=5, live=5), False, ""),
    "behind, but it goes on": (Counters(received=5, saved=5, labelfree=5, live=3, behind=2), False, ""),
    "behind at the end": (
        Counters(received=5, saved=5, labelfree=5, live=3, behind=2), True, "LOSS: 2 recorded frames without a stain",
    ),
    "one not recorded": (Counters(received=5, saved=4, failed=1), False, "LOSS: 1 frame not recorded"),
    "left out by choice": (Counters(received=5, saved=5, labelfree=5, skipped=5), True, ""),
}  # fmt: skip


@pytest.mark.parametrize(("counters", "closed", "text"), LOSSES.values(), ids=LOSSES.keys())
def test_loss_is_named_in_words_and_red(counters: Counters, closed: bool, text: str) -> None:
    assert loss_text(counters, closed=closed) == text
    red = [reading.name for reading in counter_readings(counters, closed=closed) if reading.level == "red"]
    assert bool(red) == bool(text)


def test_the_counters_are_those_of_the_session_in_their_order() -> None:
    readings = counter_readings(RECORDING.counters, closed=False)
    assert " ".join(f"{r.name} {r.value}" for r in readings) == (
        "received 12 saved 11 failed 0 waiting 1 label-free 11 live 8 late 2 skipped 0 unstained 0 behind 1"
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "recording"),
        ({"run": ""}, "live, not recorded"),
        ({"state": "finishing"}, "staining the rest"),
        ({"state": "closed"}, "finished"),
        ({"state": "waiting"}, "waiting"),
    ],
)
def test_the_recording_light_has_a_word(changes: dict[str, str], word: str) -> None:
    assert state_reading(replace(RECORDING, **changes)).value == word  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("age_ms", "text"),
    [(None, "–"), (float("nan"), "–"), (83.4, "83 ms"), (9999, "9999 ms"), (15_000, "15 s"), (7_200_000, "120 min")],
)
def test_an_age_is_told_in_the_unit_that_fits(age_ms: float | None, text: str) -> None:
    assert age_text(age_ms) == text


@pytest.mark.parametrize(
    ("changes", "text", "level"),
    [
        ({}, "2.0 h left", "plain"),
        ({"disk_left_s": 1800.0}, "0.5 h left", "amber"),
        ({"disk_left_s": 1e7}, "over 100 h left", "plain"),
        ({"disk_left_s": None}, "100.0 GiB", "plain"),
        ({"disk_free_gib": None}, "–", "plain"),
    ],
)
def test_the_disk_is_told_in_hours_where_the_rate_is_known(
    changes: dict[str, float | None], text: str, level: Level
) -> None:
    reading = disk_reading(replace(RECORDING, **changes))  # type: ignore[arg-type]
    assert (reading.value, reading.level) == (text, level)


def test_a_finished_run_has_no_age_and_its_mean_rate() -> None:
    closed = replace(RECORDING, state="closed", mean_frames_per_s=4.5)
    values = {reading.name: reading.value for reading in speed_readings(closed, 1e6)}
    assert (values["mean frame/s"], values["frame age"]) == ("4.5", "–")


@pytest.mark.parametrize("state", ["waiting", "recording", "closed"])
def test_a_rate_that_was_not_measured_is_not_told_as_nought(state: str) -> None:
    values = {reading.name: reading.value for reading in speed_readings(Status(state=state), None)}
    assert values["mean frame/s" if state == "closed" else "frame/s"] == "–"


ENDS: dict[str, tuple[tuple[Status, ...], Exception | None, str, Level]] = {
    "well": (
        (Status(run="A", counters=Counters(received=5, saved=5, labelfree=5, live=3, late=2)),), None,
        "Finished: 5 of 5 frames saved, 5 stained; nothing lost; A", "good",
    ),
    "two runs, one with loss": (
        (Status(run="A", counters=Counters(received=5, saved=5, labelfree=5, live=5)),
         Status(run="B", counters=Counters(received=5, saved=4, failed=1, labelfree=4, live=4))), None,
        "Finished: 9 of 10 frames saved, 9 stained; LOSS: 1 frame not recorded; A; B", "red",
    ),
    "stopped before the plan was done": (
        (Status(run="A", planned=200, counters=Counters(received=41, saved=41, labelfree=41, live=41)),), None,
        "Stopped: 41 of 200 planned frames saved, 41 stained; nothing lost; A", "amber",
    ),
    "by an error": ((), RuntimeError("no camera"),
        "Ended by an error: no camera. 0 of 0 frames saved, 0 stained; nothing lost", "red"),
}  # fmt: skip


@pytest.mark.parametrize(("reports", "error", "text", "level"), ENDS.values(), ids=ENDS.keys())
def test_the_end_is_told_with_what_was_saved_and_lost(
    reports: tuple[Status, ...], error: Exception | None, text: str, level: Level
) -> None:
    assert finished_text(reports, error) == (text, level)


def test_a_run_without_a_plan_that_was_stopped_is_not_said_to_be_finished() -> None:
    report = Status(run="A", counters=Counters(received=5, saved=5, labelfree=5, live=5))
    text, level = finished_text((report,), None, stopped=True)
    assert (text, level) == ("Stopped: 5 of 5 frames saved, 5 stained; nothing lost; A", "amber")


@pytest.mark.parametrize(
    ("live", "line"),
    [(1, "latency p50 80 ms of 1"), (19, "latency p50 80 ms of 19"), (20, "latency p50 80  p99 120 ms")],
)
def test_the_slowest_of_a_hundred_is_not_told_of_a_few_stains(live: int, line: str) -> None:
    assert latency_text(replace(RECORDING, counters=Counters(live=live))) == line
    assert not latency_text(Status())


MANY = (*LAYERS[:2], *(LayerInfo(f"a stain with a long name {i}", "virtual", "00E676") for i in range(3)))


@pytest.mark.parametrize(
    ("layers", "width"), [(LAYERS, 760), (LAYERS, 1060), (LAYERS, 1280), (MANY, 1280), (MANY, 2560)]
)
def test_numbers_under_the_cursor_are_never_cut(layers: Sequence[LayerInfo], width: int, qtbot: QtBot) -> None:
    fields = StatusFields()
    qtbot.addWidget(fields)
    fields.resize(width, 24)
    with qtbot.waitExposed(fields):
        fields.show()
    values = [65535 - i for i in range(len(layers))]
    fields.show_cursor(cursor_texts(1023, 1023, values, layers, 0.325))
    text = fields.values["cursor"]
    label = next(label for label in fields.findChildren(QLabel) if label.text() == text)
    assert label.fontMetrics().horizontalAdvance(text) <= label.width()
    assert all(str(value) in text for value in values)
    assert all(info.name in label.toolTip() for info in layers[1:])


def test_what_is_true_no_more_leaves_the_bars(qtbot: QtBot) -> None:
    bars = Bars()
    qtbot.addWidget(bars)
    bars.tell("stopping")
    bars.tell("Stopped")
    bars.take_back("stopping")
    assert bars.texts == ("Stopped",)


def test_the_status_dock_keeps_its_width_whatever_is_said(qtbot: QtBot) -> None:
    dock = StatusDock("a caution " * 20, KNOWN)
    qtbot.addWidget(dock)
    dock.resize(300, 400)
    dock.show()
    model = "a-very-long-model-name-" * 5
    millions = Counters(*[9_999_999] * 10)
    dock.show_status(replace(RECORDING, model=model, counters=millions, input=InputCheck(0.01, 0.9, 9.0)), 1e6)
    qtbot.waitUntil(lambda: dock.readings["received"] == "9999999")
    assert dock.width() <= 340
    assert dock.doubt.count("▲") == 3
    assert dock.trust.isHidden()


@pytest.mark.parametrize(
    ("changes", "engine"),
    [({}, "warming up"), ({"staining": False}, "–"), ({"state": "closed"}, "–"), ({"state": "waiting"}, "warming up")],
)
def test_an_engine_that_will_not_come_is_not_said_to_warm_up(changes: dict[str, object], engine: str) -> None:
    status = replace(RECORDING, engine={}, **changes)  # type: ignore[arg-type]
    assert {reading.name: reading.value for reading in engine_readings(status)}["Engine"] == engine


def test_the_input_check_says_nothing_of_frames_that_are_not_stained(qtbot: QtBot) -> None:
    dock = StatusDock("", KNOWN)
    qtbot.addWidget(dock)
    blurred = replace(RECORDING, input=InputCheck(0.01, 0.0, 1.0))
    dock.show_status(blurred, None)
    assert "contrast" in dock.doubt
    dock.show_status(replace(blurred, staining=False), None)
    assert (dock.readings["contrast"], dock.doubt) == ("–", "")


def test_a_run_from_disk_says_where_it_comes_from_and_what_became_of_its_frames(qtbot: QtBot) -> None:
    dock = StatusDock("", None)
    qtbot.addWidget(dock)
    dock.show()
    facts = {"Run": "r", "Source": "replay of a.tif", "Model": "m", "Engine": "openvino, bf16", "Weights": "12"}
    dock.show_recorded(None, facts)
    assert {dock.readings[name] for name in ("Source", "Model", "Engine")} == {"replay of a.tif", "m", "openvino, bf16"}
    shown = [label.text() for label in dock.findChildren(QLabel) if label.isVisible()]
    assert "contrast" not in shown
    assert "12" not in shown
    assert "received" not in shown
    dock.show_recorded(InputCheck(0.2, 0.0, 1.0), facts, Counters(received=5, saved=5, labelfree=5, live=3, behind=2))
    assert (dock.readings["received"], dock.readings["behind"], dock.loss) == ("5", "2", "")
    dock.show_recorded(None, facts, Counters(received=5, saved=5, labelfree=5, live=3, behind=2), closed=True)
    assert dock.loss == "LOSS: 2 recorded frames without a stain"
    dock.show_recorded(InputCheck(0.2, 0.0, 1.0), facts)
    assert "contrast" in [label.text() for label in dock.findChildren(QLabel) if label.isVisible()]


def test_bars_are_three_at_most_and_say_how_many_more_there_are(qtbot: QtBot) -> None:
    bars = Bars()
    qtbot.addWidget(bars)
    assert bars.isHidden()
    for k in range(5):
        bars.tell(f"matter {'abcde'[k]}")
    bars.tell("ended by an error", "red")
    assert bars.texts == ("ended by an error", "matter e", "matter d")
    assert bars._more.text() == "3 more: open the log"
    with qtbot.waitSignal(bars.log_asked):
        bars._more.click()
    for _ in range(3):
        bars._bars[0].dismissed.emit(bars._bars[0].text)
    assert bars.texts == ("matter c", "matter b", "matter a")
    bars.set_most(1)
    assert list(bars.texts) == ["matter c"]


def test_bars_keep_a_bounded_number_of_matters(qtbot: QtBot) -> None:
    bars = Bars()
    qtbot.addWidget(bars)
    for k in range(1000):
        bars.tell(f"matter {k}")
    assert len(bars._matters) == 100


def log_much(logger: logging.Logger) -> None:
    for k in range(500):
        logger.info("line %d", k)


def test_the_log_holds_its_last_thousand_lines_from_every_thread(qtbot: QtBot) -> None:
    dock = LogDock()
    qtbot.addWidget(dock)
    logger = logging.getLogger("livestain.somewhere")
    logger.setLevel(logging.INFO)
    try:
        threads = [threading.Thread(target=log_much, args=(logger,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        logger.warning("the last")
        dock.show()
        assert len(dock.text.splitlines()) == log_dock.LINES
        assert dock.text.endswith("warning: the last")
        dock.release()
        logger.info("too late")
        dock._bring()
        assert "too late" not in dock.text
    finally:
        logger.setLevel(logging.NOTSET)


def test_the_log_of_a_recorded_run_comes_first(qtbot: QtBot, tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_text("".join(f"line {k}\n" for k in range(3000)))
    dock = LogDock(file=file)
    qtbot.addWidget(dock)
    dock.show()
    assert dock.text.splitlines() == [f"line {k}" for k in range(2000, 3000)]
    dock.release()
    gone = LogDock(file=tmp_path / "none.txt")
    qtbot.addWidget(gone)
    gone.show()
    assert "could not be read" in gone.text
    gone.release()


def test_the_shortcut_sheet_names_the_keys_there_are() -> None:
    for words in ("Hold B", "Ctrl+L", "Space", "Wheel"):
        assert words in shortcuts_html({"alone", "log", "freeze"})
    assert "Ctrl+L" not in shortcuts_html({"alone"})
