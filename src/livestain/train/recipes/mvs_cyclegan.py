"""Recipe `mvs-cyclegan`: the paper (Lin et al., Chinese Optics 2026), equations (1)-(14), both stages.

`cyclegan`, and: the mask loss (4)-(6), weight 5; and no cycle until stage 1 has converged. The paper is silent about
the following, and we decided:

- the weight of the mask loss (that of identity, since it has the same form), and what fills a hidden block: 0 in A,
  which is its mean, and each plane's own mean in B, since black would look like background;
- how blocks are drawn: exactly a quarter of those of each plane, anew in every step;
- when stage 1 "has converged": when the mean of identity + mask loss over three epochs falls by less than 1 % in one
  epoch, or else at epoch 10 of 60 (never after 15, whatever is asked for); then the cycle's weight grows from 0 over
  one epoch, without a jump.

As the paper writes it, (4) puts a covered A into the network from B to A: the way that stains never sees a mask. And in
stage 1 nothing but identity on the wrong domain ties a stain to its cell; in small trials one of two such trainings
ended with stains in no relation to the cells.

Options: ``mask_share`` (0.25), ``mask_block_px`` (4), ``stage_epochs`` (10; 0 = one stage, for comparison).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

from livestain.train.config import TrainConfig
from livestain.train.losses import MASK_BLOCK_PX, MASK_SHARE, block_mask, cover, mask_loss
from livestain.train.ranks import mean
from livestain.train.recipe import Term
from livestain.train.recipes.cyclegan import EPOCHS, CycleGan, Pass, epoch_of

MASK = 5.0
STAGE_EPOCHS, STAGE_EPOCHS_MAX = 10, 15
_CONVERGED = 0.01
_WINDOW = 3

_logger = logging.getLogger(__name__)


class StageSwitch:
    """Decides, once, when the cycle begins; its memory is the mean loss of each finished epoch, over all processes."""

    def __init__(self, latest: int = STAGE_EPOCHS) -> None:
        self.latest = min(latest, STAGE_EPOCHS_MAX)
        self.began: int | None = None
        self._means: list[float] = []
        self._epoch, self._sum, self._count = 0, 0.0, 0

    def share(self, progress: float) -> float:
        """Return the cycle's share of its weight: 0 in stage 1, then from 0 to 1 within one epoch."""
        epoch = epoch_of(progress)
        if epoch > self._epoch and self._count:
            self._means.append(mean(self._sum / self._count))
            self._sum, self._count = 0.0, 0
        self._epoch = epoch
        if self.began is None and (epoch >= self.latest or self._converged()):
            self.began = epoch
            _logger.info("stage 2 begins in epoch %d of %d: the cycle joins", epoch, EPOCHS)
        return 0.0 if self.began is None else min(1.0, progress * EPOCHS - self.began)

    def note(self, loss: float) -> None:
        """Count one step's identity + mask loss to the epoch of the last `share`."""
        self._sum, self._count = self._sum + loss, self._count + 1

    def _converged(self) -> bool:
        if len(self._means) <= _WINDOW:
            return False
        before, now = sum(self._means[-_WINDOW - 1 : -1]), sum(self._means[-_WINDOW:])
        return now > (1 - _CONVERGED) * before

    def state(self) -> dict[str, Any]:
        """Return everything as numbers and lists."""
        began = -1 if self.began is None else self.began
        return {"began": began, "means": list(self._means), "epoch": [self._epoch, self._sum, self._count]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self.began = None if state["began"] < 0 else state["began"]
        self._means = list(state["means"])
        self._epoch, self._sum, self._count = state["epoch"]


class MvsCycleGan(CycleGan):
    """`CycleGan` with the masked planes of the paper, its cycle held back until stage 2."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.stage = StageSwitch(int(config.options.get("stage_epochs", STAGE_EPOCHS)))

    def cycle_share(self, progress: float) -> float:
        """Return 0 in stage 1."""
        return self.stage.share(progress)

    def ties(self, planes: Pass, progress: float, rng: torch.Generator) -> dict[str, Term]:
        """Return identity, mask and, in stage 2, the cycle."""
        terms = super().ties(planes, progress, rng)
        weight = self.config.weight("mask", MASK)
        if weight:
            terms["mask"] = Term(weight, mask_loss(*self._filled(planes, rng)))
        self.stage.note(sum(float(terms[name].loss.detach()) for name in ("identity", "mask") if name in terms))
        return terms

    def _filled(self, planes: Pass, rng: torch.Generator) -> tuple[torch.Tensor, ...]:
        share = self.config.options.get("mask_share", MASK_SHARE)
        block_px = int(self.config.options.get("mask_block_px", MASK_BLOCK_PX))
        a, b = planes.a, planes.b
        covered_a = cover(a, block_mask(a, rng, share, block_px), 0.0)
        covered_b = cover(b, block_mask(b, rng, share, block_px), b.mean((2, 3), keepdim=True))
        return planes.repeated_to_a(covered_a), a, planes.each_to_b(covered_b), b

    def state(self) -> dict[str, Any]:
        """Return the pools, and when the cycle began."""
        return {**super().state(), "stage": self.stage.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        super().load_state(state)
        self.stage.load_state(state["stage"])


RECIPE = MvsCycleGan
