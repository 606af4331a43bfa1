"""A generator quantised to int8 over frames like those that it will stain, kept beside the compiled engines."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from livestain.contrast import Field, check_input, estimate_background, is_usable, normalise
from livestain.engine.cache import EngineCache, EngineFile
from livestain.engine.int8 import inner_convolutions, split_joined, to_int8
from livestain.errors import UserError
from livestain.frames import Counts
from livestain.images import ImageSet, open_images
from livestain.model import Model

MIN_FRAMES = 4
MAX_FRAMES = 64
"""More change no range that matters; they are taken evenly from what there is."""

_METHOD = 1
"""Counted up with every change of what `quantise` makes of the same network and frames."""


def quantise(generator: onnx.ModelProto, contrasts: Sequence[Field]) -> onnx.ModelProto:
    """Return a network with its inner convolutions in int8 (`livestain.engine.int8`), float32 at its ends; blocks.

    About 0.1 s for a frame of 384 x 384 px.

    Parameters
    ----------
    generator
        float32 (N, 1, Y, X) contrast -> float32 (N, S, Y, X); not changed.
    contrasts
        (Y, X) float32 each, Y and X multiples of the network's stride: `read_calibration`.

    Raises
    ------
    ModelError
        It has fewer than three convolutions.
    """
    network = split_joined(generator)
    names = sorted({node.input[0] for node in inner_convolutions(network)})
    return to_int8(network, _largest_values(network, names, contrasts))


def read_calibration(folder: Path, model: Model) -> list[Field]:
    """Return the contrast of frames on disk, as the live loop computes it; blocks.

    Parameters
    ----------
    folder
        Label-free frames: whatever `livestain.images` opens, of one channel.
    model
        Whose contrast constant, camera offset (that of its test frame) and ranges apply.

    Returns
    -------
    (Y, X) float32 in [-1, 1] each, cropped to multiples of the model's stride; at most 64, evenly from all planes.

    Raises
    ------
    UserError
        No images, several channels, virtual stains or fewer than 4 planes; or frames outside of what the model was
        trained on: how many, and what differs.
    """
    with open_images(folder) as images:
        places = _places(images)
        frames = [images.plane(t, 0, z) for t, z in places]
    found = [(place, _warnings(frame, model)) for place, frame in zip(places, frames, strict=True)]
    outside = [(place, words) for place, words in found if words]
    if outside:
        (t, z), words = outside[0]
        raise UserError(
            f"{len(outside)} of {len(frames)} frames in {folder} are not like those that {model.identity} "
            f"({model.card.modality}) was trained on; the first, t {t} z {z}: {'; '.join(words)}. Calibrate with "
            "frames like those that it will stain, without blurred and empty ones"
        )
    return [_contrast(frame, model) for frame in frames]


def store_quantised(model: Model, generator: onnx.ModelProto, contrasts: Sequence[Field], source: str) -> EngineFile:
    """Keep a quantised network beside the model's compiled engines, where `generator_for` takes the newest.

    Parameters
    ----------
    model
        Whose network was quantised.
    generator
        From `quantise`.
    contrasts
        Over which: their sha256 is part of the key.
    source
        Where they came from, in words; noted.

    Raises
    ------
    OSError
        It cannot be written.
    """
    digest = hashlib.sha256()
    for contrast in contrasts:
        digest.update(np.ascontiguousarray(contrast, "<f4").tobytes())
    facts = {
        "kind": "generator",
        "backend": "onnx",
        "precision": "int8",
        "method": _METHOD,
        "weights": model.weights_sha256,
        "calibration": digest.hexdigest(),
    }
    data = generator.SerializeToString(deterministic=True)
    return EngineCache.of(model).store(facts, data, {"frames": len(contrasts), "source": source})


def _places(images: ImageSet) -> list[tuple[int, int]]:
    """Time points and sections of the planes to calibrate with."""
    if images.kind == "virtual":
        raise UserError(f"{images.path} holds virtual stains: calibrate with the label-free frames")
    if len(images.channels) > 1:
        raise UserError(
            f"{images.path} has the channels {', '.join(images.channels)}: give a folder of the label-free one alone"
        )
    every = [(t, z) for t in range(images.axes.t) for z in range(images.axes.z)]
    if len(every) < MIN_FRAMES:
        raise UserError(
            f"{images.path} holds {len(every)} frames to calibrate with: at least {MIN_FRAMES} are needed, 16 are good"
        )
    count = min(len(every), MAX_FRAMES)
    return [every[i * len(every) // count] for i in range(count)]


def _warnings(frame: Counts, model: Model) -> tuple[str, ...]:
    contrast, black = model.card.contrast, model.card.gate.black
    if not is_usable(frame, black):
        return (f"too dark or saturated (median {np.median(frame):.0f} counts)",)
    background = estimate_background(frame, black)
    ranges = contrast.sd, contrast.saturated_max, contrast.gain
    return check_input(frame, background, contrast.constant, background.gain(frame), *ranges).warnings


def _contrast(frame: Counts, model: Model) -> Field:
    card = model.card
    contrast = normalise(frame, estimate_background(frame, card.gate.black), card.contrast.constant)
    height, width = (side - side % card.stride for side in contrast.shape)
    return np.ascontiguousarray(contrast[:height, :width])


def _largest_values(network: onnx.ModelProto, names: Sequence[str], contrasts: Sequence[Field]) -> dict[str, float]:
    """Return the largest absolute value of each of these tensors over all frames."""
    from livestain.engine.backends.openvino import run_network

    probed = onnx.ModelProto()
    probed.CopyFrom(network)
    del probed.graph.output[:]
    for name in names:
        largest = f"largest {name}"
        probed.graph.node.append(helper.make_node("Abs", [name], [f"size of {name}"]))
        probed.graph.node.append(helper.make_node("ReduceMax", [f"size of {name}"], [largest], keepdims=0))
        probed.graph.output.append(helper.make_tensor_value_info(largest, TensorProto.FLOAT, []))
    found = np.array(list(run_network(probed, contrasts)))
    return dict(zip(names, found.max(axis=0).tolist(), strict=True))
