"""TensorRT on an NVIDIA card: one program for all frame sizes of its profile, bytes up and bytes down.

An engine file that ``livestain build-engine`` made for this card is used where there is one; without one a plan for the
card at hand is built at float32. What the library compiles while it runs is kept in a file of its own.

What is loaded first is what the gate sees (`livestain.engine.opening.open_backend`). For each further size the file
that fits most tightly is looked for, once; it is used only when it stains the test frame, repeated to that size, as the
program before it does: a file that cannot take the test frame itself is not used unseen.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from livestain.contrast import shade_shape
from livestain.engine.backends.base import BaseEngine, Job, Program, require_given, scalar
from livestain.engine.cache import EngineCache, EngineFile, Facts, engine_key
from livestain.engine.cost import frame_cost
from livestain.engine.gate import compare, describe
from livestain.engine.graph import FULL_SCALE, Bit, Wire
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
    GateError,
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
        self._file: EngineFile | None = None
        self._facts: Facts = {}
        self._met_gate: set[str] = set()
        self._looked_for: set[tuple[np.dtype[np.generic], Size]] = set()
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

    @property
    def loaded(self) -> EngineFile | None:
        """The engine file in use; None before the first frame, and where what was built could not be kept."""
        return self._file

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
        shape = (image.shape[0], image.shape[1])
        if self._loaded is not None and not self._loaded.covers(shape):
            self._program = None
        first = not self._looked_for
        program = super()._program_for(image)
        if (image.dtype, shape) in self._looked_for:
            return program
        self._looked_for.add((image.dtype, shape))
        return program if first else self._tighter_program(image, program)

    def _tighter_program(self, image: Counts, program: Program) -> Program:
        """Return the program of a file that fits this shape more tightly and stains as this one; else this one.

        One is on the card at a time: this one stains a frame, goes, and comes back when the other one differs. A shape
        gets its own file once: with frames of several shapes in turn the one that takes them all stays.
        """
        shape = (image.shape[0], image.shape[1])
        tightest = next(iter(self._files_for(shape, self._facts)), None)
        if tightest is None or _area(tightest.facts) >= _area(self._facts):
            return program
        bit: Bit = "uint8" if image.dtype == np.uint8 else "uint16"
        witness = _witness(self._model, shape, bit)
        expected = _run(program, witness).astype(np.float32) / np.float32(FULL_SCALE)
        self._keep_kernels()
        self._program = None
        self._unload()
        try:
            plan = self._load(tightest.read(), tightest.facts)
            other = self._start(plan, tightest, tightest.facts, bit)
            result = compare(_run(other, witness), expected, full=self._wanted == "f32")
        except EngineLostError:
            raise
        except EngineError as error:
            _log.warning("%s cannot use %s for %s px: %s", self, tightest.path.name, shape, error)
        else:
            if result.passed:
                _log.info("%s uses %s, made for %s px: %s", self, tightest.path.name, shape, describe(result))
                self._program = other
                return other
            _log.warning(
                "%s does not use %s, made for %s px: it stains the test frame otherwise, %s",
                self,
                tightest.path.name,
                shape,
                describe(result),
            )
        self._unload()
        return super()._program_for(image)

    def _compile(self, job: Job) -> Program:
        self._unload()
        plan, file, facts = self._plan(job)
        program = self._start(plan, file, facts, job.bit)
        if self._looked_for:
            self._require_gate(program, facts)
        else:
            self._met_gate.add(engine_key(facts))  # whoever opens this engine has it stain the test frame first
        return program

    def _start(self, plan: LoadedPlan, file: EngineFile | None, facts: Facts, bit: Bit) -> TensorRtProgram:
        program = self._loaded = TensorRtProgram(Cuda(), plan, bit, len(self._model.stains))
        self._file, self._facts = file, facts
        self._prepare(plan, facts)
        return program

    def _require_gate(self, program: TensorRtProgram, facts: Facts) -> None:
        """Have a program that came later than the first stain the test frame, if it takes it; once for each file."""
        key = engine_key(facts)
        if key in self._met_gate:
            return
        frame, shade, black = self._model.gate_frame()
        if facts["bit"] == "uint8" or not program.covers((frame.shape[0], frame.shape[1])):
            _log.info(
                "%s: an engine for %s frames of %s px cannot take the test frame: not gated",
                self,
                facts["bit"],
                facts["shapes"],
            )
        else:
            given = Given(frame, shade, black, 1 / self._model.card.contrast.constant)
            expected = self._model.test_output()[0]
            result = compare(_run(program, given), expected, full=self._wanted == "f32")
            if not result.passed:
                raise GateError(
                    f"{self} does not reproduce the model's own stain of the test frame: {describe(result)}"
                )
        self._met_gate.add(key)

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
        self._file = None
        if loaded is not None:
            loaded.close()

    def _plan(self, job: Job) -> tuple[LoadedPlan, EngineFile | None, Facts]:
        """Return a plan on the card, its file and its facts: from the file that fits most tightly, else built.

        After the first, only files that take the test frame, too: those that do not are compared with one that does.
        """
        wish = Wish(self._wanted, _shapes_for(job.shape), job.bit, None, self._here.gpu.current_target)
        module = self._here.tensorrt.module
        facts = plan_facts(module, self._model, job.graph.SerializeToString(deterministic=True), wish)
        frame = self._model.gate_frame()[0].shape if self._looked_for else job.shape
        for file in self._files_for(job.shape, facts):
            if file.facts == facts:
                break  # below, where a damaged one is built anew
            if _takes(file.facts, (frame[0], frame[1])):
                try:
                    return self._load(file.read(), file.facts), file, file.facts
                except EngineFileError as error:
                    _log.warning("%s; looking for another", error)

        def build() -> tuple[LoadedPlan, bytes]:
            data = self._build(job, wish)
            return self._load(data, facts), data

        plan = self._cache.fetch(facts, lambda data: self._load(data, facts), build)
        return plan, self._kept(facts), facts

    def _files_for(self, shape: Size, wanted: Facts) -> list[EngineFile]:
        """Return the files that fit, the tightest first; of equally tight ones that of this very card first."""
        files = [file for file in self._cache.files() if _fits(file.facts, wanted, shape)]
        own = [self._here.gpu.current_target]
        return sorted(
            (file for file in files if _runs_on(file.facts, self._here)),
            key=lambda file: (_area(file.facts), file.facts["targets"] != own),
        )

    def _kept(self, facts: Facts) -> EngineFile | None:
        try:
            return self._cache.find(facts)
        except EngineFileError:
            return None

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
    return _takes(facts, shape)


def _takes(facts: Facts, shape: Size) -> bool:
    smallest, _, largest = facts["shapes"]
    return all(least <= side <= most for least, side, most in zip(smallest, shape, largest, strict=True))


def _runs_on(facts: Facts, here: Here) -> bool:
    """Say whether a file was made for this kind of card, or for this very card and driver."""
    return not {here.gpu.target, here.gpu.current_target}.isdisjoint(facts.get("targets", ()))


def _area(facts: Facts) -> int:
    """Return in how many sizes a file's frames come: the fewer, the tighter it fits."""
    smallest, _, largest = facts["shapes"]
    return int((largest[0] - smallest[0] + 1) * (largest[1] - smallest[1] + 1))


def _witness(model: Model, shape: Size, bit: Bit) -> Given:
    """Return the test frame, mirrored on and on until it has this size; for 8 bits with its counts scaled to 255."""
    frame, shade, black = model.gate_frame()
    scale = 1.0 if bit == "uint16" else 255 / max(int(frame.max()), 1)
    image = (_repeated(frame, shape) * scale).astype(bit)
    light = (_repeated(shade, shade_shape(shape)) / scale).astype(np.float32)
    return Given(image, light, black * scale, 1 / model.card.contrast.constant)


def _repeated(array: npt.NDArray[Any], shape: Size) -> npt.NDArray[Any]:
    more = [(0, max(0, side - have)) for side, have in zip(shape, array.shape, strict=True)]
    return np.pad(array, more, "symmetric")[: shape[0], : shape[1]]


def _run(program: Program, given: Given) -> npt.NDArray[np.uint16]:
    return program(given.image, given.shade, scalar(given.black), scalar(given.offset))[0]
