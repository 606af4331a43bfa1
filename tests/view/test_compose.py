"""From counts to levels: look-up tables, sampling, and what is made again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from livestain.frames import Counts, Key
from livestain.view.compose import Composer, add_up, make_colors, make_table, sample
from livestain.view.picture import LayerInfo, Picture
from livestain.view.state import LayerView
from livestain.view.viewport import Viewport

U8, U16 = np.dtype(np.uint8), np.dtype(np.uint16)


def noise(shape: tuple[int, int], dtype: np.dtype[Any] = U16, seed: int = 0) -> Counts:
    return np.random.default_rng(seed).integers(0, 1 << 8 * dtype.itemsize, shape, dtype)


def view_of(limits: tuple[float, float] = (0.0, 65535.0)) -> LayerView:
    return LayerView(LayerInfo("nuclei", "virtual", "00E676"), limits, "00E676")


def picture(*planes: Counts | None, halves: tuple[Counts | None, ...] = ()) -> Picture:
    return Picture(Key(0, 0, 0), planes, halves)


@pytest.mark.parametrize(
    ("limits", "gamma", "dtype", "levels"),
    [
        ((0, 255), 1.0, U8, {0: 0, 1: 1, 128: 128, 255: 255}),
        ((100, 200), 1.0, U8, {0: 0, 100: 0, 150: 128, 200: 255, 255: 255}),
        ((0, 65535), 1.0, U16, {0: 0, 257: 1, 32768: 128, 65535: 255}),
        ((1000, 3000), 2.0, U16, {999: 0, 2000: 64, 3000: 255, 65535: 255}),
        ((1000, 3000), 0.5, U16, {1000: 0, 1500: 128, 3000: 255}),
        ((65534, 65535), 1.0, U16, {65533: 0, 65534: 0, 65535: 255}),
        ((0, 65535), 1.0, U8, {0: 0, 255: 1}),
    ],
)
def test_a_table_gives_the_level_of_each_count(
    limits: tuple[float, float], gamma: float, dtype: np.dtype[Any], levels: dict[int, int]
) -> None:
    table = make_table(limits, gamma, dtype)
    assert (len(table), table.dtype) == (1 << 8 * dtype.itemsize, U8)
    assert {count: int(table[count]) for count in levels} == levels
    assert np.all(np.diff(table.astype(int)) >= 0)


@pytest.mark.parametrize(
    ("color", "opacity", "half", "full"),
    [
        ("FF00FF", 1.0, (128, 0, 128), (255, 0, 255)),
        ("00E676", 0.5, (0, 58, 30), (0, 115, 59)),
        ("FFFFFF", 0.0, (0, 0, 0), (0, 0, 0)),
    ],
)
def test_colors_grow_with_level_and_opacity(
    color: str, opacity: float, half: tuple[int, ...], full: tuple[int, ...]
) -> None:
    colors = make_colors(color, opacity)
    assert (tuple(colors[0]), tuple(colors[128]), tuple(colors[255])) == ((0, 0, 0), half, full)


@pytest.mark.parametrize("dtype", [U8, U16])
@pytest.mark.parametrize("scale", [0.2, 0.7, 1.0, 1.56, 7.3, 64.0])
def test_samples_are_the_nearest_pixels(scale: float, dtype: np.dtype[Any]) -> None:
    plane, table = noise((150, 213), dtype), make_table((5, 200), 0.7, dtype)
    rows, columns = Viewport.fit((150, 213), 170, 120).scaled(scale).sampled()
    assert np.array_equal(sample(plane, rows, columns, table), table[plane[np.ix_(rows, columns)]])


@pytest.mark.parametrize(("scale", "of_half"), [(0.2, True), (0.5, True), (0.51, False), (2.0, False)])
@pytest.mark.parametrize("shape", [(400, 400), (399, 401)])
def test_up_to_half_size_the_half_plane_is_shown(scale: float, of_half: bool, shape: tuple[int, int]) -> None:
    whole = np.full(shape, 60000, np.uint16)
    half = np.full(((shape[0] + 1) // 2, (shape[1] + 1) // 2), 100, np.uint16)
    viewport = Viewport.fit(shape, 80, 80).scaled(scale)
    levels = Composer().levels(0, view_of(), picture(whole, halves=(half,)), viewport)
    assert levels is not None
    assert np.all(levels == (0 if of_half else 233))


@pytest.mark.parametrize("halves", [(), (None,)])
def test_without_half_plane_the_whole_one_is_shown(halves: tuple[None, ...]) -> None:
    plane, viewport = noise((400, 400)), Viewport.fit((400, 400), 80, 80)
    levels = Composer().levels(0, view_of(), picture(plane, halves=halves), viewport)
    rows, columns = viewport.sampled()
    assert levels is not None
    assert np.array_equal(levels, sample(plane, rows, columns, make_table((0, 65535), 1.0, U16)))


@pytest.mark.parametrize("plane", [None, noise((100, 90))])
def test_a_plane_that_is_not_there_or_of_another_size_has_no_levels(plane: Counts | None) -> None:
    assert Composer().levels(0, view_of(), picture(plane), Viewport.fit((90, 100), 80, 80)) is None


Change = Callable[[LayerView, Picture, Viewport], tuple[LayerView, Picture, Viewport]]


@pytest.mark.parametrize(
    ("change", "tables", "samples"),
    [
        (lambda v, p, w: (v, p, w), 0, 0),
        (lambda v, p, w: (replace(v, color="FF00FF", opacity=0.3), p, w), 0, 0),
        (lambda v, p, w: (v, p, w.resized(w.width, w.height)), 0, 0),
        (lambda v, p, w: (replace(v, gamma=0.5), p, w), 1, 1),
        (lambda v, p, w: (replace(v, limits=(3.0, 9.0)), p, w), 1, 1),
        (lambda v, p, w: (v, p, w.zoomed(2, 10, 10)), 0, 1),
        (lambda v, p, w: (v, picture(noise((200, 200), seed=9)), w), 0, 1),
        (lambda v, p, w: (v, picture(noise((200, 200), U8)), w), 1, 1),
    ],
    ids=["nothing", "color", "same view", "gamma", "limits", "zoom", "picture", "8 bit"],
)
def test_only_what_changed_is_made_again(change: Change, tables: int, samples: int) -> None:
    composer, shown = Composer(), (view_of(), picture(noise((200, 200))), Viewport.fit((200, 200), 300, 150))
    composer.levels(0, *shown)
    composer.levels(0, *change(*shown))
    assert (composer.tables_made - 1, composer.samples_made - 1) == (tables, samples)


def test_layers_add_up_and_saturate() -> None:
    levels = np.array([[0, 100, 255]], np.uint8)
    green, white = make_colors("00FF00", 1.0), make_colors("FFFFFF", 0.5)
    assert add_up([(levels, green), (levels, white)]).tolist() == [[[0, 0, 0], [50, 150, 50], [128, 255, 128]]]
