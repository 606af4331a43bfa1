"""The loop: checkpoints that bring back the very same training, and stops that lose nothing."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from livestain.errors import TrainingError, UserError
from livestain.train.config import TrainConfig
from livestain.train.crops import Batch
from livestain.train.loop import Schedule, Training, fit, plan_epochs
from livestain.train.recipe import Recipe, Term, Turn

CONFIG = TrainConfig(width=2, batch=2, crop_px=32)
SCHEDULE = Schedule(epochs=4, epoch_steps=3)


class Noise:
    """Batches of noise; raises when ``stop`` is asked for."""

    def __init__(self, stop: tuple[int, int] | None = None) -> None:
        self.stop = stop

    def batch(self, epoch: int, step: int) -> Batch:
        if (epoch, step) == self.stop:
            raise KeyboardInterrupt
        rng = torch.Generator().manual_seed(100 * epoch + step)
        return Batch(torch.rand(2, 1, 8, 8, generator=rng), torch.rand(2, 1, 8, 8, generator=rng), ("", ""))


class Tiny(Recipe):
    """Two networks that take turns, random numbers in the step, and a pool of the past."""

    def __init__(self, config: TrainConfig, blow_up: float = 2.0) -> None:
        super().__init__(config)
        self.pool = torch.zeros(1, 1, 8, 8)
        self.blow_up = blow_up

    def networks(self, stains: int) -> dict[str, nn.Module]:
        return {"generator": nn.Conv2d(1, stains, 3, 1, 1), "judge": nn.Conv2d(stains, 1, 3, 1, 1)}

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        return {name: torch.optim.Adam(network.parameters(), 1e-2) for name, network in networks.items()}

    def step(
        self, networks: Mapping[str, nn.Module], batch: Batch, progress: float, rng: torch.Generator
    ) -> Iterator[Turn]:
        noise = torch.rand(batch.a.shape, generator=rng)
        fake = networks["generator"](batch.a + noise)
        scale = float("nan") if progress >= self.blow_up else 1.0
        yield Turn("generator", {"near": Term(scale, ((fake - batch.b - self.pool) ** 2).mean())})
        self.pool = fake.detach()[:1]
        yield Turn("judge", {"judge": Term(0.5, networks["judge"](fake.detach()).square().mean())})

    def state(self) -> dict[str, torch.Tensor]:
        return {"pool": self.pool}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        self.pool = state["pool"]


def trained(folder: Path, stop: tuple[int, int] | None = None, resume: bool = False) -> Training:
    training = Training(Tiny(CONFIG), 1, SCHEDULE)
    fit(training, Noise(stop), folder, lambda _: None, resume=resume)
    return training


def weights(training: Training) -> torch.Tensor:
    return torch.cat([value.flatten() for value in training.state_dict().values()])


def test_a_training_is_the_same_twice_and_changes_its_networks(tmp_path: Path) -> None:
    one, two = trained(tmp_path / "one"), trained(tmp_path / "two")
    assert torch.equal(weights(one), weights(two))
    assert float((weights(one) - weights(Training(Tiny(CONFIG), 1, SCHEDULE))).abs().max()) > 1e-3
    assert [sorted(entry) for entry in one.history] == [["judge", "near"]] * 4


@pytest.mark.parametrize("stop", [(1, 0), (2, 2), (3, 1)])
def test_a_training_that_was_stopped_goes_on_to_the_same_weights(stop: tuple[int, int], tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "broken", stop)
    resumed = trained(tmp_path / "broken", resume=True)
    assert float((weights(whole) - weights(resumed)).abs().max()) <= 1e-6
    assert resumed.history == whole.history


def test_a_finished_training_resumed_changes_nothing(tmp_path: Path) -> None:
    whole = trained(tmp_path)
    assert torch.equal(weights(whole), weights(trained(tmp_path, resume=True)))


def test_the_rate_falls_over_the_second_half() -> None:
    rates = [Tiny(CONFIG).rate(progress) for progress in (0, 0.49, 0.5, 0.75, 1)]
    assert rates == pytest.approx([1, 1, 1, 0.5, 0.02])


@pytest.mark.parametrize(
    ("steps", "longest", "epochs", "total"), [(10, 100, 1, 10), (100, 30, 4, 100), (101, 50, 3, 102)]
)
def test_steps_are_split_into_equal_epochs(steps: int, longest: int, epochs: int, total: int) -> None:
    schedule = plan_epochs(steps, longest)
    assert (schedule.epochs, schedule.steps) == (epochs, total)
    assert schedule.snapshots[-1] == epochs - 1


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    training = Training(Tiny(CONFIG, blow_up=0.5), 1, SCHEDULE)
    with pytest.raises(TrainingError, match=r"generator is nan at step 6.*learning_rate"):
        fit(training, Noise(), tmp_path, lambda _: None)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 1
    assert all(bool(torch.isfinite(value).all()) for value in kept["state_dict"].values())


class Overflowing(Tiny):
    """Its loss is finite, the gradient of it in one step is not."""

    def __init__(self, config: TrainConfig, at: int) -> None:
        super().__init__(config)
        self.at = at

    def step(
        self, networks: Mapping[str, nn.Module], batch: Batch, progress: float, rng: torch.Generator
    ) -> Iterator[Turn]:
        weight = networks["generator"].weight
        root = (0 * weight).sum().clamp_min(0) if round(progress * SCHEDULE.steps) == self.at else weight.square().sum()
        yield Turn("generator", {"root": Term(1.0, root.sqrt())})


@pytest.mark.parametrize("step", [6, 8], ids=["first step of an epoch", "last step of an epoch"])
def test_a_step_that_ruins_the_weights_is_not_in_the_last_checkpoint(step: int, tmp_path: Path) -> None:
    training = Training(Overflowing(CONFIG, step), 1, SCHEDULE)
    with pytest.raises(TrainingError, match=r"generator is nan at step 7|no longer finite at step 9"):
        fit(training, Noise(), tmp_path, lambda _: None)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 1
    assert all(bool(torch.isfinite(value).all()) for value in kept["state_dict"].values())
    assert not (tmp_path / "epoch-0002.pt").exists()


class Twice(Tiny):
    """Stains the same plane before and after its generator moved."""

    def step(
        self, networks: Mapping[str, nn.Module], batch: Batch, progress: float, rng: torch.Generator
    ) -> Iterator[Turn]:
        before = networks["generator"](batch.a)
        yield Turn("generator", {"size": Term(1.0, before.float().square().mean())})
        self.moved = float((networks["generator"](batch.a) - before).abs().max())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_turn_sees_the_weights_that_the_one_before_moved(precision: str, tmp_path: Path) -> None:
    recipe = Twice(CONFIG.model_copy(update={"precision": precision, "device": "cpu"}))
    fit(Training(recipe, 1, Schedule(1, 1)), Noise(), tmp_path, lambda _: None)
    assert recipe.moved > 1e-3


def test_another_process_gets_the_weights_that_this_one_has() -> None:
    training = Training(Tiny(CONFIG), 1, SCHEDULE)
    torch.nn.init.constant_(training.networks["judge"].weight, 0.25)
    assert torch.equal(weights(pickle.loads(pickle.dumps(training))), weights(training))


def test_what_goes_wrong_for_long_is_said_once_with_the_epoch(tmp_path: Path) -> None:
    class Beaten(Tiny):
        def step(
            self, networks: Mapping[str, nn.Module], batch: Batch, progress: float, rng: torch.Generator
        ) -> Iterator[Turn]:
            yield Turn("judge", {"judge": Term(0.0, networks["judge"](batch.b).square().mean() * 0)})

    lines: list[str] = []
    fit(Training(Beaten(CONFIG), 1, Schedule(8, 1)), Noise(), tmp_path, lines.append)
    said = [number for number, line in enumerate(lines) if line.startswith("warning: for 5 epochs, up to epoch 5")]
    assert said == [5]  # after the lines of five epochs, and never again


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("kind", ["pickle", "torch pickle", "half a file", "other version", "other settings"])
def test_a_foreign_checkpoint_is_refused_and_never_executed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trained(tmp_path)
    path = tmp_path / "last.ckpt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    elif kind == "torch pickle":
        torch.save({"livestain": Evil()}, path)
    elif kind == "half a file":
        path.write_bytes(path.read_bytes()[:2000])
    else:
        state = torch.load(path, weights_only=True)
        changed = {"version": 0} if kind == "other version" else {"schedule": [9, 9]}
        torch.save(state | {"livestain": state["livestain"] | changed}, path)
    with pytest.raises(UserError, match="start anew without --resume"):
        trained(tmp_path, resume=True)
    assert not Path("executed").exists()


def test_a_missing_gpu_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    training = Training(Tiny(CONFIG.model_copy(update={"device": "gpu"})), 1, SCHEDULE)
    with pytest.raises(UserError, match="no NVIDIA GPU"):
        fit(training, Noise(), tmp_path, lambda _: None)


def test_a_full_gpu_is_said_with_what_to_lower(tmp_path: Path) -> None:
    class Full(Tiny):
        def step(
            self, networks: Mapping[str, nn.Module], batch: Batch, progress: float, rng: torch.Generator
        ) -> Iterator[Turn]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            yield

    with pytest.raises(TrainingError, match="2 crops of 32 px: lower batch"):
        fit(Training(Full(CONFIG), 1, SCHEDULE), Noise(), tmp_path, lambda _: None)
