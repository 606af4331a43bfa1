"""TensorRT on an NVIDIA card: one program for all frame sizes of its profile, bytes up and bytes down.

An engine file that ``livestain build-engine`` made for this card is used where there is one; without one a plan for the
card at hand is built at float32. What the library compiles while it runs is kept in a file of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from livestain.engine.backends.base import BaseEngine, Job, Program, require_given, scalar
from livestain.engine.cache import EngineCache, Facts
from livestain.engine.cost import frame_cost
from livestain.engine.graph import Wire
from livestain.engine.protocol import Given, Precision
from livestain.engine.tensorrt.build import LARGEST_CARD_BYTES, Shapes, Size, build_plan
from livestain.engine.tensorrt.cuda import Cuda
from livestain.engine.tensorrt.module import Here, LoadedPlan, find_here
from livestain.engine.tensorrt.plans import Wish, plan_facts
from livestain.engine.tensorrt.program import TensorRtProgram
from livestain.errors import (
    EngineError,
    EngineFileError,
    EngineLostError,
    EngineMemoryError,
    UserError,
)
from livestain.frames import Counts
from livestain.model import Model

_log = logging.getLogger(__name__)

_FASTEST_FIRST: tuple[Precision, ...] = ("int8", "f16", "bf16")

_WARM_UP = 3
"""The runtime sets up in the first run, captures its CUDA graph in the second and replays it from the third."""


class TensorRtEngine(BaseEngine):
    """A generator in TensorRT; see `livestain.engine.backends.base.BaseEngine` for the parameters.

    Raises
    ------
    EngineLostError, BackendMissingError
        This machine cannot run it: `unusable` says why.
    """

    backend: ClassVar[str] = "tensorrt"
    wire: ClassVar[Wire] = "bytes"
    fixed_shape: ClassVar[bool] = False
    halves_in_graph: ClassVar[bool] = True
    library_errors: ClassVar[tuple[type[Exception], ...]] = (RuntimeError,)
    group = 4

    def __init__(self, model: Model, precision: Precision = "f32", threads: int | None = None) -> None:
        super().__init__(model, precision, threads)
        self._here = find_here()
        self._wanted: Precision = precision
        self._cache = EngineCache.of(model)
        self._loaded: TensorRtProgram | None = None
        self._kernel_facts: dict[str, Any] = {}
        self._kernels: bytes | None = None
        self._lost = False

    @classmethod
    def unusable(cls) -> str:
        """Return why no card can be used; empty when one can."""
        try:
            find_here()
        except EngineError as error:
            return str(error)
        return ""

    @classmethod
    def precisions(cls, model: Model) -> tuple[Precision, ...]:
        """Return those for which an engine file for this card is there, fastest first, and f32."""
        here = find_here()
        wanted = {"module": here.tensorrt.name, "version": here.tensorrt.version, "model": model.identity}
        built = {
            file.facts.get("precision")
            for file in EngineCache.of(model).files()
            if wanted.items() <= file.facts.items() and _runs_on(file.facts, here)
        }
        return (*(precision for precision in _FASTEST_FIRST if precision in built), "f32")

    @classmethod
    def version(cls) -> str:
        """Return the version of the library and which of the two it is."""
        tensorrt = find_here().tensorrt
        return f"{tensorrt.version} ({tensorrt.name})"

    @classmethod
    def device(cls) -> str:
        """Return the card, its memory and its driver."""
        return str(find_here().gpu)

    def warm_up(self, shape: tuple[int, int], dtype: np.dtype[np.generic]) -> None:
        """Load or build the engine, have it compile its kernels, and keep those; blocks, at first for seconds."""
        for _ in range(_WARM_UP):
            super().warm_up(shape, dtype)
        self._keep_kernels()

    def stain_many(self, frames: Sequence[Given]) -> list[npt.NDArray[np.uint16]]:
        """Stain frames; upload, run and download of successive ones overlap."""
        kinds = {(frame.image.shape, frame.image.dtype) for frame in frames}
        if len(frames) < 2 or len(kinds) > 1 or any(shape in self._tile_px for shape, _ in kinds):
            return super().stain_many(frames)
        for frame in frames:
            require_given(frame)
        first = frames[0].image
        try:
            self._program_for(first)
            assert self._loaded is not None
            results = self._loaded.many(
                [(frame.image, frame.shade, scalar(frame.black), scalar(frame.offset)) for frame in frames]
            )
        except (MemoryError, RuntimeError) as error:
            raise self._failure(first, error) from error
        for _, check in results:
            self._require_finite(check)
        return [stains for stains, _ in results]

    def close(self) -> None:
        """Keep the compiled kernels and free the card; may be called twice, and after the card was lost."""
        self._keep_kernels()
        self._unload()
        super().close()

    def _failure(self, image: Counts, error: Exception) -> EngineError:
        if isinstance(error, EngineError):
            self._lost = self._lost or isinstance(error, EngineLostError)
            return type(error)(f"{self} failed at {image.shape} px: {error}")
        return super()._failure(image, error)

    def _program_for(self, image: Counts) -> Program:
        if self._loaded is not None and not self._loaded.covers((image.shape[0], image.shape[1])):
            self._program = None
        return super()._program_for(image)

    def _compile(self, job: Job) -> Program:
        self._unload()
        plan, facts = self._plan(job)
        self._loaded = TensorRtProgram(Cuda(), plan, job.bit, job.stains)
        self._prepare(plan, facts)
        return self._loaded

    def _prepare(self, plan: LoadedPlan, facts: Facts) -> None:
        gpu = self._here.gpu
        same = {name: facts[name] for name in ("backend", "module", "version", "graph", "model", "precision")}
        self._kernel_facts = {"kind": "runtime cache", **same, "gpu": gpu.name, "driver": gpu.driver}
        kernels: bytes | None = None
        try:
            file = self._cache.find(self._kernel_facts)
            kernels = None if file is None else file.read()
        except EngineFileError as error:
            _log.warning("%s; compiling its kernels anew", error)
        if not plan.prepare(kernels) and kernels is not None:
            _log.warning("%s refuses the kernels kept in %s; compiling them anew", self, self._cache.folder)
        self._kernels = kernels

    def _keep_kernels(self) -> None:
        if self._loaded is None or self._lost:
            return
        try:
            kernels = self._loaded.plan.compiled_kernels()
            if kernels is not None and kernels != self._kernels:
                self._cache.store(self._kernel_facts, kernels)
                self._kernels = kernels
        except (OSError, RuntimeError) as error:
            _log.warning("%s: compiled kernels not kept in %s: %s", self, self._cache.folder, error)

    def _unload(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.close()

    def _plan(self, job: Job) -> tuple[LoadedPlan, Facts]:
        """Return a plan on the card and its facts: from an engine file that fits, else built."""
        wish = Wish(self._wanted, _shapes_for(job.shape), job.bit, None, self._here.gpu.current_target)
        module = self._here.tensorrt.module
        facts = plan_facts(module, self._model, job.graph.SerializeToString(deterministic=True), wish)
        for file in self._cache.files():
            if file.facts != facts and _fits(file.facts, facts, job.shape) and _runs_on(file.facts, self._here):
                try:
                    return self._load(file.read(), file.facts), file.facts
                except EngineFileError as error:
                    _log.warning("%s; looking for another", error)

        def build() -> tuple[LoadedPlan, bytes]:
            data = self._build(job, wish)
            return self._load(data, facts), data

        return self._cache.fetch(facts, lambda data: self._load(data, facts), build), facts

    def _build(self, job: Job, wish: Wish) -> bytes:
        cost = frame_cost(job.graph, wish.shapes.largest)
        if cost is not None and cost.activation_bytes > LARGEST_CARD_BYTES:
            raise EngineMemoryError(f"one frame needs up to {cost.activation_bytes >> 30} GiB, more than any card has")
        _log.info("building an engine for %s", self._here.gpu)
        try:
            return build_plan(
                self._here.tensorrt.module, job.graph, targets=None, shapes=wish.shapes, bit=wish.bit
            ).data
        except UserError as error:  # here nobody asked for it: what this library cannot do, the next one may
            raise EngineError(str(error)) from error

    def _load(self, data: bytes, facts: Facts) -> LoadedPlan:
        plan = self._here.tensorrt.load(data)
        sizes = plan.frame_sizes()
        if sizes != facts["shapes"]:
            plan.close()
            raise EngineFileError(
                f"a compiled engine in {self._cache.folder} is not what its sidecar says: it takes frames of {sizes} "
                f"px, not {facts['shapes']}"
            )
        return plan


def _shapes_for(shape: Size) -> Shapes:
    """Return the usual range of frame sizes, made larger where this one needs it."""
    usual = Shapes()
    if all(side <= most for side, most in zip(shape, usual.largest, strict=True)):
        return usual
    largest = (max(shape[0], usual.largest[0]), max(shape[1], usual.largest[1]))
    return Shapes(usual.smallest, shape, largest)


def _fits(facts: Facts, wanted: Facts, shape: Size) -> bool:
    """Say whether a file is the same engine but for its targets and sizes, and takes frames of this shape."""
    free = ("targets", "shapes")
    if any(facts.get(name) != value for name, value in wanted.items() if name not in free):
        return False
    smallest, _, largest = facts["shapes"]
    return all(least <= side <= most for least, side, most in zip(smallest, shape, largest, strict=True))


def _runs_on(facts: Facts, here: Here) -> bool:
    """Say whether a file was made for this kind of card, or for this very card and driver."""
    return not {here.gpu.target, here.gpu.current_target}.isdisjoint(facts.get("targets", ()))
