"""A run on disk as the window sees it: its layers, its pictures one by one, and the feed that delivers them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from livestain.errors import ModelError, RunError, StoreCorruptError, StoreError
from livestain.frames import Counts, Key
from livestain.model.card import ContrastRange
from livestain.model.description import read_description
from livestain.stainer.half import half_size
from livestain.store.ledger import LedgerTail
from livestain.store.metadata import AXES, Document, read_document, virtual_channel
from livestain.store.planes import PlaneReader
from livestain.store.read import Run, open_run
from livestain.store.run import LEDGER_FILE, image_path
from livestain.view.history import History
from livestain.view.mailbox import Mailbox
from livestain.view.picture import NO_STAIN_YET, LayerInfo, Marks, Picture
from livestain.view.state import auto_limits, sample

log = logging.getLogger(__name__)

MEASURED_COLORS = ("00B8FF", "FFD600", "FF5252")
"""Of measured channels beside the label-free one, in turn; none is the colour of a virtual stain."""

_READERS_KEPT = 64
_HEAD_BYTES = 1 << 16
_POLL_S = 1.0
_END_S = 2.0


@dataclass(frozen=True)
class _Source:
    """Where a layer's planes lie: the folder of the images, its channel, and which model's (None: measured)."""

    folder: Path
    channel: int
    stains: int | None


class RecordedRun:
    """A run whose pictures are read one by one; used by one thread, `history` also by others.

    Parameters
    ----------
    path
        A run folder; it may be growing, and nothing in it is changed or locked.

    Attributes
    ----------
    path, title
        The folder, and its name.
    layers
        Label-free, other measured channels, the stains of the model begun last, then those of the other models.
    pixel_um, interval_s
        Pixel size in um and planned interval in s; 0 where not known.
    caution
        The line of the model's card that is shown wherever it is used; empty when there is none.
    facts
        What an export says of its origin: name and value.
    warnings
        What the session that recorded it warned of, as ``run.json`` has it.
    contrast
        The input that the model of the first stains was trained on; None where not known.
    growing
        Whether it was being recorded on this computer when it was opened.
    history
        What became of its planes, as far as `History.update` was called.

    Raises
    ------
    RunError
        The folder is no run, or no frame has been recorded yet.
    """

    def __init__(self, path: Path | str) -> None:
        run = open_run(path)
        self.path, self.title = run.path, run.path.name
        self.growing = run.being_recorded
        models = run.models
        measured = [(info, source) for info, source in _measured(run)]
        if not measured:
            raise RunError(f"{run.path} holds no image yet: open it again when its first frame is recorded")
        virtual = [found for number, model in enumerate(models) for found in _virtual(run, model, number)]
        self.layers = tuple(info for info, _ in measured + virtual)
        self._sources = tuple(source for _, source in measured + virtual)
        first = read_document(image_path(run.path / "raw", run.positions[0]) / "zarr.json")["attributes"]
        self.interval_s, self.pixel_um = _steps(first)
        self.facts = _facts(run, models)
        self.caution = self.facts.get("Caution", "")
        self.warnings = _warnings(run)
        self.contrast = _contrast(run.path / "stains" / models[0] / "model") if models else None
        self.history = History(
            run.path / "raw" / LEDGER_FILE, [run.path / "stains" / model / LEDGER_FILE for model in models]
        )
        self._run, self._known = run, {source.folder for _, source in virtual}
        self._reader = lru_cache(_READERS_KEPT)(PlaneReader)
        self.layers = tuple(self._with_limits(*pair) for pair in zip(self.layers, self._sources, strict=True))

    @property
    def is_there(self) -> bool:
        """Whether the folder can still be read."""
        return (self.path / "raw" / LEDGER_FILE).is_file()

    def unknown_stains(self) -> list[str]:
        """Return the models whose stains began after the run was opened: they have no layers here."""
        folders = [self.path / "stains" / model for model in self._run.stains]
        return [folder.name for folder in folders if folder not in self._known and _stain_colors(folder)]

    def picture(self, key: Key, *, halves: bool = True) -> Picture:
        """Read the planes of a key, with their half-size copies if asked; blocks.

        A layer that cannot be read is None and has its reason in ``states``; the others are there.
        """
        found = [self._plane(source, key) for source in self._sources]
        planes, states = tuple(plane for plane, _ in found), tuple(why for _, why in found)
        smaller = tuple(half_size(plane) if plane is not None else None for plane in planes) if halves else ()
        return Picture(key, planes, smaller, states, time_s=self.history.time_s(key), input=self.history.input(key))

    def _with_limits(self, layer: LayerInfo, source: _Source) -> LayerInfo:
        """Take the limits of a measured layer from its first frame, so that any plane shown first looks the same."""
        plane = self._plane(source, Key(0, 0, 0))[0] if source.stains is None else None
        return layer if plane is None or not np.ptp(sample(plane)) else replace(layer, first=auto_limits(plane))

    def _plane(self, source: _Source, key: Key) -> tuple[Counts | None, str]:
        why = self.history.why_missing(key, source.stains)
        if why:
            return None, why
        try:
            plane = self._reader(image_path(source.folder, key.p)).find(key.t, source.channel, key.z)
        except StoreCorruptError as error:
            log.warning("%s", error)
            return None, "damaged: its file is not what was written"
        except StoreError as error:
            log.debug("%s", error)
            plane = None
        if plane is None:
            return None, "not recorded" if source.stains is None else NO_STAIN_YET
        return plane, ""


class RunFeed:
    """Delivers pictures of a recorded run to one window: the `livestain.view.picture.Feed` of a folder.

    One thread reads, of several requests the newest; the ledgers are read once a second. Nothing is locked. It begins
    at the newest time point, unless `show` says otherwise.
    """

    is_live = False

    def __init__(self, path: Path | str) -> None:
        """Open the run; raises `RunError` as `RecordedRun` does."""
        self._run = RecordedRun(path)
        self.path, self.title, self.layers = self._run.path, self._run.title, self._run.layers
        self.pixel_um, self.interval_s = self._run.pixel_um, self._run.interval_s
        self.caution, self.facts, self.growing = self._run.caution, self._run.facts, self._run.growing
        self.history = self._run.history
        self.warnings, self.contrast = self._run.warnings, self._run.contrast
        self.problem = ""
        self._mailbox = Mailbox()
        self._condition = threading.Condition()
        self._wanted: Key | None = None
        self._shown = Key(0, 0, 0)
        self._begun = False
        self._following = self.growing
        self._paused = self._closed = False
        self._thread = threading.Thread(target=self._work, name="livestain-run-feed", daemon=True)

    @property
    def following(self) -> bool:
        """Whether the newest time point is shown as it comes."""
        return self._following

    def follow(self, on: bool) -> None:
        """Show the newest time point of the present place whenever there is one, or stay where `show` says."""
        with self._condition:
            self._following = on
            self._condition.notify()

    def start(self, wake: Callable[[], None]) -> None:
        """Begin; see `livestain.view.picture.Feed`."""
        self._mailbox.open(wake)
        self._thread.start()

    def take(self) -> Picture | None:
        """Return the newest picture not yet taken."""
        return self._mailbox.take()

    def show(self, key: Key) -> None:
        """Ask for the picture of a key; while following its t is replaced by the newest."""
        with self._condition:
            self._wanted = self._shown = key
            self._begun = True
            self._condition.notify()

    def extent(self) -> tuple[int, int, int]:
        """Numbers of positions, time points and z sections so far."""
        return self.history.extent()

    def marks(self, position: int, z: int) -> Marks:
        """Return (T,) uint8: what became of each time point at this place."""
        return self.history.marks(position, z)

    def pause(self, paused: bool) -> None:
        """Read nothing while paused."""
        with self._condition:
            self._paused = paused
            self._condition.notify()

    def close(self) -> None:
        """End the thread; blocks for a plane in work at most."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    # -- on the thread of the feed ---------------------------------------------------------------------------------

    def _work(self) -> None:
        poll_s = 0.0
        while True:
            with self._condition:
                self._condition.wait_for(self._has_work, None if self._paused else max(0.0, poll_s - time.monotonic()))
                if self._closed:
                    return
                if self._paused:
                    continue
                key, self._wanted = self._wanted, None
            try:
                if key is not None:
                    self._read(key)
                if time.monotonic() >= poll_s:
                    self._poll()
                    poll_s = time.monotonic() + _POLL_S
            except Exception as error:
                log.exception("the run %s could not be read", self.path)
                self.problem = f"{self.title} could not be read: {error}"
                poll_s = time.monotonic() + _POLL_S

    def _has_work(self) -> bool:
        return self._closed or (self._wanted is not None and not self._paused)

    def _read(self, key: Key) -> None:
        picture = self._run.picture(key)
        if any(plane is not None for plane in picture.planes) or self._run.is_there:
            self._mailbox.put(picture)

    def _poll(self) -> None:
        before = self._seen()
        if not self._run.is_there:
            self.problem = f"{self.path} is gone (deleted, renamed, or its disk removed): the last picture stays"
            return
        self.history.update(lambda: self._closed)
        new = ", ".join(self._run.unknown_stains())
        self.problem = (
            f"stains of {new} have begun since this was opened: open the run again to see them" if new else ""
        )
        with self._condition:
            to_newest = self._following or not self._begun
            newest = self.history.newest(self._shown.p, self._shown.z) if to_newest else None
            if newest is not None:
                self._shown = self._shown._replace(t=newest)
            if self._wanted is None and (self._seen() != before or not self._begun):
                self._wanted = self._shown
            self._begun = True

    def _seen(self) -> tuple[Key, tuple[int, ...]]:
        return self._shown, self.history.signature(self._shown)


