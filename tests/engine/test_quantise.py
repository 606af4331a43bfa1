"""int8: one graph for all libraries, close to the float32 stain, from frames that are like those to be stained."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import openvino
import pytest
import tifffile
from onnx import numpy_helper

from livestain.contrast import estimate_background, normalise
from livestain.engine.backends.base import BaseEngine
from livestain.engine.backends.onnxruntime import OnnxRuntimeEngine
from livestain.engine.backends.openvino import OpenVinoEngine
from livestain.engine.cache import EngineCache
from livestain.engine.gate import check_engine
from livestain.engine.generators import generator_for, is_quantised, quantised_file
from livestain.engine.graph import compose
from livestain.engine.halves import to_half
from livestain.engine.int8 import split_joined, to_int8
from livestain.engine.opening import open_backend
from livestain.engine.quantise import MAX_FRAMES, quantise, read_calibration, store_quantised
from livestain.errors import EngineFileError, ModelError, UserError
from livestain.model import Model, read_model, shipped_models
from tests.engine.conftest import quantised
from tests.models import BLACK, CONSTANT, camera_frame, run_generator, small_generator

DEMO = "demo-nuclei-membrane"
SPECIMEN = Path(__file__).parents[2] / "calibration" / "specimen"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The shipped demo model in a folder of its own, quantised over its calibration frames."""
    folder = tmp_path_factory.mktemp("demo") / DEMO
    shutil.copytree(shipped_models()[DEMO], folder, ignore=shutil.ignore_patterns("compiled"))
    model = read_model(folder)
    contrasts = read_calibration(SPECIMEN, model)
    store_quantised(model, quantise(model.generator(), contrasts), contrasts, str(SPECIMEN))
    return model


def contrast_of(seed: int, side: int = 192) -> npt.NDArray[np.float32]:
    frame = camera_frame((side, side), seed)
    return normalise(frame, estimate_background(frame, BLACK), CONSTANT)


def write_frames(folder: Path, frames: list[Any]) -> Path:
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        tifffile.imwrite(folder / f"frame_{i:02}.tif", frame)
    return folder


@pytest.mark.parametrize("adapter", [OpenVinoEngine, OnnxRuntimeEngine], ids=lambda adapter: adapter.backend)
def test_the_demo_model_in_int8_is_like_itself_and_still_refused(demo: Model, adapter: type[BaseEngine]) -> None:
    engine = adapter(demo, "int8", threads=1)
    result = check_engine(engine, demo)
    engine.close()
    assert result.bright_rms < 0.05
    assert not result.passed  # 3.4 % where 2 are allowed; should it pass some day: docs/engines.md says it does not


def test_openvino_computes_the_convolutions_in_int8(demo: Model) -> None:
    if "INT8" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no int8: would show that 19 of 21 convolutions are computed in it")
    engine = OpenVinoEngine(demo, "int8", threads=1)
    check_engine(engine, demo)
    engine.close()
    files = [file for file in EngineCache.of(demo).files() if file.facts["kind"] == "engine"]
    blob = next(file for file in files if file.facts["precision"] == "int8").read()
    operators = openvino.Core().import_model(io.BytesIO(blob), "CPU").get_runtime_model().get_ordered_ops()
    facts = [node.get_rt_info() for node in operators]
    kinds = [fact["runtimePrecision"].astype(str) for fact in facts if fact["layerType"].astype(str) == "Convolution"]
    assert len(kinds) == 21
    assert sum(kind in ("i8", "u8") for kind in kinds) == 19


def test_openvino_takes_int8_first_and_onnxruntime_last(demo: Model) -> None:
    assert OpenVinoEngine.precisions(demo)[0] == "int8"
    assert OnnxRuntimeEngine.precisions(demo) == ("f32", "int8")


