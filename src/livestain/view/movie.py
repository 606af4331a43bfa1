"""A range of time points as a movie, MP4 or short GIF; mark, scale bar and time are burnt into each frame."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from qtpy.QtGui import QImage

from livestain.errors import LivestainError, UserError
from livestain.frames import Key
from livestain.settings import pip_install
from livestain.store.failures import as_store_error
from livestain.view import theme
from livestain.view.moments import notes_at, place_text
from livestain.view.overlays import Tags
from livestain.view.picture import MARK, LayerInfo
from livestain.view.recorded import RecordedRun
from livestain.view.render import Renderer
from livestain.view.snapshot import natural_size
from livestain.view.state import ViewState
from livestain.view.viewport import Viewport, view_size

log = logging.getLogger(__name__)

ENDINGS = (".mp4", ".gif")
GIF_FRAMES = 200
"""A longer GIF would be larger than programs like to open; MP4 has no such limit."""
FPS = (1.0, 50.0)

_LONGEST_PX = {".mp4": 1920, ".gif": 640}
_COLORS = 256

Pixels = npt.NDArray[np.uint8]
"""(Y, X, 4): blue, green, red, unused."""


@dataclass(frozen=True, slots=True)
class MoviePlan:
    """What a movie shows.

    Attributes
    ----------
    first, last
        Time points, both shown.
    position, z
        The place.
    fps
        Time points a second, 1..50.
    """

    first: int
    last: int
    position: int = 0
    z: int = 0
    fps: float = 10.0

    @property
    def keys(self) -> list[Key]:
        """The keys of its frames, in order."""
        return [Key(self.position, t, self.z) for t in range(self.first, self.last + 1)]


def check_movie(path: Path, plan: MoviePlan, extent: tuple[int, int, int]) -> None:
    """Raise `UserError` for a movie that cannot be made: its name, range, rate or length.

    Parameters
    ----------
    extent
        Numbers of positions, time points and z sections of the run.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"movie {path.name} has no known ending: choose .mp4 or .gif")
    if not 0 <= plan.first <= plan.last < extent[1]:
        raise UserError(
            f"time points {plan.first} to {plan.last} are not all there: the run has 0 to {extent[1] - 1}, "
            "and the first comes before the last"
        )
    if not FPS[0] <= plan.fps <= FPS[1]:
        raise UserError(f"{plan.fps:g} frames a second are not possible: {FPS[0]:g} to {FPS[1]:g}")
    count = plan.last - plan.first + 1
    if path.suffix.lower() == ".gif" and count > GIF_FRAMES:
        raise UserError(f"a GIF of {count} frames is too long: at most {GIF_FRAMES}, choose fewer or .mp4")
    if not path.parent.is_dir():
        raise UserError(f"folder {path.parent} does not exist: make it, or choose another")
    if path.exists():
        raise UserError(f"{path} exists already: choose another name, or delete it")


