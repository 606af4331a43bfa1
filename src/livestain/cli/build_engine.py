"""``livestain build-engine``: a model compiled before it is needed, for this machine or for another one."""

from __future__ import annotations

import dataclasses
import enum
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livestain.cli.engine_files import PRECISIONS, Phases, cost_words, file_words, mib, px_words, show_files
from livestain.cli.options import tell
from livestain.errors import UserError, plain

if TYPE_CHECKING:
    from livestain.engine.cache import EngineCache, EngineFile
    from livestain.engine.protocol import Precision
    from livestain.engine.tensorrt.build import Size
    from livestain.engine.tensorrt.plans import Place, Wish
    from livestain.model import Model


class Library(enum.StrEnum):
    """What compiles."""

    TENSORRT = "tensorrt"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"


class Wanted(enum.StrEnum):
    """What the generator is computed in, as most people write it."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


_PRECISIONS: dict[Wanted, Precision] = {Wanted(words): name for name, words in PRECISIONS.items()}
_USUAL = (2048, 2048)


def build_engine(
    model: Annotated[str, typer.Argument(help="Model folder, or the name of a shipped model.", show_default=False)],
    backend: Annotated[Library, typer.Option(help="Engine library.")] = Library.TENSORRT,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="HxW[,HxW]",
            help="Frame sizes, height x width in px, such as 2048x2048: an engine for each.",
            show_default="--dynamic; OpenVINO: 2048x2048",
        ),
    ] = None,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="One engine for all sizes from 96x96 to 2304x2304, best at 2048x2048.")
    ] = False,
    precision: Annotated[Wanted, typer.Option(help="What the generator is computed in.")] = Wanted.FP32,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Folder of label-free frames to quantise with (--precision int8).", show_default=False),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            metavar="SM[,SM]|current",
            help="TensorRT: generations of cards, such as sm86,sm120; current: the card in this machine.",
            show_default="current; without a card sm75,sm86,sm89,sm120",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for TensorRT's files.", show_default="the model's own")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build anew what is there already.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show what is compiled; build nothing.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Delete what is compiled; build nothing.")] = False,
) -> int:
    """Compile a model before it is needed: for this machine, or for the cards of others."""
    if list_ and clean:
        raise UserError("--list and --clean exclude each other: look first, then delete")
    from livestain.engine.cache import EngineCache
    from livestain.model import read_model

    opened = read_model(model)
    cache = EngineCache.of(opened) if output is None else EngineCache(output)
    wanted = _PRECISIONS[precision]
    if list_:
        show_files(cache)
        return 0
    if clean:
        _clean(cache)
        return 0
    sizes = _sizes(shape, dynamic)
    _require_calibration(opened, wanted, calibration)
    if backend is Library.TENSORRT:
        from livestain.engine.tensorrt.plans import find_place

        place = find_place(targets.split(",") if targets else None, wanted)
        tell(place.notice)
        wishes = _wishes(wanted, sizes, place)
        if output is not None:
            _require_writable(output)
        _quantise(opened, calibration)
        _build(opened, cache, place, wishes, force)
        if place.runs_here and output is None:
            _gate_built(opened, cache, wishes)
        else:
            tell("built, not yet run on a GPU: gated when it is first opened")
    else:
        _require_cpu(backend, targets, output, dynamic)
        _quantise(opened, calibration)
        _open(opened, cache, backend, wanted, sizes or [_USUAL], force)
    return 0


def _wishes(precision: Precision, sizes: list[Size], place: Place) -> list[Wish]:
    """Return the engines to build: for each size, for cameras of 16 and of 8 bits."""
    from livestain.engine.graph import Bit
    from livestain.engine.tensorrt.build import Shapes
    from livestain.engine.tensorrt.plans import Wish

    shapes = [Shapes.only(size) for size in sizes] or [Shapes()]
    bits: tuple[Bit, Bit] = ("uint16", "uint8")
    return [Wish(precision, each, bit, place.targets, place.card) for each in shapes for bit in bits]


def _build(model: Model, cache: EngineCache, place: Place, wishes: list[Wish], force: bool) -> None:
    from livestain.engine.tensorrt.plans import make_engine_file

    for wish in wishes:
        with Phases() as phases:
            made = make_engine_file(place.module, model, cache, wish, force=force, progress=phases)
        tell(file_words(made.file, new=made.new))
        if made.cost is not None and wish.bit == "uint16":
            tell(cost_words(made.cost, wish.shapes.usual))
        typer.echo(made.file.path)


def _gate_built(model: Model, cache: EngineCache, wishes: list[Wish]) -> None:
    """Run what was built, and note the gate beside the engine that met it."""
    gate, file = _gate(model, Library.TENSORRT, wishes[0].precision, *{wish.shapes.usual: None for wish in wishes})
    if file is not None:
        _note(cache, file, gate)


def _open(
    model: Model, cache: EngineCache, backend: Library, precision: Precision, sizes: list[Size], force: bool
) -> None:
    """Open an engine of a CPU, which compiles and stores what is not stored yet."""
    if force:
        _forget(cache, backend, precision)
    for size in sizes:
        _tell_cost(model, precision, size)
    before = {file.path for file in cache.files()}
    started_s = time.perf_counter()
    gate, _ = _gate(model, backend, precision, *sizes)
    seconds = time.perf_counter() - started_s
    new = [file for file in cache.files() if file.path not in before]
    frame = list(model.gate_frame()[0].shape)
    for file in new:
        if (file.facts.get("shape"), file.facts.get("bit")) == (frame, "uint16"):
            _note(cache, file, gate)
        typer.echo(file.path)
    if backend is Library.ONNXRUNTIME:
        tell(f"ONNX Runtime keeps no file: it compiles whenever it is opened; opened and run in {seconds:.1f} s")
    elif new:
        total = sum(file.path.stat().st_size for file in new)
        tell(f"{len(new)} files, {mib(total)}, compiled and run in {seconds:.1f} s")
    elif any(_is_of(file, backend, precision) for file in cache.files()):
        tell("there already: kept (--force builds it anew)")
    else:
        tell(f"compiled and run in {seconds:.1f} s, but not kept: {cache.folder} takes no files")


def _gate(
    model: Model, backend: Library, precision: Precision, *sizes: Size
) -> tuple[dict[str, object], EngineFile | None]:
    """Open an engine, run it once for each size and kind of camera.

    Returns how its gate went, and the file that met it, where the engine tells (TensorRT).
    """
    import numpy as np

    from livestain.engine.gate import describe
    from livestain.engine.opening import open_backend

    tell(f"opening {backend} at {PRECISIONS[precision]} and staining the test frame ...")
    engine = open_backend(model, backend.value, precision=precision)
    file = getattr(engine, "loaded", None)
    try:
        tell(f"gate passed: {describe(engine.info.gate)}")
        for size in sizes:
            for dtype in (np.dtype(np.uint16), np.dtype(np.uint8)):
                tell(f"{px_words(size)}, {dtype} ...")
                engine.warm_up(size, dtype)
    finally:
        engine.close()
    return dataclasses.asdict(engine.info.gate), file


def _tell_cost(model: Model, precision: Precision, size: Size) -> None:
    """Say what a frame costs; refuse one for which this computer has not the memory."""
    from psutil import virtual_memory

    from livestain.engine.cost import frame_cost
    from livestain.engine.generators import generator_for
    from livestain.engine.graph import compose

    cost = frame_cost(compose(generator_for(model, precision, halves=False), model.card.stride), size)
    if cost is None:
        return
    here = virtual_memory().total
    if cost.activation_bytes > here:
        raise UserError(
            f"frames of {px_words(size)} need {mib(cost.activation_bytes)}, this computer has {mib(here)}: "
            "give a smaller --shape"
        )
    tell(cost_words(cost, size))


def _forget(cache: EngineCache, backend: Library, precision: Precision) -> None:
    """Delete the engines of a library and precision; at bf16 one of two parts is float32."""
    for file in cache.files():
        if _is_of(file, backend, precision):
            cache.forget(file)


def _is_of(file: EngineFile, backend: Library, precision: Precision) -> bool:
    facts = file.facts
    of_it = facts.get("precision") == precision or (precision == "bf16" and facts.get("parts") == 2)
    return facts.get("backend") == backend and facts.get("kind") == "engine" and of_it


def _note(cache: EngineCache, file: EngineFile, gate: dict[str, object]) -> None:
    try:
        cache.note(file, gate=gate)
    except OSError as error:
        tell(f"warning: the gate cannot be noted beside {file.path}: {plain(error)}")


def _clean(cache: EngineCache) -> None:
    try:
        files, size = cache.clean()
    except OSError as error:
        raise UserError(
            f"{cache.folder} cannot be cleaned ({plain(error)}): close what uses the engine, try again"
        ) from error
    tell(f"deleted {files} files, {size / 2**20:.1f} MiB, in {cache.folder}")


def _sizes(text: str | None, dynamic: bool) -> list[Size]:
    """Return the (Y, X) sizes asked for; none means all."""
    from livestain.engine.tensorrt.build import Shapes

    if text is None:
        return []
    if dynamic:
        raise UserError("--shape and --dynamic exclude each other: engines for some sizes, or one for all")
    sizes = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,6})\s*[xX]\s*(\d{1,6})\s*", part)
        if found is None:
            raise UserError(f"--shape {text} is not possible: height x width in px, such as 2048x2048 or 512x640,96x96")
        sizes.append(Shapes.only((int(found[1]), int(found[2]))).usual)
    return sizes


def _require_cpu(backend: Library, targets: str | None, output: Path | None, dynamic: bool) -> None:
    for name, given in (("--targets", targets), ("--output", output)):
        if given is not None:
            raise UserError(f"{name} is for --backend tensorrt; {backend} compiles for this machine, beside the model")
    if dynamic and backend is Library.OPENVINO:
        raise UserError("--dynamic is not possible with OpenVINO, which compiles for each frame size: give --shape")


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"--output {folder} cannot be written ({plain(error)}): choose another folder") from error


def _require_calibration(model: Model, precision: Precision, calibration: Path | None) -> None:
    from livestain.engine.generators import is_quantised

    if precision != "int8" and calibration is not None:
        raise UserError("--calibration is for --precision int8; the other precisions need no frames")
    if precision == "int8" and calibration is None and not is_quantised(model):
        raise UserError("--precision int8 needs --calibration FOLDER with label-free frames of this microscope")


def _quantise(model: Model, calibration: Path | None) -> None:
    """Make the int8 network of a model from these frames; without any, the one that is there is used."""
    if calibration is None:
        return
    from livestain.engine.cache import EngineCache
    from livestain.engine.quantise import quantise, read_calibration, store_quantised

    tell(f"reading {calibration} ...")
    contrasts = read_calibration(calibration, model)
    tell(f"quantising with {len(contrasts)} frames ...")
    made = quantise(model.generator(), contrasts)
    try:
        file = store_quantised(model, made, contrasts, str(calibration))
    except OSError as error:
        raise UserError(f"the quantised network of {model.identity} cannot be written: {plain(error)}") from error
    try:
        _gate(model, Library.OPENVINO, "int8")
    except BaseException:  # also Ctrl-C: what was not gated is not kept
        # Kept, it would be tried and refused whenever the model is opened.
        cache = EngineCache.of(model)
        cache.forget(file)
        _forget(cache, Library.OPENVINO, "int8")
        raise