def test_a_quantised_model_is_opened_in_int8_by_itself_if_that_passes_the_gate(
    demo: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_backend(demo, "openvino", threads=1)
    assert engine.info.precision != "int8"
    assert "(int8) for model" in engine.info.reason
    engine.close()
    monkeypatch.setattr("livestain.engine.gate.BRIGHT_RMS_MAX", 0.05)
    monkeypatch.setattr("livestain.engine.gate.DARK_RMS_MAX", 0.02)
    engine = open_backend(demo, "openvino", threads=1)
    assert (engine.info.precision, engine.info.gate.passed) == ("int8", True)
    engine.close()


def test_convolutions_between_the_first_and_the_last_are_int8_and_symmetric() -> None:
    network = quantise(small_generator(), [contrast_of(1)])
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in network.graph.initializer}
    made_by = {node.output[0]: node for node in network.graph.node}
    convolutions = [node for node in network.graph.node if node.op_type == "Conv"]
    for node in convolutions[1:-1]:
        for source in node.input[:2]:
            zero = stored[made_by[source].input[2]]
            assert (zero.dtype, zero.any()) == (np.int8, False)
    for node in (convolutions[0], convolutions[-1]):
        assert stored[node.input[1]].dtype == np.float32
    assert not [name for name, tensor in stored.items() if tensor.dtype == np.int32]
    assert [value.type.tensor_type.elem_type for value in (*network.graph.input, *network.graph.output)] == [1, 1]


def test_joined_maps_are_convolved_apart_to_the_same_stain() -> None:
    network = small_generator()
    split = split_joined(network)
    counts = Counter(node.op_type for node in split.graph.node)
    assert counts["Concat"] == 0
    assert counts["Add"] == 3
    plane = contrast_of(2)
    one, other = (run_generator(each.SerializeToString(), plane) for each in (network, split))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_each_value_lies_within_half_a_step_of_the_one_before() -> None:
    network = split_joined(small_generator())
    inner = [node for node in network.graph.node if node.op_type == "Conv"][1:-1]
    made = to_int8(network, {node.input[0]: 1.0 for node in inner})
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    kernel = inner[0].input[1]
    scales = stored[f"{kernel} scale"][:, None, None, None]
    weights = next(numpy_helper.to_array(tensor) for tensor in network.graph.initializer if tensor.name == kernel)
    back = stored[f"{kernel} int8"] * scales
    assert np.abs(back - weights).max() <= 0.5001 * scales.max()
    assert np.abs(stored[f"{kernel} int8"]).max(axis=(1, 2, 3)).min() == 127  # each channel uses the whole range


def test_a_map_that_is_always_0_still_has_a_scale() -> None:
    network = quantise(small_generator(), [np.zeros((96, 96), np.float32)])
    scales = [numpy_helper.to_array(t) for t in network.graph.initializer if t.name.endswith(" scale")]
    assert min(float(scale.min()) for scale in scales) > np.finfo(np.float16).tiny / 100
    assert np.isfinite(run_generator(network.SerializeToString(), contrast_of(1))).all()


def test_ranges_are_those_of_all_frames() -> None:
    apart = [quantise(small_generator(), [contrast_of(seed)]) for seed in (1, 2)]
    both = quantise(small_generator(), [contrast_of(1), contrast_of(2)])
    for tensor in both.graph.initializer:
        if tensor.name.startswith("relu") and tensor.name.endswith(" scale"):
            found = [numpy_helper.to_array(t) for g in apart for t in g.graph.initializer if t.name == tensor.name]
            assert numpy_helper.to_array(tensor) == max(found)


@pytest.mark.parametrize("precision", ["f16", "bf16"])
def test_what_is_not_int8_can_be_in_16_bits(precision: Any) -> None:
    network = to_half(quantise(small_generator(), [contrast_of(1)]), precision)
    onnx.checker.check_model(compose(network, 16, "bytes"), full_check=True)
    assert Counter(node.op_type for node in network.graph.node)["Cast"] == 2


def test_a_network_without_inner_convolutions_is_refused() -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "none",
        [helper.make_tensor_value_info("x", kind, ["n", 1, "h", "w"])],
        [helper.make_tensor_value_info("y", kind, ["n", 1, "h", "w"])],
    )
    with pytest.raises(ModelError, match="no convolution between its first and its last"):
        quantise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), [contrast_of(1)])


def test_the_network_is_kept_for_these_weights_and_frames_only(own_model: Model) -> None:
    assert not is_quantised(own_model)
    contrasts = [contrast_of(seed, 96) for seed in range(4)]
    network = quantise(own_model.generator(), contrasts)
    file = store_quantised(own_model, network, contrasts, "four frames")
    assert is_quantised(own_model)
    assert file.notes == {"frames": 4, "source": "four frames"}
    assert file.facts["weights"] == own_model.weights_sha256
    assert generator_for(own_model, "int8", halves=False) == network
    assert store_quantised(own_model, network, contrasts, "again").path == file.path
    assert store_quantised(own_model, network, contrasts[:3], "others").path != file.path


