"""``livestain demo``: a real core whose camera shows simulated cells or recorded images, stained and recorded."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livestain.cli.options import (
    AsJson,
    BackendName,
    Channel,
    Fsync,
    Model,
    View,
    require_above_zero,
    require_at_least,
    require_usable,
)
from livestain.cli.stage import Stage, on_stage
from livestain.errors import UserError
from livestain.frames import MIN_SIDE_PX
from livestain.settings import Backend

if TYPE_CHECKING:
    from livestain.sources.camera import PythonCamera

_FRAMES = 20
_MAX_SIDE_PX = 4096
_ENGINE_WAIT_S = 60.0


def demo(
    images: Annotated[
        str | None,
        typer.Option(help="Recorded images to show instead of simulated cells: TIFF, PNG, a folder, OME-Zarr."),
    ] = None,
    channel: Channel = None,
    output: Annotated[Path | None, typer.Option(help="Run folder to make.", show_default="demo-run")] = None,
    frames: Annotated[
        int | None, typer.Option(help="Number of frames.", show_default="20, or the images there are")
    ] = None,
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 5.0,
    size: Annotated[
        int | None, typer.Option(help="Width and height of the simulated camera in px.", show_default="512")
    ] = None,
    model: Model = "demo-nuclei-membrane",
    backend: BackendName = "auto",
    seed: Annotated[
        int | None, typer.Option(help="Seed of the simulated cells and their noise.", show_default="0")
    ] = None,
    fsync: Fsync = True,
    as_json: AsJson = False,
    view: View = None,
) -> int:
    """Try livestain without a microscope: simulated cells (or your images) in a real Micro-Manager core."""
    require_above_zero("--fps", fps)
    if images is None and channel is not None:
        raise UserError(f"--channel {channel} means a channel of --images: the simulated camera has one only")
    if images is not None and (size is not None or seed is not None):
        raise UserError("--size and --seed are for simulated cells: leave them out with --images")
    if size is not None and not MIN_SIDE_PX <= size <= _MAX_SIDE_PX:
        raise UserError(f"--size {size} is not possible: {MIN_SIDE_PX} to {_MAX_SIDE_PX} px")
    require_at_least("--seed", seed or 0, 0)
    if frames is not None:
        require_at_least("--frames", frames, 1)
    require_usable(backend)

    def work(stage: Stage) -> int:
        from livestain.model.read import read_model

        stage.say("reading the model ...")
        read_model(model)  # a mistake is told before anything is drawn or opened
        with contextlib.ExitStack() as stack:
            stage.say("opening the images ..." if images else "drawing simulated cells ...")
            shown = _recorded(stack, images, channel, fps) if images else _simulated(size or 512, seed or 0, fps)
            return _acquire(stack, shown, frames or shown.planes, fps, output, model, backend, fsync, as_json, stage)

    return on_stage(view, work)


@dataclass(frozen=True)
class _Shown:
    """A camera, the name of its channel, how many frames it shows by default, and what they are."""

    camera: PythonCamera
    channel: str
    planes: int
    source: str


def _simulated(size: int, seed: int, fps: float) -> _Shown:
    from livestain.sources.camera import specimen_camera

    camera = specimen_camera(shape=(size, size), seed=seed, exposure_ms=_exposure_ms(fps))
    return _Shown(camera, "simulated bright field", _FRAMES, f"simulated cells (spindle, seed {seed}), no microscope")


def _recorded(stack: contextlib.ExitStack, images: str, channel: str | None, fps: float) -> _Shown:
    from livestain.images import open_images
    from livestain.sources.camera import recorded_camera

    opened = stack.enter_context(open_images(images))
    index = opened.select_channel(channel)
    name = opened.channels[index].removeprefix("measured: ")
    if opened.kind == "virtual" or name.startswith("virtual:"):
        raise UserError(
            f"{images} holds virtual stains ({name!r}): they are predicted, not measured, and not stained again"
        )
    said = name if name.startswith("channel ") else f"channel {name}"
    camera = recorded_camera(opened, index, _exposure_ms(fps))
    return _Shown(camera, name, opened.axes.t * opened.axes.z, f"replay of {Path(images).name}, {said}")


def _exposure_ms(fps: float) -> float:
    return min(10.0, 250 / fps)


def _acquire(
    stack: contextlib.ExitStack,
    shown: _Shown,
    frames: int,
    fps: float,
    output: Path | None,
    model: str,
    backend: Backend,
    fsync: bool,
    as_json: bool,
    stage: Stage,
) -> int:
    stage.say("loading the microscope core ...")
    import useq

    from livestain.cli.acquire import acquire
    from livestain.sources.camera import make_core
    from livestain.store.run import next_free

    core = stack.enter_context(make_core(shown.camera, shown.channel))
    return acquire(
        core,
        useq.MDASequence(time_plan=useq.TIntervalLoops(interval=timedelta(seconds=1 / fps), loops=frames)),
        stage,
        model=model,
        record=output if output is not None else next_free(Path("demo-run")),
        backend=backend,
        fsync=fsync,
        as_json=as_json,
        source=shown.source,
        engine_wait_s=_ENGINE_WAIT_S,
        camera_failure=lambda: shown.camera.failure,
    )
