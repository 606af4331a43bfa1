"""What is to be measured, and measuring it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

from livestain.bench.end_to_end import travel
from livestain.bench.engines import measure, open_engines
from livestain.bench.machine import load, machine
from livestain.bench.others import require_rivals
from livestain.bench.recorder import busy_recorder
from livestain.bench.report import crowd, sentences
from livestain.bench.result import Journey, Result, Table
from livestain.errors import UserError
from livestain.frames import MIN_SIDE_PX
from livestain.model import Model
from livestain.settings import Backend, Settings

MAX_SIDE_PX = 4096


class Wanted(Settings):
    """What one bench measures; written whole into its result.

    Attributes
    ----------
    backends
        Libraries; ``"auto"``: the one that a run would take.
    sizes
        Sides of square frames, px.
    frames
        How many stains of each case count, and how many frames a run has.
    end_to_end
        Also from the camera to disk and screen.
    against
        Of `livestain.bench.others.RIVALS`.
    contend
        All of it once more beside a second process that records.
    """

    backends: tuple[Backend, ...] = ("auto",)
    sizes: tuple[int, ...] = (512, 1024, 2048)
    frames: int = 40
    end_to_end: bool = False
    against: tuple[str, ...] = ()
    contend: bool = False


def parse_wanted(backends: str, sizes: str, frames: int, against: str, *, end_to_end: bool, contend: bool) -> Wanted:
    """Return what was asked for in words, lists with commas; `UserError` says what is possible instead."""
    sides = tuple(_side(word) for word in _words(sizes, "--sizes"))
    names = _words(backends, "--backend")
    for name in names:
        if name not in get_args(Backend):
            raise UserError(f"--backend {name} is not possible: {', '.join(get_args(Backend))}")
    if frames < 1:
        raise UserError(f"--frames {frames} is not possible: at least 1")
    rivals = tuple(_words(against, "--against")) if against else ()
    require_rivals(rivals)
    # An engine of ours as well: it is measured as one, at every precision that it has.
    engines = [*names, *(["onnxruntime"] if "onnxruntime" in rivals and "onnxruntime" not in names else [])]
    return Wanted.model_validate(
        {"backends": engines, "sizes": sides, "frames": frames, "against": rivals}
        | {"end_to_end": end_to_end, "contend": contend}
    )


def run(model: Model, wanted: Wanted, folder: Path, say: Callable[[str], None]) -> Result:
    """Measure all of it; blocks for minutes.

    Parameters
    ----------
    model
        From `livestain.model.read_model`.
    wanted
        What to measure.
    folder
        On the disk to be measured; what is recorded there is deleted again.
    say
        Told each step.

    Raises
    ------
    LivestainError
        No engine, or no room.
    """
    before, began, facts = load()[0], time.time(), machine()
    tables: list[Table] = []
    journeys: list[Journey] = []
    with open_engines(model, wanted.backends) as opened:
        for side in wanted.sizes:
            for beside in ("", "a busy recorder") if wanted.contend else ("",):
                with _beside(beside, folder):
                    tables.append(measure(model, opened, side, wanted.frames, wanted.against, beside=beside, say=say))
                    if wanted.end_to_end:
                        journeys.append(
                            travel(model, wanted.backends[0], side, wanted.frames, folder, beside=beside, say=say)
                        )
    return Result(
        when=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        seconds=round(time.time() - began, 1),
        machine={**facts, "load at the end": load()},
        model={"id": model.id, "weights sha256": model.weights_sha256, "stains": list(model.stains)},
        settings=wanted.model_dump(mode="json"),
        tables=tuple(tables),
        journeys=tuple(journeys),
        said=(*sentences(tables, journeys), *crowd(before, os.cpu_count() or 1)),
    )


@contextlib.contextmanager
def _beside(what: str, folder: Path) -> Iterator[None]:
    if not what:
        yield
        return
    with busy_recorder(folder):
        yield


def _words(text: str, option: str) -> list[str]:
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise UserError(f"{option} {text!r} names nothing: give a list with commas")
    return words


def _side(word: str) -> int:
    if not word.isdecimal() or not MIN_SIDE_PX <= int(word) <= MAX_SIDE_PX:
        raise UserError(
            f"--sizes {word} is not possible: whole numbers, {MIN_SIDE_PX} to {MAX_SIDE_PX} px, with commas"
        )
    return int(word)