def _measured(run: Run) -> Iterator[tuple[LayerInfo, _Source]]:
    """Return the measured channels over all positions (a position has those that were seen there or before)."""
    folder = run.path / "raw"
    documents = [read_document(image_path(folder, p) / "zarr.json")["attributes"] for p in run.positions]
    attributes = max(documents, key=lambda found: len(found["livestain"]["channels"]), default=None)
    if attributes is None:
        return
    colors = iter(MEASURED_COLORS * len(attributes["livestain"]["channels"]))
    for c, channel in enumerate(attributes["livestain"]["channels"]):
        top = int(attributes["ome"]["omero"]["channels"][c]["window"]["end"])
        if c == 0 and channel.get("label_free", True) is not False:
            yield LayerInfo(channel["name"], "label-free", "FFFFFF", top), _Source(folder, c, None)
        else:
            yield LayerInfo(channel["name"], "measured", next(colors), top), _Source(folder, c, None)


def _virtual(run: Run, model: str, number: int) -> Iterator[tuple[LayerInfo, _Source]]:
    """Return the stains of a model; those of any but the newest carry its name."""
    folder = run.path / "stains" / model
    for c, (name, color) in enumerate(_stain_colors(folder)):
        title = name if number == 0 else f"{name} ({model})"
        yield LayerInfo(title, "virtual", color, limits=(0.0, 65535.0)), _Source(folder, c, number)


