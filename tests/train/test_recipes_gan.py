from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from livestain.train.config import TrainConfig
from livestain.train.crops import Batch
from livestain.train.cycle_networks import PatchDiscriminator, ResnetGenerator
from livestain.train.loop import Schedule, fit
from livestain.train.loop import Training as Loop
from livestain.train.losses import cover, mask_loss
from livestain.train.recipe import Recipe, Turn
from livestain.train.recipes import cyclegan, find_recipe
from livestain.train.recipes.mvs_cyclegan import MvsCycleGan, StageSwitch
from tests.train.pieces import noise_batch

NAMES = ("gan", "cyclegan", "mvs-cyclegan", "utom")
SMALL = {"width": 2, "crop_px": 32, "batch": 2}
TINY_PAPER = {**SMALL, "options": {"resnet_blocks": 1.0}}
STEPS = 24


def make(name: str, settings: Mapping[str, Any] = SMALL) -> Recipe:
    recipe = find_recipe(name)
    return recipe(TrainConfig.model_validate({**recipe.defaults, "recipe": name, **settings}))


class Training:
    """The loop in small: the turns of a step in their order, every random number from (seed, step)."""

    def __init__(self, recipe: Recipe, stains: int = 1, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.recipe, self.stains, self.done = recipe, stains, 0
        self.networks = recipe.networks(stains)
        self.optimisers = recipe.optimisers(self.networks)

    def turns(self, progress: float = 0.0, seed: int = 0) -> list[Turn]:
        """One step's turns, nothing learned."""
        batch = noise_batch(seed, self.stains)
        return list(self.recipe.step(self.networks, batch, progress, torch.Generator().manual_seed(seed)))

    def run(self, steps: int) -> dict[str, float]:
        """Learn; the last step's losses."""
        found: dict[str, float] = {}
        for _ in range(steps):
            rng, batch = torch.Generator().manual_seed(self.done), noise_batch(self.done, self.stains)
            for turn in self.recipe.step(self.networks, batch, self.done / STEPS, rng):
                optimiser = self.optimisers[turn.optimiser]
                optimiser.zero_grad()
                turn.total().backward()
                optimiser.step()
                found |= {name: float(term.loss.detach()) for name, term in turn.terms.items()}
            self.done += 1
        return found

    def state(self) -> dict[str, Any]:
        return copy.deepcopy(
            {
                "networks": {name: net.state_dict() for name, net in self.networks.items()},
                "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
                "recipe": self.recipe.state(),
                "done": self.done,
            }
        )

    def load(self, state: Mapping[str, Any]) -> None:
        for name, net in self.networks.items():
            net.load_state_dict(state["networks"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.recipe.load_state(state["recipe"])
        self.done = state["done"]

    def weights(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": value.clone()
            for name, net in self.networks.items()
            for key, value in net.state_dict().items()
        }


@pytest.mark.parametrize("stains", [1, 2])
@pytest.mark.parametrize("settings", [SMALL, TINY_PAPER], ids=["small", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_every_network_learns_and_every_loss_stays_finite(name: str, settings: Mapping[str, Any], stains: int) -> None:
    training = Training(make(name, settings), stains)
    before = training.weights()
    found = training.run(1)
    assert all(torch.isfinite(torch.tensor(value)) for value in found.values())
    after = training.weights()
    for network, net in training.networks.items():
        assert any(not torch.equal(before[f"{network}.{key}"], after[f"{network}.{key}"]) for key in net.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_goes_from_contrast_to_stains_and_the_inverse_back(name: str) -> None:
    recipe = make(name)
    networks = recipe.networks(2)
    with torch.no_grad():
        stains = networks[recipe.generator](torch.randn(1, 1, 48, 32))
        assert stains.shape == (1, 2, 48, 32)
        assert stains.abs().max() < 1.5
        if recipe.inverse is not None:
            contrast = networks[recipe.inverse](stains)
            assert contrast.shape == (1, 1, 48, 32)
            assert -1 <= contrast.min() <= contrast.max() <= 1


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("gan", {"gan", "position"}),
        ("cyclegan", {"gan", "cycle", "identity"}),
        ("mvs-cyclegan", {"gan", "cycle", "identity", "mask"}),
        ("utom", {"gan", "cycle", "saliency"}),
    ],
)
def test_the_generators_turn_has_the_terms_of_the_recipe(name: str, terms: set[str]) -> None:
    training = Training(make(name))
    training.turns(0.5)
    assert set(training.turns(0.6)[0].terms) == terms


GENERATORS = {"generator", "inverse"}
MOVES = [
    ("gan", "gan", {"generator"}),
    ("gan", "position", {"generator"}),
    ("gan", "equivariance", {"generator"}),
    ("gan", "judge", {"judge"}),
    *((name, "gan", GENERATORS) for name in NAMES[1:]),
    *((name, "cycle", GENERATORS) for name in NAMES[1:]),
    *((name, "judge_a", {"judge_a"}) for name in NAMES[1:]),
    *((name, "judge_b", {"judge_b"}) for name in NAMES[1:]),
    ("cyclegan", "identity", GENERATORS),
    ("mvs-cyclegan", "mask", GENERATORS),
    ("utom", "saliency", GENERATORS),
]


@pytest.mark.parametrize(("name", "term", "moved"), MOVES)
def test_a_loss_moves_only_the_networks_it_should(name: str, term: str, moved: set[str]) -> None:
    training = Training(make(name, {**SMALL, "weights": {"equivariance": 1.0}}))
    training.turns(0.5)
    found = {name: part for turn in training.turns(0.6) for name, part in turn.terms.items()}
    found[term].loss.backward()
    learning = {
        network
        for network, net in training.networks.items()
        if any(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())
    }
    assert learning == moved


@pytest.mark.parametrize("name", NAMES)
def test_each_turn_belongs_to_the_optimiser_of_the_networks_it_moves(name: str) -> None:
    training = Training(make(name))
    training.turns(0.5)
    for turn in training.turns(0.6):
        turn.total().backward()
        mine = {id(p) for group in training.optimisers[turn.optimiser].param_groups for p in group["params"]}
        for network in training.networks.values():
            for parameter in network.parameters():
                assert (parameter.grad is not None) == (id(parameter) in mine)
                parameter.grad = None


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    once, again = Training(make(name)), Training(make(name))
    once.run(2)
    again.run(2)
    torch.testing.assert_close(once.weights(), again.weights(), atol=0, rtol=0)


@pytest.mark.parametrize("name", ["gan", "mvs-cyclegan"])
def test_a_resumed_training_gives_the_weights_of_an_unbroken_one(name: str) -> None:
    unbroken, first, second = (Training(make(name), seed=seed) for seed in (0, 0, 5))
    unbroken.run(6)  # past the switch of the two stages, at step 4
    first.run(3)
    second.load(first.state())
    second.run(3)
    torch.testing.assert_close(second.weights(), unbroken.weights(), atol=1e-6, rtol=0)


class Numbered:
    """Batches for the loop; Ctrl-C comes in epoch ``stop``."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop

    def batch(self, epoch: int, step: int) -> Batch:
        if epoch == self.stop:
            raise KeyboardInterrupt
        return noise_batch(10 * epoch + step)


def test_the_papers_recipe_goes_on_under_the_loop_where_it_was_interrupted(tmp_path: Path) -> None:
    def train(name: str, batches: Numbered, resume: bool = False) -> dict[str, Tensor]:
        loop = Loop(make("mvs-cyclegan"), 1, Schedule(epochs=3, epoch_steps=2))
        fit(loop, batches, tmp_path / name, lambda _: None, resume=resume)
        assert "cycle" in loop.history[-1]
        return dict(loop.state_dict())

    unbroken = train("unbroken", Numbered())
    with pytest.raises(KeyboardInterrupt):
        train("broken", Numbered(stop=1))
    torch.testing.assert_close(train("broken", Numbered(), resume=True), unbroken, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_in_mixed_precision_discriminators_and_losses_stay_in_float32(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make(name, {**SMALL, "precision": "bf16-mixed", "device": "cpu", "weights": {"equivariance": 1.0}})
    seen: dict[str, set[torch.dtype]] = {}
    take = recipe.step

    def spied(*arguments: Any) -> Iterator[Turn]:
        for turn in take(*arguments):
            seen.setdefault("loss", set()).update(term.loss.dtype for term in turn.terms.values())
            yield turn

    monkeypatch.setattr(recipe, "step", spied)
    loop = Loop(recipe, 1, Schedule(epochs=1, epoch_steps=2))
    for network, net in loop.networks.items():
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(
                    lambda _module, _inputs, output, network=network: seen.setdefault(network, set()).add(output.dtype)
                )
    fit(loop, Numbered(), tmp_path, lambda _: None)
    expected = {network: torch.float32 if "judge" in network else torch.bfloat16 for network in loop.networks}
    assert seen == {network: {dtype} for network, dtype in {**expected, "loss": torch.float32}.items()}
    assert all(parameter.dtype == torch.float32 for parameter in loop.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_state_survives_a_file_that_is_read_without_pickle(name: str, tmp_path: Path) -> None:
    training = Training(make(name))
    training.run(1)
    torch.save(training.state(), tmp_path / "state.pt")
    training.load(torch.load(tmp_path / "state.pt", weights_only=True))


@pytest.mark.parametrize(
    ("epoch", "factor"),
    [(0, 1.0), (29, 1.0), (30, 30 / 31), (45, 15 / 31), (59, 1 / 31)],
)
def test_the_rate_is_constant_for_30_epochs_and_then_linear_but_never_0(epoch: int, factor: float) -> None:
    recipe = make("mvs-cyclegan")
    assert recipe.rate(epoch / 60) == pytest.approx(factor)
    assert recipe.rate((epoch + 0.99) / 60) == pytest.approx(factor)
    assert recipe.rate(1.0) == pytest.approx(1 / 31)


def test_weights_are_those_of_the_table() -> None:
    training = Training(make("mvs-cyclegan"))
    training.turns(0.5)
    terms = training.turns(0.6)[0].terms
    assert {name: term.weight for name, term in terms.items()} == {"gan": 1, "cycle": 10, "identity": 5, "mask": 5}


@pytest.mark.parametrize("name", NAMES[1:])
def test_the_full_size_is_the_papers(name: str) -> None:
    recipe = make(name, find_recipe(name).full_size)
    config = recipe.config
    assert (config.learning_rate, config.betas, config.batch, config.crop_px) == (1e-4, (0.5, 0.999), 1, 512)
    with torch.device("meta"):
        networks = recipe.networks(1)
    kinds = {name: type(net) for name, net in networks.items()}
    assert kinds == {
        "generator": ResnetGenerator,
        "inverse": ResnetGenerator,
        "judge_a": PatchDiscriminator,
        "judge_b": PatchDiscriminator,
    }
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()}
    assert set(counts.values()) == {11_365_633, 2_762_689}


def switched(latest: int, loss_of: Callable[[int], float]) -> int | None:
    """The epoch in which stage 2 begins, four steps an epoch."""
    switch = StageSwitch(latest)
    for step in range(240):
        switch.share(step / 240)
        switch.note(loss_of(step // 4))
    return switch.began


@pytest.mark.parametrize(
    ("loss_of", "latest", "epoch"),
    [
        pytest.param(lambda e: 0.9**e, 10, 10, id="still falling: at the latest epoch"),
        pytest.param(lambda _: 1.0, 10, 4, id="never falls: as soon as three epochs can be compared with three"),
        pytest.param(
            lambda e: max(0.5, 1 - 0.1 * e), 10, 9, id="stops falling at epoch 5: when three such epochs follow three"
        ),
        pytest.param(lambda e: 0.9**e, 40, 15, id="asked for later: the cap"),
        pytest.param(lambda e: 0.9**e, 0, 0, id="one stage"),
    ],
)
def test_stage_2_begins_on_convergence_or_at_its_latest_epoch(
    loss_of: Callable[[int], float], latest: int, epoch: int
) -> None:
    assert switched(latest, loss_of) == epoch


def test_the_cycle_grows_from_0_to_its_weight_within_one_epoch() -> None:
    switch = StageSwitch(10)
    shares = [switch.share(step / 240) for step in range(240)]
    assert shares[:41] == 41 * [0.0]
    assert shares[41:45] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert set(shares[45:]) == {1.0}


def test_stage_1_has_no_cycle_and_says_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    training = Training(make("mvs-cyclegan"))
    seen = [set(training.turns(step / 60)[0].terms) for step in range(13)]
    began = next(step for step, terms in enumerate(seen) if "cycle" in terms)
    assert all(terms == {"gan", "identity", "mask"} for terms in seen[:began])
    assert 4 <= began <= 11
    assert "stage 2 begins in epoch" in caplog.text


def test_without_a_mask_and_in_one_stage_it_is_the_baseline() -> None:
    plain = Training(make("cyclegan"))
    both = Training(make("mvs-cyclegan", {**SMALL, "weights": {"mask": 0.0}, "options": {"stage_epochs": 0.0}}))
    for training in (plain, both):
        training.turns(0.0)
    found = [training.turns(0.5)[0].total() for training in (plain, both)]
    torch.testing.assert_close(found[0], found[1], atol=0, rtol=0)


class Known(nn.Module):
    """Adds a number to the mean of its channels, in every channel of its answer."""

    stride = 1

    def __init__(self, outputs: int, more: float) -> None:
        super().__init__()
        self.outputs, self.more = outputs, nn.Parameter(torch.tensor(more))

    def forward(self, planes: Tensor) -> Tensor:
        return planes.mean(1, keepdim=True).expand(-1, self.outputs, -1, -1) + self.more


def test_identity_and_cycle_of_known_networks_are_those_computed_by_hand() -> None:
    recipe = make("cyclegan")
    networks = {"generator": Known(1, 0.1), "inverse": Known(1, 0.05)}
    networks |= {name: Known(1, 0.0) for name in ("judge_a", "judge_b")}
    batch = Batch(torch.full((1, 1, 32, 32), 0.25), torch.full((1, 1, 32, 32), 0.5), ("",))
    terms = next(recipe.step(networks, batch, 0.0, torch.Generator())).terms
    # On the scales of the equations a = 1 and b = 1; to_b(x) = 2 (x / 4 + 0.1), to_a(y) = 4 (y / 2 + 0.05).
    # to_b(b) = 0.7, to_a(a) = 2.2; to_b(a) = 0.7 -> to_a 1.6; to_a(b) = 2.2 -> to_b 1.3.
    assert float(terms["identity"].loss.detach()) == pytest.approx(0.3 + 1.2, abs=1e-5)
    assert float(terms["cycle"].loss.detach()) == pytest.approx(0.6 + 0.3, abs=1e-5)


def test_each_of_two_stains_alone_must_come_back_in_its_own_place() -> None:
    first = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    b = torch.cat([first, 1 - first], 1)

    def to_b(planes: Tensor) -> Tensor:
        return torch.cat([planes, -planes], 1)

    planes = cyclegan.Pass(a=first, b=b, fake_a=first, fake_b=b, to_a=lambda x: x.mean(1, keepdim=True), to_b=to_b)
    assert torch.equal(planes.each_to_b(b), torch.cat([first, first - 1], 1))
    torch.testing.assert_close(planes.repeated_to_a(first), first)


def test_the_mask_loss_fills_the_label_free_plane_with_0_and_the_stain_with_its_own_mean() -> None:
    recipe = make("mvs-cyclegan")
    assert isinstance(recipe, MvsCycleGan)
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Tensor], Tensor]:
        def answer(planes: Tensor) -> Tensor:
            seen[name] = planes
            return planes

        return answer

    rng = torch.Generator().manual_seed(3)
    a, b = 2 + torch.rand(2, 1, 32, 32, generator=rng), 3 + torch.rand(2, 1, 32, 32, generator=rng)
    planes = cyclegan.Pass(a=a, b=b, fake_a=a, fake_b=b, to_a=keep("a"), to_b=keep("b"))
    loss = recipe.ties(planes, 0.0, rng)["mask"].loss
    hidden_a, hidden_b = seen["a"] != a, seen["b"] != b
    assert hidden_a.sum((1, 2, 3)).tolist() == hidden_b.sum((1, 2, 3)).tolist() == 2 * [256]
    assert not seen["a"][hidden_a].any()
    expected = mask_loss(cover(a, hidden_a, 0.0), a, cover(b, hidden_b, b.mean((2, 3), keepdim=True)), b)
    torch.testing.assert_close(loss, expected)


def test_saliency_fades_as_in_the_released_code() -> None:
    training = Training(make("utom"))
    weights = [training.turns(epoch / 60)[0].terms["saliency"].weight for epoch in (0, 1, 2)]
    assert weights == pytest.approx([50.0, 50 / 2.718282, 50 / 7.389056], rel=1e-5)


def test_an_unknown_number_of_epochs_never_leaves_the_last_one() -> None:
    assert [cyclegan.epoch_of(progress) for progress in (0.0, 1 / 60, 29 / 60, 0.999, 1.0)] == [0, 1, 29, 59, 59]
