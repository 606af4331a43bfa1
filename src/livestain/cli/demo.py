"""``livestain demo``: a real core whose camera shows simulated cells or recorded images, stained and recorded."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livestain.cli.options import AsJson, BackendName, Channel, Fsync, Model, require_above_zero, require_at_least
from livestain.frames import MIN_SIDE_PX
from livestain.settings import Backend

if TYPE_CHECKING:
    from livestain.sources.camera import PythonCamera

_FRAMES = 20


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
    size: Annotated[int, typer.Option(help="Width and height of the simulated camera in px.")] = 512,
    model: Model = "demo-nuclei-membrane",
    backend: BackendName = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the simulated cells and their noise.")] = 0,
    fsync: Fsync = True,
    as_json: AsJson = False,
) -> int:
    """Try livestain without a microscope: simulated cells (or your images) in a real Micro-Manager core."""
    require_above_zero("--fps", fps)
    require_at_least("--size", size, MIN_SIDE_PX)
    require_at_least("--seed", seed, 0)
    if frames is not None:
        require_at_least("--frames", frames, 1)

    from livestain.model.read import read_model

    read_model(model)  # a mistake is told before anything is drawn or opened
    with contextlib.ExitStack() as stack:
        camera, planes = _camera(stack, images, channel, size, seed, fps)
        return _acquire(stack, camera, frames or planes, fps, output, model, backend, fsync, as_json)


def _camera(
    stack: contextlib.ExitStack, images: str | None, channel: str | None, size: int, seed: int, fps: float
) -> tuple[PythonCamera, int]:
    """The camera and how many frames it shows by default."""
    from livestain.sources.camera import recorded_camera, specimen_camera

    exposure_ms = min(10.0, 250 / fps)
    if images is None:
        return specimen_camera(shape=(size, size), seed=seed, exposure_ms=exposure_ms), _FRAMES

    from livestain.images import open_images

    opened = stack.enter_context(open_images(images))
    index = opened.select_channel(channel)
    return recorded_camera(opened, index, exposure_ms), opened.axes.t * opened.axes.z


def _acquire(
    stack: contextlib.ExitStack,
    camera: PythonCamera,
    frames: int,
    fps: float,
    output: Path | None,
    model: str,
    backend: Backend,
    fsync: bool,
    as_json: bool,
) -> int:
    import useq

    from livestain.cli.acquire import acquire
    from livestain.sources.camera import make_core
    from livestain.store.run import next_free

    core = stack.enter_context(make_core(camera))
    return acquire(
        core,
        useq.MDASequence(time_plan=useq.TIntervalLoops(interval=timedelta(seconds=1 / fps), loops=frames)),
        model=model,
        record=output if output is not None else next_free(Path("demo-run")),
        backend=backend,
        fsync=fsync,
        as_json=as_json,
        camera_failure=lambda: camera.failure,
    )
