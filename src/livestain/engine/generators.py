"""The generator of a model in the precision of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livestain.engine.cache import EngineCache, EngineFile
from livestain.engine.protocol import Precision
from livestain.errors import EngineFileError
from livestain.model import Model

if TYPE_CHECKING:
    import onnx


def generator_for(model: Model, precision: Precision, *, halves: bool) -> onnx.ModelProto:
    """Return the network of a model, float32 at its ends, as a graph of this precision.

    Parameters
    ----------
    model
        From `livestain.model.read_model`.
    precision
        ``"int8"``: the quantised network that ``livestain build-engine MODEL --precision int8`` has made.
    halves
        Whether f16 and bf16 are written into the graph (TensorRT: strongly typed); False: the float32 graph is
        returned for them and the library is told what to compute in. At int8 what is not in int8 is f16 then.

    Raises
    ------
    EngineFileError
        int8 was asked for and the model was not quantised.
    ModelError
        The files were altered since, or an operator has no such form.
    """
    network = _quantised(model) if precision == "int8" else model.generator()
    if precision == "f32" or not halves:
        return network
    from livestain.engine.halves import to_half

    return to_half(network, "f16" if precision == "int8" else precision)


def is_quantised(model: Model) -> bool:
    """Say whether the model has a quantised network beside its compiled engines."""
    return quantised_file(model) is not None


def quantised_file(model: Model) -> EngineFile | None:
    """Return the newest quantised network of these very weights; None when there is none."""
    for file in EngineCache.of(model).files():
        if file.facts.get("kind") == "generator" and file.facts.get("weights") == model.weights_sha256:
            return file
    return None


def _quantised(model: Model) -> onnx.ModelProto:
    from livestain.model.network import parse_generator

    file = quantised_file(model)
    if file is None:
        raise EngineFileError(
            f"model {model.identity} was not quantised: livestain build-engine {model.folder} --precision int8 "
            "--calibration FOLDER"
        )
    return parse_generator(file.read(), file.path, len(model.stains))
