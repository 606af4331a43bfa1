"""Tiles: together the stain of the whole frame, whatever its size; and the way out when the memory is too small."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from livestain.contrast import SHADE_PX, estimate_background
from livestain.engine.backends.base import BaseEngine, Job, Program, Scalar
from livestain.engine.backends.onnxruntime import OnnxRuntimeEngine
from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.engine.gate import compare
from livestain.engine.graph import FULL_SCALE
from livestain.engine.protocol import Given
from livestain.engine.tiles import plan_tiles, smallest_tile, stain_in_tiles, tile_step
from livestain.errors import EngineError, EngineMemoryError
from livestain.frames import MIN_SIDE_PX, Counts
from livestain.model import Model, read_model
from tests.engine.test_backends import identity_generator
from tests.models import BLACK, STRIDE, camera_frame, write_test_model

ENGINES = Path(__file__).parents[2] / "engines"
SHIPPED = sorted(path.parent.name for path in ENGINES.glob("*/rdf.yaml"))

Stains = npt.NDArray[np.uint16]


def given(model: Model, shape: tuple[int, int], seed: int = 0) -> Given:
    """A frame of cells whose light differs from block to block, so that the shade is steep everywhere."""
    piece = camera_frame((160, 144), seed)
    image = np.tile(piece, (-(-shape[0] // 160), -(-shape[1] // 144)))[: shape[0], : shape[1]]
    background = estimate_background(image, BLACK)
    constant = model.card.contrast.constant
    shade = background.shade(constant) * np.random.default_rng(seed).uniform(0.9, 1.1, background.field.shape)
    return Given(image, shade.astype(np.float32), BLACK, 1 / constant)


def stain(engine: BaseEngine, frame: Given) -> Stains:
    return engine.stain(frame.image, frame.shade, frame.black, frame.offset)


def largest_difference(one: Stains, other: Stains) -> int:
    return int(np.abs(one.astype(np.int32) - other).max())


# -- the plan ----------------------------------------------------------------------------------------------------------

PLANS = [
    ((96, 96), 256, 91, 16),
    ((2048, 2048), 1024, 91, 16),
    ((2047, 2049), 512, 91, 16),
    ((257, 1000), 256, 64, 16),
    ((300, 120), 112, 0, 8),
    ((1217, 641), 230, 91, 16),
    ((1217, 641), 300, 91, 24),
    ((640, 97), 222, 91, 16),
]


@pytest.mark.parametrize(("shape", "tile_px", "halo", "step"), PLANS, ids=str)
def test_tiles_keep_every_pixel_once_and_far_from_their_inner_borders(
    shape: tuple[int, int], tile_px: int, halo: int, step: int
) -> None:
    kept = np.zeros(shape, int)
    for tile in plan_tiles(shape, tile_px, halo, step):
        kept[tile.keep] += 1
        for size, read, shade, keep, inside in zip(shape, tile.read, tile.shade, tile.keep, tile.inside, strict=True):
            assert read.start % step == 0
            assert (shade.start, shade.stop) == (read.start // SHADE_PX, -(-read.stop // SHADE_PX))
            assert (inside.start, inside.stop) == (keep.start - read.start, keep.stop - read.start)
            assert read.start == 0 == keep.start or inside.start >= halo + SHADE_PX // 2
            assert read.stop == size == keep.stop or read.stop - keep.stop >= halo + SHADE_PX // 2
    assert (kept == 1).all()


@pytest.mark.parametrize(("shape", "tile_px", "halo", "step"), PLANS, ids=str)
def test_all_tiles_have_one_size_within_the_limits(shape: tuple[int, int], tile_px: int, halo: int, step: int) -> None:
    tiles = plan_tiles(shape, tile_px, halo, step)
    ((height, width),) = {(y.stop - y.start, x.stop - x.start) for y, x in (tile.read for tile in tiles)}
    assert MIN_SIDE_PX <= height <= max(tile_px, MIN_SIDE_PX)
    assert MIN_SIDE_PX <= width <= max(tile_px, MIN_SIDE_PX)


@pytest.mark.parametrize(
    ("shape", "tile_px", "count", "size"),
    [
        ((1024, 1024), 1024, 1, (1024, 1024)),
        ((2048, 1024), 1024, 3, (816, 1024)),
        ((2048, 2048), 1024, 9, (816, 816)),
        ((2048, 2048), 512, 36, (512, 512)),
    ],
)
def test_no_more_is_stained_twice_than_must_be(
    shape: tuple[int, int], tile_px: int, count: int, size: tuple[int, int]
) -> None:
    tiles = plan_tiles(shape, tile_px, 91, 16)
    assert len(tiles) == count
    assert all((y.stop - y.start, x.stop - x.start) == size for y, x in (tile.read for tile in tiles))


@pytest.mark.parametrize(("stride", "step"), [(1, 8), (4, 8), (16, 16), (12, 24)])
def test_tiles_begin_where_strides_and_shade_do(stride: int, step: int) -> None:
    assert tile_step(stride) == step


def test_tiles_that_are_all_border_are_refused() -> None:
    least = smallest_tile(91, 16)
    assert len(plan_tiles((300, 300), least, 91, 16)) > 1
    with pytest.raises(ValueError, match=f"halo of 91 px needs at least {least} px"):
        plan_tiles((300, 300), least - 1, 91, 16)


# -- the stain ---------------------------------------------------------------------------------------------------------

BACKENDS = [OpenVinoEngine, OnnxRuntimeEngine]
MODELS = [*SHIPPED, "test model"]
SIZES = [((301, 500), 256), ((463, 225), 224), ((384, 97), 240)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """The shipped models, copied (what is compiled here shall not lie in the repository), and the one with halo 64."""
    folder = tmp_path_factory.mktemp("models")
    for name in SHIPPED:
        shutil.copytree(ENGINES / name, folder / name, ignore=shutil.ignore_patterns("compiled"))
    write_test_model(folder / "test model")
    return {name: read_model(folder / name) for name in MODELS}


def in_tiles(engine: BaseEngine, frame: Given, tile_px: int, halo: int, stride: int) -> Stains:
    shape = (frame.image.shape[0], frame.image.shape[1])
    tiles = plan_tiles(shape, tile_px, halo, tile_step(stride))
    assert len(tiles) > 1
    return stain_in_tiles(lambda tile: stain(engine, tile), frame, tiles, len(engine.info.stains))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("adapter", BACKENDS, ids=lambda adapter: adapter.backend)
def test_at_f32_tiles_and_the_whole_frame_differ_by_at_most_one_count(
    adapter: type[BaseEngine], name: str, models: dict[str, Model]
) -> None:
    model = models[name]
    engine = adapter(model, "f32", threads=1)
    for shape, tile_px in SIZES:
        frame = given(model, shape)
        whole = stain(engine, frame)
        assert np.ptp(whole) > FULL_SCALE / 10
        tiled = in_tiles(engine, frame, tile_px, model.card.halo, model.card.stride)
        assert largest_difference(tiled, whole) <= 1


@pytest.mark.parametrize("name", SHIPPED)
def test_at_bf16_tiles_and_the_whole_frame_are_one_within_the_gate(name: str, models: dict[str, Model]) -> None:
    model = models[name]
    if "bf16" not in OpenVinoEngine.precisions(model):
        pytest.skip("this CPU has no bf16: would show that tiles are within the gate in it")
    engine = OpenVinoEngine(model, "bf16", threads=1)
    frame = given(model, (301, 500))
    whole = stain(engine, frame)
    tiled = in_tiles(engine, frame, 256, model.card.halo, model.card.stride)
    assert compare(tiled, (whole / FULL_SCALE).astype(np.float32), full=False).passed


def test_a_halo_that_is_too_small_shows(models: dict[str, Model]) -> None:
    model = models[SHIPPED[0]]
    engine = OnnxRuntimeEngine(model, "f32", threads=1)
    frame = given(model, (336, 128))
    assert largest_difference(in_tiles(engine, frame, 128, 16, model.card.stride), stain(engine, frame)) > 10


def test_an_overlap_without_half_a_step_of_the_shade_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that looks at single pixels: what differs is the light, held at the rim of a tile's own grid."""
    folder = write_test_model(tmp_path / "model", stains=["contrast"], generator=identity_generator())
    engine = OnnxRuntimeEngine(read_model(folder), "f32", threads=1)
    frame = given(read_model(folder), (288, 96))
    whole = stain(engine, frame)
    assert largest_difference(in_tiles(engine, frame, 112, 0, STRIDE), whole) <= 1
    monkeypatch.setattr("livestain.engine.tiles._margin", lambda halo: halo)
    assert largest_difference(in_tiles(engine, frame, 112, 0, STRIDE), whole) > 100


