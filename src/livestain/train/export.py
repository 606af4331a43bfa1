"""From a trained generator to a model folder: frozen, as ONNX, with test frame, expected stains, card and hashes."""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn
from torch.export import Dim

from livestain.contrast import Field, estimate_background, normalise
from livestain.errors import TrainingError
from livestain.evaluate.metrics import pearson_r, psnr
from livestain.frames import Counts
from livestain.model import Model, read_model
from livestain.model.card import ContrastRange, GateFrame, LivestainCard, Score, StainChannel
from livestain.model.description import write_description
from livestain.train.data import Fields
from livestain.train.networks import halo_px

OPSET = 20
PARITY = 5e-5
"""Largest difference between ONNX Runtime and torch: half of what the gate allows an engine at float32.

Networks without norm stay below 1e-6; nine residual blocks whose statistics were folded reach 1.4e-5.
"""

FROZEN_R = 0.98
INVERSE = "inverse.onnx"
GATE_FILES = ("gate_frame.npy", "gate_shade.npy")
_GATE_PX = 256
_FREEZE_OVER = 8
_COLORS = {"nuclei": "00E676", "membrane": "FF00FF"}
_OTHER_COLORS = ("00B0FF", "FFC400", "FF5252", "B388FF")


@dataclass(frozen=True, eq=False)
class Facts:
    """What the card and the description say beside what the images show.

    Attributes
    ----------
    name, id, description
        As BioImage.IO has them.
    training
        Recipe, settings, schedule, data fingerprint, choice: plain YAML types.
    readme
        Markdown.
    author, license
        Who made it; SPDX identifier of the licence, None: none is given.
    defocus_um
        Focus of the label-free training images, from and to, um; None: not stated.
    """

    name: str
    id: str
    description: str
    modality: str
    training: dict[str, Any]
    readme: str
    author: str
    license: str | None = None
    caution: str = ""
    defocus_um: tuple[float, float] | None = None
    scores: Sequence[Score] = ()
    limits: Sequence[str] = ()
    tags: Sequence[str] = field(default_factory=lambda: ("virtual-staining",))


@dataclass(frozen=True, slots=True)
class Frozen:
    """How far a network with frozen statistics agrees with itself before, at the least: r, and PSNR in dB (range 1)."""

    r: float
    psnr_db: float


def freeze(net: nn.Module, fields: Sequence[Field]) -> Frozen | None:
    """Freeze and fold live normalisation over (Y, X) or (C, Y, X) fields; None where ``net`` has nothing to freeze.

    Compared on every second field, which it is not frozen over.

    Raises
    ------
    TrainingError
        r is below 0.98: what would be shipped is not what was trained.
    """
    if not hasattr(net, "freeze"):
        return None
    over, unseen = fields[::2][:_FREEZE_OVER], fields[1::2][:_FREEZE_OVER] or fields[:1]
    frames = [_whole(field, int(net.stride)) for field in over]
    probes = [_whole(field, int(net.stride)) for field in unseen]
    before = [_answer(net, probe) for probe in probes]
    net.freeze([torch.from_numpy(frame) for frame in frames])
    after = [_answer(net, probe) for probe in probes]
    planes = [pair for one, other in zip(after, before, strict=True) for pair in zip(one, other, strict=True)]
    frozen = Frozen(min(pearson_r(*pair) for pair in planes), min(psnr(*pair) for pair in planes))
    if not frozen.r >= FROZEN_R:
        raise TrainingError(
            f"with its statistics frozen the network agrees with itself at r {frozen.r:.3f} only, {FROZEN_R} is "
            "needed: train longer, or with more label-free fields of like brightness and density"
        )
    return frozen


