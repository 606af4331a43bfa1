"""The TensorRT engines of a model as files: what names one, and making it once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any

from livestain.engine.cache import EngineCache, EngineFile
from livestain.engine.cost import FrameCost, frame_cost
from livestain.engine.generators import generator_for
from livestain.engine.graph import Bit, compose
from livestain.engine.protocol import Precision
from livestain.engine.tensorrt.build import GENERATIONS, Progress, Shapes, build_plan, load_builder, targets_of
from livestain.engine.tensorrt.module import find_here
from livestain.errors import BackendMissingError, EngineError, EngineFileError, UserError, plain
from livestain.model import Model

_WITHOUT_BF16 = ("sm75",)
"""TensorRT for RTX 1.7 refuses bfloat16 for these."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One engine to make.

    Attributes
    ----------
    precision, shapes, bit
        What it computes in, the frame sizes that it takes, and what the camera delivers.
    targets
        Generations of cards, as `livestain.engine.tensorrt.build.targets_of` returns them; None: the card here.
    card
        That card and its driver, as `livestain.engine.tensorrt.cuda.Gpu.current_target` has it; empty with ``targets``.
    """

    precision: Precision
    shapes: Shapes
    bit: Bit
    targets: tuple[str, ...] | None
    card: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """An engine file; ``new`` unless it was there already; ``cost`` of a frame of the usual size, if it can be told."""

    file: EngineFile
    new: bool
    cost: FrameCost | None


@dataclass(frozen=True, slots=True)
class Place:
    """What builds, and for which cards.

    Attributes
    ----------
    module
        ``tensorrt_rtx`` or ``tensorrt``.
    targets, card
        As in `Wish`.
    runs_here
        Whether the card in this machine is one of those.
    notice
        Why these cards, in one sentence.
    """

    module: ModuleType
    targets: tuple[str, ...] | None
    card: str
    runs_here: bool
    notice: str


def find_place(names: Sequence[str] | None, precision: Precision) -> Place:
    """Return what builds for these generations of cards; blocks for half a second where there is a card.

    Parameters
    ----------
    names
        Such as ``["sm86", "sm120"]``; ``["current"]``: the card in this machine; None: that card, and without one all
        usual generations that compute in this precision.
    precision
        Of the generator.

    Raises
    ------
    UserError
        Unknown generation, or the current card without any that can be used.
    BackendMissingError
        No module is installed.
    """
    current = names is not None and [name.strip().lower() for name in names] == ["current"]
    try:
        here, why_not = find_here(), ""
    except (EngineError, BackendMissingError) as error:
        here, why_not = None, str(error)
    if here is not None and (current or names is None):
        return Place(here.tensorrt.module, None, here.gpu.current_target, True, f"building for {here.gpu}")
    module = load_builder()
    able = [name for name in GENERATIONS if precision != "bf16" or name not in _WITHOUT_BF16]
    if current:
        raise UserError(f"--targets current is not possible: {why_not}; or name the cards: --targets {','.join(able)}")
    notice = f"building for {','.join(able if names is None else names)}"
    if names is None:
        notice = f"no card to build for here ({why_not}): {notice}"
    targets = targets_of(module, able if names is None else names)
    return Place(module, targets, "", here is not None and here.gpu.target in targets, notice)


def plan_facts(module: ModuleType, model: Model, graph: bytes, wish: Wish) -> dict[str, Any]:
    """Return what an engine file of TensorRT depends on; ``graph`` is the runtime graph as it is compiled."""
    return {
        "kind": "engine",
        "backend": "tensorrt",
        "module": module.__name__,
        "version": module.__version__,
        "graph": hashlib.sha256(graph).hexdigest(),
        "model": model.identity,
        "precision": wish.precision,
        "wire": "bytes",
        "bit": wish.bit,
        "targets": [wish.card] if wish.targets is None else list(wish.targets),
        "shapes": wish.shapes.as_lists(),
    }


def make_engine_file(
    module: ModuleType,
    model: Model,
    cache: EngineCache,
    wish: Wish,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Made:
    """Return the engine file that was wished for; builds it unless it is there already; blocks.

    Two processes that wish for the same build it once: the second one waits. What the card does with it nobody knows
    yet: its notes have ``"gate": None``.

    Parameters
    ----------
    module
        ``tensorrt_rtx`` or ``tensorrt``.
    model, cache
        From `livestain.model.read_model`; where the file is to lie.
    wish
        Which engine.
    force
        Build it anew.
    progress
        As in `livestain.engine.tensorrt.build.build_plan`.

    Raises
    ------
    UserError, ModelError, EngineError
        As `livestain.engine.tensorrt.build.build_plan` and `livestain.engine.generators.generator_for`; or the file
        cannot be written.
    """
    graph = compose(generator_for(model, wish.precision, halves=True), model.card.stride, "bytes", wish.bit)
    facts = plan_facts(module, model, graph.SerializeToString(deterministic=True), wish)
    cost = frame_cost(graph, wish.shapes.usual)
    with cache.building(facts):
        found = None if force else _sound(cache, facts)
        if found is not None:
            return Made(found, False, cost)
        plan = build_plan(module, graph, targets=wish.targets, shapes=wish.shapes, bit=wish.bit, progress=progress)
        notes = {
            "built": time.time(),
            "seconds": round(plan.seconds, 3),
            "livestain": version("livestain"),
            "log": plan.log,
            "gate": None,
        }
        try:
            return Made(cache.store(facts, plan.data, notes), True, cost)
        except OSError as error:
            raise UserError(
                f"engine file of {len(plan.data) / 2**20:.1f} MiB cannot be written to {cache.folder}: "
                f"{plain(error)}; make room there, or choose another folder (--output)"
            ) from error


def _sound(cache: EngineCache, facts: dict[str, Any]) -> EngineFile | None:
    """Return the file of these facts if it is what its sidecar says; one that is not is built anew."""
    try:
        file = cache.find(facts)
        if file is not None:
            file.read()
    except EngineFileError:
        return None
    return file
