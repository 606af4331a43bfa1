"""``livestain view``: a recorded or growing run in a window, or as a picture or movie without one."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livestain.cli.options import RunPath
from livestain.errors import UserError
from livestain.frames import Key

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from livestain.view.movie import MoviePlan
    from livestain.view.recorded import RecordedRun, RunFeed
    from livestain.view.state import Mode, ViewState

_SIDE_PX = (200, 8192)
_FPS = 10.0
_MODES = "composite, split, curtain"


def view(
    run: RunPath,
    snapshot: Annotated[Path | None, typer.Option(help="Save one picture (.png) and end; needs no display.")] = None,
    time: Annotated[int | None, typer.Option(help="Time point, from 0.", show_default="the newest")] = None,
    position: Annotated[int, typer.Option(help="Position, from 0.")] = 0,
    z: Annotated[int, typer.Option(help="z section, from 0.")] = 0,
    mode: Annotated[str, typer.Option(help=f"What is shown: {_MODES} (split: side by side).")] = "composite",
    size: Annotated[
        str | None, typer.Option(help="Size of the snapshot in px, such as 1280x800.", show_default="the image's")
    ] = None,
    movie: Annotated[Path | None, typer.Option(help="Save a movie (.mp4 or .gif) and end; needs no display.")] = None,
    first: Annotated[int | None, typer.Option("--from", help="First time point of the movie.")] = None,
    last: Annotated[int | None, typer.Option("--to", help="Last time point of the movie.")] = None,
    fps: Annotated[float | None, typer.Option(help="Time points a second in the movie.", show_default="10")] = None,
) -> int:
    """Look at a run, finished or still growing, or save a picture or a movie of it."""
    if movie is None and (first, last, fps) != (None, None, None):
        raise UserError("--from, --to and --fps are for a movie: add --movie OUT.mp4")
    if snapshot is None and size is not None:
        raise UserError("--size is for a snapshot: add --snapshot OUT.png")
    chosen, sides = _mode(mode), _size(size)
    if snapshot is not None:
        _require_new(snapshot, ".png")
    if snapshot is None and movie is None:
        return _open_window(run, time, position, z, chosen)
    from livestain.view.app import headless_application

    application = headless_application()
    from livestain.view.recorded import RecordedRun

    opened = RecordedRun(run)
    opened.history.update()
    state = _state(opened, chosen)
    plan = _plan(opened, movie, (first, last), Key(position, 0, z), fps) if movie is not None else None
    if snapshot is not None:
        _save_snapshot(opened, state, _key(opened, time, position, z), snapshot, sides)
    if movie is not None and plan is not None:
        _save_movie(opened, state, movie, plan)
    del application  # Qt keeps no reference of its own
    return 0


def _open_window(run: Path, time: int | None, position: int, z: int, mode: Mode) -> int:
    from livestain.store.read import open_run
    from livestain.view.app import probe, show_window

    open_run(run)  # a wrong folder is told first: it is wrong with a display, too
    why = probe()
    if why:
        raise UserError(f"no window can be opened: {why}; --snapshot and --movie need none")
    from livestain.view.recorded import RunFeed

    feed = RunFeed(run)
    if (time, position, z) != (None, 0, 0):
        feed.history.update()
        feed.show(_key(feed, time, position, z))
    if time is not None:
        feed.follow(False)
    return show_window(lambda: _window(feed, mode))


def _window(feed: RunFeed, mode: Mode) -> QWidget:
    from livestain.view.window import Window

    window = Window(feed, run=feed.path)
    window.state.set_mode(mode)
    return window


def _save_snapshot(
    run: RecordedRun, state: ViewState, key: Key, path: Path, size: tuple[int, int] | None
) -> None:  # fmt: skip
    from livestain.view.moments import notes_at, place_text
    from livestain.view.snapshot import save_png

    picture = run.picture(key)
    missing = [(layer, why) for layer, why in zip(run.layers, picture.states, strict=True) if why]
    if not all(picture.shape):
        raise UserError(f"{key} of {run.path} cannot be shown: {missing[0][1]}; choose another --time")
    for layer, why in missing:
        typer.echo(f"note: {layer.label} is not in the picture: {why}", err=True)
    state.set_picture(picture)
    caption = place_text(key, run.history.extent(), picture.time_s, run.interval_s)
    note = notes_at(run.history.notes(), key)
    typer.echo(save_png(path, state, pixel_um=run.pixel_um, caption=caption, note=note, size=size, facts=run.facts))


def _plan(
    run: RecordedRun, path: Path, times: tuple[int | None, int | None], place: Key, fps: float | None
) -> MoviePlan:  # fmt: skip
    from livestain.view.movie import MoviePlan, check_movie

    _key(run, 0, place.p, place.z)
    first, last = times
    end = run.history.extent()[1] - 1
    plan = MoviePlan(first or 0, end if last is None else last, place.p, place.z, _FPS if fps is None else fps)
    check_movie(path, plan, run.history.extent())
    return plan


def _save_movie(run: RecordedRun, state: ViewState, path: Path, plan: MoviePlan) -> None:
    from livestain.view.movie import write_movie

    if sys.stderr.isatty():
        with typer.progressbar(length=len(plan.keys), label="movie", file=sys.stderr) as bar:
            write_movie(path, run, state, plan, progress=lambda _: bar.update(1))
    else:
        write_movie(path, run, state, plan)
    typer.echo(path)


def _key(run: RecordedRun | RunFeed, time: int | None, position: int, z: int) -> Key:
    """Return the key asked for; `UserError` when it lies outside the run."""
    extent = run.history.extent()
    newest = run.history.newest(position, z) if time is None else time
    key = Key(position, max(0, extent[1] - 1) if newest is None else newest, z)
    for name, place, count in zip(("--position", "--time", "--z"), key, extent, strict=True):
        if not 0 <= place < count:
            there = f"0 to {count - 1} are there" if count else "nothing is recorded"
            raise UserError(f"{name} {place} is outside the run {run.path}: {there}")
    return key


def _state(run: RecordedRun, mode: Mode) -> ViewState:
    from livestain.view.state import ViewState

    state = ViewState(run.layers)
    state.set_mode(mode)
    return state


def _mode(text: str) -> Mode:
    from livestain.view.state import MODES

    found = next((mode for mode in MODES if mode == text), None)
    if found is None:
        raise UserError(f"--mode {text} is unknown: choose one of {_MODES}")
    return found


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(_SIDE_PX[0] <= side <= _SIDE_PX[1] for side in sides):
        raise UserError(
            f"--size {text} is not possible: WIDTHxHEIGHT of {_SIDE_PX[0]} to {_SIDE_PX[1]} px, as 1280x800"
        )
    return sides


def _require_new(path: Path, ending: str) -> None:
    """Raise `UserError` for a file that cannot be made under this name."""
    if path.suffix.lower() != ending:
        raise UserError(f"{path.name} has no known ending: choose {ending}")
    if not path.parent.is_dir():
        raise UserError(f"folder {path.parent} does not exist: make it, or choose another")
    if path.exists():
        raise UserError(f"{path} exists already: choose another name, or delete it")
