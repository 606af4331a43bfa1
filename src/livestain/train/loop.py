"""The training loop: a Lightning module that takes the turns of a recipe, and fixed epochs with a checkpoint each.

Every random number follows from (seed, epoch, step), and everything else lies in the checkpoint: so a training that
was killed and goes on ends with the weights of one that was not.

Several devices train one network together: each has batches, random numbers and image pools of its own, and the
gradients of each turn are averaged over all; what decides (losses, the switch of two stages) is a mean over all, and
the first one writes.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import pickle
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from livestain.errors import TrainingError, UserError
from livestain.train.config import TrainConfig
from livestain.train.crops import Batch
from livestain.train.guards import SPREAD, troubles
from livestain.train.ranks import gather, heard, mean, own_number, rank
from livestain.train.recipe import Batches, Recipe
from livestain.train.samples import Samples

VERSION = 2
LAST = "last.ckpt"
"""File name of the checkpoint that is written after each epoch."""

_SNAPSHOTS = 5
_SNAPSHOTS_FROM = 0.5
_EMA_WARM_UP = 50

Say = Callable[[str], None]


@dataclass(frozen=True)
class Schedule:
    """A fixed number of steps in epochs of equal length, the last step of each with a checkpoint."""

    epochs: int
    epoch_steps: int

    @property
    def steps(self) -> int:
        """All steps."""
        return self.epochs * self.epoch_steps

    @property
    def snapshots(self) -> tuple[int, ...]:
        """Epochs after which the averaged generator is kept for the choice; the last one is among them."""
        wanted = np.linspace(_SNAPSHOTS_FROM, 1.0, _SNAPSHOTS) * self.epochs
        return tuple(sorted({max(0, round(float(epoch)) - 1) for epoch in wanted}))


def plan_epochs(steps: int, epoch_steps: int) -> Schedule:
    """Return ``steps`` in epochs of at most ``epoch_steps``; rounded up to whole epochs."""
    epochs = math.ceil(steps / epoch_steps)
    return Schedule(epochs, math.ceil(steps / epochs))


class Training(lightning.LightningModule):
    """A recipe, its networks and the running average of its generator."""

    def __init__(self, recipe: Recipe, stains: int, schedule: Schedule) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._stains = stains
        self.recipe = recipe
        self.schedule = schedule
        torch.manual_seed(recipe.config.seed)
        self.networks = nn.ModuleDict(recipe.networks(stains))
        self.average = copy.deepcopy(self.networks[recipe.generator]).requires_grad_(False)
        self.history: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}
        self._names: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how another process makes the same training: a network with spectral norm does not pickle whole."""
        return _remade, (self.recipe, self._stains, self.schedule, self.state_dict())

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the recipe's optimisers; the rate each began with is kept in its groups."""
        optimisers = self.recipe.optimisers(dict(self.networks))
        self._names = tuple(optimisers)
        for optimiser in optimisers.values():
            for group in optimiser.param_groups:
                group.setdefault("first_lr", group["lr"])
        return list(optimisers.values())

    def training_step(self, batch: Batch, index: int) -> None:
        """Take every turn of one step, then move the average."""
        done = self.current_epoch * self.schedule.epoch_steps + index
        progress = done / self.schedule.steps
        optimisers = dict(zip(self._names, self._all(), strict=True))
        self._set_rates(progress)
        rng = seeded(self.recipe.config.seed, self.current_epoch, own_number(index, self.schedule.epoch_steps))
        for turn in self.recipe.step(dict(self.networks), batch, progress, rng):
            total = turn.total()
            self._require_finite(total, turn.optimiser, done)
            optimisers[turn.optimiser].zero_grad()
            self.manual_backward(total)
            optimisers[turn.optimiser].step()
            for name, term in turn.terms.items():
                self._sums[name] = self._sums.get(name, 0.0) + float(term.loss.detach())
        self._move_average(done)

    def note_epoch(self, spreads: Mapping[str, float]) -> None:
        """Add the mean losses of the epoch, over all devices, to the history, and the ``spreads`` of the stains."""
        count = self.schedule.epoch_steps
        self.history.append({name: mean(total / count) for name, total in self._sums.items()} | dict(spreads))
        self._sums.clear()

    def require_finite_weights(self, step: int) -> None:
        """Raise `TrainingError` unless every weight and every memory of the optimisers is finite.

        A loss can be finite and its gradient not, and then a checkpoint would keep what the next step trips over.
        """
        memories = [
            value for optimiser in self._all() for of_one in optimiser.state.values() for value in of_one.values()
        ]
        tensors = [*self.state_dict().values(), *(value for value in memories if isinstance(value, torch.Tensor))]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            raise TrainingError(f"the weights are no longer finite at step {step}: {self._way_out()}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is neither weight nor optimiser, as plain values that load without unpickling code."""
        checkpoint["livestain"] = {
            "version": VERSION,
            "config": self.recipe.config.model_dump_json(),
            "schedule": [self.schedule.epochs, self.schedule.epoch_steps],
            "history": json.dumps(self.history),
            "states": gather(self.recipe.state()),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        ours = checkpoint["livestain"]
        self.history = json.loads(ours["history"])
        self.recipe.load_state(ours["states"][rank()])

    def _all(self) -> list[Any]:
        found = self.optimizers()
        return list(found) if isinstance(found, list) else [found]

    def _set_rates(self, progress: float) -> None:
        factor = self.recipe.rate(progress)
        for optimiser in self._all():
            for group in optimiser.param_groups:
                group["lr"] = group["first_lr"] * factor

    def _require_finite(self, total: torch.Tensor, name: str, step: int) -> None:
        if not bool(torch.isfinite(total)):
            raise TrainingError(
                f"the loss of {name} is {float(total)} at step {step}: {self._way_out()}, or check the images for NaN"
            )

    def _way_out(self) -> str:
        return (
            "the checkpoint before it is kept, but would lead here again; start anew with a lower learning_rate than "
            f"{self.recipe.config.learning_rate:g}"
        )

    def _move_average(self, done: int) -> None:
        # Short at first, so that the random start is forgotten.
        decay = min(self.recipe.config.ema, (done + 1) / (done + 1 + _EMA_WARM_UP))
        source = self.networks[self.recipe.generator]
        with torch.no_grad():
            for slow, now in zip(self.average.parameters(), source.parameters(), strict=True):
                slow.lerp_(now, 1 - decay)
            for slow, now in zip(self.average.buffers(), source.buffers(), strict=True):
                slow.copy_(now)


def _remade(recipe: Recipe, stains: int, schedule: Schedule, weights: dict[str, torch.Tensor]) -> Training:
    training = Training(recipe, stains, schedule)
    training.load_state_dict(weights)
    return training


def seeded(*numbers: int) -> torch.Generator:
    """Return a CPU generator that these numbers alone decide."""
    state = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)


def fit(
    training: Training,
    batches: Batches,
    folder: Path,
    say: Say,
    *,
    resume: bool = False,
    samples: Samples | None = None,
) -> None:
    """Train to the end; blocks. Writes ``last.ckpt`` after each epoch and ``epoch-NNNN.pt`` (averages) into ``folder``.

    With ``devices`` above 1 every device is worked by a process of its own, started here: recipe and batches are
    pickled to each. With ``nodes`` above 1 the same call is made on each machine, ``folder`` being a shared one, with
    ``NODE_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT`` in the environment.

    Parameters
    ----------
    folder
        Made where it is missing. With ``resume`` the training goes on from its ``last.ckpt``, where there is one.
    say
        Told one line an epoch, and what goes wrong (`livestain.train.guards.troubles`). With several processes it is
        called from a thread of its own.
    samples
        Draws pictures of the averaged generator, one an epoch.

    Raises
    ------
    TrainingError
        A loss or a weight is not finite, or the device has too little memory; ``last.ckpt`` stays. With several
        processes: one of them failed.
    UserError
        The checkpoint is of another training, another version or no checkpoint; no such device.
    KeyboardInterrupt
        Ctrl-C; ``last.ckpt`` stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = folder / LAST if resume and (folder / LAST).is_file() else None
    if start is not None:
        done = check_checkpoint(start, training)
        say(f"goes on after step {done * training.schedule.epoch_steps}")
    config = training.recipe.config
    loader = DataLoader(_Numbered(batches, training.schedule), batch_size=None, sampler=_Steps(training))
    with _calm(), heard(say, shared=_is_shared(config)) as told:
        trainer = _trainer(config, training.schedule, _Keeper(folder, told, samples))
        try:
            trainer.fit(training, loader, ckpt_path=start, weights_only=True)
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(
                f"the GPU has too little memory for {config.batch} crops of {config.crop_px} px: lower batch or "
                "crop_px, close other programs on it, or take --device cpu"
            ) from error
        except torch.multiprocessing.ProcessRaisedException as error:
            raise TrainingError(f"one of {config.devices} processes failed: {error.msg.strip()}") from error
        except SystemExit as error:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from error
    if _is_shared(config):
        training.history = read_history(folder / LAST)


def check_checkpoint(path: Path, training: Training) -> int:
    """Return how many epochs are done in a checkpoint of this very training; nothing in it is executed.

    `UserError` where it is of another one, or none of ours.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other versions, which are refused anyway
            found = torch.load(path, map_location="cpu", weights_only=True)["livestain"]
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, EOFError, OSError) as error:
        raise UserError(
            f"checkpoint {path} was not written by livestain, or is damaged (nothing in it was executed): start anew "
            "without --resume"
        ) from error
    if found["version"] != VERSION:
        raise UserError(
            f"checkpoint {path} has version {found['version']}, this livestain reads {VERSION}: start anew without "
            "--resume, or go on with the livestain that wrote it"
        )
    schedule = [training.schedule.epochs, training.schedule.epoch_steps]
    if TrainConfig.model_validate_json(found["config"]) != training.recipe.config or found["schedule"] != schedule:
        raise UserError(f"checkpoint {path} is of a training with other settings: start anew without --resume")
    return len(json.loads(found["history"]))


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the mean losses of each epoch that a checkpoint of ours holds."""
    history: list[dict[str, float]] = json.loads(
        torch.load(path, map_location="cpu", weights_only=True)["livestain"]["history"]
    )
    return history


def load_snapshot(path: Path, network: nn.Module) -> nn.Module:
    """Fill ``network`` with the averaged generator in ``path``; return it, ready to stain."""
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)


def load_last(path: Path, name: str, network: nn.Module) -> nn.Module:
    """Fill ``network`` with the last weights of the network ``name`` in a checkpoint; return it, ready to answer."""
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    prefix = f"networks.{name}."
    network.load_state_dict({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
    return network.eval().requires_grad_(False)


class _Numbered(Dataset):
    """Batches by their running number."""

    def __init__(self, batches: Batches, schedule: Schedule) -> None:
        self._batches = batches
        self._schedule = schedule

    def __len__(self) -> int:
        return self._schedule.steps

    def __getitem__(self, number: int) -> Batch:
        epoch, step = divmod(number, self._schedule.epoch_steps)
        return self._batches.batch(epoch, own_number(step, self._schedule.epoch_steps))


class _Steps(Sampler):
    """The running numbers of the epoch that a training is in."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def __len__(self) -> int:
        return self._training.schedule.epoch_steps

    def __iter__(self) -> Iterator[int]:
        # A generator, which asks when the first batch is wanted: when Lightning goes on from a checkpoint it makes the
        # iterator, and calls set_epoch, before it has found out which epoch it is in.
        first = self._training.current_epoch * len(self)
        yield from range(first, first + len(self))


