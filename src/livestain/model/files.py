"""Files of a model folder: inside the folder, with the sha256 that the description states, and never unpickled."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from livestain.errors import ModelError


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model folder and the hash that it must have.

    Attributes
    ----------
    path
        Where it lies; inside the model folder, symbolic links followed.
    sha256
        Hexadecimal sha256 of its bytes, lower case.
    """

    path: Path
    sha256: str

    def read(self) -> bytes:
        """Return the whole file.

        Raises
        ------
        ModelError
            It is missing, cannot be read, or its sha256 is another one.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise ModelError(
                f"model file {self.path} cannot be read: {error.strerror}; copy the whole folder"
            ) from error
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise ModelError(
                f"model file {self.path} was altered: sha256 {found[:12]}..., the description says "
                f"{self.sha256[:12]}...; copy the folder again or have its author write it anew"
            )
        return data

    def read_array(self, dtype: npt.DTypeLike, ndim: int) -> npt.NDArray[Any]:
        """Return the array of a ``.npy`` file; pickled objects are refused.

        Raises
        ------
        ModelError
            As `read`; or it is no plain ``.npy`` array of this dtype and number of dimensions.
        """
        data = io.BytesIO(self.read())
        try:
            array: npt.NDArray[Any] = np.load(data, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ModelError(f"model file {self.path} is no plain .npy array (pickles are refused): {error}") from error
        if array.dtype != np.dtype(dtype) or array.ndim != ndim:
            raise ModelError(
                f"model file {self.path} holds {array.dtype} of shape {array.shape}; "
                f"{np.dtype(dtype)} with {ndim} dimensions is needed"
            )
        return array


def locate(folder: Path, source: str, sha256: str) -> ModelFile:
    """Return the file ``source`` of a model folder, checked against its hash.

    Raises
    ------
    ModelError
        It lies outside the folder (also by a symbolic link), is missing, or was altered.
    """
    if "://" in source:
        raise ModelError(f"model {folder} names {source!r}: files on the network are not fetched, put it in the folder")
    path = (folder / source).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ModelError(f"model {folder} names {source!r}, which lies outside its folder; put it inside")
    file = ModelFile(path, sha256.lower())
    file.read()
    return file