def write_model(folder: Path, net: nn.Module, fields: Fields, facts: Facts, inverse: nn.Module | None = None) -> Model:
    """Write a model folder and read it back; ``folder`` is made, or filled again.

    ``net`` is frozen and in evaluation mode; so is ``inverse``, stains (N, S, Y, X) in 0..1 -> contrast (N, 1, Y, X) in
    -1..1, which is written as ``inverse.onnx``. Raises `TrainingError` where ONNX Runtime differs from torch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The constant of the middle group, not the median: the test frame must be of a group whose constant it is.
    group = sorted(fields.groups.values(), key=lambda group: group.constant)[len(fields.groups) // 2]
    write_weights(net, folder, _middle(group.frames[0]), group.constant)
    if inverse is not None:
        expected = np.load(folder / "test_output.npy")
        export_onnx(inverse, folder / INVERSE, expected, int(inverse.stride), names=("stains", "contrast"), least=-1)
    stride = int(net.stride)
    pixel_um = fields.pixel_um or 1.0
    card = LivestainCard(
        stains=stain_channels(fields.stains),
        modality=facts.modality,
        pixel_um=pixel_um,
        pixel_um_tolerated=(round(0.85 * pixel_um, 4), round(1.15 * pixel_um, 4)),
        contrast=contrast_range(
            group.constant, [plane for group in fields.groups.values() for plane in group.label_free]
        ),
        stride=stride,
        halo=halo_px(net, stride),
        caution=facts.caution,
        training=facts.training,
        scores=tuple(facts.scores),
        limits=tuple(facts.limits),
        gate=gate_of(folder, 0.0),
        defocus_um=facts.defocus_um,
        inverse=None if inverse is None else INVERSE,
    )
    (folder / "README.md").write_text(facts.readme, encoding="utf-8")
    write_description(folder, describe(folder, card, facts))
    return read_model(folder)


def write_weights(net: nn.Module, folder: Path, frame: Counts, constant: float, black: float = 0.0) -> float:
    """Write ``generator.onnx``, and a test frame as counts, shade, contrast and expected stains.

    Returns the largest difference between ONNX Runtime and torch.
    """
    background = estimate_background(frame, black)
    gain = background.gain(frame)
    contrast = normalise(frame, background, constant, gain)[None, None]
    difference = export_onnx(net, folder / "generator.onnx", contrast, int(net.stride))
    np.save(folder / GATE_FILES[0], frame.astype(np.uint16))
    np.save(folder / GATE_FILES[1], background.shade(constant, gain))
    np.save(folder / "test_input.npy", contrast)
    np.save(folder / "test_output.npy", _run(folder / "generator.onnx", contrast))
    return difference


def export_onnx(
    net: nn.Module,
    path: Path,
    example: Field,
    stride: int,
    *,
    names: tuple[str, str] = ("contrast", "stains"),
    least: int = 0,
) -> float:
    """Write ``net`` as one ONNX file with dynamic height and width; return its largest difference to torch.

    ``example`` is (1, C, Y, X) float32, Y and X multiples of ``stride`` and at least 112; ``names`` those of input and
    output, whose values are clipped to ``least``..1. Raises `TrainingError` when ONNX Runtime differs by 5e-5 or more.
    """
    clipped = _Clipped(copy.deepcopy(net).cpu().float().eval(), least)
    height, width = Dim("height", min=2, max=16384 // stride), Dim("width", min=2, max=16384 // stride)
    with warnings.catch_warnings(), _without_advice():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            clipped,
            (torch.from_numpy(example[:, :, :96, :112]),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[names[0]],
            output_names=[names[1]],
            dynamic_shapes=({0: Dim("batch", min=1, max=64), 2: stride * height, 3: stride * width},),
            verbose=False,
        )
    model = _without_traces(program.model_proto)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return _require_parity(clipped, path, example)


def gate_of(folder: Path, black: float) -> GateFrame:
    """Return the card's entry for the gate files in ``folder``."""
    hashes = {name: digest([(folder / name).read_bytes()]) for name in GATE_FILES}
    return GateFrame(frame=GATE_FILES[0], shade=GATE_FILES[1], black=black, sha256=hashes)


def contrast_range(constant: float, fields: Sequence[Field]) -> ContrastRange:
    """Return the input ranges of the card: those of ``fields`` (contrast), widened by a fifth."""
    sds = [float(contrast.std()) for contrast in fields]
    saturated = max(float(np.mean(np.abs(contrast) >= 1)) for contrast in fields)
    return ContrastRange(
        constant=constant,
        sd=(math.floor(80 * min(sds)) / 100, math.ceil(120 * max(sds)) / 100),
        saturated_max=math.ceil(200 * saturated) / 100,
    )


def stain_channels(names: Sequence[str]) -> tuple[StainChannel, ...]:
    """Return the stains with their colours: green nuclei, magenta membrane, others as they come."""
    free = iter(_OTHER_COLORS * len(names))
    return tuple(StainChannel(name=name, color=_COLORS.get(name.lower()) or next(free)) for name in names)


