"""The same network in other people's hands: torch as it comes, and compiled by torch."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from livestain.bench.case import Case
from livestain.contrast import SHADE_PX
from livestain.engine.protocol import Given
from livestain.errors import UserError
from livestain.model import Model
from livestain.settings import is_installed, pip_install

if TYPE_CHECKING:
    from torch import Tensor, nn

RIVALS = ("torch", "compile", "onnxruntime")
"""What ``--against`` knows; onnxruntime is an engine of ours, too, and measured as such."""

Stains = npt.NDArray[np.uint16]


def require_rivals(names: Sequence[str]) -> None:
    """Raise `UserError` for a name that is not known, or whose library is not installed."""
    from importlib.util import find_spec

    for name in names:
        if name not in RIVALS:
            raise UserError(f"--against {name} is not possible: {', '.join(RIVALS)}")
        if name == "onnxruntime" and not is_installed(name):
            raise UserError(f"--against {name}: not installed; {pip_install('onnxruntime')}")
        if name in ("torch", "compile") and find_spec("torch") is None:
            raise UserError(f"--against {name}: torch is not installed; {pip_install('livestain[train]')}")


def torch_cases(model: Model, given: Given, names: Sequence[str], *, bf16: bool) -> tuple[list[Case], dict[str, str]]:
    """Return the cases for torch that are asked for, and why others could not be made.

    Steps before and after the network are those of our runtime graph, so that all do the same work. Blocks while torch
    compiles: up to a minute.

    Parameters
    ----------
    model
        Its generator is rebuilt operator by operator (`livestain.bench.torch_net`).
    given
        The frame to stain, any size.
    names
        Of `RIVALS`.
    bf16
        Whether the processor computes in bfloat16: then torch's autocast is measured, too.
    """
    wanted = [name for name in ("torch", "compile") if name in names]
    if not wanted:
        return [], {}
    import torch

    from livestain.bench.torch_net import OnnxNet

    net = OnnxNet(model.generator()).eval()
    cases, missing = [], {}
    if "torch" in wanted:
        cases.append(_torch_case("torch eager f32", net, model, given))
        if bf16:
            cases.append(_torch_case("torch eager bf16", net, model, given, bf16=True))
    if "compile" in wanted:
        if sys.platform != "win32" and not any(map(shutil.which, ("g++", "clang++"))):
            missing["torch compile f32"] = "torch.compile needs a C++ compiler: none is installed"
        else:
            compiled = torch.compile(net.to(memory_format=torch.channels_last))
            case = _torch_case("torch compile f32", compiled, model, given, last=True)
            try:
                case.call()
            except RuntimeError as error:  # torch wraps whatever its compiler says
                missing[case.name] = " ".join(str(error).split())[:200]
            else:
                cases.append(case)
    return cases, missing


def _torch_case(
    name: str,
    net: nn.Module | Callable[[Tensor], Tensor],
    model: Model,
    given: Given,
    *,
    bf16: bool = False,
    last: bool = False,
) -> Case:
    import torch
    from torch.nn import functional

    height, width = given.image.shape
    stride = model.card.stride
    order = torch.channels_last if last else torch.contiguous_format

    def stain() -> Stains:
        with torch.inference_mode():
            grid = torch.from_numpy(given.shade)[None, None]
            wide = functional.interpolate(grid, scale_factor=SHADE_PX, mode="bilinear", align_corners=False)
            counts = torch.from_numpy(given.image.astype(np.float32))[None, None]
            contrast = ((counts - given.black) * wide[:, :, :height, :width] - given.offset).clamp(-1, 1)
            padded = functional.pad(contrast, (0, -width % stride, 0, -height % stride), mode="reflect")
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                share = net(padded.contiguous(memory_format=order)).float()[0, :, :height, :width]
            found: Stains = (share.clamp(0, 1) * 65535).round().numpy().astype(np.uint16)
            return found

    return Case(name, stain, lambda: None)
