"""TensorRT without a card: NVIDIA's two libraries are doubles, everything of ours is real.

The doubles compute with ONNX Runtime in host memory. What they cannot show is how the real libraries behave on a card.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
import pytest

from livestain.engine.backends.base import BaseEngine
from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.engine.backends.tensorrt import TensorRtEngine
from livestain.engine.opening import open_backend
from livestain.engine.protocol import Given
from livestain.engine.tensorrt.module import find_here
from livestain.errors import (
    BackendMissingError,
    EngineError,
    EngineFileError,
    EngineLostError,
    EngineMemoryError,
    FrameError,
)
from livestain.model import Model
from tests.engine.tensorrt import fake_cuda, fake_tensorrt
from tests.engine.tensorrt.fake_cuda import Code, FakeCuda
from tests.engine.tensorrt.fake_tensorrt import Diagnostics, FakeTensorRt, PlainTensorRt, Validity
from tests.engine.tensorrt.pieces import given, grey, kernel_files, stain, whole_life

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
from tests.models import CONSTANT

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
        TensorRtEngine.unusable()
