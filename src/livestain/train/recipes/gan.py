"""Recipe `gan`: one generator, one discriminator, and a position loss; taken for stains that have no renderer.

Least-squares GAN, weight 1, and L_pos, weight 2: the stain's place must agree with the local energy of the label-free
crop, up to a correlation of 0.8 and no further. At two minutes of CPU it reached r 0.57 on real nuclei, where a
CycleGAN reached 0.41 and the energy alone 0.51; it inherits the energy's mistakes (rings around large round cells).

Options: ``position_px`` (3), the coarseness of the comparison. A stain that marks the gaps between cells wants a larger
one, or ``weights.position = 0``. ``weights.equivariance`` (0) asks that a turned crop gets the turned stain, at the
cost of one more pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from livestain.train.adversarial import (
    fixed,
    full_precision,
    grained,
    in_nuclei,
    make_generator,
    make_judge,
    verdicts,
)
from livestain.train.crops import Batch
from livestain.train.losses import discriminator_loss, equivariance_loss, gan_loss, local_energy, position_loss
from livestain.train.recipe import Recipe, Term, Turn

GAN, POSITION, POSITION_PX = 1.0, 2.0, 3.0


class Gan(Recipe):
    """One-sided: nothing goes back from the stain to the contrast."""

    defaults: ClassVar[Mapping[str, Any]] = {"learning_rate": 5e-4, "betas": (0.5, 0.99), "networks": 1}

    def networks(self, stains: int) -> dict[str, nn.Module]:
        """Return the generator and its discriminator."""
        return {
            "generator": make_generator(self.config, stains),
            "judge": make_judge(self.config, stains),
        }

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return one Adam for each of the two."""
        rate, betas = self.config.learning_rate, self.config.betas
        return {name: torch.optim.Adam(networks[name].parameters(), rate, betas=betas) for name in networks}

    def step(
        self, networks: Mapping[str, nn.Module], batch: Batch, progress: float, rng: torch.Generator
    ) -> Iterator[Turn]:
        """Yield the generator's turn, then the discriminator's."""
        judge = networks["judge"]

        def generate(contrast: Tensor) -> Tensor:
            stains: Tensor = networks["generator"](contrast).float()
            return stains

        def judged(stains: Tensor) -> Tensor:
            return verdicts(judge, grained(self.config, in_nuclei(stains), rng))

        fake = generate(batch.a)
        with fixed(judge):
            gan = gan_loss(judged(fake))
        terms = {"gan": Term(self.config.weight("gan", GAN), gan), **self._ties(generate, batch.a, fake, rng)}
        yield Turn("generator", terms)
        loss = discriminator_loss(judged(batch.b), judged(fake.detach()))
        yield Turn("judge", {"judge": Term(1.0, loss)})

    def _ties(
        self, generate: Callable[[Tensor], Tensor], a: Tensor, fake: Tensor, rng: torch.Generator
    ) -> dict[str, Term]:
        terms = {}
        position, equivariance = self.config.weight("position", POSITION), self.config.weight("equivariance", 0.0)
        if position:
            scale_px = self.config.options.get("position_px", POSITION_PX)
            with full_precision(a):
                loss = position_loss(local_energy(a), fake, scale_px)
            terms["position"] = Term(position, loss)
        if equivariance:
            terms["equivariance"] = Term(equivariance, equivariance_loss(generate, a, fake, rng))
        return terms


RECIPE = Gan
