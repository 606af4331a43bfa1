"""An engine without a microscope: one image in, its stains out. For notebooks and scripts."""

from __future__ import annotations

import time
from types import TracebackType

import numpy as np

from livestain.contrast import check_input, estimate_background, is_usable, require_stainable
from livestain.engine.protocol import Engine, EngineInfo
from livestain.engine.resample import resample, resampled_shape
from livestain.errors import FrameError
from livestain.frames import Counts, Key, Stain, Timing
from livestain.model import Model


class StandaloneEngine:
    """A model ready to stain single images; use it as a context manager, from one thread at a time."""

    def __init__(self, model: Model, engine: Engine) -> None:
        self.model = model
        self._engine = engine

    @property
    def info(self) -> EngineInfo:
        """Which engine this is, and why this one."""
        return self._engine.info

    def stain(
        self, image: Counts, pixel_um: float | None = None, contrast: float | None = None, *, black: float = 0.0
    ) -> Stain:
        """Stain one image; the empty field is estimated from the image itself. Blocks.

        Parameters
        ----------
        image
            (Y, X) uint8 or uint16 counts, at least 96 x 96 px; not written to, not kept.
        pixel_um
            Its pixel size in um. Where that is not the model's, the image is resampled to it and the stains back.
            None: taken as the model's.
        contrast
            Contrast constant c of this microscope (`livestain.contrast`); None: the model's.
        black
            Camera offset in counts.

        Returns
        -------
        ``stains`` (S, Y, X) uint16, 0..65535 = 0..1, in the size of ``image``; ``names``; ``input`` with a warning for
        whatever lies outside what the model was trained on. The key is p0 t0 z0.

        Raises
        ------
        FrameError
            The image cannot be stained: colour, another dtype, too small, too dark or saturated.
        EngineError
            The engine failed.
        """
        started = time.perf_counter()
        require_stainable(image)
        size = (image.shape[0], image.shape[1])
        card = self.model.card
        frame = image if pixel_um is None else resample(image, resampled_shape(size, pixel_um, card.pixel_um))
        if not is_usable(frame, black):
            raise FrameError(
                f"image with a median of {np.median(frame):.0f} counts (black {black:.0f}) is too dark or saturated: "
                "no empty field can be estimated from it; expose it otherwise"
            )
        background = estimate_background(frame, black)
        gain = background.gain(frame)
        constant = card.contrast.constant if contrast is None else contrast
        ranges = card.contrast.sd, card.contrast.saturated_max, card.contrast.gain
        check = check_input(frame, background, constant, gain, *ranges)
        before = time.perf_counter()
        stains = self._engine.stain(frame, background.shade(constant, gain), black, 1 / constant)
        engine_ms = (time.perf_counter() - before) * 1e3
        if frame is not image:
            stains = np.stack([resample(plane, size) for plane in stains])
        total_ms = (time.perf_counter() - started) * 1e3
        timing = Timing(queued_ms=(before - started) * 1e3, engine_ms=engine_ms, total_ms=total_ms)
        return Stain(Key(0, 0, 0), stains, self.model.stains, self._words(), False, timing, check)

    def close(self) -> None:
        """Free the engine; may be called twice."""
        self._engine.close()

    def __enter__(self) -> StandaloneEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _words(self) -> str:
        info = self.info
        return f"{info.backend} {info.version} {info.precision} on {info.device}"
