"""What a model says about itself."""

from __future__ import annotations

from livestain.model.card import Score
from livestain.train.facts import beaten_by_a_filter


def score(predictor: str, stain: str, value: float) -> Score:
    return Score(predictor=predictor, data="4 pairs", stain=stain, metric="r", value=value)


def test_a_model_that_a_filter_beats_is_said_to_be_one() -> None:
    scores = [
        score("this model", "nuclei", 0.46),
        score("local energy", "nuclei", 0.545),
        score("this model", "membrane", 0.7),
        score("local energy", "membrane", 0.5),
    ]
    (line,) = beaten_by_a_filter(scores)
    assert line.startswith("nuclei: r 0.460 is no better than the 0.545")
    assert beaten_by_a_filter([]) == []
