"""What is drawn: the layers exactly, and a virtual layer never without its mark."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("qtpy")

from livestain.frames import Counts, Key
from livestain.view import overlays
from livestain.view.compose import add_up, make_colors, make_table, sample
from livestain.view.overlays import Tags
from livestain.view.picture import LayerInfo, Picture
from livestain.view.render import Renderer, render
from livestain.view.state import MODES, UNDER_STAINS, Mode, ViewState
from livestain.view.viewport import Viewport
from tests.view.pictures import AMBER, BRIGHT, NUCLEI, constant, noise, noise_picture, pixels, shown

pytestmark = pytest.mark.usefixtures("qapp")

Rgb = npt.NDArray[np.uint8]


def is_amber(rgb: Rgb) -> npt.NDArray[np.bool_]:
    return np.asarray(np.all(rgb == AMBER, axis=-1))


def bare(state: ViewState, view: Viewport, monkeypatch: pytest.MonkeyPatch) -> Rgb:
    """Draw without mark, legend and tags, which would cover the layers."""
    monkeypatch.setattr(overlays, "draw_frames", lambda *_: None)
    monkeypatch.setattr(overlays, "draw_curtain", lambda *_: None)
    return pixels(Renderer().image(state, view, view.width, view.height, 1.0, Tags()))


def reference(state: ViewState, layers: tuple[int, ...], view: Viewport) -> Rgb:
    assert state.picture is not None
    parts = []
    for layer in layers:
        look, plane = state.views[layer], state.picture.planes[layer]
        assert plane is not None
        table = make_table(look.limits, look.gamma, plane.dtype)
        parts.append((sample(plane, *view.sampled(), table), make_colors(look.color, look.opacity)))
    return add_up(parts)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.7])
def test_layers_are_added_up_as_numpy_does(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    state = shown(noise_picture((150, 211)))
    state.set_layer(1, gamma=0.6, opacity=0.7)
    state.set_layer(2, limits=(5000, 40000), color="FF8C00")
    view = Viewport.fit((150, 211), 201, 160).scaled(scale)
    drawn = bare(state, view, monkeypatch)[slice(*view.rows), slice(*view.columns)]
    apart = np.abs(drawn.astype(int) - reference(state, (0, 1, 2, 3), view).astype(int))
    assert apart.max() <= 1


def test_at_one_to_one_every_count_is_its_own_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    state = ViewState((BRIGHT,))
    plane = noise((120, 160), 4095)
    state.set_picture(Picture(Key(0, 0, 0), (plane,)))
    drawn = bare(state, Viewport.fit((120, 160), 160, 120), monkeypatch)
    assert np.array_equal(drawn[..., 0], np.rint(plane / 4095 * 255))


@pytest.mark.parametrize("share", [0.0, 0.31, 1.0])
def test_the_curtain_parts_measured_from_virtual(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    state = shown(noise_picture((100, 100)), "curtain")
    state.set_curtain(share)
    view = Viewport.fit((100, 100), 100, 100)
    drawn, at = bare(state, view, monkeypatch).astype(int), round(100 * share)
    left, right = reference(state, (0, 3), view), reference(state, (0, 1, 2), view)
    assert np.abs(drawn - np.concatenate([left[:, :at], right[:, at:]], axis=1)).max() <= 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(96, 96), (400, 300), (1280, 800), (2560, 1440)])
@pytest.mark.parametrize("shape", [(96, 96), (512, 512), (96, 1024), (1024, 96)])
def test_a_virtual_layer_is_never_without_its_mark(mode: Mode, size: tuple[int, int], shape: tuple[int, int]) -> None:
    image = render(shown(noise_picture(shape), mode), size, pixel_um=0.65, caption="time 3, 0:02:24")
    rgb = pixels(image)
    assert rgb.shape == (size[1], size[0], 3)
    mark = is_amber(rgb)
    rows, columns = np.flatnonzero(mark.any(axis=1)), np.flatnonzero(mark.any(axis=0))
    inside = rgb[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    black = np.all(inside < 40, axis=-1)
    assert mark.sum() > 1000
    assert black.sum() > 200, "the words"
    assert not black[[0, -1]].any(), "no letter is cut"
    assert not black[:, [0, -1]].any()


@pytest.mark.parametrize("planes", [(None, None), (constant(900), None), (constant(900), constant(0))])
@pytest.mark.parametrize("opacity", [0.0, 1.0])
def test_the_mark_stands_also_while_a_stain_is_not_there_or_not_seen(
    planes: tuple[Counts | None, ...], opacity: float
) -> None:
    state = ViewState((BRIGHT, NUCLEI, replace(NUCLEI, name="membrane")))
    state.set_picture(Picture(Key(0, 0, 0), (*planes, constant(3))))
    state.set_layer(1, opacity=opacity)
    assert is_amber(pixels(render(state, (400, 300), pixel_um=0, caption=""))).any()


@pytest.mark.parametrize("mode", MODES)
def test_where_no_stain_is_there_nothing_is_marked_or_dimmed_and_the_reason_stands(mode: Mode) -> None:
    state = ViewState((BRIGHT, NUCLEI, replace(NUCLEI, name="membrane")))
    state.set_mode(mode)
    state.set_picture(Picture(Key(0, 0, 0), (constant(4095), None, None), states=("", "staining is off", "")))
    rgb = pixels(render(state, (900, 400), pixel_um=0, caption=""))
    assert not is_amber(rgb).any()
    assert (rgb == 0xBD).all(axis=-1).sum() > 500, "the grey tag"
    assert state.opacity(0) == 1.0
    assert [pane.unstained for pane in state.panes()][-1] == "staining is off"


def test_the_label_free_layer_is_equally_bright_on_both_sides_of_the_curtain(monkeypatch: pytest.MonkeyPatch) -> None:
    state = shown(Picture(Key(0, 0, 0), (constant(4095), constant(0), constant(0), None)), "curtain")
    drawn = bare(state, Viewport.fit((96, 96), 96, 96), monkeypatch)
    assert (drawn == round(255 * UNDER_STAINS)).all()


@pytest.mark.parametrize(("alone", "full"), [(True, 1.0), (False, UNDER_STAINS)])
def test_the_label_free_layer_is_dimmed_only_under_others(
    alone: bool, full: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = shown(Picture(Key(0, 0, 0), (constant(4095), constant(0), constant(0), None)))
    state.set_alone(alone)
    drawn = bare(state, Viewport.fit((96, 96), 96, 96), monkeypatch)
    assert (drawn == round(255 * full)).all()


def test_without_a_virtual_layer_there_is_no_mark() -> None:
    state = shown(noise_picture())
    state.set_alone(True)
    assert not is_amber(pixels(render(state, (400, 300), pixel_um=0, caption=""))).any()


@pytest.mark.parametrize("ratio", [1.0, 1.25, 2.0, 3.0])
def test_high_resolution_screens_get_all_their_pixels(ratio: float) -> None:
    state = shown(noise_picture((512, 512)))
    image = render(state, (400, 300), pixel_um=0.5, caption="time 3", device_ratio=ratio)
    assert (image.width(), image.height(), image.devicePixelRatio()) == (400 * ratio, 300 * ratio, ratio)
    once = is_amber(pixels(render(state, (400, 300), pixel_um=0.5, caption="time 3"))).sum()
    assert is_amber(pixels(image)).sum() == pytest.approx(once * ratio**2, rel=0.1)


@pytest.mark.parametrize(
    ("pixel_um", "length_px"), [(0.65, 100 / 0.65), (1.0, 200.0), (0.0, 0.0)], ids=["0.65 um", "1 um", "not known"]
)
def test_the_bar_is_as_long_as_it_says(pixel_um: float, length_px: float) -> None:
    state = ViewState((BRIGHT,))
    state.set_picture(Picture(Key(0, 0, 0), (constant(0, (800, 800)),)))
    rgb = pixels(render(state, (800, 800), pixel_um=pixel_um, caption=""))
    white = np.all(rgb[400:] == 255, axis=-1).sum(axis=1)
    assert white.max() == round(length_px)


def test_a_stale_picture_has_a_grey_border() -> None:
    state = ViewState((BRIGHT,))
    state.set_picture(Picture(Key(0, 0, 0), (constant(0, (200, 200)),)))
    view = Viewport.fit((200, 200), 400, 200)
    images = [pixels(Renderer().image(state, view, 400, 200, 1.0, Tags(stale_s=s))) for s in (0.0, 3.0)]
    grey = [np.all(rgb[:, 101:103] == 0xBD, axis=-1).mean() for rgb in images]
    assert grey == [0.0, 1.0]


@pytest.mark.parametrize(
    "picture",
    [
        None,
        Picture(Key(0, 0, 0), (None,) * 4, (), ("failed: file gone", "", "", "")),
        Picture(Key(0, 0, 0), (constant(0),) * 4),
        Picture(Key(0, 0, 0), (constant(4095),) * 4),
        Picture(Key(0, 0, 0), (None, constant(1), constant(1, (50, 96)), None)),
        Picture(Key(0, 0, 0), (constant(5, (4096, 96)),) * 4),
    ],
    ids=["none", "no plane", "zeros", "constant", "another size", "a strip"],
)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(96, 96), (400, 300), (3840, 2160)])
def test_odd_pictures_are_drawn_too(picture: Picture | None, mode: Mode, size: tuple[int, int]) -> None:
    image = render(shown(picture, mode), size, pixel_um=0.1, caption="time 1")
    assert (image.width(), image.height()) == size
    assert len(np.unique(pixels(image))) > 1


def test_a_legend_of_many_layers_leaves_the_image_free() -> None:
    stains = [LayerInfo(f"stain {i}", "virtual", "FF00FF", limits=(0.0, 65535.0)) for i in range(20)]
    state = ViewState((BRIGHT, *stains))
    state.set_picture(Picture(Key(0, 0, 0), (constant(0, (600, 600)),) * 21))
    covered = pixels(render(state, (600, 600), pixel_um=1.0, caption="time 1"))
    assert np.any(covered[:400])
    assert not np.any(covered[400:560])


def test_every_layer_off_is_said() -> None:
    state = shown(noise_picture())
    for layer in range(4):
        state.set_layer(layer, visible=False)
    assert np.any(pixels(render(state, (400, 300), pixel_um=0, caption=""))[140:160] > 100)


def test_another_thread_draws_the_same() -> None:
    state, drawn = shown(noise_picture((200, 200)), "split"), []
    here = pixels(render(state, (500, 300), pixel_um=0.65, caption="time 3"))
    thread = threading.Thread(
        target=lambda: drawn.append(pixels(render(state, (500, 300), pixel_um=0.65, caption="time 3")))
    )
    thread.start()
    thread.join()
    assert np.array_equal(drawn[0], here)
