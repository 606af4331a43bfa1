"""Several processes that train one network: other batches each, the same weights, one set of files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from livestain.errors import TrainingError
from livestain.train import ranks
from livestain.train.config import TrainConfig
from livestain.train.crops import Batch
from livestain.train.loop import Schedule, Training, fit
from livestain.train.recipe import Turn
from livestain.train.recipes.mvs_cyclegan import MvsCycleGan
from tests.train.pieces import noise_batch

SHARED = TrainConfig(recipe="mvs-cyclegan", width=2, batch=2, crop_px=32, device="cpu", devices=2, learning_rate=5e-3)
SCHEDULE = Schedule(epochs=3, epoch_steps=2)


class Batches:
    """A batch for each number; fails in epoch ``bad``."""

    def __init__(self, bad: int | None = None) -> None:
        self.bad = bad

    def batch(self, epoch: int, step: int) -> Batch:
        if epoch == self.bad:
            raise RuntimeError("a disk was lost")
        return noise_batch(10 * epoch + step)


class Watched(MvsCycleGan):
    """Puts what each process has into the checkpoint: its weights, and the last batch that it saw."""

    def step(
        self, networks: Mapping[str, nn.Module], batch: Batch, progress: float, rng: torch.Generator
    ) -> Iterator[Turn]:
        self.seen, self.seen_networks = batch.a, networks
        yield from super().step(networks, batch, progress, rng)

    def state(self) -> dict[str, Any]:
        weights = [value.flatten() for net in self.seen_networks.values() for value in net.state_dict().values()]
        return {**super().state(), "seen": self.seen, "weights": torch.cat(weights)}


def train(folder: Path, bad: int | None = None, resume: bool = False) -> tuple[Training, list[str], dict[str, Any]]:
    training, lines = Training(Watched(SHARED), 1, SCHEDULE), list[str]()
    fit(training, Batches(bad), folder, lines.append, resume=resume)
    return training, lines, torch.load(folder / "last.ckpt", weights_only=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_end_with_the_same_weights_though_they_see_other_images(tmp_path: Path) -> None:
    training, lines, kept = train(tmp_path)
    one, two = kept["livestain"]["states"]
    assert torch.equal(one["weights"], two["weights"])
    assert not torch.equal(one["seen"], two["seen"])
    assert not torch.equal(one["pool_a"]["planes"], two["pool_a"]["planes"])
    assert one["stage"] == two["stage"] | {"epoch": one["stage"]["epoch"]}
    assert torch.equal(training.networks["generator"].head.weight, kept["state_dict"]["networks.generator.head.weight"])
    assert len(training.history) == 3
    assert [line.split(":")[0] for line in lines] == ["step 2 of 6", "step 4 of 6", "step 6 of 6"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0001.pt", "epoch-0002.pt", "last.ckpt"]

    with pytest.raises(TrainingError, match="a disk was lost"):
        train(tmp_path / "broken", bad=1)
    resumed = train(tmp_path / "broken", resume=True)[2]
    torch.testing.assert_close(resumed["state_dict"], kept["state_dict"], atol=1e-6, rtol=0)


def test_one_process_is_the_first_and_agrees_with_itself() -> None:
    assert (ranks.rank(), ranks.gather("x"), ranks.mean(0.1)) == (0, ["x"], 0.1)
    assert [ranks.own_number(step, 5) for step in range(5)] == list(range(5))


def test_lines_come_from_where_they_are_said_and_in_order() -> None:
    for shared in (False, True):
        lines: list[str] = []
        with ranks.heard(lines.append, shared=shared) as say:
            say("one")
            say("two")
        assert lines == ["one", "two"]