class _Keeper(lightning.Callback):
    """Keeps a checkpoint after every epoch, averages at the planned ones, draws samples, and says how it goes."""

    def __init__(self, folder: Path, say: Say, samples: Samples | None) -> None:
        self._folder = folder
        self._say = say
        self._samples = samples
        self._began = time.perf_counter()
        self._first: int | None = None

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if self._first is None:
            self._first, self._began = trainer.current_epoch, time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        assert isinstance(module, Training)
        epoch, schedule = trainer.current_epoch, module.schedule
        module.require_finite_weights((epoch + 1) * schedule.epoch_steps)
        module.note_epoch(self._sample(module, epoch) if trainer.is_global_zero else {})
        if epoch in schedule.snapshots and trainer.is_global_zero:
            with _replaced(self._folder / f"epoch-{epoch:04}.pt") as part:
                torch.save(module.average.state_dict(), part)
        with _replaced(self._folder / LAST, mine=trainer.is_global_zero) as part:
            trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            self._report(module, epoch)

    def _sample(self, module: Training, epoch: int) -> dict[str, float]:
        """Draw the samples; return how much each stain varies over the crop where it varies most."""
        if self._samples is None:
            return {}
        stains = self._samples.stain(module.average)
        try:
            self._samples.write(stains, epoch, module.schedule.epochs)
        except OSError as error:
            self._say(f"warning: the picture of the samples was not written: {error}")
        spreads = stains.std(axis=(2, 3)).max(axis=0)
        return {SPREAD + name: float(value) for name, value in zip(self._samples.names, spreads, strict=True)}

    def _report(self, module: Training, epoch: int) -> None:
        schedule, done = module.schedule, epoch + 1 - (self._first or 0)
        left = (time.perf_counter() - self._began) / done * (schedule.epochs - epoch - 1)
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in module.history[-1].items())
        self._say(f"step {(epoch + 1) * schedule.epoch_steps} of {schedule.steps}: {numbers}; {left:.0f} s left")
        for trouble in set(troubles(module.history)) - set(troubles(module.history[:-1])):
            self._say(f"warning: {trouble}")


