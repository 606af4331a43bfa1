"""What can be judged: a model on label-free planes, or stains that exist already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from livestain.engine.standalone import StandaloneEngine
from livestain.errors import FrameError, ImageError
from livestain.evaluate.metrics import Plane, Scale
from livestain.evaluate.pairs import Pair
from livestain.frames import Counts

_FULL = 65535.0


class Predictor(Protocol):
    """What makes the virtual stains that are judged; one thread at a time."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Warnings met so far, one line each."""
        ...

    def predict(self, pair: Pair, stain: str, scale: Scale) -> Plane:
        """Return the (Y, X) float64 virtual stain on the scale of the truth (0 to 1), not clipped; blocks."""
        ...


class ModelPredictor:
    """A model as a live session applies it; its output 0..1 is the scale on which it was trained.

    Parameters
    ----------
    engine
        From `livestain.engine.opening.open_engine`; closed by whoever opened it.
    """

    def __init__(self, engine: StandaloneEngine) -> None:
        self._engine = engine
        self._kept: tuple[Pair, Mapping[str, Counts]] | None = None
        self._warned: dict[str, str] = {}

    @property
    def name(self) -> str:
        """Id and weights of the model."""
        return self._engine.model.identity

    @property
    def notes(self) -> Sequence[str]:
        """Say on how many images the input lay outside what the model was trained on, and the first case."""
        if not self._warned:
            return ()
        image, text = next(iter(self._warned.items()))
        return (f"images outside what the model was trained on: {len(self._warned)}; the first is {image}: {text}",)

    def predict(self, pair: Pair, stain: str, scale: Scale) -> Plane:
        """Return the stain of a pair's label-free plane; the stains of the last pair are kept."""
        if self._kept is None or self._kept[0] is not pair:
            self._kept = pair, self._stain(pair)
        plane: Plane = self._kept[1][stain] / _FULL
        return plane

    def _stain(self, pair: Pair) -> Mapping[str, Counts]:
        if pair.label_free is None:
            raise ImageError(f"pair {pair.name} has no label-free image: a model needs one")
        try:
            result = self._engine.stain(pair.label_free(), pair.pixel_um, pair.contrast)
        except FrameError as error:
            raise ImageError(f"pair {pair.name} cannot be stained: {error}") from error
        if result.input.warnings:
            self._warned[pair.name] = result.input.warnings[0]
        return dict(zip(result.names, result.stains, strict=True))


@dataclass(frozen=True)
class StoredPredictor:
    """Virtual stains on disk.

    Attributes
    ----------
    name
        What tables call them.
    ours
        They were written by livestain (0..65535 = 0..1); else they go through the scale of the truth.
    notes
        None.
    """

    name: str
    ours: bool
    notes: Sequence[str] = ()

    def predict(self, pair: Pair, stain: str, scale: Scale) -> Plane:
        """Return the stored stain of a pair."""
        counts = pair.virtual[stain]()
        if counts.shape != pair.shape:
            raise ImageError(f"pair {pair.name}: stain of {counts.shape} px, measured {pair.shape} px")
        return counts.astype(np.float64) / _FULL if self.ours else scale.apply(counts)
