"""ONNX Runtime on the CPU: float32, any frame size with one program."""

from __future__ import annotations

import platform
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from livestain.contrast import Field
from livestain.engine.backends.base import BaseEngine, Job, Program, Scalar
from livestain.engine.generators import is_quantised
from livestain.engine.graph import Wire
from livestain.engine.protocol import Precision
from livestain.frames import Counts
from livestain.model import Model


class OnnxRuntimeEngine(BaseEngine):
    """A generator in ONNX Runtime; its CPU provider has no bfloat16 convolution, so float32 it is."""

    backend: ClassVar[str] = "onnxruntime"
    wire: ClassVar[Wire] = "uint16"
    fixed_shape: ClassVar[bool] = False
    library_errors: ClassVar[tuple[type[Exception], ...]] = (
        states.EPFail,
        states.Fail,
        states.InvalidArgument,
        states.InvalidGraph,
        states.InvalidProtobuf,
        states.NotImplemented,
        states.RuntimeException,
    )

    @classmethod
    def precisions(cls, model: Model) -> tuple[Precision, ...]:
        """Return f32, and where the model was quantised int8: it takes longer here, and is there to compare."""
        return ("f32", "int8") if is_quantised(model) else ("f32",)

    @classmethod
    def version(cls) -> str:
        """Return the version of ONNX Runtime."""
        return str(onnxruntime.__version__)

    @classmethod
    def device(cls) -> str:
        """Return the processor as the system names it."""
        return platform.processor() or platform.machine()

    def _compile(self, job: Job) -> Program:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads or 0
        options.log_severity_level = 3
        # Idle threads sleep instead of spinning: the acquisition needs the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            job.graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

        def run(image: Counts, shade: Field, black: Scalar, offset: Scalar) -> tuple[npt.NDArray[np.uint16], float]:
            feed = {"frame": image[None, None], "shade": shade[None, None], "black": black, "offset": offset}
            stains, check = session.run(["stains", "check"], feed)
            return stains[0], float(check)

        return run