@contextmanager
def _replaced(path: Path, *, mine: bool = True) -> Iterator[Path]:
    """Yield where to write a file that then takes the place of ``path``, whole: a kill leaves the one before.

    Of several processes that share the work, the one whose file it is (``mine``) puts it there.
    """
    part = path.with_suffix(".part")
    yield part
    if mine:
        part.replace(path)


def _is_shared(config: TrainConfig) -> bool:
    return config.devices * config.nodes > 1


def _trainer(config: TrainConfig, schedule: Schedule, keeper: _Keeper) -> lightning.Trainer:
    if config.device == "gpu" and not torch.cuda.is_available():
        raise UserError("--device gpu: torch finds no NVIDIA GPU here; take --device cpu, or install torch for CUDA")
    found = torch.cuda.device_count()
    if config.device != "cpu" and 0 < found < config.devices:
        raise UserError(f"devices = {config.devices} is not possible: torch finds {found} GPUs here")
    return lightning.Trainer(
        accelerator=config.device,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy=_shared_strategy() if _is_shared(config) else "auto",
        precision=config.precision,
        max_epochs=schedule.epochs,
        callbacks=[keeper],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _shared_strategy() -> DDPStrategy:
    # Each turn moves some of the networks only; on Windows torch has no NCCL.
    backend = "gloo" if sys.platform == "win32" else None
    return DDPStrategy(start_method="spawn", find_unused_parameters=True, process_group_backend=backend)


@contextmanager
def _calm() -> Iterator[None]:
    """Silence Lightning's advice, and give Ctrl-C back afterwards: it ignores the signal once it has seen it."""
    chatty = logging.getLogger("lightning.pytorch")
    level, handler = chatty.level, signal.getsignal(signal.SIGINT)
    chatty.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        chatty.setLevel(level)
        signal.signal(signal.SIGINT, handler)
