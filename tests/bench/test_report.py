"""What a bench says: the sentence about what limits, the doubts, the tables in words."""

from __future__ import annotations

import pytest

from livestain.bench.report import crowd, limiting_engine, limiting_stage, machine_lines, sentences, sheets
from livestain.bench.result import Journey, Table
from tests.bench.results import engine, journey, ms, result, table

FAST = engine("openvino bf16", 12.5, 0.8)
LIMITS: dict[str, tuple[Table, str]] = {
    "near the matrix rate": (
        table(engine("openvino f32", 40.0, 0.9), FAST),
        "512 x 512 px: openvino bf16 takes 12.5 ms a frame (80 frame/s): arithmetic limits, at 80% of the matrix rate "
        "measured here (400 of 500 GFLOP/s).",
    ),
    "far from it": (
        table(engine("openvino bf16", 50.0, 0.2)),
        "512 x 512 px: openvino bf16 takes 50 ms a frame (20 frame/s): not arithmetic limits, at 20% of the matrix "
        "rate measured here (100 of 500 GFLOP/s), but what lies between: memory traffic of the layers would take at "
        "most 20 ms, if caches kept nothing.",
    ),
    "no matrix rate": (
        table(engine("openvino int8", 10.0)),
        "512 x 512 px: openvino int8 takes 10 ms a frame (100 frame/s); its matrix rate was not measured here.",
    ),
    "a graph that does not tell its cost": (
        table(FAST, gflop=None, traffic_gib=None),
        "512 x 512 px: openvino bf16 takes 12.5 ms a frame (80 frame/s); its matrix rate was not measured here.",
    ),
    "beside a recorder": (
        table(FAST, beside="a busy recorder"),
        "512 x 512 px, beside a busy recorder: openvino bf16 takes 12.5 ms a frame (80 frame/s): arithmetic limits, at "
        "80% of the matrix rate measured here (400 of 500 GFLOP/s).",
    ),
}
STAGES: dict[str, tuple[Journey, str]] = {
    "the engine": (
        journey(50, 12.0),
        "512 x 512 px, end to end: the engine limits: 12 of 20 ms a frame, alone at 80% of the matrix rate measured "
        "here.",
    ),
    "the disk": (
        journey(50, 12.0, disk_mib_s=100.0),
        "512 x 512 px, end to end: the disk limits: 15 of 20 ms a frame (1.5 MiB at 100 MiB/s); the engine takes 12 ms",
    ),
    "neither": (
        journey(25, 12.0),
        "512 x 512 px, end to end: no stage limits alone: of 40 ms a frame the engine takes 12 ms, alone at 80% of the "
        "matrix rate measured here, the disk 5 ms; recorder and stainer share the cores.",
    ),
    "an engine that no table has": (
        journey(50, 12.0, engine="onnxruntime f32"),
        "512 x 512 px, end to end: the engine limits: 12 of 20 ms a frame.",
    ),
}


@pytest.mark.parametrize(("measured", "sentence"), LIMITS.values(), ids=LIMITS.keys())
def test_one_sentence_says_what_limits_the_fastest_engine(measured: Table, sentence: str) -> None:
    assert limiting_engine(measured) == sentence


@pytest.mark.parametrize(("travelled", "sentence"), STAGES.values(), ids=STAGES.keys())
def test_one_sentence_says_which_stage_limits(travelled: Journey, sentence: str) -> None:
    assert limiting_stage(travelled, table(FAST)).startswith(sentence)


@pytest.mark.parametrize(("slowdown", "said"), [(None, False), (1.05, False), (1.3, True)])
def test_a_machine_that_slowed_down_is_said_to_have(slowdown: float | None, said: bool) -> None:
    found = sentences([table(engine("openvino bf16", 12.5, 0.8, slowdown=slowdown))], [])
    assert any("openvino bf16 by 30%: the processor was throttled" in text for text in found) == said
    assert len(found) == 1 + said


@pytest.mark.parametrize(("load", "said"), [(0.0, False), (0.9, False), (1.0, True), (7.5, True)])
def test_a_machine_that_is_busy_before_the_start_is_said_to_be(load: float, said: bool) -> None:
    assert [f"load {load:g} on 2 cores" in text for text in crowd(load, 2)] == [True] * said


def test_sheets_hold_every_row_its_parts_and_what_is_missing() -> None:
    parts = {"upload": ms(1), "run": ms(2)}
    measured = table(engine("tensorrt f16", 4.0, parts_ms=parts), missing={"torch compile f32": "no compiler"})
    alone, travelled = sheets(result(measured, journeys=(journey(50, 12.0),)))
    assert alone.title == "Engines alone, in turns: 512 x 512 px"
    assert [row[0] for row in alone.rows] == [
        "tensorrt f16", "  upload", "  run", "matrix rate, openvino bf16", "memory copy",
    ]  # fmt: skip
    assert alone.rows[0] == ("tensorrt f16", "4.00", "8.00", "12.00", "16.00", "10", "250 frame/s", "", "8.0")
    assert alone.notes[0] == "not measured: torch compile f32: no compiler"
    assert [row[0] for row in travelled.rows] == ["slot", "engine"]
    assert travelled.notes[0] == "not measured: screen: no Qt is installed"
    assert "sustained 50.0 frame/s to durable stains with openvino bf16, over 9 frames" in travelled.notes[1]
    for sheet in (alone, travelled):
        assert {len(row) for row in sheet.rows} == {len(sheet.headings)}


def test_a_largest_value_that_is_not_known_is_a_dash() -> None:
    spread = {name: value for name, value in ms(5).items() if name != "max_ms"}
    (sheet,) = sheets(result(journeys=(journey(50, 12.0, stages_ms={"durable store": spread}),)))
    assert sheet.rows == [("durable store", "5.00", "10.00", "15.00", "-", "10")]


def test_only_what_is_installed_is_named_with_its_version() -> None:
    text = "\n".join(machine_lines(result()))
    assert "numpy 2.0; abc" in text
    assert "torch" not in text
