"""Write docs/numbers.md: every measured table, by machine, out of the files in benchmarks/results.

    python benchmarks/numbers_page.py

Three kinds of files: reports of the scripts beside this one, what `livestain bench --json FILE` writes, and
``gpu_check.json``. Files of another form (what recipes reach) have pages of their own.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from livestain.bench.report import sheets
from livestain.bench.result import read_result

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "numbers.md"
INTRO = """# Numbers

What a lab can expect, in one table: [README](../README.md#numbers). This page is for those who doubt it, one section
for each script. No GPU was measured.

Every table is what a command printed; the command stands above it, with the day, the commit and the load of the
machine. This page is the output of `python benchmarks/numbers_page.py` from the files in `benchmarks/results/`: it is
written, not edited. What the training methods reach on real cells: [`recipes.md`](recipes.md). What engines are and
what was never run: [`engines.md`](engines.md).

A load above the number of cores means that other programs had their share: what is a ratio of turns holds, what is a
time alone would be shorter. Measure your own machine: `livestain bench --end-to-end`.
"""

Document = dict[str, Any]


def main() -> None:
    PAGE.write_text(page(HERE / "results"), encoding="utf-8", newline="\n")
    print(f"wrote docs/{PAGE.name}")


def page(folder: Path) -> str:
    """Return the page for the result files of a folder."""
    by_machine: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text("utf-8"))
        if "steps" in found:
            by_machine[found["device"]].append(gpu_section(found))
        elif "tables" in found:
            by_machine[machine_words(found["machine"])].append(bench_section(found, path.name))
        elif "numbers" in found:
            by_machine[machine_words(found["machine"])].append(report_section(found))
    parts = [INTRO]
    for machine, sections in by_machine.items():
        parts += [f"## {machine}\n", *sections]
    return "\n".join(parts)


def machine_words(facts: Document) -> str:
    """Return what makes two machines the same one."""
    system = str(facts["system"]).split()
    able = [each for each in ("BF16", "INT8") if each in facts["computes in"]]
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['memory GiB']} GiB, {system[0]} {system[-1]}"
        f"{', computes in ' + ' and '.join(able) if able else ''}"
    )


def report_section(found: Document) -> str:
    """One script's report: its rows, and what was promised."""
    settings = {name: value for name, value in found["settings"].items() if value is not None}
    lines = [heading(f"python benchmarks/{found['benchmark']}.py"), circumstances(found), _listed(settings), ""]
    rows = [{"": what, **numbers} for what, numbers in found["numbers"].items()]
    lines += tables(rows)
    if found["checks"]:
        checks = [
            {"promise": each["what"], "measured": each["value"], "allowed": each["allowed"], "met": _yes(each["met"])}
            for each in found["checks"]
        ]
        lines += tables(checks)
    return "\n".join(lines)


def bench_section(found: Document, name: str) -> str:
    """A whole bench: its sentences, its tables."""
    result = read_result(found)
    lines = [heading(f"livestain bench --json {name}"), circumstances(found), _listed(found["settings"]), ""]
    lines += [f"- {sentence}" for sentence in result.said]
    for sheet in sheets(result):
        lines += ["", f"**{sheet.title}**", ""]
        lines += tables([dict(zip(sheet.headings, row, strict=True)) for row in sheet.rows])
        lines += [f"{note}  " for note in sheet.notes]
    return "\n".join([*lines, ""])


def gpu_section(found: Document) -> str:
    """All steps of a card's check, also those that could not be taken."""
    lines = [heading("python benchmarks/gpu_check.py")]
    for name, step in found["steps"].items():
        lines += [f"**{name}**, {step['when']}, {step['seconds']:g} s{_reason(step)}", ""]
        lines += tables(step.get("rows", []))
    return "\n".join(lines)


def heading(command: str) -> str:
    return f"### `{command}`\n"


def circumstances(found: Document) -> str:
    """When, how long, which commit, which load."""
    facts = found["machine"]
    first, last = facts["load at the start"][0], facts["load at the end"][0]
    return (
        f"{found['when']}, {found['seconds']:g} s, {facts['commit']}, Python {facts['python']}; load average over "
        f"1 min {first:g} at the start, {last:g} at the end  "
    )


def tables(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return rows as tables: those that follow each other with the same columns share one."""
    lines = []
    for columns, group in groupby(rows, key=tuple):
        lines += [_line(columns), _line("---" for _ in columns)]
        lines += [_line(_words(row[column]) for column in columns) for row in group]
        lines.append("")
    return lines


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _words(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    if isinstance(value, Mapping):
        return _listed(value)
    return " ".join(str(value).split())


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_words(value)}" for name, value in values.items())


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"


def _reason(step: Document) -> str:
    return f": {' '.join(step['reason'].split())}" if "reason" in step else ""


if __name__ == "__main__":
    main()
