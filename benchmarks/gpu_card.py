"""The card as its driver tells it: clocks, temperature, memory in use, and what held the clocks down."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Row = dict[str, Any]

_TOOL = "nvidia-smi"
_ASKED = (
    "name", "driver_version", "memory.used", "memory.total", "clocks.sm", "clocks.max.sm", "clocks.mem",
    "temperature.gpu", "power.draw", "pcie.link.gen.current", "pcie.link.width.current",
)  # fmt: skip
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""The same by its new name and by the one that older drivers know."""

_EVERY_MS = 500
HELD_DOWN = {
    0x4: "power limit",
    0x8: "hardware slowdown",
    0x20: "too warm (driver)",
    0x40: "too warm (hardware)",
    0x80: "power supply",
}
"""Bits of the driver's reasons that say that a card was slower than it could be; the others say that it was idle."""


def card_state() -> Row:
    """Return what the driver says now; why not, where it says nothing."""
    tool = shutil.which(_TOOL)
    if tool is None:
        return {_TOOL: "not there"}
    said = ""
    for reasons in _REASONS:
        try:
            asked = subprocess.run(_command(tool, reasons), capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.SubprocessError) as error:
            return {_TOOL: str(error)}
        for state in _states(asked.stdout.splitlines()):
            return {**state, "reasons by": reasons}
        said = asked.stdout + asked.stderr
    return {_TOOL: " ".join(said.split())[:200]}


@contextmanager
def watched(folder: Path, before: Row) -> Iterator[Row]:
    """Yield a row that says, after the block, how the card ran meanwhile; empty where nobody tells.

    ``before`` is what `card_state` returned.
    """
    found: Row = {}
    tool, reasons = shutil.which(_TOOL), before.get("reasons by")
    if tool is None or reasons is None:
        yield found
        return
    path = folder / "card.csv"
    command = [*_command(tool, reasons), f"--loop-ms={_EVERY_MS}"]
    with path.open("w", encoding="utf-8") as file:
        watcher = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
        try:
            yield found
        finally:
            watcher.terminate()
            watcher.wait()
    found.update(summarise(path.read_text("utf-8").splitlines()))


def summarise(lines: Sequence[str]) -> Row:
    """Return the range of clocks, the highest temperature and memory, and what held the clocks down, of many lines."""
    states = list(_states(lines))
    if not states:
        return {}
    reasons = 0
    for state in states:
        reasons |= _number(state["reasons"])
    clocks = [_number(state["clocks.sm"]) for state in states]
    return {
        "sm_mhz": [min(clocks), max(clocks)],
        "temperature_c": max(_number(state["temperature.gpu"]) for state in states),
        "memory_used_mib": max(_number(state["memory.used"]) for state in states),
        "held_down_by": [words for bit, words in HELD_DOWN.items() if reasons & bit],
        "n": len(states),
    }


def _command(tool: str, reasons: str) -> list[str]:
    return [tool, f"--query-gpu={','.join((*_ASKED, reasons))}", "--format=csv,noheader", "--id=0"]


def _states(lines: Sequence[str]) -> Iterator[Row]:
    for line in lines:
        values = [each.strip() for each in line.split(",")]
        if len(values) == len(_ASKED) + 1:  # the last line may be half a one
            yield dict(zip((*_ASKED, "reasons"), values, strict=True))


def _number(text: str) -> int:
    """``"1980 MHz"`` -> 1980, ``"0x0000000000000004"`` -> 4, ``"[N/A]"`` -> 0."""
    first = text.split()[0] if text else ""
    try:
        return int(first, 0)
    except ValueError:
        return 0
