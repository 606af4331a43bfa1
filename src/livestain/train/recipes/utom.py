"""Recipe `utom`: CycleGAN with the saliency constraint of Li et al. (Light: Science & Applications 10:44, 2021).

Where a cell is salient the stain must be, and the other way round. As in their released code: weight 50, fading as
``exp(-epochs)``, no identity loss, soft thresholds of steepness 100. Theirs are thresholds of brightness; cells in
bright field are no threshold of it, so ours, on that side, is one of the local energy: the share of A that is salient
is the share of B that is. A stain is salient above half a typical nucleus; of several stains, the brightest counts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from livestain.train.adversarial import full_precision
from livestain.train.losses import local_energy, saliency, saliency_loss
from livestain.train.recipe import Term
from livestain.train.recipes.cyclegan import EPOCHS, CycleGan, Pass

SALIENCY = 50.0
_SALIENT_STAIN = 0.5


class Utom(CycleGan):
    """`CycleGan` whose answers keep what is salient, without identity."""

    identity = 0.0

    def ties(self, planes: Pass, progress: float, rng: torch.Generator) -> dict[str, Term]:
        """Return the cycle, and the saliency that fades."""
        terms = super().ties(planes, progress, rng)
        weight = self.config.weight("saliency", SALIENCY) * math.exp(-progress * EPOCHS)
        with full_precision(planes.a):
            loss = saliency_loss(*_salient(planes))
        return {**terms, "saliency": Term(weight, loss)}


def _salient(planes: Pass) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    energy, brightest = local_energy(planes.a), planes.b.amax(1, keepdim=True)
    dull = (brightest <= _SALIENT_STAIN).double().mean()
    threshold = torch.quantile(energy.double(), dull).to(energy.dtype)
    return (
        saliency(energy, threshold),
        saliency(planes.fake_b.amax(1, keepdim=True), _SALIENT_STAIN),
        saliency(brightest, _SALIENT_STAIN),
        saliency(local_energy(planes.fake_a), threshold),
    )


RECIPE = Utom