def test_a_typed_graph_has_f16_around_int8(own_model: Model) -> None:
    network = generator_for(quantised(own_model), "int8", halves=True)
    kinds = Counter(tensor.data_type for tensor in network.graph.initializer)
    assert kinds[onnx.TensorProto.FLOAT16] > kinds[onnx.TensorProto.FLOAT]


def test_a_damaged_network_is_not_used(own_model: Model) -> None:
    file = quantised_file(quantised(own_model))
    assert file is not None
    file.path.write_bytes(file.path.read_bytes()[:-1])
    with pytest.raises(EngineFileError, match="damaged"):
        OpenVinoEngine(own_model, "int8")


def test_frames_become_the_contrast_of_the_live_loop(model: Model, tmp_path: Path) -> None:
    frames = [camera_frame((131, 120), seed) for seed in range(5)]
    contrasts = read_calibration(write_frames(tmp_path / "frames", frames), model)
    assert [contrast.shape for contrast in contrasts] == [(128, 112)] * 5
    for frame, contrast in zip(frames, contrasts, strict=True):
        wanted = normalise(frame, estimate_background(frame, BLACK), CONSTANT)
        np.testing.assert_array_equal(contrast, wanted[:128, :112])


def test_of_many_planes_some_are_taken_evenly(model: Model, tmp_path: Path) -> None:
    plane = camera_frame((96, 96))
    stack = np.stack([np.roll(plane, i, axis=1) for i in range(2 * MAX_FRAMES)])
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    contrasts = read_calibration(tmp_path / "stack.tif", model)
    assert len(contrasts) == MAX_FRAMES
    background = estimate_background(stack[2], BLACK)
    np.testing.assert_array_equal(contrasts[1], normalise(stack[2], background, CONSTANT))


FLAT = np.full((112, 128), 2000, np.uint16)
DARK = np.full((112, 128), 3, np.uint16)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "holds no image"),
        ([camera_frame((112, 128), 0)] * 3, "holds 3 frames to calibrate with: at least 4 are needed"),
        ([camera_frame((112, 128), 0)] * 4 + [FLAT], r"1 of 5 frames .*bright field.* t 4 z 0: contrast 0.000 below"),
        ([camera_frame((112, 128), 0)] * 2 + [DARK] * 3, r"3 of 5 frames .* t 2 z 0: too dark"),
        ([DARK] * 4, r"4 of 4 frames .*too dark or saturated .median 3 counts."),
        ([np.zeros((112, 128, 3), np.uint8)] * 4, "colour"),
    ],
    ids=["empty", "few", "one of another kind", "some dark", "all dark", "colour"],
)
def test_frames_that_do_not_fit_are_refused_with_the_reason(
    model: Model, tmp_path: Path, frames: list[Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        read_calibration(write_frames(tmp_path / "frames", frames), model)


def test_a_folder_that_is_not_there_is_named(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_calibration(tmp_path / "none", model)


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        (["brightfield", "DAPI"], "has the channels brightfield, DAPI: give a folder of the label-free one alone"),
        (["virtual: nuclei", "virtual: membrane"], "holds virtual stains"),
    ],
)
def test_several_channels_and_virtual_stains_are_refused(
    model: Model, tmp_path: Path, channels: list[str], words: str
) -> None:
    planes = np.stack([camera_frame((112, 128), seed) for seed in range(2 * 4)]).reshape(4, 2, 112, 128)
    metadata = {"axes": "TCYX", "Channel": {"Name": channels}}
    tifffile.imwrite(tmp_path / "both.ome.tif", planes, metadata=metadata, ome=True)
    with pytest.raises(UserError, match=words):
        read_calibration(tmp_path / "both.ome.tif", model)


def test_the_specimen_frames_are_like_those_that_the_demo_model_knows(demo: Model) -> None:
    assert len(read_calibration(SPECIMEN, demo)) == 16


def test_frames_of_another_microscope_are_refused_for_the_demo_model(demo: Model, tmp_path: Path) -> None:
    faint = [(camera_frame((160, 144), seed) // 8 + 1750).astype(np.uint16) for seed in range(4)]
    with pytest.raises(UserError, match=r"4 of 4 frames .*contrast 0\.\d+ below the training range 0.14 to 0.41"):
        read_calibration(write_frames(tmp_path / "faint", faint), demo)
