"""Frames from a Micro-Manager multi-dimensional acquisition (pymmcore-plus): where each belongs, and the listener."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livestain.errors import ChannelError
from livestain.frames import Key
from livestain.session.intake import Facts, Intake, Place, Sequence
from livestain.settings import Backend, WhenFull, parse_settings

if TYPE_CHECKING:
    import useq
    from pymmcore_plus import CMMCorePlus

    from livestain.session.session import Session

log = logging.getLogger(__name__)

_FIRST = 1 << 30


class Places:
    """The one place where acquisition indices become keys; one object a run, used by the intake's thread.

    - position: the distinct pair (p, g), numbered when first seen;
    - z: as given; time: as given, else a running count of frames at that position, z and channel;
    - channel: the preset's name, else the camera's; with several cameras the camera's name is part of it;
    - a key that was given out already goes to the next free time point, and the note says so.

    Memory: one byte a plane.
    """

    def __init__(self) -> None:
        self._positions: dict[tuple[int, int], int] = {}
        self._taken: dict[tuple[int, int, str], bytearray] = {}
        self._next: dict[tuple[int, int, str], int] = {}

    def place(self, event: useq.MDAEvent, camera: str) -> Place:
        """Return where the frame of this event, taken by this camera, belongs."""
        index: Mapping[str, int] = event.index
        pair = (index.get("p", 0), index.get("g", 0))
        p = self._positions.setdefault(pair, len(self._positions))
        z = index.get("z", 0)
        channel = channel_name(event, camera)
        line = (p, z, channel)
        taken = self._taken.setdefault(line, bytearray())
        asked = index.get("t", self._next.get(line, 0))
        t = asked
        if t < len(taken) and taken[t]:
            t = taken.find(0, t)
            t = len(taken) if t < 0 else t
        if t >= len(taken):
            taken.extend(bytes(t + 1 - len(taken)))
        taken[t] = 1
        self._next[line] = t + 1
        note = "" if t == asked else f"time point {asked} of this place was recorded already"
        return Place(Key(p, t, z), channel, note)


def channel_name(event: useq.MDAEvent, camera: str) -> str:
    """Return the name under which a frame is recorded."""
    preset = event.channel.config if event.channel is not None else ""
    if "cam" in event.index:
        return f"{preset} {camera}".strip()
    return preset or camera


def core_cameras(core: CMMCorePlus) -> tuple[str, ...]:
    """Return the names of the cameras that deliver at each exposure: one, or those of a multi-camera."""
    camera = core.getCameraDevice()
    count = core.getNumberOfCameraChannels()
    return tuple(core.getCameraChannelName(i) for i in range(count)) if count > 1 else (camera,)


def sequence_channels(sequence: useq.MDASequence, cameras: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the names of the channels that a sequence will record; None when it does not say (a generator)."""
    if not sequence.sizes:
        return None
    own = [channel.config for channel in sequence.channels] or [""]
    plans = [position.sequence for position in sequence.stage_positions] or [None]
    # A position's own channels replace those of the whole sequence.
    listed = [[c.config for c in plan.channels] if plan and plan.channels else own for plan in plans]
    presets = list(dict.fromkeys(name for names in listed for name in names))
    if len(cameras) > 1:
        return tuple(f"{preset} {camera}".strip() for preset in presets for camera in cameras)
    return tuple(preset or cameras[0] for preset in presets)


def label_free_channel(channels: tuple[str, ...] | None, asked: str | None) -> str:
    """Return which channel is stained.

    Raises
    ------
    ChannelError
        It is not clear, or the one asked for is not among them.
    """
    if channels is None:
        if asked is None:
            raise ChannelError(
                "this sequence does not say which channels it records: name the label-free one (--channel, channel=)"
            )
        return asked
    listed = ", ".join(repr(name) for name in channels)
    if asked is not None and asked not in channels:
        raise ChannelError(f"channel {asked!r} is not recorded by this sequence: choose one of {listed}")
    if asked is None and len(channels) != 1:
        raise ChannelError(f"{len(channels)} channels are recorded: name the label-free one (--channel): {listed}")
    return asked or channels[0]


