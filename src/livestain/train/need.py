"""What a training needs of the machine: time, memory and disk, found out before it starts.

Time is that of a few real steps. Memory is what autograd keeps for the way back, counted in two real steps on a small
crop (`torch.autograd.graph.saved_tensors_hooks`) and scaled by area, since every layer is convolutional; and 16 bytes
for each parameter: weight, gradient and the two moments of Adam (Kingma & Ba, 2015), float32; and the averaged
generator. `_WORKSPACE` covers gradients of activations and the scratch memory of the convolutions: measured on a CPU,
six crops of 256 px of the live network took 176 MiB, computed are 177; CycleGAN at a width of 16, 620 and 860. Disk is
what the loop keeps: a checkpoint, twice while it is replaced, and the averages among which a choice is made.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import nn

from livestain.errors import UserError
from livestain.train.config import TrainConfig
from livestain.train.data import Fields
from livestain.train.loop import Schedule, Training
from livestain.train.pool import POOL_PLANES
from livestain.train.recipe import Recipe

MIB = 1 << 20

_PROBE_PX = 64
_WORKSPACE = 1.5
_TRAINING_BYTES, _CHECKPOINT_BYTES = 16, 12
_SNAPSHOTS = 5
_SMALL_FILES = 16 * MIB
_WARM_STEPS, _TIMED_STEPS, _TIMED_S = 4, 15, 60.0


@dataclass(frozen=True, slots=True)
class Need:
    """What one network takes while it is trained.

    Attributes
    ----------
    step_s
        Seconds of one step, data and all.
    memory_bytes
        Beside the images: on the GPU where it is trained there, else of the machine.
    disk_bytes
        Of its checkpoints at the end.
    """

    step_s: float
    memory_bytes: int
    disk_bytes: int


def measure_need(recipe: type[Recipe], config: TrainConfig, fields: Fields) -> Need:
    """Return what a network of this recipe needs; blocks for some twenty steps, of a large network for two."""
    small = config.model_copy(update={"crop_px": min(config.crop_px, _PROBE_PX)})
    probe = _Bench(recipe(small), fields)
    scale = (config.crop_px / small.crop_px) ** 2
    kept = probe.saved_bytes() * scale * _WORKSPACE
    trained, average = probe.parameters()
    pooled = probe.pooled_bytes() * scale
    memory = kept + _TRAINING_BYTES * trained + 4 * average + pooled
    disk = 2 * (_CHECKPOINT_BYTES * trained + 4 * average + pooled) + 4 * average * _SNAPSHOTS
    # Refused where it does not fit, before a step of full size is tried.
    require_memory(int(memory), config)
    return Need(_Bench(recipe(config), fields).step_s(), int(memory), int(disk))


def require_memory(needed: int, config: TrainConfig) -> int:
    """Return the free memory in bytes; raise `UserError` where it is less than ``needed``."""
    where, free = ("the GPU", free_gpu_bytes()) if _uses_gpu(config) else ("the machine", free_memory_bytes())
    if free < needed:
        raise UserError(
            f"the training needs {needed / MIB:.0f} MiB of memory, {where} has {free / MIB:.0f} MiB free: set a "
            f"smaller crop_px than {config.crop_px}, batch than {config.batch} or width than {config.width} in "
            "--config, or close other programs"
        )
    return free


def require_disk(needed: int, folder: Path) -> int:
    """Return the free bytes where ``folder`` is or will be; raise `UserError` where they are less than ``needed``."""
    free = free_disk_bytes(next(place for place in (folder, *folder.absolute().parents) if place.exists()))
    if free < needed:
        raise UserError(
            f"the training writes {needed / MIB:.0f} MiB beside {folder}, the disk has {free / MIB:.0f} MiB free: "
            "make room, or give an --output on another disk"
        )
    return free


def model_bytes(need: Need) -> int:
    """Return the disk space of the model folder at most: weights (never more than a checkpoint), frames, report."""
    return need.disk_bytes + _SMALL_FILES


def free_memory_bytes() -> int:
    """Return the memory that programs may still take without swapping."""
    return int(psutil.virtual_memory().available)


def free_gpu_bytes() -> int:
    """Return the free memory of the GPU that torch takes first."""
    return int(torch.cuda.mem_get_info()[0])


def free_disk_bytes(folder: Path) -> int:
    """Return the free space of the disk that ``folder`` lies on."""
    return shutil.disk_usage(folder).free


def _uses_gpu(config: TrainConfig) -> bool:
    return config.device != "cpu" and torch.cuda.is_available()


class _Bench:
    """A fresh network that takes steps which nobody keeps."""

    def __init__(self, recipe: Recipe, fields: Fields) -> None:
        self._recipe = recipe
        self._training = Training(recipe, len(fields.stains), Schedule(1, 1))
        self._device = torch.device("cuda" if _uses_gpu(recipe.config) else "cpu")
        self._training.to(self._device)
        self._networks = dict(self._training.networks)
        self._optimisers = recipe.optimisers(self._networks)
        self._batches = recipe.batches(fields)
        self._stains = len(fields.stains)

    def parameters(self) -> tuple[int, int]:
        """Return how many numbers are trained, and how many of them are averaged."""
        return _count(self._training.networks), _count(self._training.average)

    def saved_bytes(self) -> int:
        """Return the most bytes that one turn of a step keeps for its way back, parameters left out."""
        # Two steps: a recipe of two stages adds its last loss in the second one.
        return max(kept for step in range(2) for _, kept in self._turns(step))

    def pooled_bytes(self) -> int:
        """Return the bytes of the planes that the recipe remembers, when it remembers as many as it can."""
        side = self._recipe.config.crop_px
        return POOL_PLANES * (1 + self._stains) * side**2 * 4 if self._recipe.state() else 0

    def step_s(self) -> float:
        """Return the median seconds of a step over the second half of a training, where every loss has its part."""
        seconds: list[float] = []
        # The first steps also find out where the foreground of each group lies, once for all: not counted.
        while len(seconds) < _WARM_STEPS + _TIMED_STEPS and (len(seconds) < 2 or sum(seconds) < _TIMED_S):
            began = time.perf_counter()
            for turn, _ in self._turns(len(seconds)):
                float(turn)
            seconds.append(time.perf_counter() - began)
        return float(np.median(seconds[min(_WARM_STEPS, len(seconds) - 1) :]))

    def _turns(self, step: int) -> Iterator[tuple[torch.Tensor, int]]:
        """Take a step; yield the loss of every turn and the bytes that it kept."""
        batch = self._batches.batch(0, step).to(self._device)
        progress = 0.5 + 0.5 * step / (_WARM_STEPS + _TIMED_STEPS)
        rng = torch.Generator().manual_seed(step)
        turns = self._recipe.step(self._networks, batch, progress, rng)
        while True:
            with _kept(self._training) as sizes:
                turn = next(turns, None)
                if turn is None:
                    return
                total = turn.total()
            kept = sum(sizes.values())
            self._optimisers[turn.optimiser].zero_grad()
            total.backward()
            self._optimisers[turn.optimiser].step()
            yield total.detach(), kept


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@contextmanager
def _kept(network: nn.Module) -> Iterator[dict[int, int]]:
    """Collect the bytes of every storage that autograd keeps inside, by its address; weights are counted elsewhere."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    sizes: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield sizes