def _stain_colors(folder: Path) -> list[tuple[str, str]]:
    """Return name and colour of a model's stains: from its first image, else from the ledger (no plane written yet)."""
    group = next(folder.glob("p*.ome.zarr/zarr.json"), None)
    if group is not None:
        attributes = read_document(group)["attributes"]
        shown = attributes["ome"]["omero"]["channels"]
        return [(ch["name"], shown[c]["color"]) for c, ch in enumerate(attributes["livestain"]["channels"])]
    for row in LedgerTail(folder / LEDGER_FILE).new_rows(_HEAD_BYTES):
        if "engine" in row and "state" not in row:
            return [(name, virtual_channel(name).color) for name in row.get("stains", ())]
    return []


def _warnings(run: Run) -> tuple[str, ...]:
    try:
        return tuple(str(text) for text in run.state.get("warnings") or ())
    except StoreError as error:
        log.warning("%s", error)
        return ()


def _contrast(model: Path) -> ContrastRange | None:
    try:
        return read_description(model).config.livestain.contrast
    except ModelError as error:
        log.info("the input is not compared with training: %s", error)
        return None


def _steps(attributes: Document) -> tuple[float, float]:
    """Return the interval in s and the pixel size in um of an image; 0 where not known (an axis without a unit)."""
    multiscale = attributes["ome"]["multiscales"][0]
    known = {axis["name"] for axis in multiscale["axes"] if "unit" in axis}
    scale = dict(zip(AXES, multiscale["datasets"][0]["coordinateTransformations"][0]["scale"], strict=True))
    return (scale["t"] if "t" in known else 0.0), (scale["x"] if "x" in known else 0.0)


def _facts(run: Run, models: tuple[str, ...]) -> dict[str, str]:
    """Return where the pictures come from: run, source of the frames, model, engine, the model's caution."""
    facts = {"Run": run.path.name}
    raw = read_document(image_path(run.path / "raw", run.positions[0]) / "zarr.json")["attributes"]["livestain"]
    facts["Source"] = raw.get("source", "")
    group = next((run.path / "stains" / models[0]).glob("p*.ome.zarr/zarr.json"), None) if models else None
    if group is not None:
        ours = read_document(group)["attributes"]["livestain"]
        engine = ours.get("engine") or {}
        library = " ".join(filter(None, (engine.get("backend"), engine.get("version"))))
        named = ", ".join(filter(None, (library, engine.get("precision"))))
        facts |= {"Model": ours.get("model", ""), "Weights": ours.get("weights_sha256", "")[:16]}
        facts |= {"Engine": named, "Device": engine.get("device", ""), "Caution": ours.get("caution", "")}
    return {name: text for name, text in facts.items() if text}
