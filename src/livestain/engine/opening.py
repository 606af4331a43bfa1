"""Opening an engine: which library, which precision, why, and only after the gate."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import get_args

import numpy as np

from livestain.engine.backends.base import BaseEngine
from livestain.engine.gate import check_engine, describe
from livestain.engine.protocol import Engine, GateResult, Precision
from livestain.engine.standalone import StandaloneEngine
from livestain.errors import BackendMissingError, EngineError, EngineLostError, GateError, LivestainError, UserError
from livestain.model import Model, read_model
from livestain.settings import INSTALL, Backend, is_installed

_log = logging.getLogger(__name__)

_AUTO: tuple[Backend, ...] = ("tensorrt", "openvino", "onnxruntime")
"""Tried in this order: the card first; of CPU engines OpenVINO, which computes bf16 where it can, in half the time."""


def open_backend(
    model: Model,
    backend: Backend = "auto",
    *,
    shape: tuple[int, int] | None = None,
    dtype: np.dtype[np.generic] | None = None,
    threads: int | None = None,
    precision: Precision | None = None,
) -> Engine:
    """Compile a model and return an engine that passed the gate; blocks, for about half a second.

    Parameters
    ----------
    model
        From `livestain.model.read_model`.
    backend
        ``"auto"``: TensorRT where it is installed and finds a card, else OpenVINO, else ONNX Runtime; an engine that
        fails is a warning in the log, and the next one is taken. A named library is used or the call fails.
    shape, dtype
        Frames to expect, (Y, X) px and uint8 or uint16: the engine is made ready for them.
    threads
        Threads of a CPU engine; None: all performance cores.
    precision
        One of the engine's; None: the fastest that passes the gate.

    Returns
    -------
    The engine; ``info.reason`` says why this library and this precision.

    Raises
    ------
    UserError
        There is no such backend, or none of that precision here.
    BackendMissingError
        The library is not installed.
    GateError
        The stain of the test frame differs by more than is allowed; the message has the figures.
    EngineError
        The library failed otherwise.
    """
    if backend not in get_args(Backend):
        raise UserError(f"no backend {backend!r}; there are {', '.join(get_args(Backend))}")
    failures: list[LivestainError] = []
    absent: list[str] = []
    for name in _AUTO if backend == "auto" else (backend,):
        if backend == "auto" and name == "tensorrt" and not is_installed(name):
            continue
        try:
            adapter = find_adapter(name)
            why_not = adapter.unusable()
        except BackendMissingError as error:
            failures.append(error)
            continue
        if why_not and backend == "auto":
            absent.append(f"{name} not used: {why_not}")  # a machine without a card: nothing to warn of
            continue
        if why_not:
            raise EngineLostError(f"{name} cannot be used: {why_not}")
        able = adapter.precisions(model)
        if precision is not None and precision not in able:
            lacking = UserError(f"{name} computes in {' or '.join(able)} on this machine, not in {precision}")
            if backend != "auto":
                raise lacking
            failures.append(lacking)
            continue
        for choice in able if precision is None else (precision,):
            try:
                engine = adapter(model, choice, threads)
                gate = _make_ready(engine, model, shape, dtype)
            except EngineError as error:
                failures.append(error)
            else:
                engine.accept(gate, _reason(engine, backend, precision, absent, failures))
                return engine
    if not failures:
        raise EngineLostError(f"no engine can be used here: {'; '.join(absent)}")
    raise type(failures[0])("; ".join(str(failure) for failure in failures)) from failures[0]


def find_adapter(backend: Backend) -> type[BaseEngine]:
    """Return the class that compiles with this library; nothing is compiled yet.

    Raises
    ------
    BackendMissingError
        The library is not installed or cannot be loaded.
    """
    try:
        if backend == "openvino":
            from livestain.engine.backends.openvino import OpenVinoEngine

            return OpenVinoEngine
        if backend == "tensorrt":
            from livestain.engine.backends.tensorrt import TensorRtEngine

            return TensorRtEngine
        from livestain.engine.backends.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine
    except ImportError as error:  # also a library that is there and cannot be loaded
        raise BackendMissingError(f"{backend} cannot be used ({error}); {INSTALL[backend]}") from error


def open_engine(model: Model | Path | str, backend: Backend = "auto") -> StandaloneEngine:
    """Open a model for single images.

    ::

        with livestain.open_engine("demo-nuclei-membrane") as engine:
            nuclei, membrane = engine.stain(image).stains

    Parameters
    ----------
    model
        A model folder, the name of a shipped model, or a model that was read already.
    backend
        As in `open_backend`.

    Raises
    ------
    ModelError
        The model folder cannot be used.
    BackendMissingError, GateError, EngineError
        No engine reproduces the model's own stain of its test frame.
    """
    opened = model if isinstance(model, Model) else read_model(model)
    return StandaloneEngine(opened, open_backend(opened, backend))


def _make_ready(
    engine: BaseEngine, model: Model, shape: tuple[int, int] | None, dtype: np.dtype[np.generic] | None
) -> GateResult:
    """Put the engine through the gate and warm it up; close it if that fails."""
    try:
        result = check_engine(engine, model)
        if not result.passed:
            raise GateError(f"{engine} does not reproduce the model's own stain of the test frame: {describe(result)}")
        if shape is not None:
            engine.warm_up(shape, dtype or np.dtype(np.uint16))
    except EngineError:
        engine.close()
        raise
    return result


def _reason(
    engine: BaseEngine,
    asked: Backend,
    precision: Precision | None,
    absent: list[str],
    failures: list[LivestainError],
) -> str:
    default = "an NVIDIA card is here" if engine.backend == "tensorrt" else "the default for CPUs"
    which = default if asked == "auto" else f"{asked} was asked for"
    if absent:
        which = f"{which} ({'; '.join(absent)})"
    how = "was asked for" if precision else "is the fastest precision here that passes the gate"
    reason = f"{which}; {engine.info.precision} {how}"
    if failures:
        reason = f"{reason}; fell back, since {'; '.join(str(failure) for failure in failures)}"
        _log.warning("staining with %s: %s", engine, reason)
    return reason
