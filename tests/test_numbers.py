"""The page of numbers is what the result files say, nothing else."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from livestain.bench.result import read_result
from tests.bench.results import engine, journey, result, table

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def numbers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("numbers_script", ROOT / "benchmarks" / "numbers_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_written_from_the_results(numbers: ModuleType) -> None:
    page = (ROOT / "docs" / "numbers.md").read_text(encoding="utf-8")
    assert page == numbers.page(ROOT / "benchmarks" / "results"), "python benchmarks/numbers_page.py writes it anew"


def test_a_bench_comes_back_from_its_file_whole() -> None:
    measured = result(table(engine("openvino bf16", 12.5, 0.8)), journeys=(journey(50, 12.0),))
    assert read_result(json.loads(json.dumps(dataclasses.asdict(measured)))) == measured


def test_machines_have_chapters_and_every_kind_of_file_its_section(numbers: ModuleType, tmp_path: Path) -> None:
    machine = {
        "processor": "a processor", "computes in": ["BF16", "FP32"], "cores": 2, "memory GiB": 8,
        "system": "Linux 6.1 x86_64", "python": "3.11.7", "commit": "abc", "load at the start": [0.5, 0, 0],
        "load at the end": [1, 1, 1], "versions": {},
    }  # fmt: skip
    report = {
        "benchmark": "slot", "when": "today", "seconds": 3, "machine": machine,
        "settings": {"frames": 7, "only": None},
        "numbers": {"a": {"ms": 1.23456, "n": 7.0}, "b": {"ms": 20000.4, "n": 7.0}, "c": {"MiB": 5}},
        "checks": [{"what": "a | b", "value": 2.0, "allowed": "<= 1", "met": False}],
    }  # fmt: skip
    bench = dataclasses.asdict(result(table(engine("openvino bf16", 12.5, 0.8)))) | {"machine": machine}
    card = {"device": "a card", "steps": {"limits": {"when": "today", "seconds": 2, "reason": "no\nlibrary"}}}
    for name, document in {"a": report, "b": bench, "c": card, "d": {"runs": []}}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    page = numbers.page(tmp_path)
    assert page.count("\n## ") == 2
    for text in (
        "## a processor, 2 cores, 8 GiB, Linux x86_64, computes in BF16\n",
        "### `python benchmarks/slot.py`\n\ntoday, 3 s, abc, Python 3.11.7; load average over 1 min 0.5 at the start, "
        "1 at the end  \nframes 7\n",
        "|  | ms | n |\n| --- | --- | --- |\n| a | 1.235 | 7 |\n| b | 20000 | 7 |\n\n|  | MiB |\n",
        "| a \\| b | 2 | <= 1 | **no** |",
        "### `livestain bench --json b.json`",
        "| openvino bf16 | 12.50 | 25.00 |",
        "## a card\n",
        "**limits**, today, 2 s: no library\n",
    ):
        assert text in page
