"""TensorRT for RTX on this machine: whether it imports, builds the shipped generator, and loads what it has built."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

Row = dict[str, object]

LISTED = ("SM75", "SM86", "SM89", "SM120")
SHAPES = ((1, 1, 96, 96), (1, 1, 2048, 2048), (1, 1, 2304, 2304))
INPUT = "contrast"


def try_tensorrt(generator: Path) -> list[Row]:
    """Build the network for the named cards and for the card found, and load both; what was said stands in the rows.

    Raises
    ------
    ImportError
        The library is not installed or cannot be loaded.
    """
    import tensorrt_rtx as rtx

    rows: list[Row] = [{"what": "import", "version": str(rtx.__version__)}]
    for target in (LISTED, ("CURRENT",)):
        plan, row = _build(rtx, generator, target)
        rows.append({"what": f"build for {', '.join(target)}", **row})
        if plan is not None:
            rows.append({"what": f"load what was built for {', '.join(target)}", **_load(rtx, plan)})
    return rows


def _logger(rtx: Any, said: list[str]) -> Any:
    class Logger(rtx.ILogger):  # type: ignore[misc]  # the library has no types
        """Keeps warnings and errors: the library returns None and raises nothing."""

        def __init__(self) -> None:
            rtx.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity <= rtx.ILogger.WARNING:
                said.append(text)

    return Logger()


def _build(rtx: Any, generator: Path, target: tuple[str, ...]) -> tuple[Any, Row]:
    said: list[str] = []
    builder = rtx.Builder(logger := _logger(rtx, said))
    network = builder.create_network(0)
    parser = rtx.OnnxParser(network, logger)
    if not parser.parse(generator.read_bytes()):
        return None, {"refused": [str(parser.get_error(at)) for at in range(parser.num_errors)], "said": said}
    config = builder.create_builder_config()
    config.clear_flag(rtx.BuilderFlag.TF32)
    config.num_compute_capabilities = len(target)
    for at, name in enumerate(target):
        config.set_compute_capability(getattr(rtx.ComputeCapability, name), at)
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, *SHAPES)
    config.add_optimization_profile(profile)
    began = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    row: Row = {"seconds": round(time.perf_counter() - began, 2), "said": said}
    return (plan, {**row, "bytes": plan.nbytes}) if plan is not None else (None, {**row, "refused": True})


def _load(rtx: Any, plan: Any) -> Row:
    said: list[str] = []
    runtime = rtx.Runtime(_logger(rtx, said))
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return {"refused": True, "said": said}
    context = engine.create_execution_context()
    return {"refused": context is None, "said": said, "device_memory_bytes": engine.device_memory_size_v2}