# -- too little memory -------------------------------------------------------------------------------------------------


class Small(OnnxRuntimeEngine):
    """A device whose memory holds so many pixels of a frame."""

    room_px = 0
    asked: list[tuple[int, ...]]

    def _compile(self, job: Job) -> Program:
        program = super()._compile(job)

        def run(image: Counts, shade: npt.NDArray[np.float32], black: Scalar, offset: Scalar) -> tuple[Stains, float]:
            self.asked.append(image.shape)
            if image.size > self.room_px:
                raise MemoryError("no room")
            return program(image, shade, black, offset)

        return run


@pytest.fixture
def small(models: dict[str, Model]) -> Callable[[int], Small]:
    def make(room_px: int) -> Small:
        engine = Small(models["test model"], "f32", threads=1)
        engine.room_px, engine.asked = room_px, []
        return engine

    return make


def test_a_frame_that_does_not_fit_is_halved_until_it_does(
    small: Callable[[int], Small], models: dict[str, Model], caplog: pytest.LogCaptureFixture
) -> None:
    engine, frame = small(400 * 400), given(models["test model"], (1600, 203))
    roomy = OnnxRuntimeEngine(models["test model"], "f32", threads=1)
    before = (str(engine), engine.info)
    stains = stain(engine, frame)
    assert largest_difference(stains, stain(roomy, frame)) <= 1
    assert engine.asked[0] == (1600, 203)
    assert (str(engine), engine.info) == before
    (warning,) = caplog.messages
    assert "too little memory for (1600, 203) px: stained in tiles of up to 800 px" in warning
    assert len(set(engine.asked[1:])) == 1


