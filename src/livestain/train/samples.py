"""What the network makes of a few fixed crops, one picture an epoch: to see a training go right, or wrong, early."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import nn

from livestain.contrast import Field
from livestain.train.data import FULL_SCALE, Fields
from livestain.train.unit import UNIT

CROPS = 4
KEPT = 20
"""Pictures of earlier epochs that stay, beside the newest."""

_SIDE_PX = 160
_STRIDE = 16
_GAP_PX = 4
_CAPTION_PX = 14
_WHITE = 1.5 / FULL_SCALE
_CONTRAST_RANGE = 4 * UNIT


class Samples:
    """A few label-free crops with cells, and pictures of their virtual stains in one folder.

    The crops are the liveliest windows of at most 160 px of one field of each group, then of further fields, four in
    all: the same in every epoch and after a resume. The greys are those of a fixed scale: black is the background and
    white 1.5 typical objects of the stain, so that pictures of two epochs can be compared.
    """

    def __init__(self, fields: Fields, folder: Path) -> None:
        self.names = fields.stains
        self._folder = folder
        chosen = _in_turn(fields)[:CROPS]
        side = min(_SIDE_PX, min(min(field.shape) for _, field in chosen) // _STRIDE * _STRIDE)
        self._groups = tuple(group for group, _ in chosen)
        self._crops = np.stack([_liveliest(field, side) for _, field in chosen])

    def stain(self, net: nn.Module) -> Field:
        """Return the stains of the crops, (N, S, Y, X) float32 in 0..1; no weight and no random number changes."""
        was, device = net.training, next(net.parameters()).device
        net.eval()
        try:
            with torch.no_grad():
                # One at a time: a GPU in training has little memory left.
                answers = [net(torch.from_numpy(crop)[None, None].to(device)).clamp(0, 1) for crop in self._crops]
        finally:
            net.train(was)
        stains: Field = torch.cat(answers).float().cpu().numpy()
        return stains

    def write(self, stains: Field, epoch: int, epochs: int) -> None:
        """Write `stain`'s answer as ``epoch-NNNN.png``, numbered from 1 for ``epoch`` 0.

        At most `KEPT` pictures of earlier epochs stay, evenly spread over the ``epochs`` of the training. Raises
        `OSError` where the picture cannot be written, or an older one is held open by another program.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._draw(stains).save(self._path(epoch))
        every = -(-epochs // KEPT)
        if (epoch - 1) % every:
            self._path(epoch - 1).unlink(missing_ok=True)

    def _path(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch + 1:04}.png"

    def _draw(self, stains: Field) -> Image.Image:
        side = self._crops.shape[-1]
        rows = [
            [(f"label-free {group}".rstrip(), _grey(crop / _CONTRAST_RANGE + 0.5))]
            + [(f"virtual: {name}", _grey(plane / _WHITE)) for name, plane in zip(self.names, planes, strict=True)]
            for group, crop, planes in zip(self._groups, self._crops, stains, strict=True)
        ]
        wide, high = side + _GAP_PX, side + _CAPTION_PX + _GAP_PX
        page = Image.new("L", (wide * (1 + len(self.names)), high * len(rows)), 255)
        pen = ImageDraw.Draw(page)
        for y, row in enumerate(rows):
            for x, (caption, grey) in enumerate(row):
                pen.text((x * wide, y * high), caption, fill=0)
                page.paste(Image.fromarray(grey), (x * wide, y * high + _CAPTION_PX))
        return page


def _in_turn(fields: Fields) -> list[tuple[str, Field]]:
    """Return group and contrast of every label-free field: the first of each group, then the second, and so on."""
    by_number = zip_longest(*(group.label_free for group in fields.groups.values()))
    return [
        (name, field)
        for of_all in by_number
        for name, field in zip(fields.groups, of_all, strict=True)
        if field is not None
    ]


def _liveliest(field: Field, side: int) -> Field:
    """Return the window of ``side`` px whose contrast varies most."""
    spread = ndimage.uniform_filter(np.abs(field), side, mode="constant")
    half = side // 2
    inner = spread[half : field.shape[0] - side + half + 1, half : field.shape[1] - side + half + 1]
    y, x = np.unravel_index(int(np.argmax(inner)), inner.shape)
    return field[y : y + side, x : x + side].copy()


def _grey(plane: Field) -> npt.NDArray[np.uint8]:
    """Return 0..1 as 0..255."""
    return (plane.clip(0, 1) * 255).astype(np.uint8)