def describe(folder: Path, card: LivestainCard, facts: Facts) -> dict[str, Any]:
    """Return the BioImage.IO 0.5 description of the files in ``folder``; names in the letters that it allows."""

    def file(name: str) -> dict[str, str]:
        return {"source": name, "sha256": digest([(folder / name).read_bytes()])}

    def tensor(name: str, channels: Sequence[str], sizes: dict[str, Any], low: float, test: str) -> dict[str, Any]:
        space = [{"type": "space", "unit": "nanometer", "scale": pixel_nm, "id": a, "size": sizes[a]} for a in "yx"]
        channel = {"type": "channel", "id": "channel", "channel_names": list(channels)}
        axes = [{"type": "batch", "size": 1}, channel, *space]
        data = {"type": "float32", "range": [low, 1.0]}
        return {"id": name, "axes": axes, "data": data, "test_tensor": file(test)}

    # To 1/1024 nm: BioImage.IO's own check computes a size as size * scale / scale, which 0.65 makes 111 of 112.
    pixel_nm = round(1000 * 1024 * card.pixel_um) / 1024
    free = {a: {"min": math.ceil(96 / card.stride) * card.stride, "step": card.stride} for a in "yx"}
    same = {a: {"tensor_id": "contrast", "axis_id": a} for a in "yx"}
    stains = [stain.name for stain in card.stains]
    return {
        "type": "model",
        "format_version": "0.5.4",
        "name": _legal_title(facts.name, stains),
        "description": facts.description,
        "id": re.sub(r"[^a-z0-9_./-]+", "-", facts.id.lower()),
        "version": "1.0.0",
        "authors": [{"name": re.sub(r"[/\\]", "-", facts.author)}],
        **({"license": facts.license} if facts.license is not None else {}),
        "cite": [{"text": "livestain", "url": "https://doi.org/10.37188/CO.2026-0021"}],
        "tags": list(facts.tags),
        "documentation": file("README.md"),
        "attachments": [file(name) for name in (*GATE_FILES, *([card.inverse] if card.inverse else []))],
        "inputs": [tensor("contrast", ["contrast"], free, -1.0, "test_input.npy")],
        "outputs": [tensor("stains", stains, same, 0.0, "test_output.npy")],
        "weights": {"onnx": {**file("generator.onnx"), "opset_version": OPSET}},
        "config": {"livestain": card.model_dump(mode="json")},
    }


def _legal_title(name: str, stains: Sequence[str]) -> str:
    """Return a model's name as BioImage.IO allows it: 5 to 128 of A-Z, a-z, 0-9, space and ``_+-()``."""
    full = name if len(name) >= 5 else f"virtual {' and '.join(stains)} {name}"
    return re.sub(r"[^A-Za-z0-9 _+()-]", "-", full)[:128]


def digest(parts: Iterable[bytes]) -> str:
    """Return the hexadecimal sha256 of ``parts`` one after the other."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


class _Clipped(nn.Module):
    """A generator whose answer never leaves ``least``..1."""

    def __init__(self, net: nn.Module, least: int) -> None:
        super().__init__()
        self.net = net
        self.least = least

    def forward(self, planes: Tensor) -> Tensor:
        answer: Tensor = self.net(planes).clamp(self.least, 1)
        return answer


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence the exporter about libraries that are not installed and not needed."""
    chatty = logging.getLogger("torch.onnx._internal.exporter._registration")
    before, chatty.disabled = chatty.disabled, True
    try:
        yield
    finally:
        chatty.disabled = before


def _whole(field: Field, stride: int) -> Field:
    """Return (Y, X) or (C, Y, X) planes as (1, C, Y, X), cropped to whole strides."""
    height, width = (side // stride * stride for side in field.shape[-2:])
    planes = field if field.ndim == 3 else field[None]
    return np.ascontiguousarray(planes[None, :, :height, :width])


def _answer(net: nn.Module, planes: Field) -> Field:
    """Return the (K, Y, X) answer to (1, C, Y, X) planes."""
    with torch.no_grad():
        answer: Field = net(torch.from_numpy(planes))[0].numpy()
    return answer


def _middle(frame: Counts) -> Counts:
    """Return the middle of a frame: at most 256 px, whole multiples of 16."""
    sides = [min(_GATE_PX, side // 16 * 16) for side in frame.shape]
    corner = [(whole - side) // 2 for whole, side in zip(frame.shape, sides, strict=True)]
    return frame[tuple(slice(a, a + side) for a, side in zip(corner, sides, strict=True))].copy()


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what the exporter notes about its own source files: it names folders of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
    return model


def _run(path: Path, planes: Field) -> Field:
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    answer: Field = session.run(None, {session.get_inputs()[0].name: planes})[0]
    return answer


def _require_parity(net: nn.Module, path: Path, example: Field) -> float:
    with torch.no_grad():
        truth = net(torch.from_numpy(example)).numpy()
    difference = float(np.abs(_run(path, example) - truth).max())
    if difference >= PARITY:
        raise TrainingError(f"ONNX Runtime differs from torch by {difference:.1e}; allowed below {PARITY:.0e}")
    return difference