def test_what_fits_is_remembered_for_the_shape_and_told_once(
    small: Callable[[int], Small], models: dict[str, Model], caplog: pytest.LogCaptureFixture
) -> None:
    engine, frame = small(400 * 400), given(models["test model"], (900, 300))
    stain(engine, frame)
    engine.asked.clear()
    caplog.clear()
    first, second = engine.stain_many([frame, given(models["test model"], (900, 300), seed=1)])
    assert (900, 300) not in engine.asked
    assert not caplog.messages
    assert largest_difference(first, second) > 1
    engine.asked.clear()
    stain(engine, given(models["test model"], (300, 300)))
    assert engine.asked == [(300, 300)]


def test_memory_that_gets_less_makes_smaller_tiles(small: Callable[[int], Small], models: dict[str, Model]) -> None:
    engine, frame = small(800 * 300), given(models["test model"], (1600, 300))
    whole = stain(OnnxRuntimeEngine(models["test model"], "f32", threads=1), frame)
    assert largest_difference(stain(engine, frame), whole) <= 1
    engine.room_px = 400 * 300
    assert largest_difference(stain(engine, frame), whole) <= 1


def test_a_frame_ten_times_too_large_stays_an_error(
    small: Callable[[int], Small], models: dict[str, Model], caplog: pytest.LogCaptureFixture
) -> None:
    engine = small(96 * 96)
    with pytest.raises(EngineMemoryError, match="no room"):
        stain(engine, given(models["test model"], (1600, 800)))
    assert len(engine.asked) > 1
    assert not caplog.messages
    with pytest.raises(EngineMemoryError):
        stain(engine, given(models["test model"], (300, 300)))


def test_any_other_failure_is_not_met_with_tiles(small: Callable[[int], Small], models: dict[str, Model]) -> None:
    engine = small(400 * 400)
    engine.close()
    with pytest.raises(EngineError, match="was closed"):
        stain(engine, given(models["test model"], (900, 900)))
    assert engine.asked == []


def test_a_warm_up_finds_the_tiles(small: Callable[[int], Small]) -> None:
    engine = small(400 * 400)
    engine.warm_up((900, 300), np.dtype(np.uint16))
    engine.asked.clear()
    engine.warm_up((900, 300), np.dtype(np.uint16))
    assert (900, 300) not in engine.asked


def test_a_library_that_compiles_for_one_size_compiles_once(
    models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[tuple[int, int]] = []
    compile_ = OpenVinoEngine._compile

    def refuse_large(self: OpenVinoEngine, job: Job) -> Program:
        compiled.append(job.shape)
        if job.shape[0] > 500:
            raise MemoryError("no room")
        return compile_(self, job)

    monkeypatch.setattr(OpenVinoEngine, "_compile", refuse_large)
    engine = OpenVinoEngine(models["test model"], "f32", threads=1)
    frame = given(models["test model"], (901, 300))
    stain(engine, frame)
    stain(engine, frame)
    assert compiled[0] == (901, 300)
    assert len(compiled) == 2
