"""Which engine libraries know all operators of a graph: asked of the libraries themselves."""

from __future__ import annotations

import onnx

from livestain.settings import is_installed


def libraries_that_take(graph: onnx.ModelProto) -> list[str]:
    """Return the CPU libraries that are installed and compile this graph; blocks for about half a second."""
    data = graph.SerializeToString()
    return [name for name, takes in (("openvino", _openvino_takes), ("onnxruntime", _ort_takes)) if takes(data)]


def _openvino_takes(data: bytes) -> bool:
    if not is_installed("openvino"):
        return False
    from livestain.engine.backends.openvino import OpenVinoEngine

    errors = OpenVinoEngine.library_errors
    import openvino  # only now: the package of the adapters keeps it from reporting its use over the network

    try:
        core = openvino.Core()
        core.compile_model(core.read_model(data, b""), "CPU")
    except errors:
        return False
    return True


def _ort_takes(data: bytes) -> bool:
    if not is_installed("onnxruntime"):
        return False
    import onnxruntime

    from livestain.engine.backends.onnxruntime import OnnxRuntimeEngine

    try:
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except OnnxRuntimeEngine.library_errors:
        return False
    return True