def attach(
    core: CMMCorePlus,
    model: Path | str,
    record: Path | str | None = None,
    *,
    channel: str | None = None,
    follow: tuple[int, int] | None = None,
    when_full: WhenFull = "skip",
    backend: Backend = "auto",
    isolate: bool = True,
    fsync: bool = True,
    source: str = "",
) -> Session:
    """Stain and record what a core acquires.

    Every multi-dimensional acquisition (``core.run_mda``) from now on is one run. Returns at once: the engine warms up
    beside, and early frames are stained late.

    Parameters
    ----------
    core
        A pymmcore-plus core; left exactly as found by ``close()``.
    model
        Folder of the model, or the name of a shipped one.
    record
        Run folder to make (None: nothing is stored). The second run of this session goes to ``NAME_002``.
    channel
        Name of the label-free channel. None: the only one there is; where there are several, all are recorded, none is
        stained, and a warning says so.
    follow
        (position, z) that is stained live; None: every one, newest first.
    when_full
        When frames come faster than the disk takes them: ``"skip"`` gives the frame a ``failed`` row; ``"wait"`` lets
        a software-timed acquisition wait, at most 1 s a frame.
    backend
        ``"auto"``, ``"openvino"`` or ``"onnxruntime"``.
    isolate
        Stain in a child process at low priority; False: in a thread of this process, which cannot be ended when it
        hangs (for tests and notebooks).
    fsync
        A row means that the plane survives a power cut.
    source
        Where the frames come from, where that is not a microscope ("simulated cells"): kept with run and images.

    Returns
    -------
    A session; use it as a context manager, or call its ``close()``.

    Raises
    ------
    UserError
        The model, the run folder or an option cannot be used.
    """
    from livestain.session.session import Session

    settings = parse_settings(
        channel=channel,
        follow=follow,
        when_full=when_full,
        backend=backend,
        isolate=isolate,
        fsync=fsync,
        source=source,
    )
    session = Session(model, record, settings, planned=_planned_frame(core))
    session.listen(MdaListener(core, session))
    return session


class MdaListener:
    """Connects a session to the acquisition events of a core.

    All slots run on the acquisition thread, connected direct and not queued, with either signal backend. None of them
    lets an exception out.
    """

    def __init__(self, core: CMMCorePlus, session: Session) -> None:
        self._core, self._session = core, session
        self._intake: Intake | None = None
        # Held by another thread only when a session closes in the middle of a frame: Qt's disconnect does not wait.
        self._in_hand = threading.Lock()
        events = core.mda.events
        # Strong references: psygnal holds bound methods weakly, and a listener nobody references is silently gone.
        self._slots: tuple[tuple[Any, Any], ...] = (
            (events.sequenceStarted, self._started),
            (events.frameReady, self._frame_ready),
            (events.sequenceFinished, self._finished),
        )
        for signal, slot in self._slots:
            _connect_direct(signal, slot)

    def close(self) -> None:
        """Disconnect; the core is as it was found. May be called twice."""
        for signal, slot in self._slots:
            signal.disconnect(slot)
        self._slots = ()
        self._end_run()

    def _started(self, sequence: useq.MDASequence, summary: Mapping[str, Any]) -> None:
        try:
            cameras = core_cameras(self._core)
            described = _describe_sequence(sequence, summary, cameras, self._session.settings.channel)
            self._intake = self._session.begin_run(described)
        except Exception as error:  # noqa: BLE001 - the acquisition must go on whatever happens to us
            self._session.report_failure("the run could not be opened", error)

    def _frame_ready(self, image: Any, event: useq.MDAEvent, meta: Mapping[str, Any]) -> None:
        """Hand over one frame: references only, no copy, no log, nothing that waits (`benchmarks/slot.py` times it)."""
        received_ns = time.monotonic_ns()
        with self._in_hand:
            intake = self._intake
            if intake is None:
                self._session.count_unrecorded()
                return
            try:
                image.setflags(False)  # not writeable: no later listener may alter what is being recorded
                intake.put(image, (event, meta), received_ns, burst="hardware_triggered" in meta)
            except Exception as error:  # noqa: BLE001 - counted, recorded as a failed row, shown
                intake.refuse((event, meta), received_ns, f"could not be taken: {error!r}")

    def _finished(self, sequence: useq.MDASequence) -> None:
        try:
            self._end_run()
        except Exception as error:  # noqa: BLE001 - as above
            self._session.report_failure("the run could not be closed", error)

    def _end_run(self) -> None:
        with self._in_hand:
            if self._intake is not None:
                self._intake.end()
                self._intake = None


