"""The live table on stderr; plain lines where there is no terminal."""

from __future__ import annotations

import time
from contextlib import suppress
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from livestain.session.session import Session
from livestain.session.status import Status

_PLAIN_EVERY_S = 2.0
_STAGES = {
    "saved": "receipt to disk",
    "queued": "receipt to engine",
    "engine": "engine",
    "total": "receipt to result",
}


class _Terminal(Console):
    """Says nothing more once nobody reads it (such as ``livestain ... | head``): rich would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Display:
    """Shows a session's status while it works; used by one thread. A terminal that is gone ends nothing."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._console = _Terminal(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._plain_s = 0.0
        self._warned = 0

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            with suppress(OSError):
                self._live.update(_table(self._session.status), refresh=True)
                self._live.stop()

    def update(self) -> None:
        """Show the status as it is now."""
        status = self._session.status
        for warning in status.warnings[self._warned :]:
            self.say(f"warning: {warning}")
        self._warned = len(status.warnings)
        if self._live is not None:
            with suppress(OSError):
                self._live.update(_table(status), refresh=True)
        elif time.monotonic() - self._plain_s >= _PLAIN_EVERY_S:
            self._plain_s = time.monotonic()
            self.say(plain_line(status))

    def say(self, text: str) -> None:
        """Print a line beside the table."""
        with suppress(OSError):
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def plain_line(status: Status) -> str:
    """Return the status as one line."""
    c = status.counters
    total = status.latency_ms.get("total")
    parts = [
        f"{status.state}: received {c.received}, saved {c.saved}, failed {c.failed}, waiting {c.waiting}",
        f"live {c.live}, late {c.late}, skipped {c.skipped}, unstained {c.unstained}, behind {c.behind}",
    ]
    if status.frames_per_s is not None and status.state == "recording":
        parts.append(f"{status.frames_per_s:.1f} frame/s")
    if total:
        parts.append(f"to result p50 {total[0]:.0f} ms")
    if c.behind and status.debt_s:
        parts.append(f"about {status.debt_s:.0f} s behind")
    return " | ".join(parts)


def _table(status: Status) -> Table:
    c = status.counters
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", min_width=10)
    table.add_column()
    loss = "red" if c.failed or c.unstained else ""
    table.add_row("state", status.state)
    table.add_row(
        "recorded",
        f"received {c.received}   saved {c.saved}   failed {c.failed}   waiting {c.waiting}",
        style="red" if c.failed else None,
    )
    debt = f"   about {status.debt_s:.0f} s" if c.behind and status.debt_s else ""
    table.add_row(
        "stained",
        f"live {c.live}   late {c.late}   skipped {c.skipped}   unstained {c.unstained}   behind {c.behind}{debt}",
        style=loss or None,
    )
    table.add_row("rate", f"{_rate(status.frames_per_s)} frame/s   {_rate(status.stains_per_s)} stain/s")
    for stage, words in _STAGES.items():
        if stage in status.latency_ms:
            p50, p95, p99 = status.latency_ms[stage]
            table.add_row(words, f"p50 {p50:.1f}   p95 {p95:.1f}   p99 {p99:.1f} ms")
    disk = "" if status.disk_free_gib is None else f"   disk free {status.disk_free_gib:.1f} GiB"
    left = "" if not status.disk_left_s else f" ({status.disk_left_s / 3600:.1f} h at this rate)"
    table.add_row("memory", f"{status.memory_mib:.0f} MiB{disk}{left}")
    engine = status.engine
    text = f"{engine['backend']} {engine['precision']}, {engine['device']}" if engine else "starting"
    table.add_row("engine", text)
    return table


def _rate(per_s: float | None) -> str:
    return "–" if per_s is None else f"{per_s:.1f}"
