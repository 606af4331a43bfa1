"""One picture as a file: PNG as it is shown, with mark and scale bar burnt in; OME-TIFF with the raw values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QBuffer, QIODevice
from qtpy.QtGui import QImage

from livestain import __version__
from livestain.errors import UserError
from livestain.store.export import signed_rgba, write_ome_tiff
from livestain.store.failures import as_store_error
from livestain.view.picture import MARK, LayerInfo, Picture
from livestain.view.render import render
from livestain.view.state import ViewState
from livestain.view.viewport import GAP

EXPORT_FOLDER = "export"
"""Folder within a run for what a person takes out of it; as `livestain export` has it."""

LARGE_PX = 1024
"""Small images are enlarged to at most this length, so that their mark can be read."""

LONGEST_PX = 4096
_ENDINGS = (".ome.tif", ".ome.tiff")


def free_name(path: Path) -> Path:
    """Return ``path``, or the first of NAME_002, NAME_003, ... with its ending that does not exist."""
    ending = next((end for end in _ENDINGS if path.name.lower().endswith(end)), path.suffix)
    stem, number, candidate = path.name[: len(path.name) - len(ending)], 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{stem}_{number:03d}{ending}")
    return candidate


def make_export_folder(folder: Path) -> None:
    """Make a run's folder for exports, but not the run: one that is gone is not begun anew. Raises `StoreError`."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise as_store_error(error, f"folder {folder} could not be made") from error


def natural_size(state: ViewState, longest_px: int = LONGEST_PX) -> tuple[int, int]:
    """Return (width, height) in px of a picture of the state without a border: 1:1, small images enlarged.

    Raises `UserError` when there is no picture.
    """
    height, width = state.picture.shape if state.picture is not None else (0, 0)
    if not height or not width:
        raise UserError("there is no picture to save at this moment: wait for the first frame")
    beside = state.mode == "split" and len(state.panes()) == 2
    room = longest_px / max(height, 2 * width + GAP if beside else width)
    # Enlarged by whole factors only: all pixels stay of one size.
    factor = min(room, 1.0) if room < 2 else float(min(max(1, LARGE_PX // max(height, width)), int(room)))
    width, height = round(width * factor), round(height * factor)
    return (2 * width + GAP if beside else width), height


def save_png(
    path: Path,
    state: ViewState,
    *,
    pixel_um: float,
    caption: str,
    note: str = "",
    size: tuple[int, int] | None = None,
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Save what is shown, with mark and scale bar; never over another file. Blocks some 100 ms for large pictures.

    Parameters
    ----------
    path
        Where to; its folder must exist.
    state
        With a picture.
    pixel_um
        Pixel size in um; 0 where not known: no scale bar.
    caption
        Time and place, written into the picture.
    note
        What was noted at this time point, written into the picture (cut to its width) and whole into the file's text.
    size
        (width, height) in px; None: `natural_size`.
    facts
        What is told of the origin (run, model, ...), written beside the kind of each layer into the file's text.

    Returns
    -------
    The file written: ``path``, or the next free NAME_002.

    Raises
    ------
    UserError
        There is no picture.
    StoreError
        The file cannot be written.
    """
    image = render(state, size or natural_size(state), pixel_um=pixel_um, caption=caption, note=note)
    for name, text in _texts(state, pixel_um, _with_note(facts, note)):
        image.setText(name, text)
    return _write(path, _png(image))


def save_tiff(
    path: Path,
    picture: Picture,
    layers: Sequence[LayerInfo],
    pixel_um: float,
    facts: Mapping[str, str] | None = None,
    note: str = "",
) -> Path:
    """Save the values of all layers of a picture as they are, one OME-TIFF of uint16 or uint8; never over another file.

    Layers that are not there are zeros and named in the description; uint8 counts become uint16 beside stains, same
    numbers. Parameters, returns and raises as `save_png`.
    """
    height, width = picture.shape
    if not height or not width:
        raise UserError("there is no picture to save at this moment: wait for the first frame")
    path = free_name(path)
    present = [plane.dtype for plane in picture.planes if plane is not None]
    dtype = np.result_type(*present)
    write_ome_tiff(
        path, _planes(picture, dtype), (1, len(layers), 1, height, width), dtype,
        _metadata(picture, layers, pixel_um, _with_note(facts, note)),
    )  # fmt: skip
    return path


def _with_note(facts: Mapping[str, str] | None, note: str) -> Mapping[str, str]:
    return {**(facts or {}), **({"Note": note} if note else {})}


def file_label(layer: LayerInfo) -> str:
    """Return a layer's name in files: ``"measured: BF"``, ``"virtual: nuclei"``."""
    return f"{'virtual' if layer.kind == 'virtual' else 'measured'}: {layer.name}"


def _texts(state: ViewState, pixel_um: float, facts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return what is written into a PNG beside its pixels."""
    shown = [state.views[i].info for i in dict.fromkeys(i for pane in state.panes() for i in pane.layers)]
    if any(pane.virtual for pane in state.panes()):
        yield "Comment", MARK
    yield "Software", f"livestain {__version__}"
    yield "Layers", ", ".join(file_label(layer) for layer in shown)
    yield "Mode", state.mode
    if state.picture is not None:
        yield "Place", str(state.picture.key)
    if pixel_um > 0:
        yield "Pixel size", f"{pixel_um:g} um"
    yield from facts.items()


def _png(image: QImage) -> bytes:
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")
    return bytes(buffer.data().data())


def _write(path: Path, data: bytes) -> Path:
    """Write a file that was not there, whole or not at all."""
    while True:
        path = free_name(path)
        try:
            with path.open("xb") as file:
                try:
                    file.write(data)
                    return path
                except OSError:
                    file.close()
                    with contextlib.suppress(OSError):
                        path.unlink()
                    raise
        except FileExistsError:
            continue
        except OSError as error:
            raise as_store_error(error, f"{path} could not be written") from error


def _planes(picture: Picture, dtype: np.dtype[np.generic]) -> Iterator[npt.NDArray[np.generic]]:
    for plane in picture.planes:
        yield plane.astype(dtype) if plane is not None else np.zeros(picture.shape, dtype)


def _metadata(
    picture: Picture, layers: Sequence[LayerInfo], pixel_um: float, facts: Mapping[str, str]
) -> dict[str, object]:  # fmt: skip
    states = [*picture.states, *[""] * len(layers)]
    missing = [
        f"{file_label(layer)} ({state or 'not there'})"
        for layer, plane, state in zip(layers, picture.planes, states, strict=False)
        if plane is None
    ]
    words = [MARK] if any(layer.kind == "virtual" for layer in layers) else []
    words += [f"saved by livestain {__version__} from {picture.key}"]
    words += [f"{name}: {text}" for name, text in facts.items()]
    words += [f"not there, zeros: {', '.join(missing)}"] if missing else []
    known = {"PhysicalSizeX": pixel_um, "PhysicalSizeY": pixel_um} if pixel_um > 0 else {}
    units = {f"{name}Unit": "µm" for name in known}
    return {
        "Name": str(picture.key),
        "Description": "; ".join(words),
        "Channel": {
            "Name": [file_label(layer) for layer in layers],
            "Color": [signed_rgba(layer.color) for layer in layers],
        },
        **known,
        **units,
    }
