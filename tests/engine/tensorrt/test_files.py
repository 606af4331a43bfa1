"""Which engine file is used and which is not, and the compiled kernels that are kept."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from livestain.engine.backends.base import BaseEngine
from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.engine.backends.tensorrt import TensorRtEngine
from livestain.engine.cache import EngineCache, EngineFile
from livestain.engine.graph import compose
from livestain.engine.opening import open_backend
from livestain.engine.tensorrt.build import Shapes
from livestain.errors import (
    GateError,
)
from livestain.model import Model
from tests.engine.tensorrt.fake_cuda import FakeCuda
from tests.engine.tensorrt.fake_tensorrt import FakeTensorRt, plan_bytes
from tests.engine.tensorrt.pieces import SM89, THIS_CARD, given, grey, kernel_files, put, stain
from tests.models import small_generator

# Engine files


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
