"""What a window shows, decided without Qt: panes, limits, locks, colours, freezing, and what is kept."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import pytest

from livestain.frames import Counts, Key
from livestain.view.picture import LayerInfo, Picture
from livestain.view.state import COLORS, PALETTES, SAMPLES, LayerView, Mode, Pane, ViewState, auto_limits, sample

LABEL_FREE = LayerInfo("BF", "label-free", "FFFFFF")
NUCLEI = LayerInfo("nuclei", "virtual", "00E676", limits=(0.0, 60000.0))
MEMBRANE = LayerInfo("membrane", "virtual", "FF00FF", limits=(0.0, 65535.0))
DAPI = LayerInfo("DAPI", "measured", "0096FF", top=4095)
ALL = (LABEL_FREE, NUCLEI, MEMBRANE, DAPI)
SAFE, SECOND, UNSAFE = PALETTES


def state(*layers: LayerInfo) -> ViewState:
    return ViewState(layers or ALL)


class Events:
    """What a state told, in order: the index of a changed layer, "layout" or "picture"."""

    def __init__(self, told_by: ViewState) -> None:
        self.told: list[int | str] = []
        told_by.layer_changed.connect(self.told.append)
        told_by.layout_changed.connect(lambda: self.told.append("layout"))
        told_by.picture_changed.connect(lambda: self.told.append("picture"))


def picture(*planes: Counts | None, t: int = 0) -> Picture:
    return Picture(Key(0, t, 0), planes)


def ramp(low: int, high: int, shape: tuple[int, int] = (100, 100)) -> Counts:
    return np.linspace(low, high, shape[0] * shape[1]).reshape(shape).astype(np.uint16)


PANES: list[tuple[str, Mode, tuple[int, ...], bool, list[Pane]]] = [
    ("all layers are added", "composite", (), False, [Pane((0, 1, 2, 3), True, "label-free + virtual + measured")]),
    ("a hidden layer is left out", "composite", (1, 3), False, [Pane((0, 2), True, "label-free + virtual")]),
    ("no virtual layer, no mark", "composite", (1, 2), False, [Pane((0, 3), False, "label-free + measured")]),
    ("all hidden says so", "composite", (0, 1, 2, 3), False, [Pane((), False, "nothing shown")]),
    (
        "measured to the left, virtual to the right",
        "split",
        (),
        False,
        [Pane((0, 3), False, "label-free + measured"), Pane((0, 1, 2), True, "label-free + virtual")],
    ),
    (
        "the curtain parts the same two",
        "curtain",
        (0,),
        False,
        [Pane((3,), False, "measured"), Pane((1, 2), True, "virtual")],
    ),
    ("B shows label-free alone", "composite", (), True, [Pane((0,), False, "label-free")]),
    ("B shows it even when hidden", "split", (0,), True, [Pane((0,), False, "label-free")]),
]


@pytest.mark.parametrize(("mode", "hidden", "alone", "panes"), [c[1:] for c in PANES], ids=[c[0] for c in PANES])
def test_panes(mode: Mode, hidden: tuple[int, ...], alone: bool, panes: list[Pane]) -> None:
    shown = state()
    shown.set_mode(mode)
    shown.set_alone(alone)
    for index in hidden:
        shown.set_layer(index, visible=False)
    assert list(shown.panes()) == panes


LEGAL: list[tuple[str, int, dict[str, Any], dict[str, Any]]] = [
    ("in range", 0, {"limits": (10.5, 900.0)}, {"limits": (10.5, 900.0)}),
    ("below 0", 0, {"limits": (-5, 900)}, {"limits": (0.0, 900.0)}),
    ("above the top of a 12-bit camera", 3, {"limits": (10, 9000)}, {"limits": (10.0, 4095.0)}),
    ("low above high", 0, {"limits": (800, 300)}, {"limits": (800.0, 801.0)}),
    ("both the same", 0, {"limits": (7, 7)}, {"limits": (7.0, 8.0)}),
    ("both at the top", 3, {"limits": (4095, 4095)}, {"limits": (4094.0, 4095.0)}),
    ("gamma too small", 0, {"gamma": 0.01}, {"gamma": 0.2}),
    ("gamma too large", 0, {"gamma": 60.0}, {"gamma": 5.0}),
    ("opacity beyond full", 0, {"opacity": 1.5}, {"opacity": 1.0}),
    ("opacity below none", 0, {"opacity": -1.0}, {"opacity": 0.0}),
]


@pytest.mark.parametrize(("index", "changes", "expected"), [c[1:] for c in LEGAL], ids=[c[0] for c in LEGAL])
def test_values_are_brought_into_their_range(index: int, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    shown = state()
    shown.set_layer(index, **changes)
    assert {name: getattr(shown.views[index], name) for name in expected} == expected


def test_a_source_with_limits_beyond_its_top_begins_with_legal_ones() -> None:
    assert state(LayerInfo("BF", "label-free", "FFFFFF", top=255, limits=(0, 1000))).views[0].limits == (0.0, 255.0)


def test_an_unknown_field_is_a_programming_error() -> None:
    with pytest.raises(TypeError):
        state().set_layer(0, colour="FF0000")


CHANGES: list[tuple[str, Any, list[int | str]]] = [
    ("a colour", lambda s: s.set_layer(1, color="FF8C00"), [1]),
    ("the colour it has", lambda s: s.set_layer(1, color="00E676"), []),
    ("gamma beyond the end where it is", lambda s: (s.set_layer(1, gamma=5.0), s.set_layer(1, gamma=9.0)), [1]),
    ("visibility", lambda s: s.set_layer(2, visible=False), [2, "layout"]),
    ("the mode", lambda s: s.set_mode("split"), ["layout"]),
    ("the mode it has", lambda s: s.set_mode("composite"), []),
    ("the curtain", lambda s: s.set_curtain(0.25), ["layout"]),
    ("the curtain beyond the edge, twice", lambda s: (s.set_curtain(1.5), s.set_curtain(2.0)), ["layout"]),
    ("label-free alone", lambda s: s.set_alone(True), ["layout"]),
    ("freezing", lambda s: s.set_frozen(True), ["layout"]),
    ("the palette", lambda s: s.set_palette(SECOND), [1, 2]),
    ("the palette it has", lambda s: s.set_palette(SAFE), []),
    ("a lock on all", lambda s: s.lock_all(True), [0, 1, 2, 3]),
    ("limits of a locked layer", lambda s: (s.set_layer(1, locked=True), s.set_layer(1, limits=(5, 9))), [1]),
    ("the model's limits, where they are", lambda s: s.reset_limits(1), []),
    ("auto without a picture", lambda s: s.auto_once(0), []),
    ("a first picture", lambda s: s.set_picture(picture(ramp(0, 999), None, None, ramp(0, 9))), [0, 3, "picture"]),
    ("what it gives itself", lambda s: s.restore(s.settings()), []),
]


@pytest.mark.parametrize(("change", "told"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_only_real_changes_are_told(change: Any, told: list[int | str]) -> None:
    shown = state()
    events = Events(shown)
    change(shown)
    assert events.told == told


def test_the_first_picture_sets_unknown_limits_once_and_leaves_known_ones() -> None:
    shown = state()
    shown.set_picture(picture(ramp(1000, 2000), ramp(0, 100), None, None))
    first = [view.limits for view in shown.views]
    shown.set_picture(picture(ramp(0, 60000), ramp(0, 100), None, ramp(100, 200), t=1))
    assert first == [pytest.approx((1001, 1999), abs=2), (0.0, 60000.0), (0.0, 65535.0), (0.0, 4095.0)]
    assert shown.views[0].limits == first[0]
    assert shown.views[3].limits == pytest.approx((100, 200), abs=2)


FIRST: list[tuple[str, dict[str, Any]]] = [
    ("limits chosen before it", {"limits": (5.0, 50.0)}),
    ("a lock set before it", {"locked": True}),
]


@pytest.mark.parametrize("changes", [c[1] for c in FIRST], ids=[c[0] for c in FIRST])
def test_the_first_picture_does_not_overrule(changes: dict[str, Any]) -> None:
    shown = state(LABEL_FREE)
    shown.set_layer(0, **changes)
    before = shown.views[0]
    shown.set_picture(picture(ramp(1000, 2000)))
    assert shown.views[0] == before


def test_a_constant_first_plane_sets_no_limits_and_the_next_does() -> None:
    shown = state(LABEL_FREE)
    shown.set_picture(picture(np.zeros((96, 96), np.uint16)))
    assert shown.views[0].limits == (0.0, 65535.0)
    shown.set_picture(picture(ramp(1000, 2000)))
    assert shown.views[0].limits == pytest.approx((1001, 1999), abs=2)


def test_auto_reset_and_full_range() -> None:
    shown = state()
    shown.set_picture(picture(ramp(100, 300), ramp(500, 700), None, ramp(10, 30)))
    shown.auto_once(1)
    assert shown.views[1].limits == pytest.approx((500, 700), abs=2)
    shown.reset_limits(1)
    assert shown.views[1].limits == NUCLEI.limits
    shown.full_range(3)
    assert shown.views[3].limits == (0.0, 4095.0)
    shown.reset_limits(3)
    assert shown.views[3].limits == pytest.approx((10, 30), abs=2)


LOCKED: list[tuple[str, Any]] = [
    ("by hand", lambda s: s.set_layer(0, limits=(5, 50))),
    ("auto", lambda s: s.auto_once(0)),
    ("reset", lambda s: s.reset_limits(0)),
    ("full range", lambda s: s.full_range(0)),
    ("another picture", lambda s: s.set_picture(picture(ramp(0, 50000)))),
]


@pytest.mark.parametrize("change", [c[1] for c in LOCKED], ids=[c[0] for c in LOCKED])
def test_locked_limits_stay(change: Any) -> None:
    shown = state(LABEL_FREE)
    shown.set_picture(picture(ramp(1000, 2000)))
    before = shown.views[0].limits
    shown.lock_all(True)
    change(shown)
    assert shown.views[0].limits == before


def test_limits_may_change_in_the_step_that_unlocks() -> None:
    shown = state()
    shown.set_layer(0, locked=True)
    shown.set_layer(0, locked=False, limits=(3, 30))
    assert shown.views[0].limits == (3.0, 30.0)


def test_a_palette_colours_virtual_layers_in_turn_and_no_other() -> None:
    shown = state(LABEL_FREE, *(LayerInfo(f"s{i}", "virtual", "FFFFFF") for i in range(3)), DAPI)
    assert shown.palette == ""
    shown.set_palette(SECOND)
    assert [view.color for view in shown.views] == ["FFFFFF", "0096FF", "FF8C00", "0096FF", "0096FF"]
    assert shown.palette == SECOND


PALETTE_OF: list[tuple[str, tuple[str, ...], str]] = [
    ("as begun", ("00E676", "FF00FF"), SAFE),
    ("in small letters", ("00e676", "ff00ff"), SAFE),
    ("unsafe", ("0000FF", "FF00FF"), UNSAFE),
    ("exchanged", ("FF00FF", "00E676"), ""),
    ("no virtual layer", (), ""),
]


@pytest.mark.parametrize(("colors", "palette"), [c[1:] for c in PALETTE_OF], ids=[c[0] for c in PALETTE_OF])
def test_the_palette_is_known_by_its_colours(colors: tuple[str, ...], palette: str) -> None:
    layers = [LayerInfo(f"s{i}", "virtual", color) for i, color in enumerate(colors)]
    assert ViewState([LABEL_FREE, *layers]).palette == palette


def test_only_one_palette_is_unsafe_and_says_so() -> None:
    assert [name for name in PALETTES if "not colour-blind safe" in name] == [UNSAFE]
    assert set(PALETTES[SAFE] + PALETTES[SECOND]) <= set(COLORS.values())


def test_frozen_keeps_pictures_back_and_shows_the_newest_when_thawed() -> None:
    shown = state(LABEL_FREE)
    first, second, third = (picture(ramp(0, 99), t=t) for t in range(3))
    shown.set_frozen(True)
    shown.set_picture(first)
    assert shown.picture is first, "an empty window shows the first picture even when frozen"
    events = Events(shown)
    shown.set_picture(second)
    shown.set_picture(third)
    assert shown.picture is first
    assert events.told == []
    shown.set_frozen(False)
    assert shown.picture is third
    assert events.told == ["layout", "picture"]
    shown.set_frozen(True)
    shown.set_frozen(False)
    assert events.told == ["layout", "picture", "layout", "layout"], "nothing was kept back the second time"


def test_a_layer_beyond_the_planes_of_a_picture_has_none() -> None:
    shown = state()
    assert shown.plane(0) is None
    shown.set_picture(picture(ramp(0, 9)))
    assert shown.plane(0) is not None
    assert shown.plane(3) is None


AUTO: list[tuple[str, Counts, tuple[float, float]]] = [
    ("a ramp", ramp(0, 10000), (10.0, 9990.0)),
    ("zeros", np.zeros((96, 96), np.uint16), (0.0, 1.0)),
    ("constant", np.full((96, 96), 700, np.uint16), (700.0, 701.0)),
    ("bytes", np.arange(256, dtype=np.uint8).repeat(256).reshape(256, 256), (0.0, 255.0)),
    ("one hot pixel in 10 000", np.where(np.arange(10000) == 77, 60000, 0).astype(np.uint16).reshape(100, 100), (0, 1)),
]


@pytest.mark.parametrize(("plane", "limits"), [c[1:] for c in AUTO], ids=[c[0] for c in AUTO])
def test_auto_limits(plane: Counts, limits: tuple[float, float]) -> None:
    assert auto_limits(plane) == pytest.approx(limits, abs=1.0)


SIZES: list[tuple[tuple[int, int], int]] = [
    ((96, 96), 1),
    ((256, 256), 1),
    ((257, 255), 1),
    ((257, 257), 2),
    ((512, 512), 2),
    ((513, 511), 3),
    ((2048, 2048), 8),
    ((96, 4096), 3),
    ((4001, 3999), 16),
]


@pytest.mark.parametrize(("shape", "step"), SIZES, ids=[f"{y}x{x}" for (y, x), _ in SIZES])
def test_a_sample_is_a_regular_grid_of_at_most_65536_pixels(shape: tuple[int, int], step: int) -> None:
    plane = np.zeros(shape, np.uint8)
    few = sample(plane)
    assert few.size <= SAMPLES
    assert few.strides == (shape[1] * step, step)


def test_settings_come_back_through_json() -> None:
    shown = state()
    shown.set_mode("curtain")
    shown.set_palette(SECOND)
    shown.set_layer(0, opacity=0.5)
    shown.set_layer(1, gamma=2.0)
    shown.set_layer(3, visible=False)
    again = state()
    again.restore(json.loads(json.dumps(shown.settings())))
    assert again.mode == "curtain"
    assert again.views[0] == shown.views[0]
    assert again.views[1].gamma == 2.0
    assert [view.color for view in again.views] == [view.color for view in shown.views]
    assert not again.views[3].visible


def test_limits_and_locks_of_one_run_are_not_those_of_the_next() -> None:
    shown = state()
    shown.set_layer(1, limits=(7.0, 70.0))
    shown.lock_all(True)
    again = state()
    again.restore(shown.settings())
    assert [view.limits for view in again.views] == [view.limits for view in state().views]
    assert not any(view.locked for view in again.views)


def test_two_layers_of_one_label_are_kept_apart() -> None:
    shown = state(DAPI, DAPI)
    shown.set_layer(1, gamma=3.0)
    again = state(DAPI, DAPI)
    again.restore(shown.settings())
    assert [view.gamma for view in again.views] == [1.0, 3.0]


DAMAGED: list[tuple[str, Any, int]] = [
    ("an unknown mode", {"mode": "cube"}, 1),
    ("a mode that is no text", {"mode": ["split"]}, 1),
    ("layers that are no table", {"layers": [1, 2]}, 1),
    ("a layer that is no table", {"layers": {"label-free: BF": 7}}, 1),
    ("an unknown field", {"layers": {"label-free: BF": {"info": "x"}}}, 1),
    ("a colour that is none", {"layers": {"label-free: BF": {"color": "#F0F0F"}}}, 1),
    ("a gamma that is no number", {"layers": {"label-free: BF": {"gamma": float("nan")}}}, 1),
    ("a gamma in words", {"layers": {"label-free: BF": {"gamma": "much"}}}, 1),
    ("an opacity that is yes", {"layers": {"label-free: BF": {"opacity": True}}}, 1),
    ("a visibility that is 0", {"layers": {"label-free: BF": {"visible": 0}}}, 1),
    ("a number of 400 digits", {"layers": {"label-free: BF": {"gamma": 10**400}}}, 1),
    ("an endless opacity", {"layers": {"label-free: BF": {"opacity": float("inf")}}}, 1),
    ("a layer that is not here", {"layers": {"virtual: lipids": {"gamma": 2.0}}}, 0),
    ("an unknown table", {"weather": "fine"}, 0),
]


@pytest.mark.parametrize(("kept", "lines"), [c[1:] for c in DAMAGED], ids=[c[0] for c in DAMAGED])
def test_damaged_settings_change_nothing_and_are_logged(
    kept: dict[str, object], lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    shown = state(LABEL_FREE)
    before: tuple[LayerView, ...] = shown.views
    with caplog.at_level(logging.WARNING, logger="livestain"):
        shown.restore(kept)
    assert (shown.views, shown.mode) == (before, "composite")
    assert len(caplog.records) == lines


def test_kept_values_beyond_their_range_are_brought_into_it() -> None:
    shown = state(DAPI)
    shown.restore({"layers": {"measured: DAPI": {"gamma": 50, "opacity": -3}}})
    view = shown.views[0]
    assert (view.gamma, view.opacity) == (5.0, 0.0)
