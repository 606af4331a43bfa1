"""Every model that is shipped: it passes its own gate, and its card says what it is worth."""

from __future__ import annotations

from pathlib import Path

import pytest

from livestain.engine.opening import open_backend
from livestain.model import read_model

ENGINES = Path(__file__).parents[1] / "engines"
SHIPPED = sorted(path.parent.name for path in ENGINES.glob("*/rdf.yaml"))
LARGEST_BYTES = 10 * 2**20
FILTERS = ("local energy", "local deviation, 2 px, blurred 3 px")


@pytest.mark.parametrize("name", SHIPPED)
def test_it_passes_its_gate_in_the_precision_of_this_machine(name: str) -> None:
    engine = open_backend(read_model(name), "openvino", threads=1)
    try:
        assert engine.info.gate.passed
    finally:
        engine.close()


@pytest.mark.parametrize("name", SHIPPED)
def test_it_states_its_limits_and_beats_every_filter_it_was_compared_with(name: str) -> None:
    card = read_model(name).card
    assert card.caution
    assert card.limits
    r = {(score.predictor, score.stain): score.value for score in reversed(card.scores) if score.metric.startswith("r")}
    for stain in card.stains:
        others = [value for (predictor, of), value in r.items() if of == stain.name and predictor in FILTERS]
        assert others
        assert r["this model", stain.name] > max(others)


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_small(name: str) -> None:
    assert sum(path.stat().st_size for path in (ENGINES / name).glob("*.*")) <= LARGEST_BYTES
