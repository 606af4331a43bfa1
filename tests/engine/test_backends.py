"""The suite that every backend passes: the same stain as numpy and the bare network, whatever the frame."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from livestain.contrast import Background, estimate_background, normalise, shade_shape
from livestain.engine.backends.base import BaseEngine, Job, Program
from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.engine.gate import compare
from livestain.engine.graph import FULL_SCALE
from livestain.engine.protocol import Precision
from livestain.errors import EngineError, EngineMemoryError, FrameError
from livestain.frames import Counts
from livestain.model import Model, read_model
from tests.engine.conftest import ENGINES, quantised
from tests.models import BLACK, CONSTANT, STRIDE, camera_frame, run_generator, small_generator, write_test_model

Stains = npt.NDArray[np.uint16]


def expected(engine: BaseEngine, frame: Counts, background: Background, gain: float = 1.0) -> npt.NDArray[np.float32]:
    """(S, Y, X) float32 by the long way: contrast in numpy, padded by reflection, through the engine's own network.

    That is the bare generator, and at int8 the quantised one: how well that stains is a matter of its weights.
    """
    assert engine._generator is not None
    contrast = normalise(frame, background, CONSTANT, gain)
    height, width = frame.shape
    padded = np.pad(contrast, ((0, -height % STRIDE), (0, -width % STRIDE)), mode="reflect")
    return run_generator(engine._generator.SerializeToString(), padded)[0, :, :height, :width]


def stain(engine: BaseEngine, frame: Counts, background: Background, gain: float = 1.0) -> Stains:
    return engine.stain(frame, background.shade(CONSTANT, gain), background.black, 1 / CONSTANT)


def assert_same(engine: BaseEngine, stains: Stains, wanted: npt.NDArray[np.float32]) -> None:
    assert stains.dtype == np.uint16
    assert stains.shape == wanted.shape
    if engine.info.precision == "f32":
        # One count: a value that lies on the border of two, computed in another order.
        assert np.abs(stains - np.rint(wanted * FULL_SCALE)).max() <= 1
    elif engine.info.precision == "int8":
        # What lies between two steps falls to the one here and to the other there: 2 % with these random weights.
        assert compare(stains, wanted, full=False).bright_rms <= 0.03
    else:
        assert compare(stains, wanted, full=False).passed


@pytest.mark.parametrize("shape", [(96 + i, 112 + (7 * i) % STRIDE) for i in range(STRIDE)] + [(300, 131)], ids=str)
def test_every_size_is_stained_as_the_generator_would(engine: BaseEngine, shape: tuple[int, int]) -> None:
    frame = camera_frame(shape)
    background = estimate_background(frame, BLACK)
    assert_same(engine, stain(engine, frame, background), expected(engine, frame, background))


def test_the_sizes_above_have_every_remainder() -> None:
    sizes = [(96 + i, 112 + (7 * i) % STRIDE) for i in range(STRIDE)]
    assert {h % STRIDE for h, _ in sizes} == {w % STRIDE for _, w in sizes} == set(range(STRIDE))


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (12, np.uint16), (16, np.uint16)])
def test_every_bit_depth(engine: BaseEngine, bits: int, dtype: type[np.unsignedinteger]) -> None:
    wide = camera_frame((112, 128)).astype(np.float64)
    frame: Counts = (wide / wide.max() * (2**bits - 1)).astype(dtype)
    background = estimate_background(frame, 2.0)
    gain = background.gain(frame)
    assert_same(engine, stain(engine, frame, background, gain), expected(engine, frame, background, gain))


@pytest.mark.parametrize("level", [0, 1, 255, 2000, 65535])
def test_constant_frames(engine: BaseEngine, level: int) -> None:
    frame = np.full((112, 128), level, np.uint16)
    background = estimate_background(np.full((112, 128), 2000, np.uint16))
    assert_same(engine, stain(engine, frame, background), expected(engine, frame, background))


@pytest.mark.parametrize(
    "view",
    [
        lambda frame: np.asfortranarray(frame),
        lambda frame: np.repeat(np.repeat(frame, 2, 0), 3, 1)[::2, ::3],
        lambda frame: frame[::-1, ::-1].copy()[::-1, ::-1],
    ],
    ids=["column order", "every second", "backwards"],
)
def test_frames_need_not_be_contiguous(engine: BaseEngine, view: Callable[[Counts], Counts]) -> None:
    frame = camera_frame((112, 128))
    background = estimate_background(frame, BLACK)
    strided = view(frame)
    assert not strided.flags.c_contiguous
    np.testing.assert_array_equal(stain(engine, strided, background), stain(engine, frame, background))


def test_a_read_only_frame_is_stained_and_left_as_it_was(engine: BaseEngine) -> None:
    frame = camera_frame((112, 128))
    before = frame.copy()
    frame.flags.writeable = False
    stain(engine, frame, estimate_background(frame, BLACK))
    np.testing.assert_array_equal(frame, before)


def test_each_stain_belongs_to_the_caller(engine: BaseEngine) -> None:
    frame = camera_frame((112, 128))
    background = estimate_background(frame, BLACK)
    first = stain(engine, frame, background)
    kept = first.copy()
    first[:] = 7
    np.testing.assert_array_equal(stain(engine, frame, background), kept)
    assert (first == 7).all()
    assert first.flags.c_contiguous


def test_the_frame_is_not_kept(engine: BaseEngine) -> None:
    frame = camera_frame((112, 128))
    background = estimate_background(frame, BLACK)
    first = stain(engine, frame, background)
    other = np.zeros_like(frame)
    stain(engine, other, background)
    other[:] = frame
    np.testing.assert_array_equal(stain(engine, frame, background), first)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((96, 95), np.uint16), "at least 96 x 96"),
        (np.zeros((112, 128), np.float32), "float32"),
        (np.zeros((112, 128, 3), np.uint8), "colour"),
        (np.zeros((112, 128), ">u2"), ">u2"),
    ],
    ids=["small", "float", "rgb", "big endian"],
)
def test_a_frame_that_cannot_be_stained_is_named(engine: BaseEngine, image: Counts, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        engine.stain(image, np.ones((14, 16), np.float32), 0.0, 1.0)


@pytest.mark.parametrize(
    ("shade", "black", "words"),
    [
        (np.ones((14, 15), np.float32), 0.0, r"\(14, 15\).* need \(14, 16\) float32"),
        (np.ones((14, 16)), 0.0, "float64"),
        (np.full((14, 16), np.nan, np.float32), 0.0, "not finite"),
        (np.ones((14, 16), np.float32), np.inf, "black .inf.* not finite"),
    ],
    ids=["shape", "dtype", "nan", "black"],
)
def test_a_wrong_shade_is_named(engine: BaseEngine, shade: npt.NDArray[np.float32], black: float, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        engine.stain(np.zeros((112, 128), np.uint16), shade, black, 1.0)


def test_other_threads_run_while_it_stains(engine: BaseEngine) -> None:
    frame = camera_frame((384, 384))
    background = estimate_background(frame, BLACK)
    stain(engine, frame, background)
    turns = 0
    stop = threading.Event()

    def count() -> None:
        nonlocal turns
        while not stop.is_set():
            turns += 1

    thread = threading.Thread(target=count)
    thread.start()
    during = 0
    # A full machine may give the other thread no turn within one stain of some milliseconds.
    for _ in range(200):
        before = turns
        stain(engine, frame, background)
        during = max(during, turns - before)
        if during > 1000:
            break
    stop.set()
    thread.join()
    assert during > 1000


@pytest.mark.parametrize("kind", ENGINES, ids=lambda kind: f"{kind[0].backend}-{kind[1]}")
def test_a_generator_that_returns_nan_is_reported(tmp_path: Path, kind: tuple[type[BaseEngine], Precision]) -> None:
    adapter, precision = kind
    network = small_generator()
    bias = network.graph.initializer[-1]
    values = numpy_helper.to_array(bias).copy()
    values[-1] = np.nan
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    model = read_model(write_test_model(tmp_path / "model", generator=network))
    if precision == "int8":
        quantised(model)
    if precision not in adapter.precisions(model):
        pytest.skip(f"this CPU has no {precision}: would show that NaN is reported in it")
    engine = adapter(model, precision, threads=1)
    frame = camera_frame((112, 128))
    with pytest.raises(EngineError, match="not finite"):
        stain(engine, frame, estimate_background(frame, BLACK))


def identity_generator() -> onnx.ModelProto:
    """(x + 1) / 2 by a convolution of one pixel: shows what precision the contrast arrives in."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = [
        numpy_helper.from_array(np.full((1, 1, 1, 1), 0.5, np.float32), "half"),
        numpy_helper.from_array(np.full(1, 0.5, np.float32), "middle"),
    ]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["contrast", "half", "middle"], ["same"])],
        "identity",
        [helper.make_tensor_value_info("contrast", kind, ["n", 1, "y", "x"])],
        [helper.make_tensor_value_info("same", kind, ["n", 1, "y", "x"])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_counts_reach_the_generator_in_float32_at_any_precision(tmp_path: Path, precision: Precision) -> None:
    folder = write_test_model(tmp_path / "model", stains=["contrast"], generator=identity_generator())
    if precision not in OpenVinoEngine.precisions(read_model(folder)):
        pytest.skip(f"this CPU has no {precision}: would show that counts are not rounded to it")
    frame = camera_frame((160, 144))
    background = estimate_background(frame, BLACK)
    stains = stain(OpenVinoEngine(read_model(folder), precision, threads=1), frame, background)
    off = np.abs(stains[0] / FULL_SCALE - (normalise(frame, background, CONSTANT, 1.0) + 1) / 2).max()
    # bfloat16 rounds a value below 1 by at most 1/512; counts rounded to it are off by 0.018.
    assert off <= (1e-5 if precision == "f32" else 1 / 300)


def test_a_closed_engine_says_so(fresh_engine: BaseEngine) -> None:
    fresh_engine.close()
    fresh_engine.close()
    with pytest.raises(EngineError, match="was closed; open another"):
        fresh_engine.warm_up((112, 128), np.dtype(np.uint16))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_after_the_warm_up_nothing_is_compiled(
    fresh_engine: BaseEngine, dtype: type[np.unsignedinteger], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh_engine.warm_up((112, 128), np.dtype(dtype))
    monkeypatch.setattr(fresh_engine, "_compile", None)
    assert fresh_engine.stain(np.zeros((112, 128), dtype), np.ones((14, 16), np.float32), 0.0, 1.0).shape[1:] == (
        112,
        128,
    )


def test_an_engine_says_what_it_is(engine: BaseEngine, model: Model) -> None:
    info = engine.info
    assert (info.model_id, info.weights_sha256, info.stains) == (model.id, model.weights_sha256, model.stains)
    assert info.device
    assert info.version[0].isdigit()
    assert not info.gate.passed


class Broken(BaseEngine):
    """A library that fails in a chosen way."""

    backend, wire, fixed_shape, library_errors = "broken", "uint16", True, (RuntimeError,)
    failure: Exception

    @classmethod
    def precisions(cls, model: Model) -> tuple[Precision, ...]:
        return ("f32",)

    @classmethod
    def version(cls) -> str:
        return "1"

    @classmethod
    def device(cls) -> str:
        return "none"

    def _compile(self, job: Job) -> Program:
        raise self.failure


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (
            RuntimeError("line one\n  line two"),
            EngineError,
            r"broken 1 .* failed at \(112, 128\) px: line one line two",
        ),
        (MemoryError("17 MiB"), EngineMemoryError, "too little memory .*17 MiB"),
        (RuntimeError("std::bad_alloc"), EngineMemoryError, "too little memory"),
        (RuntimeError("Failed to allocate memory for requested buffer"), EngineMemoryError, "too little memory"),
    ],
    ids=["library", "python", "c++", "arena"],
)
def test_a_failure_of_the_library_is_ours(
    model: Model, failure: Exception, kind: type[EngineError], words: str
) -> None:
    engine = Broken(model)
    engine.failure = failure
    with pytest.raises(kind, match=words):
        engine.stain(np.zeros((112, 128), np.uint16), np.ones(shade_shape((112, 128)), np.float32), 0.0, 1.0)
