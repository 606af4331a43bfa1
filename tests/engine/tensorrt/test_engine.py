"""TensorRT without a card: NVIDIA's two libraries are doubles, everything of ours is real.

The doubles compute with ONNX Runtime in host memory. What they cannot show is how the real libraries behave on a card.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from livestain.contrast import estimate_background
from livestain.engine.backends.base import BaseEngine
from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.engine.backends.tensorrt import TensorRtEngine
from livestain.engine.cache import EngineCache, EngineFile
from livestain.engine.graph import Bit, compose
from livestain.engine.opening import open_backend
from livestain.engine.protocol import Given
from livestain.engine.tensorrt.build import Shapes, build_plan
from livestain.engine.tensorrt.cuda import find_gpu
from livestain.engine.tensorrt.module import Lines, TensorRt, find_here
from livestain.engine.tensorrt.plans import Wish, plan_facts
from livestain.errors import (
    BackendMissingError,
    EngineError,
    EngineFileError,
    EngineLostError,
    EngineMemoryError,
    FrameError,
    GateError,
)
from livestain.frames import Counts
from livestain.model import Model
from tests.engine.tensorrt import fake_cuda, fake_tensorrt
from tests.engine.tensorrt.fake_cuda import Code, FakeCuda
from tests.engine.tensorrt.fake_tensorrt import Diagnostics, FakeTensorRt, PlainTensorRt, Validity, plan_bytes

# The suite that every backend passes, here with the engine below.
from tests.engine.test_backends import (  # noqa: F401
    test_a_closed_engine_says_so,
    test_a_frame_that_cannot_be_stained_is_named,
    test_a_read_only_frame_is_stained_and_left_as_it_was,
    test_a_wrong_shade_is_named,
    test_after_the_warm_up_nothing_is_compiled,
    test_an_engine_says_what_it_is,
    test_constant_frames,
    test_each_stain_belongs_to_the_caller,
    test_every_bit_depth,
    test_every_size_is_stained_as_the_generator_would,
    test_frames_need_not_be_contiguous,
    test_the_frame_is_not_kept,
)
from tests.models import BLACK, CONSTANT, camera_frame, small_generator

SM89 = ("SM75", "SM89")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return fake_cuda.install(monkeypatch, FakeCuda())


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
    return fake_tensorrt.install(monkeypatch, FakeTensorRt())


@pytest.fixture
def engine(cuda: FakeCuda, tensorrt: FakeTensorRt, model: Model) -> Iterator[BaseEngine]:
    made = TensorRtEngine(model)
    yield made
    made.close()
    assert cuda.held == 0


@pytest.fixture
def fresh_engine(engine: BaseEngine) -> BaseEngine:
    return engine


def given(shape: tuple[int, int], seed: int = 0, dtype: type[np.unsignedinteger[Any]] = np.uint16) -> Given:
    frame: Counts = camera_frame(shape, seed).astype(dtype)
    background = estimate_background(frame, BLACK if dtype is np.uint16 else 0.0)
    return Given(frame, background.shade(CONSTANT, background.gain(frame)), background.black, 1 / CONSTANT)


def stain(engine: BaseEngine, frame: Given) -> np.ndarray[Any, Any]:
    return engine.stain(frame.image, frame.shade, frame.black, frame.offset)


def grey(shape: tuple[int, int] = (96, 96)) -> Given:
    return Given(np.full(shape, 200, np.uint16), np.full((12, 12), 0.01, np.float32), 0.0, 1.0)


# The stain


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(96, 96), (131, 112), (160, 233)], ids=str)
def test_a_group_is_stained_as_openvino_would(
    engine: BaseEngine, model: Model, shape: tuple[int, int], dtype: type[np.unsignedinteger[Any]]
) -> None:
    frames = [given(shape, seed, dtype) for seed in range(engine.group + 1)]
    reference = OpenVinoEngine(model, threads=1)
    for frame, stains in zip(frames, engine.stain_many(frames), strict=True):
        assert np.abs(stains.astype(int) - stain(reference, frame)).max() <= 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
def test_each_stain_of_a_group_is_that_of_the_frame_alone(engine: BaseEngine, count: int) -> None:
    frames = [given((112, 128), seed) for seed in range(count)]
    together = engine.stain_many(frames)
    assert len(together) == count
    for frame, stains in zip(frames, together, strict=True):
        np.testing.assert_array_equal(stains, stain(engine, frame))


def test_a_group_of_several_shapes_and_dtypes_is_stained_too(engine: BaseEngine) -> None:
    frames = [given((112, 128)), given((96, 144)), given((112, 128), dtype=np.uint8)]
    for frame, stains in zip(frames, engine.stain_many(frames), strict=True):
        np.testing.assert_array_equal(stains, stain(engine, frame))


def test_a_group_with_a_frame_that_cannot_be_stained_is_refused(engine: BaseEngine) -> None:
    good = grey()
    with pytest.raises(FrameError, match="not finite"):
        engine.stain_many([good, Given(good.image, good.shade, float("nan"), 1.0)])


def test_a_stain_that_is_not_finite_is_reported_from_a_group(engine: BaseEngine, tensorrt: FakeTensorRt) -> None:
    tensorrt.check = float("nan")
    with pytest.raises(EngineError, match="not finite"):
        engine.stain_many([grey(), grey()])


def test_memory_is_made_once_and_grows_only(engine: BaseEngine, cuda: FakeCuda) -> None:
    stain(engine, given((160, 160)))
    made = cuda.calls.count("cudaHostAlloc")
    for shape in [(96, 96), (160, 160), (128, 112)]:
        stain(engine, given(shape))
    assert cuda.calls.count("cudaHostAlloc") == made
    stain(engine, given((161, 160)))
    assert cuda.calls.count("cudaHostAlloc") == 2 * made
    assert len(cuda.host) == made


def test_a_frame_too_large_for_the_card_is_stained_in_tiles(
    engine: BaseEngine, model: Model, tensorrt: FakeTensorRt, caplog: pytest.LogCaptureFixture
) -> None:
    tensorrt.activations = lambda sides: 100 << (30 if max(sides) > 512 else 10)
    image = np.random.default_rng(0).poisson(2000, (400, 800)).astype(np.uint16)
    frame = Given(image, np.full((50, 100), 1 / 600, np.float32), 100.0, 1 / CONSTANT)
    with caplog.at_level(logging.WARNING):
        stains = stain(engine, frame)
    assert "102400 MiB" not in caplog.text
    assert "in tiles of up to 400 px" in caplog.text
    assert np.abs(stains.astype(int) - stain(OpenVinoEngine(model, threads=1), frame)).max() <= 1
    np.testing.assert_array_equal(engine.stain_many([frame, frame])[1], stains)


def test_a_card_that_is_full_says_how_full(engine: BaseEngine, cuda: FakeCuda, tensorrt: FakeTensorRt) -> None:
    tensorrt.activations = 7 << 20
    cuda.free_bytes = 3 << 20
    with pytest.raises(EngineMemoryError, match=r"tensorrt .*\(96, 96\) px: 7 MiB are needed .* and 3 of its 24576"):
        stain(engine, grey())
    cuda.free_bytes = 1 << 30
    stain(engine, grey())


# Engine files


def put(model: Model, tensorrt: Any, targets: tuple[str, ...] = SM89, **changes: Any) -> EngineFile:
    """Put an engine file beside the model, as ``livestain build-engine`` does; ``changes`` alter its facts."""
    bit: Bit = changes.get("bit", "uint16")
    shapes: Shapes = changes.pop("take", Shapes())
    graph = compose(model.generator(), model.card.stride, "bytes", bit)
    wish = Wish("f32", shapes, bit, targets)
    facts = plan_facts(tensorrt, model, graph.SerializeToString(deterministic=True), wish) | changes
    return EngineCache.of(model).store(facts, plan_bytes(graph, shapes, bit))


@pytest.mark.parametrize(
    "changes",
    [
        {"targets": ("SM75", "SM89")},
        {"targets": ("current: NVIDIA Fake 4090, CUDA 13.0",)},
        {"take": Shapes.only((96, 96))},
    ],
    ids=["targets", "this card", "one size"],
)
def test_an_engine_file_that_fits_is_used(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt, changes: dict[str, Any]
) -> None:
    put(own_model, tensorrt, **changes)
    stain(TensorRtEngine(own_model), grey())
    assert tensorrt.builds == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"targets": ("SM75", "SM120")},
        {"targets": ("current: NVIDIA Fake 4090, CUDA 12.9",)},
        {"targets": ("current: NVIDIA Other, CUDA 13.0",)},
        {"version": "9.9.8"},
        {"module": "tensorrt"},
        {"graph": "0" * 64},
        {"precision": "f16"},
        {"bit": "uint8"},
        {"wire": "uint16"},
        {"take": Shapes.only((128, 128))},
        {"kind": "runtime cache"},
    ],
    ids=lambda changes: "-".join(f"{name} {value}" for name, value in changes.items())[:30],
)
def test_a_foreign_or_older_engine_file_is_left_alone(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt, changes: dict[str, Any]
) -> None:
    foreign = put(own_model, tensorrt, **changes)
    stain(TensorRtEngine(own_model), grey())
    assert tensorrt.builds == 1
    assert foreign.path.exists()


def test_a_built_engine_is_kept_and_used_the_next_time(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt
) -> None:
    for _ in range(2):
        engine = TensorRtEngine(own_model)
        stain(engine, grey())
        engine.close()
    assert tensorrt.builds == 1
    (file,) = [file for file in EngineCache.of(own_model).files() if file.facts["kind"] == "engine"]
    assert file.facts["targets"] == ["current: NVIDIA Fake 4090, CUDA 13.0"]


def truncate(file: EngineFile) -> None:
    file.path.write_bytes(file.path.read_bytes()[:-100])


def truncate_with_sidecar(file: EngineFile) -> None:
    truncate(file)
    side = file.path.with_suffix(".json")
    content = json.loads(side.read_text("utf-8"))
    content["sha256"] = hashlib.sha256(file.path.read_bytes()).hexdigest()
    side.write_text(json.dumps(content), "utf-8")


def give_foreign_content(file: EngineFile) -> None:
    EngineCache(file.path.parent).store(file.facts, b"no plan at all")


def give_other_sizes(file: EngineFile) -> None:
    data = file.read().replace(b"[2304, 2304]", b"[1024, 1024]")
    EngineCache(file.path.parent).store(file.facts, data)


def take_sidecar(file: EngineFile) -> None:
    file.path.with_suffix(".json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "sha256 is not the one noted"),
        (truncate_with_sidecar, "refuses the compiled engine: assertion plan.header.size == blobSize failed"),
        (give_foreign_content, "invalid here: MALFORMED_ENGINE"),
        (give_other_sizes, r"not what its sidecar says: it takes frames of .*\[1024, 1024\]\] px, not .*2304"),
        (take_sidecar, "has no sound sidecar"),
    ],
)
@pytest.mark.parametrize("targets", [SM89, ("current: NVIDIA Fake 4090, CUDA 13.0",)], ids=["targets", "this card"])
def test_a_damaged_engine_file_is_named_and_another_one_is_built(
    own_model: Model,
    cuda: FakeCuda,
    tensorrt: FakeTensorRt,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[EngineFile], None],
    words: str,
    targets: tuple[str, ...],
) -> None:
    damage(put(own_model, tensorrt, targets))
    with caplog.at_level(logging.WARNING):
        engine = TensorRtEngine(own_model)
        stain(engine, grey())
        engine.close()
    assert tensorrt.builds == 1
    assert re.search(words, caplog.text)
    # Tried as the file of this card or as one of others, not as both.
    assert len({end for end in ("looking for another", "compiling again") if end in caplog.text}) <= 1
    assert tensorrt.alive == cuda.held == 0


def test_frames_larger_than_the_usual_ones_get_an_engine_that_takes_them(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livestain.engine.backends.tensorrt.Shapes", SmallShapes)
    engine = TensorRtEngine(own_model)
    stain(engine, grey())
    stain(engine, given((112, 320)))
    stain(engine, grey())
    assert tensorrt.builds == 2
    assert tensorrt.alive == 1


class SmallShapes(Shapes):
    """As if the usual frames were no larger than 128 x 128 px."""

    def __init__(self, *sizes: tuple[int, int]) -> None:
        super().__init__(*(sizes or ((96, 96), (112, 112), (128, 128))))


THIS_CARD = ("current: NVIDIA Fake 4090, CUDA 13.0",)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_file_for_one_size_is_used_for_that_size_after_the_gate(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt, dtype: type[np.unsignedinteger[Any]]
) -> None:
    engine = open_backend(own_model, "tensorrt")
    assert isinstance(engine, TensorRtEngine)
    frame = given((192, 176), dtype=dtype)
    wanted = stain(engine, frame)
    engine.close()
    static = put(own_model, tensorrt, take=Shapes.only((192, 176)), bit=np.dtype(dtype).name)

    engine = open_backend(own_model, "tensorrt", shape=(192, 176), dtype=np.dtype(dtype))
    assert isinstance(engine, TensorRtEngine)
    assert engine.loaded == static
    assert np.abs(stain(engine, frame).astype(int) - wanted).max() <= 1
    engine.close()
    assert engine.loaded is None
    assert tensorrt.alive == cuda.held == 0


@pytest.mark.parametrize("damage", [truncate, give_foreign_content])
def test_a_tighter_file_that_cannot_be_loaded_is_named_and_the_gated_one_goes_on(
    own_model: Model,
    cuda: FakeCuda,
    tensorrt: FakeTensorRt,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[EngineFile], None],
) -> None:
    static = put(own_model, tensorrt, take=Shapes.only((192, 176)))
    damage(static)
    engine = TensorRtEngine(own_model)
    stain(engine, given((160, 144)))
    gated = engine.loaded
    stain(engine, given((192, 176)))
    assert engine.loaded == gated
    assert f"cannot use {static.path.name} for (192, 176) px" in caplog.text


def test_a_tighter_file_that_stains_otherwise_is_not_used(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt, caplog: pytest.LogCaptureFixture
) -> None:
    static = put(own_model, tensorrt, take=Shapes.only((192, 176)))
    graph = compose(small_generator(1, 2), own_model.card.stride, "bytes", "uint16")
    EngineCache.of(own_model).store(static.facts, plan_bytes(graph, Shapes.only((192, 176)), "uint16"))
    engine = TensorRtEngine(own_model)
    stain(engine, given((160, 144)))
    gated = engine.loaded
    frame = given((192, 176))
    stains = stain(engine, frame)
    assert engine.loaded == gated
    assert "it stains the test frame otherwise" in caplog.text
    assert np.abs(stains.astype(int) - stain(OpenVinoEngine(own_model, threads=1), frame)).max() <= 1


def test_a_tighter_file_is_looked_for_once_for_each_shape(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TensorRtEngine(own_model)
    stain(engine, given((160, 144)))
    looks: list[EngineCache] = []
    files = EngineCache.files

    def counted(cache: EngineCache) -> list[EngineFile]:
        looks.append(cache)
        return files(cache)

    monkeypatch.setattr(EngineCache, "files", counted)
    for _ in range(3):
        stain(engine, given((192, 176)))
        engine.stain_many([given((160, 144))] * 2)
    assert len(looks) == 1


def test_shapes_in_turn_do_not_load_a_file_for_each_frame(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt
) -> None:
    for size in [(192, 176), (128, 128)]:
        put(own_model, tensorrt, take=Shapes.only(size))
    engine = TensorRtEngine(own_model)
    for size in [(160, 144), (192, 176), (128, 128)]:
        stain(engine, given(size))
    for size in [(192, 176), (128, 128)] * 2:
        stain(engine, given(size))
    loads = len(tensorrt.configs)
    for size in [(192, 176), (128, 128)] * 2:
        stain(engine, given(size))
    assert len(tensorrt.configs) == loads
    assert tensorrt.builds == 1


@pytest.mark.parametrize("last", [SM89, THIS_CARD], ids=["targets", "this card"])
def test_of_equal_sizes_the_file_of_this_very_card_is_used(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt, last: tuple[str, ...]
) -> None:
    first = THIS_CARD if last == SM89 else SM89
    for targets in (first, last):
        put(own_model, tensorrt, targets)
    engine = TensorRtEngine(own_model)
    assert engine.loaded is None
    stain(engine, grey())
    assert engine.loaded is not None
    assert tuple(engine.loaded.facts["targets"]) == THIS_CARD


def test_a_file_loaded_later_that_takes_the_test_frame_has_to_pass_the_gate(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt
) -> None:
    put(own_model, tensorrt, take=Shapes.only((160, 144)))
    other = put(own_model, tensorrt)
    graph = compose(small_generator(1, 2), own_model.card.stride, "bytes", "uint16")
    EngineCache.of(own_model).store(other.facts, plan_bytes(graph, Shapes(), "uint16"))
    engine = TensorRtEngine(own_model)
    stain(engine, given((160, 144)))
    for _ in range(2):
        with pytest.raises(GateError, match="does not reproduce"):
            stain(engine, given((192, 176)))


def test_precisions_are_those_with_an_engine_file_for_this_card(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt
) -> None:
    assert TensorRtEngine.precisions(own_model) == ("f32",)
    put(own_model, tensorrt, precision="bf16")
    put(own_model, tensorrt, precision="f16")
    put(own_model, tensorrt, ("SM120",), precision="int8")
    put(own_model, tensorrt, precision="int8", version="9.9.8")
    assert TensorRtEngine.precisions(own_model) == ("f16", "bf16", "f32")


def test_half_precision_is_taken_once_there_is_an_engine_file_of_it(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt
) -> None:
    for precision, wanted in [(None, "f32"), ("f16", "f16"), (None, "f16")]:
        if precision == "f16":
            stain(TensorRtEngine(own_model, "f16"), grey())
        info = open_backend(own_model, "tensorrt").info
        assert (info.precision, info.gate.passed) == (wanted, True)


# Kernels that the library compiles while it runs


def kernel_files(model: Model) -> list[EngineFile]:
    return [file for file in EngineCache.of(model).files() if file.facts["kind"] == "runtime cache"]


def test_kernels_are_kept_after_the_warm_up_for_this_card_and_driver(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt, caplog: pytest.LogCaptureFixture
) -> None:
    engine = TensorRtEngine(own_model)
    engine.warm_up((96, 96), np.dtype(np.uint16))
    (file,) = kernel_files(own_model)
    assert file.read() == tensorrt.kernels
    assert (file.facts["gpu"], file.facts["driver"]) == ("NVIDIA Fake 4090", "CUDA 13.0")
    with caplog.at_level(logging.WARNING):
        stain(TensorRtEngine(own_model), grey())
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []
    assert tensorrt.configs[-1].cache is not None
    assert tensorrt.configs[-1].cache.taken == tensorrt.kernels


def test_kernels_compiled_after_the_warm_up_are_kept_when_the_engine_closes(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt
) -> None:
    engine = TensorRtEngine(own_model)
    engine.warm_up((96, 96), np.dtype(np.uint16))
    tensorrt.kernels = b"more kernels"
    engine.close()
    assert [file.read() for file in kernel_files(own_model)] == [b"more kernels"]


@pytest.mark.parametrize(
    ("damage", "words"), [(truncate, "sha256"), (give_foreign_content, "refuses the kernels kept in")]
)
def test_kernels_that_are_of_no_use_are_named_and_replaced(
    own_model: Model,
    cuda: FakeCuda,
    tensorrt: FakeTensorRt,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[EngineFile], None],
    words: str,
) -> None:
    tensorrt.kernels = b"k" * 200
    first = TensorRtEngine(own_model)
    first.warm_up((96, 96), np.dtype(np.uint16))
    first.close()
    damage(kernel_files(own_model)[0])
    with caplog.at_level(logging.WARNING):
        engine = TensorRtEngine(own_model)
        stain(engine, grey())
        engine.close()
    assert words in caplog.text
    assert [file.read() for file in kernel_files(own_model)] == [b"k" * 200]


def test_kernels_that_cannot_be_written_are_a_warning(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    engine = TensorRtEngine(own_model)
    stain(engine, grey())

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(EngineCache, "store", full)
    engine.close()
    assert "kernels not kept" in caplog.text
    assert cuda.held == 0


def test_the_runtime_captures_its_own_cuda_graph_and_takes_our_memory(
    engine: BaseEngine, tensorrt: FakeTensorRt
) -> None:
    stain(engine, grey())
    (config,) = tensorrt.configs
    assert config.cuda_graph_strategy.name == "WHOLE_GRAPH_CAPTURE"
    assert config.dynamic_shapes_kernel_specialization_strategy.name == "LAZY"
    assert config.strategy.name == "USER_MANAGED"


# Failures


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (
            {"refuse": "cudaError 2: out of memory"},
            EngineMemoryError,
            r"refuses the compiled engine, .* too little memory: .*out of memory",
        ),
        ({"refuse": "Unexpected internal error"}, EngineFileError, "Unexpected internal error"),
        ({"refuse": "cudaError 35: CUDA driver version is insufficient"}, EngineLostError, "install a newer one"),
        (
            {"validity": Validity.INVALID, "diagnostics": Diagnostics.OLD_CUDA_DRIVER},
            EngineLostError,
            "missing or too old.*OLD_CUDA_DRIVER",
        ),
        (
            {"validity": Validity.INVALID, "diagnostics": Diagnostics.INSUFFICIENT_GPU_MEMORY},
            EngineMemoryError,
            "INSUFFICIENT_GPU_MEMORY",
        ),
        (
            {"validity": Validity.INVALID, "diagnostics": Diagnostics.VERSION_MISMATCH | Diagnostics.UNSUPPORTED_CC},
            EngineFileError,
            "invalid here: VERSION_MISMATCH, UNSUPPORTED_CC",
        ),
        ({"validity": Validity.INVALID}, EngineFileError, "invalid here: it gave no reason"),
        ({"fail": "create_execution_context"}, EngineMemoryError, "could not prepare the engine.*no room"),
        ({"fail": "set_input_shape"}, EngineError, r"could not set frame to \(1, 96, 96, 2\): API usage error"),
        ({"fail": "set_tensor_address"}, EngineError, "could not place frame: API usage error"),
        ({"fail_run": 1}, EngineError, "could not run the engine: unspecified reason"),
        ({"fail_run": 1, "run_line": "an illegal memory access"}, EngineLostError, "start the program again"),
    ],
)
def test_what_the_library_only_logs_becomes_an_error_of_its_kind(
    own_model: Model,
    cuda: FakeCuda,
    tensorrt: FakeTensorRt,
    change: dict[str, Any],
    kind: type[EngineError],
    words: str,
) -> None:
    vars(tensorrt).update(change)
    engine = TensorRtEngine(own_model)
    with pytest.raises(EngineError, match=words) as caught:
        stain(engine, grey())
    assert type(caught.value) is kind
    assert str(caught.value).startswith("tensorrt 9.9.9 (tensorrt_rtx) (f32) for model livestain/test-model@")
    engine.close()
    del caught
    assert tensorrt.alive == cuda.held == 0


def test_an_engine_that_is_only_slow_here_is_a_warning(
    engine: BaseEngine, tensorrt: FakeTensorRt, caplog: pytest.LogCaptureFixture
) -> None:
    tensorrt.validity, tensorrt.diagnostics = Validity.SUBOPTIMAL, Diagnostics.UNSUPPORTED_CC
    stain(engine, grey())
    assert "may be slow on this card (UNSUPPORTED_CC)" in caplog.text


def test_after_one_failed_run_the_engine_works(engine: BaseEngine, tensorrt: FakeTensorRt) -> None:
    frames = [given((96, 96), seed) for seed in range(5)]
    wanted = engine.stain_many(frames)
    for line in ["first reason", "second reason"]:
        tensorrt.fail_run, tensorrt.run_line = tensorrt.runs + 3, line
        with pytest.raises(EngineError, match=f"could not run the engine: {line}$"):
            engine.stain_many(frames)
    np.testing.assert_array_equal(engine.stain_many(frames), wanted)


def test_after_a_shape_that_failed_the_one_before_works(engine: BaseEngine, tensorrt: FakeTensorRt) -> None:
    frame = given((112, 128))
    wanted = stain(engine, frame)
    tensorrt.fail = "set_tensor_address"
    with pytest.raises(EngineError, match="could not place"):
        stain(engine, grey())
    tensorrt.fail = ""
    np.testing.assert_array_equal(stain(engine, frame), wanted)


def whole_life(model: Model) -> None:
    engine = TensorRtEngine(model)
    try:
        stain(engine, grey())
        engine.stain_many([grey()] * 5)
    finally:
        engine.close()
        engine.close()


@pytest.mark.parametrize(
    ("code", "forever", "kind"),
    [
        (Code.cudaErrorIllegalAddress, True, EngineLostError),
        (Code.cudaErrorMemoryAllocation, False, EngineMemoryError),
        (Code.cudaErrorInvalidValue, False, EngineError),
    ],
    ids=["lost for good", "no memory", "one bad call"],
)
def test_whichever_cuda_call_fails_the_error_is_typed_and_nothing_stays(
    own_model: Model,
    tensorrt: FakeTensorRt,
    monkeypatch: pytest.MonkeyPatch,
    code: Code,
    forever: bool,
    kind: type[EngineError],
) -> None:
    tensorrt.hollow = True
    monkeypatch.setattr("livestain.engine.backends.tensorrt.frame_cost", lambda *_: None)
    sound = fake_cuda.install(monkeypatch, FakeCuda())
    whole_life(own_model)
    for number in range(1, len(sound.calls) + 1):
        fake = fake_cuda.install(monkeypatch, FakeCuda(number, code, forever=forever))
        failed: Exception | None = None
        try:
            whole_life(own_model)
        except EngineError as error:
            failed = error
        call = fake.calls[number - 1]
        freeing = "Free" in call or "Destroy" in call
        # Only a failure to free, and of waiting before that, is a matter of the log.
        assert failed is None or type(failed) is kind, call
        assert failed is not None or freeing or call == "cudaStreamSynchronize", call
        # Every single thing was given back, but for what the card refused to take.
        assert fake.held == fake.refused, call
        assert tensorrt.alive == 0, call
    last = fake_cuda.install(monkeypatch, FakeCuda())
    whole_life(own_model)
    assert last.held == 0


def test_kernels_of_a_lost_card_are_not_asked_for(own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt) -> None:
    engine = TensorRtEngine(own_model)
    tensorrt.fail_run, tensorrt.run_line = 1, "unspecified launch failure"
    with pytest.raises(EngineLostError):
        stain(engine, grey())
    engine.close()
    assert kernel_files(own_model) == []


# Cards and modules


def test_the_engine_is_opened_and_passes_the_gate(own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt) -> None:
    engine = open_backend(own_model, shape=(112, 128))
    assert (engine.info.backend, engine.info.version) == ("tensorrt", "9.9.9 (tensorrt_rtx)")
    assert engine.info.device.startswith("NVIDIA Fake 4090 (24 GiB")
    assert engine.info.gate.passed
    assert engine.info.reason.startswith("an NVIDIA card is here")
    engine.close()
    assert cuda.held == 0


def test_a_card_that_fails_at_opening_leaves_the_work_to_openvino(
    own_model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt
) -> None:
    tensorrt.fail = "create_execution_context"
    info = open_backend(own_model, threads=1).info
    assert info.backend == "openvino"
    assert "fell back, since tensorrt" in info.reason
    assert cuda.held == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"driver": 0}, "no NVIDIA driver is installed"),
        ({"count_code": Code.cudaErrorInsufficientDriver, "driver": 12080}, "driver is too old: it knows CUDA 12.8"),
        ({"count_code": Code.cudaErrorNoDevice}, "no NVIDIA card"),
        ({"fail_at": 3, "code": Code.cudaErrorMemoryAllocation}, "cudaGetDeviceCount failed"),
    ],
    ids=["no driver", "old driver", "no card", "full card"],
)
def test_a_machine_that_cannot_use_it_says_why_without_loading_the_library(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    vars(cuda).update(change)
    monkeypatch.setattr("livestain.engine.tensorrt.module.MODULES", ("no_such_module",))
    assert words in TensorRtEngine.unusable()


def test_a_card_that_the_library_does_not_know_is_named_with_those_that_it_knows(
    cuda: FakeCuda, tensorrt: FakeTensorRt
) -> None:
    cuda.properties.name, cuda.properties.major, cuda.properties.minor = b"NVIDIA H200", 9, 0
    assert TensorRtEngine.unusable() == (
        "tensorrt_rtx 9.9.9 does not know the NVIDIA H200 (compute capability 9.0; it knows 7.5, 8.6, 8.9, 12.0)"
    )


def test_a_card_that_one_library_does_not_know_is_left_to_the_other(
    model: Model, cuda: FakeCuda, tensorrt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda.properties.major, cuda.properties.minor = 9, 0
    full = PlainTensorRt()
    monkeypatch.setitem(sys.modules, "tensorrt", full)
    assert find_here().tensorrt.name == "tensorrt"
    monkeypatch.setattr("livestain.engine.backends.tensorrt.build_plan", fake_tensorrt.builder(full))
    engine = TensorRtEngine(model)
    frame = given((112, 128))
    difference = np.abs(stain(engine, frame).astype(int) - stain(OpenVinoEngine(model, threads=1), frame))
    assert difference.max() <= 1
    engine.close()
    assert cuda.held == 0


def test_libraries_that_cannot_be_loaded_are_named_with_their_package(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> Any:
        if name in sys.modules:
            return sys.modules[name]
        raise OSError(f"[WinError 126] {name}.dll or one of its dependencies was not found")

    monkeypatch.setattr("livestain.engine.tensorrt.module.MODULES", ("trt_a",))
    monkeypatch.setattr("livestain.engine.tensorrt.module.importlib.import_module", broken)
    with pytest.raises(BackendMissingError, match=r"TensorRT cannot be loaded \(trt_a: .*126.*pip install"):
        raise BackendMissingError(TensorRtEngine.unusable())


# The real library, without a card


def real_tensorrt() -> Any:
    return pytest.importorskip(
        "tensorrt_rtx", reason="tensorrt-rtx is not installed: would show that its names are as used here"
    )


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        ("Runtime", ["deserialize_cuda_engine", "engine_header_size", "get_engine_validity"]),
        (
            "ICudaEngine",
            ["create_execution_context", "create_runtime_config", "get_tensor_profile_shape", "get_tensor_shape"],
        ),
        (
            "IExecutionContext",
            [
                "execute_async_v3",
                "set_device_memory",
                "set_input_shape",
                "set_tensor_address",
                "update_device_memory_size_for_shapes",
            ],
        ),
        (
            "IRuntimeConfig",
            [
                "create_runtime_cache",
                "cuda_graph_strategy",
                "dynamic_shapes_kernel_specialization_strategy",
                "set_execution_context_allocation_strategy",
                "set_runtime_cache",
            ],
        ),
        ("IRuntimeCache", ["deserialize", "serialize"]),
        ("ILogger", ["ERROR", "INTERNAL_ERROR", "log"]),
        ("CudaGraphStrategy", ["WHOLE_GRAPH_CAPTURE"]),
        ("DynamicShapesKernelSpecializationStrategy", ["LAZY"]),
        ("ExecutionContextAllocationStrategy", ["USER_MANAGED"]),
        ("EngineValidity", ["INVALID", "SUBOPTIMAL"]),
        ("EngineInvalidityDiagnostics", list(Diagnostics.__members__)),
        ("ComputeCapability", ["SM75", "SM86", "SM89", "SM120"]),
    ],
)
def test_the_real_library_has_every_name_that_is_used(owner: str, names: list[str]) -> None:
    assert set(names) <= set(dir(getattr(real_tensorrt(), owner)))


@pytest.mark.parametrize(
    ("owner", "call", "arguments"),
    [
        ("Runtime", "deserialize_cuda_engine", "serialized_engine: typing_extensions.Buffer) ->"),
        ("Runtime", "get_engine_validity", "buffer: typing_extensions.Buffer) -> tuple"),
        ("ICudaEngine", "create_execution_context", "runtime_config: tensorrt_rtx_bindings"),
        ("ICudaEngine", "get_tensor_profile_shape", "name: str, profile_index: typing.SupportsInt) -> list"),
        ("IExecutionContext", "execute_async_v3", "stream_handle: typing.SupportsInt) -> bool"),
        ("IExecutionContext", "set_device_memory", "memory: typing.SupportsInt, size: typing.SupportsInt) -> None"),
        ("IExecutionContext", "set_input_shape", "name: str, shape: tuple) -> bool"),
        ("IExecutionContext", "set_tensor_address", "name: str, memory: typing.SupportsInt) -> bool"),
        ("IExecutionContext", "update_device_memory_size_for_shapes", ") -> int"),
        ("IRuntimeCache", "deserialize", "blob: typing_extensions.Buffer) -> bool"),
        ("IRuntimeCache", "serialize", "IHostMemory"),
        ("IRuntimeConfig", "set_runtime_cache", ") -> bool"),
    ],
)
def test_the_real_library_takes_these_arguments(owner: str, call: str, arguments: str) -> None:
    assert arguments in (getattr(getattr(real_tensorrt(), owner), call).__doc__ or "")


def test_the_real_diagnostics_have_the_bits_of_the_double() -> None:
    real = real_tensorrt().EngineInvalidityDiagnostics.__members__
    assert all(int(real[name]) == int(bit) for name, bit in Diagnostics.__members__.items())


def test_the_real_library_calls_rubbish_malformed() -> None:
    with pytest.raises(EngineFileError, match="MALFORMED_ENGINE"):
        TensorRt(real_tensorrt()).load(b"no plan at all" * 10)


def test_the_real_library_says_why_in_the_log_only() -> None:
    real = real_tensorrt()
    lines = Lines(real)
    assert real.Runtime(lines.logger).deserialize_cuda_engine(b"no plan at all" * 10) is None
    assert len(str(lines.failure("it failed"))) > len("it failed: it gave no reason")


@pytest.mark.skipif(find_gpu()[0] is not None, reason="a card is here: would show what the library says without one")
def test_the_real_library_without_a_driver_fails_as_an_engine_does(
    own_model: Model, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = real_tensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    graph = compose(own_model.generator(), own_model.card.stride, "bytes", "uint16")
    wish = Wish("f32", Shapes(), "uint16", ("SM89",))
    facts = plan_facts(real, own_model, graph.SerializeToString(deterministic=True), wish)
    plan = build_plan(real, graph, targets=("SM89",), shapes=Shapes(), bit="uint16")
    EngineCache.of(own_model).store(facts, plan.data)
    engine = TensorRtEngine(own_model)
    with pytest.raises(EngineLostError, match=r"the NVIDIA driver is missing or too old.*cudaError 35[^|]*$"):
        stain(engine, grey())
    engine.close()
    assert cuda.held == 0
