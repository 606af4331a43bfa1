"""What ``livestain build-engine`` shows: phases while it builds, files, and what a frame will cost."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from livestain.cli.options import tell

if TYPE_CHECKING:
    from livestain.engine.cache import EngineCache, EngineFile
    from livestain.engine.cost import FrameCost
    from livestain.engine.protocol import Precision

PRECISIONS: dict[Precision, str] = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "int8": "int8"}
"""Precisions as engines call them, and as most people write them."""

_HEADINGS = ("backend", "kind", "precision", "for", "frames", "MiB", "built", "gate")
_MIB = 1 << 20
_WIDE = 200


class Phases:
    """Shows the phase that a library is in: a line that changes on a terminal, else a line for each phase."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._status = console.status("") if console.is_terminal else None
        self._last = ""

    def __enter__(self) -> Phases:
        if self._status is not None:
            with suppress(OSError):
                self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            with suppress(OSError):
                self._status.stop()

    def __call__(self, phase: str, elapsed_s: float) -> None:
        """Show a phase and the time since the start."""
        if self._status is not None:
            with suppress(OSError):
                self._status.update(Text(f"{elapsed_s:5.1f} s  {phase}"))
        elif phase != self._last:
            self._last = phase
            tell(f"{elapsed_s:5.1f} s  {phase}")


def show_files(cache: EngineCache) -> None:
    """Print a table of all compiled files on stdout."""
    files = cache.files()
    if not files:
        tell(f"nothing is compiled in {cache.folder}")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in _HEADINGS:
        table.add_column(heading, justify="right" if heading == "MiB" else "left")
    for file in files:
        table.add_row(*_row(file))
    tell(f"compiled in {cache.folder}")
    # Never cut: a narrow terminal wraps the lines, a pipe gets them whole.
    width = max(_WIDE, Console().width)
    Console(highlight=False, markup=False, width=width).print(table, soft_wrap=True)


def cost_words(cost: FrameCost, size: tuple[int, int]) -> str:
    """Return in one line what a frame costs; traffic and memory are bounds from above, since libraries fuse steps."""
    return (
        f"a frame of {px_words(size)}: {cost.flops / 1e9:.3g} GFLOP, {mib(cost.wire_bytes)} to the device and back, "
        f"at most {mib(cost.memory_bytes)} moved on it, at most {mib(cost.activation_bytes)} of memory for activations"
    )


def file_words(file: EngineFile, *, new: bool) -> str:
    """Return in one line what a file is."""
    size = mib(file.path.stat().st_size)
    seconds = file.notes.get("seconds")
    how = f"built in {seconds:.1f} s" if new and seconds is not None else "there already: kept (--force builds it anew)"
    facts = file.facts
    return f"{_targets(facts)}, {_sizes(facts)}: {size}, {how}"


def px_words(size: tuple[int, int]) -> str:
    """Return a size (Y, X) in words."""
    return f"{size[0]} x {size[1]} px"


def mib(size: float) -> str:
    """Return bytes in words."""
    return f"{size / _MIB:.3g} MiB" if size < 1000 * _MIB else f"{size / 2**30:.3g} GiB"


def _row(file: EngineFile) -> tuple[str, ...]:
    facts = file.facts
    size = f"{file.path.stat().st_size / _MIB:.1f}"
    built = datetime.fromtimestamp(file.notes.get("built", file.path.stat().st_mtime))
    return (
        f"{facts.get('module', facts.get('backend', ''))} {str(facts.get('version', '')).split('-')[0]}".strip(),
        str(facts.get("kind", "")),
        PRECISIONS.get(facts.get("precision", ""), ""),
        _targets(facts),
        _sizes(facts),
        size,
        built.strftime("%Y-%m-%d %H:%M"),
        _gate(file.notes),
    )


def _targets(facts: Mapping[str, Any]) -> str:
    targets = facts.get("targets", facts.get("device", [""])[:1])
    return " ".join(targets) if all(name.startswith("SM") for name in targets) else ", ".join(targets)


def _sizes(facts: Mapping[str, Any]) -> str:
    """Return the frame sizes of a file: one, or from the smallest to the largest."""
    sizes = facts.get("shapes", [facts["shape"]] if "shape" in facts else [])
    words = [f"{size[0]}x{size[1]}" for size in sizes]
    text = f"{words[0]} to {words[-1]}" if len(set(words)) > 1 else "".join(words[:1])
    return f"{text} {facts.get('bit', '')}".strip()


def _gate(notes: Mapping[str, Any]) -> str:
    gate = notes.get("gate", "")
    if gate is None:
        return "not yet run"
    if not gate:
        return ""
    return f"{'passed' if gate['passed'] else 'FAILED'}, {gate['bright_rms']:.2%}"