def _describe_sequence(
    sequence: useq.MDASequence, summary: Mapping[str, Any], cameras: tuple[str, ...], asked: str | None
) -> Sequence:
    infos = summary.get("image_infos") or [{}]
    places = Places()
    channels = sequence_channels(sequence, cameras)
    try:
        label_free, why = label_free_channel(channels, asked), ""
    except ChannelError as error:
        label_free, why = None, str(error)
    return Sequence(
        label_free=label_free,
        why=why,
        place=lambda passed: places.place(passed[0], passed[1].get("camera_device") or ""),
        describe=_facts,
        channels=channels or (),
        pixel_um=float(infos[0].get("pixel_size_um") or 0.0),
        z_um=_step(sequence, "z"),
        interval_s=_step(sequence, "t"),
        bit_depth=_bit_depth(str(infos[0].get("pixel_format", ""))),
        planes=planned_planes(sequence),
        time_points=sequence.sizes.get("t", 0),
    )


def _facts(passed: tuple[useq.MDAEvent, Mapping[str, Any]]) -> Facts:
    event, meta = passed
    stage = meta.get("position") or {}
    nan = float("nan")
    return Facts(
        time_s=float(meta.get("runner_time_ms") or 0.0) / 1e3,
        exposure_ms=float(meta.get("exposure_ms") or event.exposure or 0.0),
        pixel_um=float(meta.get("pixel_size_um") or 0.0),
        stage_um=(float(stage.get("x", nan)), float(stage.get("y", nan)), float(stage.get("z", nan))),
    )


def _step(sequence: useq.MDASequence, axis: str) -> float:
    """The z step in um or the time interval in s, where the plan has one; 0 otherwise."""
    if axis == "z":
        return float(getattr(sequence.z_plan, "step", 0.0) or 0.0)
    interval = getattr(sequence.time_plan, "interval", None)
    return float(interval.total_seconds()) if interval is not None else 0.0


def planned_planes(sequence: useq.MDASequence) -> int:
    """Return how many planes a sequence will record; 0 where it does not say."""
    total = 1
    for size in sequence.sizes.values():
        total *= max(1, size)
    return total if sequence.sizes else 0


def _bit_depth(pixel_format: str) -> int:
    digits = pixel_format.removeprefix("Mono")
    return int(digits) if digits.isdigit() else 0


def _planned_frame(core: CMMCorePlus) -> tuple[tuple[int, int], str] | None:
    """Shape and dtype of the next frame as the core says them now, to warm up for; None when it cannot say."""
    if not core.getCameraDevice():
        return None
    bytes_per_pixel = core.getBytesPerPixel()
    if bytes_per_pixel not in (1, 2) or core.getNumberOfComponents() != 1:
        return None
    return (core.getImageHeight(), core.getImageWidth()), f"uint{8 * bytes_per_pixel}"


def _connect_direct(signal: Any, slot: Any) -> None:
    """Connect so that the slot runs on the emitting thread; Qt would queue it to the main thread otherwise."""
    import psygnal

    if isinstance(signal, psygnal.SignalInstance):
        # Before all others: one that raises starves those behind it of the frame, and one may write into the image.
        signal.connect(slot, priority=_FIRST)
        return
    from qtpy.QtCore import Qt

    signal.connect(slot, Qt.ConnectionType.DirectConnection)
