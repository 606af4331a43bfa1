"""A model folder, read and checked: the light reader needs neither bioimageio nor torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from livestain.contrast import Field, shade_shape
from livestain.errors import ModelError
from livestain.model.card import GateFrame, LivestainCard
from livestain.model.description import FILE_NAME, Description, Tensor, read_description
from livestain.model.files import ModelFile, locate

if TYPE_CHECKING:
    import onnx

_CHECKOUT = Path(__file__).parents[3]
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Model:
    """A trained generator with all that is needed to use it honestly.

    Attributes
    ----------
    id, name, version, description
        As the description states them; the id is the name where it states none, the version may be empty.
    folder
        The model folder.
    weights
        The ONNX file; its ``sha256`` says which weights these are.
    card
        Stains, optics, contrast, scores and limits.
    license, authors
        SPDX licence of the weights, empty where none is stated; names of the authors.
    """

    id: str
    name: str
    version: str
    description: str
    folder: Path
    weights: ModelFile
    card: LivestainCard
    license: str
    authors: tuple[str, ...]
    _input: ModelFile
    _output: ModelFile
    _frame: ModelFile
    _shade: ModelFile

    @property
    def weights_sha256(self) -> str:
        """Hexadecimal sha256 of the ONNX file."""
        return self.weights.sha256

    @property
    def stains(self) -> tuple[str, ...]:
        """The S names of the outputs, such as ``("nuclei", "membrane")``."""
        return tuple(stain.name for stain in self.card.stains)

    @property
    def identity(self) -> str:
        """Id and 8 digits of the weights hash: what a ledger or a log calls this model."""
        return f"{self.id}@{self.weights_sha256[:8]}"

    def generator(self) -> onnx.ModelProto:
        """Return the network, read anew: float32 (N, 1, Y, X) contrast in [-1, 1] -> (N, S, Y, X) in [0, 1].

        Raises
        ------
        ModelError
            The file was altered since, or is no generator of this form.
        """
        from livestain.model.network import parse_generator  # takes 70 ms to import: not for every user of a card

        return parse_generator(self.weights.read(), self.weights.path, len(self.stains))

    def test_input(self) -> npt.NDArray[np.float32]:
        """Return the (1, 1, Y, X) float32 contrast of the test frame."""
        return self._input.read_array(np.float32, 4)

    def test_output(self) -> npt.NDArray[np.float32]:
        """Return the (1, S, Y, X) float32 stains in [0, 1] expected from `test_input`."""
        return self._output.read_array(np.float32, 4)

    def gate_frame(self) -> tuple[npt.NDArray[np.uint16], Field, float]:
        """Return the test frame as the camera saw it: (Y, X) uint16 counts, float32 shade, black in counts.

        Raises
        ------
        ModelError
            A file was altered since, or frame, shade and expected stains do not belong together.
        """
        frame = self._frame.read_array(np.uint16, 2)
        shade = self._shade.read_array(np.float32, 2)
        grid = shade_shape((frame.shape[0], frame.shape[1]))
        expected = self.test_output().shape
        if shade.shape != grid or expected != (1, len(self.stains), *frame.shape):
            raise ModelError(
                f"model {self.folder}: gate frame of {frame.shape} px needs a shade of {grid} and stains of "
                f"{(1, len(self.stains), *frame.shape)}; they have {shade.shape} and {expected}"
            )
        return frame, shade, self.card.gate.black


def read_model(folder: Path | str) -> Model:
    """Read a model folder and check every file of it.

    Parameters
    ----------
    folder
        A folder with ``rdf.yaml`` (BioImage.IO 0.5), or the name of a shipped model (``"demo-nuclei-membrane"``, also
        ``"engines/demo-nuclei-membrane"``).

    Raises
    ------
    ModelError
        Nothing there, an incomplete or altered folder, files outside it, or a network of another form.
    """
    place = _find(folder)
    description = read_description(place)
    card = description.config.livestain
    tensors = (description.inputs[0], description.outputs[0])
    model = Model(
        id=description.id or description.name,
        name=description.name,
        version="" if description.version is None else str(description.version),
        description=description.description,
        folder=place,
        weights=locate(place, description.weights.onnx.source, description.weights.onnx.sha256),
        card=card,
        license=description.license or "",
        authors=tuple(author.name for author in description.authors),
        _input=_test_tensor(place, tensors[0]),
        _output=_test_tensor(place, tensors[1]),
        _frame=_gate_file(place, card.gate, card.gate.frame),
        _shade=_gate_file(place, card.gate, card.gate.shade),
    )
    _check_readme(place, description)
    model.generator()
    return model


def shipped_models() -> dict[str, Path]:
    """Return the models that come with livestain: name -> folder (of the checkout, else of the installed package)."""
    checkout = _CHECKOUT / "engines"
    home = checkout if (_CHECKOUT / "pyproject.toml").is_file() and checkout.is_dir() else _PACKAGE / "engines"
    return {path.parent.name: path.parent for path in sorted(home.glob(f"*/{FILE_NAME}"))}


def _find(folder: Path | str) -> Path:
    place = Path(folder)
    if place.exists():
        return place
    shipped = shipped_models()
    parts = place.parts[1:] if place.parts[:1] == ("engines",) else place.parts
    if len(parts) == 1 and parts[0] in shipped:
        return shipped[parts[0]]
    known = ", ".join(shipped) or "none"
    raise ModelError(f"no model folder at {place}; give a folder with {FILE_NAME}, or a shipped model: {known}")


def _test_tensor(folder: Path, tensor: Tensor) -> ModelFile:
    return locate(folder, tensor.test_tensor.source, tensor.test_tensor.sha256)


def _gate_file(folder: Path, gate: GateFrame, name: str) -> ModelFile:
    if name not in gate.sha256:
        raise ModelError(f"model {folder}: config.livestain.gate.sha256 lacks {name!r}; it names {sorted(gate.sha256)}")
    return locate(folder, name, gate.sha256[name])


def _check_readme(folder: Path, description: Description) -> None:
    readme = description.documentation
    if readme is not None and not isinstance(readme, str):
        locate(folder, readme.source, readme.sha256)
