"""Reading a model folder: what is in it, and a clear word about everything that is wrong with one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from livestain.contrast import enlarge
from livestain.errors import ModelError
from livestain.model import read_model, shipped_models
from tests.models import small_generator, write_test_model

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_test_model(tmp_path / "model")


def replace_generator(folder: Path, data: bytes) -> None:
    """Put another network into a model folder, with its hash."""
    (folder / "generator.onnx").write_bytes(data)
    path = folder / "rdf.yaml"
    description = yaml.safe_load(path.read_text("utf-8"))
    description["weights"]["onnx"]["sha256"] = hashlib.sha256(data).hexdigest()
    path.write_text(yaml.safe_dump(description), "utf-8")


def test_a_model_folder_says_who_and_what_it_is(folder: Path) -> None:
    model = read_model(str(folder))
    weights = (folder / "generator.onnx").read_bytes()
    assert model.id == "livestain/test-model"
    assert (model.version, model.license, model.authors) == ("0.1.0", "BSD-3-Clause", ("livestain founders",))
    assert model.stains == ("nuclei", "membrane")
    assert model.weights_sha256 == hashlib.sha256(weights).hexdigest()
    assert model.identity == f"livestain/test-model@{model.weights_sha256[:8]}"
    assert model.weights.path.read_bytes() == weights
    assert model.card.contrast.constant == 0.3


def test_the_gate_frame_has_the_contrast_of_the_test_input(folder: Path) -> None:
    model = read_model(folder)
    frame, shade, black = model.gate_frame()
    assert frame.dtype == np.uint16
    contrast = (frame - np.float32(black)) * enlarge(shade, 8, (frame.shape[0], frame.shape[1])) - 1 / 0.3
    np.testing.assert_allclose(np.clip(contrast, -1, 1), model.test_input()[0, 0], atol=1e-5)
    assert model.test_output().shape == (1, 2, *frame.shape)


def test_a_model_without_an_id_is_called_by_its_name(tmp_path: Path) -> None:
    assert read_model(write_test_model(tmp_path / "m", edit=lambda rdf: rdf.pop("id"))).id == "test model"


def test_keys_of_other_programs_are_ignored(tmp_path: Path) -> None:
    folder = write_test_model(tmp_path / "m", edit=lambda rdf: rdf.update(tags=["x"], cite=[{"text": "y"}]))
    assert read_model(folder).name == "test model"


def test_shipped_models_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    write_test_model(tmp_path / "engines" / "small")
    monkeypatch.setattr("livestain.model.read._CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    assert shipped_models() == {"small": tmp_path / "engines" / "small"}
    assert read_model("small").folder == read_model("engines/small").folder == tmp_path / "engines" / "small"
    with pytest.raises(ModelError, match=r"no model folder at big; .*small"):
        read_model("big")


def test_an_installed_package_finds_the_models_beside_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "livestain"
    write_test_model(package / "engines" / "small")
    monkeypatch.setattr("livestain.model.read._CHECKOUT", tmp_path)
    monkeypatch.setattr("livestain.model.read._PACKAGE", package)
    assert list(shipped_models()) == ["small"]


def _set(path: str, value: object) -> Edit:
    """An edit that puts ``value`` at a dotted path of the description."""

    def edit(rdf: dict[str, Any]) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place: Any = rdf
        for part in parents:
            place = place[part]
        place[last] = value

    return edit


def _drop(path: str) -> Edit:
    def edit(rdf: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = rdf
        for part in parents:
            place = place[part]
        del place[last]

    return edit


ZERO_HASH = "0" * 64


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_set("type", "dataset"), "type: "),
        (_set("format_version", "0.4.10"), "format_version: .*0.4.10"),
        (_drop("weights.onnx"), "weights.onnx: Field required"),
        (_set("weights.onnx.source", "../generator.onnx"), "outside its folder"),
        (_set("weights.onnx.source", "https://x.org/generator.onnx"), "not fetched"),
        (_set("weights.onnx.source", "other.onnx"), "other.onnx cannot be read: No such file"),
        (_set("weights.onnx.sha256", ZERO_HASH), "generator.onnx was altered: sha256 .*000000000000"),
        (_set("weights.onnx.sha256", "abc"), "weights.onnx.sha256: .*abc"),
        (_set("inputs.0.test_tensor.sha256", ZERO_HASH), "test_input.npy was altered"),
        (_set("outputs.0.test_tensor.sha256", ZERO_HASH), "test_output.npy was altered"),
        (_set("documentation.sha256", ZERO_HASH), "README.md was altered"),
        (_set("config.livestain.gate.sha256", {"gate_shade.npy": ZERO_HASH}), "gate.sha256 lacks 'gate_frame.npy'"),
        (
            _set("config.livestain.gate.sha256", {"gate_frame.npy": ZERO_HASH, "gate_shade.npy": ZERO_HASH}),
            "gate_frame.npy was altered",
        ),
        (_drop("config"), "no config.livestain"),
        (_set("config.livestain.surprise", 1), r"config.livestain.surprise: Extra inputs"),
        (_set("config.livestain.contrast.constant", -1.0), "config.livestain.contrast.constant: .*-1.0"),
        (_set("inputs", []), "0 inputs; exactly one"),
        (_set("inputs.0.axes.1.channel_names", ["a", "b"]), r"inputs.0 has the channels \['a', 'b'\]; 1 needed"),
        (_set("outputs.0.axes.1.channel_names", ["a"]), r"outputs.0 has the channels \['a'\]; 2 needed"),
        (_set("inputs.0.axes.2.id", "z"), r"inputs.0 has the axes \['batch', 'channel', 'z', 'x'\]"),
        (_set("inputs.0.preprocessing", [{"id": "scale_range"}]), "scale_range"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_description_is_named(tmp_path: Path, edit: Edit, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read_model(write_test_model(tmp_path / "model", edit=edit))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "is no model folder: it has no rdf.yaml"),
        ("- a list\n", "a mapping is needed, it holds list"),
        ("type: [\n", "cannot be read"),
        ("!!python/object/apply:os.getcwd []\n", "cannot be read: could not determine a constructor"),
    ],
    ids=["absent", "list", "broken", "python object"],
)
def test_a_description_that_is_none_is_refused(folder: Path, text: str | None, words: str) -> None:
    (folder / "rdf.yaml").unlink() if text is None else (folder / "rdf.yaml").write_text(text, "utf-8")
    with pytest.raises(ModelError, match=words):
        read_model(folder)


def test_the_description_file_itself_is_no_folder(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"rdf\.yaml is no model folder"):
        read_model(folder / "rdf.yaml")


def test_colours_that_look_like_numbers_are_quoted_for_other_programs(folder: Path) -> None:
    # bioimageio.spec reads YAML 1.2, in which 00E676 without quotes is the number 0.
    assert "color: '00E676'" in (folder / "rdf.yaml").read_text("utf-8")
    assert read_model(folder).card.stains[0].color == "00E676"


def test_a_flipped_bit_in_the_weights_is_found(folder: Path) -> None:
    data = bytearray((folder / "generator.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "generator.onnx").write_bytes(data)
    with pytest.raises(ModelError, match=r"generator\.onnx was altered"):
        read_model(folder)


@pytest.mark.skipif(os.name == "nt", reason="making symbolic links needs a privilege on Windows")
def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    outside = folder.parent / "elsewhere.onnx"
    (folder / "generator.onnx").rename(outside)
    (folder / "generator.onnx").symlink_to(outside)
    with pytest.raises(ModelError, match="outside its folder"):
        read_model(folder)


def test_a_pickle_is_refused(folder: Path) -> None:
    np.save(folder / "test_output.npy", np.array([{"any": "object"}]), allow_pickle=True)
    data = (folder / "test_output.npy").read_bytes()
    path = folder / "rdf.yaml"
    rdf = yaml.safe_load(path.read_text("utf-8"))
    rdf["outputs"][0]["test_tensor"]["sha256"] = hashlib.sha256(data).hexdigest()
    path.write_text(yaml.safe_dump(rdf), "utf-8")
    with pytest.raises(ModelError, match="pickles are refused"):
        read_model(folder).test_output()


def test_weights_in_another_file_are_refused(folder: Path) -> None:
    network = small_generator()
    onnx.external_data_helper.convert_model_to_external_data(network, location="../outside.bin", size_threshold=0)
    for tensor in network.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
    replace_generator(folder, network.SerializeToString())
    with pytest.raises(ModelError, match=r"weight0' in another file \(\.\./outside\.bin\)"):
        read_model(folder)


def _network(change: Callable[[onnx.ModelProto], None]) -> bytes:
    network = small_generator()
    change(network)
    data: bytes = network.SerializeToString()
    return data


def _two_inputs(network: onnx.ModelProto) -> None:
    network.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))


def _bytes_in(network: onnx.ModelProto) -> None:
    network.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8


def _colour_in(network: onnx.ModelProto) -> None:
    network.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3


def _one_stain(network: onnx.ModelProto) -> None:
    network.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1


def _one_size(network: onnx.ModelProto) -> None:
    network.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 256


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not an onnx file", "is no ONNX file"),
        (_network(_two_inputs), r"inputs are \['contrast', 'more'\]; one float32 \(N, 1, Y, X\)"),
        (_network(_bytes_in), "element type 2"),
        (_network(_colour_in), r"shape \['n', 3, 'y', 'x'\]"),
        (_network(_one_stain), r"output 'stains' has shape .* 1, .*; one float32 \(N, 2, Y, X\)"),
        (_network(_one_size), "dynamic Y and X"),
    ],
    ids=["text", "two inputs", "bytes", "colour", "one stain", "one size"],
)
def test_a_network_of_another_form_is_refused(folder: Path, data: bytes, words: str) -> None:
    replace_generator(folder, data)
    with pytest.raises(ModelError, match=words):
        read_model(folder)


def test_a_gate_frame_of_another_size_is_refused(folder: Path, tmp_path: Path) -> None:
    other = write_test_model(tmp_path / "other", shape=(128, 128))
    (folder / "gate_shade.npy").write_bytes((other / "gate_shade.npy").read_bytes())
    path = folder / "rdf.yaml"
    rdf = yaml.safe_load(path.read_text("utf-8"))
    digest = hashlib.sha256((other / "gate_shade.npy").read_bytes()).hexdigest()
    rdf["config"]["livestain"]["gate"]["sha256"]["gate_shade.npy"] = digest
    path.write_text(yaml.safe_dump(rdf), "utf-8")
    with pytest.raises(ModelError, match=r"needs a shade of \(20, 18\)"):
        read_model(folder).gate_frame()
