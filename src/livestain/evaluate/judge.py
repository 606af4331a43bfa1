"""The judge: goes through the pairs and puts the virtual stains beside the measured ones and the baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from livestain.errors import ImageError
from livestain.evaluate import baselines
from livestain.evaluate.compare import Comparison, Result
from livestain.evaluate.labels import Labels, split_parts
from livestain.evaluate.lpips import Lpips
from livestain.evaluate.metrics import METRICS, Plane, measure_scale, pearson_r
from livestain.evaluate.objects import object_r, score_objects
from livestain.evaluate.pairs import Pair
from livestain.evaluate.predictors import Predictor
from livestain.evaluate.registration import describe_shift, measure_shift
from livestain.evaluate.segment import Segmenter, foreground, typical_radius
from livestain.frames import Counts

Progress = Callable[[int, int], None]

LABEL_FREE = "label-free image"
_RADIUS_WITHOUT_OBJECTS_PX = 5.0


@dataclass(frozen=True, eq=False)
class ObjectRule:
    """How objects are found: the same for the measured stain and for every predictor.

    Attributes
    ----------
    segmenter
        What finds them.
    masks
        Take the true ones from the pairs' masks instead of segmenting the measured stain.
    segment_input
        Also segment the label-free plane itself, with the same parameters (the protocol of the paper's section 3.3).
    """

    segmenter: Segmenter
    masks: bool = False
    segment_input: bool = False


@dataclass(frozen=True, eq=False)
class Objects:
    """The true objects of one pair, and what finds those of a prediction."""

    labels: Labels
    radius_px: float
    segmenter: Segmenter

    @classmethod
    def of_pair(cls, rule: ObjectRule, pair: Pair, truth: Plane) -> Objects:
        """Take the pair's mask, or segment its measured stain, (Y, X) in [0, 1]."""
        given = pair.mask() if rule.masks and pair.mask is not None else None
        parts = split_parts(foreground(truth)) if given is None else given
        radius = typical_radius(parts) or _RADIUS_WITHOUT_OBJECTS_PX
        labels = rule.segmenter.segment(truth, radius) if given is None else given
        return cls(labels, radius, rule.segmenter)

    def find(self, plane: Plane) -> Labels:
        """Return the objects of a plane in [0, 1]."""
        return self.segmenter.segment(plane, self.radius_px)

    def values(self, found: Labels, predicted: Plane, truth: Plane) -> dict[str, float]:
        """Return the figures of found objects; the brightness of true ones is compared in both planes."""
        score = score_objects(found, self.labels)
        return {
            "ap50": score.ap50,
            "f1": score.f1,
            "dice": score.dice,
            "iou": score.iou,
            "count_error": score.count_error,
            "objects": score.matched + score.missed,
            "objects_found": score.matched + score.extra,
            "object_r": object_r(predicted, truth, self.labels),
        }


@dataclass(frozen=True, eq=False)
class Look:
    """What one stain of one pair looks like; planes (Y, X), clipped to [0, 1]; labels where objects were compared."""

    result: Result
    label_free: Counts | None
    truth: Plane
    predicted: Plane
    objects: Labels | None
    objects_found: Labels | None


@dataclass(frozen=True, slots=True)
class _Calibration:
    """What the baselines take from the truth of the whole set: its mean, and gain and offset of each filter."""

    mean: float
    fits: Mapping[str, tuple[float, float]]


class Judge:
    """Compares a predictor with measured stains, beside baselines; holds the planes of one pair at a time.

    Parameters
    ----------
    pairs
        All with the same stains; objects are those of the first one.
    predictor
        What is judged.
    objects
        How objects are found; None: they are not compared.
    lpips
        The network; None: no LPIPS.

    Raises
    ------
    ImageError
        Masks are asked for and missing; the measured stain of the whole set is empty.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        predictor: Predictor,
        *,
        objects: ObjectRule | None = None,
        lpips: Lpips | None = None,
    ) -> None:
        self.pairs = tuple(pairs)
        self.predictor = predictor
        self.objects = objects
        self.lpips = lpips
        self.stains = tuple(pairs[0].truth)
        bare = [pair.name for pair in pairs if pair.mask is None]
        if objects is not None and objects.masks and bare:
            raise ImageError(f"pair {bare[0]} has no mask: give one for every pair, or --segment otsu")
        self._scales = {stain: measure_scale(pair.truth[stain]() for pair in pairs) for stain in self.stains}

    def run(self, progress: Progress = lambda done, total: None, *, baselines: bool = True) -> Comparison:
        """Compare everything; ``progress`` gets the number of pairs done and of all. Blocks.

        Without ``baselines`` only the predictor is judged: where several go over the same pairs.
        """
        calibrations = {stain: self._calibrate(stain) if baselines else None for stain in self.stains}
        results: list[Result] = []
        for number, pair in enumerate(self.pairs):
            progress(number, len(self.pairs))
            for stain, calibration in calibrations.items():
                results += self._judge(pair, stain, calibration)
        progress(len(self.pairs), len(self.pairs))
        notes = (*self._shift_notes(), *self.predictor.notes)
        return Comparison(tuple(results), self.predictor.name, self._scales, notes)

    def look(self, result: Result) -> Look:
        """Return the planes behind a result of the judged predictor, made anew."""
        pair = next(pair for pair in self.pairs if pair.name == result.image)
        truth = np.clip(self._truth(pair, result.stain), 0, 1)
        predicted = np.clip(self.predictor.predict(pair, result.stain, self._scales[result.stain]), 0, 1)
        label_free = pair.label_free() if pair.label_free is not None else None
        objects = self._objects(pair, result.stain, truth)
        labels = (None, None) if objects is None else (objects.labels, objects.find(predicted))
        return Look(result, label_free, truth, predicted, *labels)

    def _judge(self, pair: Pair, stain: str, calibration: _Calibration | None) -> Iterator[Result]:
        truth = self._truth(pair, stain)
        clipped = np.clip(truth, 0, 1)
        seen = self.lpips.features(clipped) if self.lpips is not None else None
        objects = self._objects(pair, stain, clipped)
        whose = (pair.name, pair.position, pair.group, stain)
        for name, predicted in self._predictions(pair, stain, truth, calibration):
            flat = np.clip(predicted, 0, 1)
            values = {"r": pearson_r(predicted, truth)} | {key: of(flat, clipped) for key, of in METRICS.items()}
            if self.lpips is not None and seen is not None:
                values["lpips"] = self.lpips.distance(self.lpips.features(flat), seen)
            if objects is not None and name != baselines.CONSTANT:
                values |= objects.values(objects.find(flat), predicted, truth)
            yield Result(*whose, name, values)
        if objects is not None and self.objects and self.objects.segment_input and pair.label_free is not None:
            plane = _stretch(pair.label_free())
            yield Result(*whose, LABEL_FREE, objects.values(objects.find(plane), plane, truth))

    def _predictions(
        self, pair: Pair, stain: str, truth: Plane, calibration: _Calibration | None
    ) -> Iterator[tuple[str, Plane]]:
        yield self.predictor.name, self.predictor.predict(pair, stain, self._scales[stain])
        if calibration is None:
            return
        yield baselines.CONSTANT, np.full(truth.shape, calibration.mean)
        if pair.label_free is not None:
            image = pair.label_free()
            for name, (gain, offset) in calibration.fits.items():
                yield name, gain * baselines.FILTERS[name](image) + offset
        yield baselines.SHUFFLED, self._other_truth(pair, stain)

    def _calibrate(self, stain: str) -> _Calibration:
        mean = float(np.mean([self._truth(pair, stain).mean() for pair in self.pairs]))
        with_input = [(pair, pair.label_free) for pair in self.pairs if pair.label_free is not None]
        if not with_input:
            return _Calibration(mean, {})
        fits = {
            name: baselines.fit((of(read()), np.clip(self._truth(pair, stain), 0, 1)) for pair, read in with_input)
            for name, of in baselines.FILTERS.items()
        }
        return _Calibration(mean, fits)

    def _truth(self, pair: Pair, stain: str) -> Plane:
        return self._scales[stain].apply(pair.truth[stain]())

    def _objects(self, pair: Pair, stain: str, truth: Plane) -> Objects | None:
        wanted = self.objects is not None and stain == self.stains[0]
        return Objects.of_pair(self.objects, pair, truth) if wanted and self.objects else None

    def _other_truth(self, pair: Pair, stain: str) -> Plane:
        """Return the truth of the next pair of another position, if possible of this group; else its own, turned."""
        at = self.pairs.index(pair)
        others = [
            other
            for other in self.pairs[at + 1 :] + self.pairs[:at]
            if other.shape == pair.shape and (other.group, other.position) != (pair.group, pair.position)
        ]
        near = [other for other in others if other.group == pair.group] or others
        return self._truth(near[0], stain) if near else self._truth(pair, stain)[::-1, ::-1]

    def _shift_notes(self) -> Iterator[str]:
        """Say where label-free planes and the first measured stain do not lie over each other."""
        for group in dict.fromkeys(pair.group for pair in self.pairs):
            planes = (
                (pair.label_free(), pair.truth[self.stains[0]]())
                for pair in self.pairs
                if pair.group == group and pair.label_free is not None
            )
            sentence = describe_shift(measure_shift(planes), self.stains[0], group)
            if sentence:
                yield sentence


def _stretch(image: Counts) -> Plane:
    """Return counts as 0 to 1 between the plane's own extremes: for a segmenter, never for a metric."""
    low, high = float(image.min()), float(image.max())
    return (image.astype(np.float64) - low) / max(high - low, 1.0)