def write_movie(
    path: Path,
    run: RecordedRun,
    state: ViewState,
    plan: MoviePlan,
    *,
    progress: Callable[[int], object] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Path | None:
    """Write a movie of a recorded run as it is shown by ``state``; blocks, any thread that owns ``run``.

    A plane without a stain, or not recorded at all, is a frame that says so. Needs a ``QGuiApplication`` for its
    fonts.

    Parameters
    ----------
    path
        ``.mp4`` (H.264, or MPEG-4 where PyAV has no libx264) or ``.gif``; it must not exist.
    run, state
        Where planes come from and how layers are shown; ``state`` itself is not changed.
    progress, cancelled
        Called on this thread with the number of frames done; asked before each frame.

    Returns
    -------
    The path, or None when it was cancelled: then there is no file.

    Raises
    ------
    UserError
        As `check_movie`; nothing was recorded there; PyAV is not installed.
    StoreError
        The file cannot be written; there is none then.
    """
    run.history.update(cancelled)
    if cancelled():
        return None
    check_movie(path, plan, run.history.extent())
    film = _Film(run, state, plan, _LONGEST_PX[path.suffix.lower()])
    write = _write_mp4 if path.suffix.lower() == ".mp4" else _write_gif
    part = path.with_name(path.name + ".part")
    try:
        write(part, film, _counted(film.frames(), progress, cancelled))
        part.replace(path)
    except _CancelledError:
        return None
    except OSError as error:  # PyAV's errors of files are OSError too
        raise as_store_error(error, f"movie {path} could not be written") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return path


class MovieJob:
    """Writes a movie on a thread of its own, with a run opened anew; ask it how far it is.

    Attributes
    ----------
    total, done
        Numbers of frames.
    written
        The file, once it is whole.
    problem
        Why there is none; empty while all is well or when it was cancelled.
    """

    def __init__(self, path: Path, run: Path, state: ViewState, plan: MoviePlan) -> None:
        """Begin; returns at once. ``state`` is copied."""
        self.total, self.done = len(plan.keys), 0
        self.written: Path | None = None
        self.problem = ""
        self._cancel = threading.Event()
        self._arguments = path, run, same_look(state), plan
        self._thread = threading.Thread(target=self._run, name="livestain-movie", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it is still at work."""
        return self._thread.is_alive()

    def cancel(self) -> None:
        """End it soon, without a file; returns at once."""
        self._cancel.set()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        path, run, state, plan = self._arguments
        try:
            opened = RecordedRun(run)
            self.written = write_movie(
                path, opened, state, plan, progress=self._count, cancelled=self._cancel.is_set
            )  # fmt: skip
        except LivestainError as error:
            self.problem = str(error)
        except Exception as error:
            log.exception("the movie %s failed", path)
            self.problem = f"the movie could not be made: {error!r}"

    def _count(self, done: int) -> None:
        self.done = done


def same_look(state: ViewState, layers: Sequence[LayerInfo] | None = None) -> ViewState:
    """Return a state of its own that shows layers in the same way, without a picture.

    With ``layers`` it is one of these, which may be others than those of ``state`` or stand in another order: they are
    found by their labels, so that a virtual layer is never taken for a measured one; those not found are not shown.
    """
    look = ViewState([view.info for view in state.views] if layers is None else layers)
    views = {_matched(view.info): view for view in state.views}
    for index, shown in enumerate(look.views):
        view = state.views[index] if layers is None else views.get(_matched(shown.info))
        if view is None:
            look.set_layer(index, visible=False)
            continue
        changes: dict[str, object] = {
            name: getattr(view, name) for name in ("color", "visible", "opacity", "gamma")
        }  # fmt: skip
        if view.limits_set:
            changes["limits"] = view.limits
        look.set_layer(index, **changes)
    look.set_mode(state.mode)
    look.set_curtain(state.curtain)
    return look


def _matched(layer: LayerInfo) -> str:
    """What a layer is found by: there is one label-free layer, whose name a session may not know at first."""
    return layer.kind if layer.kind == "label-free" else layer.label


class _CancelledError(Exception):
    """The user does not want it any more."""


class _Film:
    """The frames of a movie, all of one size."""

    def __init__(self, run: RecordedRun, state: ViewState, plan: MoviePlan, longest_px: int) -> None:
        self.plan = plan
        self._run, self._look, self._renderer = run, same_look(state, run.layers), Renderer()
        pictures = (run.picture(key, halves=False) for key in plan.keys)
        first = next((picture for picture in pictures if all(picture.shape)), None)
        if first is None:
            raise UserError(
                f"nothing was recorded at position {plan.position}, z {plan.z} "
                f"from time point {plan.first} to {plan.last}: choose another range"
            )
        self._look.set_picture(first)
        # H.264 with colours at half resolution takes even sizes only.
        self.width, self.height = (side - side % 2 for side in natural_size(self._look, longest_px))
        panes = len(self._look.panes())
        self._view = Viewport.fit(first.shape, *view_size(self._look.mode, panes, self.width, self.height))

    @property
    def virtual(self) -> bool:
        """Whether it shows a virtual layer, if not in every picture."""
        return any(pane.virtual or pane.unstained for pane in self._look.panes())

    @property
    def colors(self) -> list[str]:
        """The colours of its layers and of the mark."""
        return [*dict.fromkeys(view.color for view in self._look.views), theme.AMBER.removeprefix("#")]

    def frames(self) -> Iterator[Pixels]:
        """Draw one after the other."""
        return map(self.frame, self.plan.keys)

    def frame(self, key: Key) -> Pixels:
        """Return one frame, own memory."""
        run, look = self._run, self._look
        picture = run.picture(key)
        look.set_picture(picture)
        caption = place_text(key, run.history.extent(), picture.time_s, run.interval_s)
        # A note stays for a second of the movie, or nobody could read it.
        note = notes_at(run.history.notes(), key, since=min(round(self.plan.fps) - 1, key.t - self.plan.first))
        tags = Tags(run.pixel_um, caption, note=note)
        return _pixels(self._renderer.image(look, self._view, self.width, self.height, 1.0, tags))


def _counted(
    frames: Iterable[Pixels], progress: Callable[[int], object], cancelled: Callable[[], bool]
) -> Iterator[Pixels]:  # fmt: skip
    for done, frame in enumerate(frames):
        if cancelled():
            raise _CancelledError
        yield frame
        progress(done + 1)


def _pixels(image: QImage) -> Pixels:
    bits = image.constBits()
    if hasattr(bits, "setsize"):  # PyQt gives a bare address
        bits.setsize(image.sizeInBytes())
    lines = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    return lines[:, : 4 * image.width()].reshape(image.height(), image.width(), 4).copy()


def _write_mp4(part: Path, film: _Film, frames: Iterator[Pixels]) -> None:
    try:
        import av
    except ImportError:
        raise UserError(
            f"PyAV is not installed, MP4 cannot be written: {pip_install('livestain[view]')}, or choose .gif"
        ) from None
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata.update({"comment": MARK if film.virtual else "measured", "encoder": "livestain"})
        stream = _stream(container, codec, film)
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="bgra")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode(None))


def _stream(container: Any, codec: str, film: _Film) -> Any:  # PyAV is not seen by the type checker
    stream = container.add_stream(codec, rate=Fraction(film.plan.fps).limit_denominator(1000))
    stream.width, stream.height, stream.pix_fmt = film.width, film.height, "yuv420p"
    context = stream.codec_context
    # One thread: the microscope beside it comes first.
    context.thread_count = 1
    # BT.709 with limited range, said aloud: else players guess by the size, and magenta shifts.
    context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
    if codec == "libx264":
        stream.options = {"crf": "20", "preset": "veryfast"}
    else:
        stream.bit_rate = 8 * film.width * film.height
    return stream


def _write_gif(part: Path, film: _Film, frames: Iterator[Pixels]) -> None:
    keys = film.plan.keys
    palette = _palette([film.frame(key) for key in (keys[0], keys[len(keys) // 2], keys[-1])], film.colors)
    images = (_image(pixels).quantize(palette=palette, dither=Image.Dither.NONE) for pixels in frames)
    first = next(images)
    comment = MARK if film.virtual else "measured"
    first.save(
        part, format="GIF", save_all=True, append_images=images, duration=round(100 / film.plan.fps) * 10, loop=0,
        comment=comment.encode(),
    )  # fmt: skip


def _palette(frames: list[Pixels], kept: Sequence[str]) -> Image.Image:
    """Return one palette for all frames, as with one each the colours would flicker; ``kept`` are in it exactly."""
    exact = [value for color in kept for value in bytes.fromhex(color)]
    found = _image(np.concatenate(frames)).quantize(_COLORS - len(kept)).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette(exact + found[: 3 * _COLORS - len(exact)])
    return palette


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 2::-1]))
