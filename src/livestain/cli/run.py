"""``livestain run``: a multi-dimensional acquisition on a real Micro-Manager configuration, stained and recorded."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livestain.cli.options import AsJson, BackendName, Channel, Fsync, Model, View, require_at_least, require_usable
from livestain.cli.stage import Stage, on_stage
from livestain.errors import ChannelError, UserError
from livestain.settings import pip_install

if TYPE_CHECKING:
    import useq
    from pymmcore_plus import CMMCorePlus


def run(
    model: Model,
    output: Annotated[Path, typer.Option(help="Run folder to make.")],
    config: Annotated[
        Path | None, typer.Option(help="Micro-Manager configuration file.", show_default="the demo devices'")
    ] = None,
    mda: Annotated[Path | None, typer.Option(help="Sequence of useq-schema, .yaml or .json.")] = None,
    frames: Annotated[int | None, typer.Option(help="Number of time points, instead of --mda.")] = None,
    interval: Annotated[float, typer.Option(help="Seconds between time points, with --frames.")] = 1.0,
    channel: Channel = None,
    backend: BackendName = "auto",
    fsync: Fsync = True,
    as_json: AsJson = False,
    view: View = None,
) -> int:
    """Run an acquisition on your microscope: every channel recorded, the label-free one stained live."""
    if (mda is None) == (frames is None):
        raise UserError("what is to be acquired is not clear: give either --mda SEQUENCE or --frames N [--interval S]")
    if frames is not None:
        require_at_least("--frames", frames, 1)
    require_at_least("--interval", interval, 0)
    require_usable(backend)

    def work(stage: Stage) -> int:
        stage.say("reading the model ...")
        from livestain.model.read import read_model

        read_model(model)
        sequence = _read_sequence(mda) if mda is not None else _time_lapse(frames or 1, interval)
        stage.say("loading the microscope core ...")
        from livestain.sources.camera import held_core

        with held_core(_open_core(config)) as core:
            _check(core, sequence, channel)

            from livestain.cli.acquire import acquire

            return acquire(
                core, sequence, stage, model=model, record=output, channel=channel, backend=backend, fsync=fsync,
                as_json=as_json,
            )  # fmt: skip

    return on_stage(view, work)


def _read_sequence(path: Path) -> useq.MDASequence:
    import useq
    import yaml
    from pydantic import ValidationError

    try:
        _refuse_unknown_keys(path)
        return useq.MDASequence.from_file(path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"sequence {path} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"sequence {path} is not valid at {where or 'its top'}: {first['msg']}") from error
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"sequence {path} is no sequence of useq-schema: {error}") from error


def _refuse_unknown_keys(path: Path) -> None:
    """useq-schema ignores a key that it does not know: a slip of the pen would be another acquisition."""
    import useq
    import yaml

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = set(useq.MDASequence.model_fields)
    unknown = [str(key) for key in content if key not in known] if isinstance(content, dict) else []
    if unknown:
        raise UserError(f"sequence {path} has unknown keys {', '.join(unknown)}: known are {', '.join(sorted(known))}")


def _time_lapse(frames: int, interval_s: float) -> useq.MDASequence:
    import useq

    return useq.MDASequence(time_plan=useq.TIntervalLoops(interval=timedelta(seconds=interval_s), loops=frames))


def _open_core(config: Path | None) -> CMMCorePlus:
    """A core with its configuration loaded; a mistake in it is one line."""
    from pymmcore_plus import CMMCorePlus, find_micromanager

    from livestain.sources.camera import quiet_search, release_core

    if config is not None and not config.is_file():
        raise UserError(f"configuration {config} is no file: give the path of a Micro-Manager .cfg file")
    with quiet_search():
        adapters = find_micromanager()
    if adapters is None:
        raise UserError(
            "no device adapters of Micro-Manager are installed: "
            f"{pip_install('mm-test-adapters')} brings the demo devices, mmcore install those of microscopes"
        )
    core = CMMCorePlus()
    try:
        if config is None:
            core.loadSystemConfiguration()
        else:
            core.loadSystemConfiguration(config)
    except (RuntimeError, OSError) as error:
        release_core(core)
        which = config if config is not None else "of the demo devices"
        raise UserError(f"configuration {which} cannot be loaded: {error}") from error
    return core


def _check(core: CMMCorePlus, sequence: useq.MDASequence, channel: str | None) -> None:
    """Refuse before the start what cannot be acquired, and a label-free channel that is not clear."""
    from livestain.sources.mda import core_cameras, label_free_channel, sequence_channels

    if not core.getCameraDevice():
        raise UserError("the configuration names no camera: set one (Core, Camera) in it")
    plans = [sequence, *(position.sequence for position in sequence.stage_positions if position.sequence)]
    for wanted in (each for plan in plans for each in plan.channels):
        group = wanted.group
        presets = core.getAvailableConfigs(group)
        if wanted.config not in presets:
            listed = ", ".join(repr(name) for name in presets) or "none"
            raise ChannelError(f"channel {wanted.config!r} is not in group {group!r} of the configuration: {listed}")
    label_free_channel(sequence_channels(sequence, core_cameras(core)), channel)
