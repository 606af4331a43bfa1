from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from livestain.train.cycle_networks import HalfUnet, PatchDiscriminator, ResnetGenerator, SpectralDiscriminator

Net = Callable[[], nn.Module]

# Counts and costs of the networks' table: parameters, and 1e9 multiply-adds at 512 x 512 px.
TABLE: dict[str, tuple[Net, int, float]] = {
    "resnet9 64": (lambda: ResnetGenerator(), 11_365_633, 194.9),
    "resnet9 64, 3 to 3": (lambda: ResnetGenerator(3, 3), 11_378_179, 198.2),
    "resnet9 64, 2 stains": (lambda: ResnetGenerator(1, 2), 11_368_770, 195.7),
    "resnet6 64": (lambda: ResnetGenerator(blocks=6), 7_825_153, 136.9),
    "resnet9 32": (lambda: ResnetGenerator(width=32), 2_844_289, 49.1),
    "resnet9 16": (lambda: ResnetGenerator(width=16), 712_513, 12.5),
    "half U-Net 16 x 4": (lambda: HalfUnet(1, 2, 16), 451_064, 2.3),
    "half U-Net 24 x 4": (lambda: HalfUnet(1, 2, 24), 1_012_976, 5.2),
    "half U-Net 32 x 4": (lambda: HalfUnet(1, 2, 32), 1_799_144, 9.1),
    "half U-Net 32 x 5": (lambda: HalfUnet(1, 2, 32, 5), 4_815_080, 11.2),
    "half U-Net 48 x 4": (lambda: HalfUnet(1, 2, 48), 3_060_952, 19.3),
    "half U-Net 64 x 4": (lambda: HalfUnet(1, 2, 64), 4_761_032, 33.4),
    "patch70 64": (lambda: PatchDiscriminator(), 2_762_689, 12.7),
    "patch70 64, 3 channels": (lambda: PatchDiscriminator(3), 2_764_737, 12.8),
    "patch70 32": (lambda: PatchDiscriminator(width=32), 693_217, 3.2),
    "spectral 24": (lambda: SpectralDiscriminator(), 74_905, 0.5),
}


@pytest.mark.parametrize(("make", "parameters", "giga_mac"), TABLE.values(), ids=TABLE.keys())
def test_counts_and_costs_are_those_of_the_table(make: Net, parameters: int, giga_mac: float) -> None:
    with torch.device("meta"):
        net = make()
        channels = next(module.in_channels for module in net.modules() if isinstance(module, nn.Conv2d))
        image = torch.empty(1, 1 if isinstance(net, HalfUnet) else channels, 512, 512)  # it works on 2 x 2 px at a time
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        net.eval()(image)
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga_mac, abs=0.2)


def _kinds(net: nn.Module) -> list[str]:
    return [type(module).__name__ for module in net.modules() if not list(module.children())]


def test_resnet9_has_the_layers_of_the_table() -> None:
    kinds = _kinds(ResnetGenerator(width=2))
    assert kinds.count("Conv2d") == 3 + 2 * 9 + 1
    assert kinds.count("ConvTranspose2d") == 2
    assert kinds.count("InstanceNorm2d") == 3 + 2 * 9 + 2
    assert kinds.count("ReflectionPad2d") == 2 + 2 * 9
    assert kinds.count("ReLU") == 3 + 9 + 2
    assert kinds[:4] == ["ReflectionPad2d", "Conv2d", "InstanceNorm2d", "ReLU"]
    assert not [kind for kind in kinds if "Dropout" in kind]


def test_discriminators_have_the_layers_of_the_table() -> None:
    convs = [module for module in PatchDiscriminator(width=2).modules() if isinstance(module, nn.Conv2d)]
    assert [(conv.kernel_size[0], conv.stride[0], conv.out_channels) for conv in convs] == [
        (4, 2, 2), (4, 2, 4), (4, 2, 8), (4, 1, 16), (4, 1, 1),
    ]  # fmt: skip
    assert _kinds(PatchDiscriminator(width=2)).count("InstanceNorm2d") == 3
    assert "InstanceNorm2d" not in _kinds(SpectralDiscriminator(width=2))


@pytest.mark.parametrize(
    ("net", "verdicts"), [(PatchDiscriminator(width=2), 62), (SpectralDiscriminator(width=2), 64)], ids=["patch", "sn"]
)
def test_a_plane_of_512_px_gets_one_verdict_for_each_patch(net: nn.Module, verdicts: int) -> None:
    assert net(torch.zeros(1, 1, 512, 512)).shape == (1, 1, verdicts, verdicts)


def _reach(net: nn.Module, side: int, at: list[int]) -> tuple[int, int]:
    """How far before and behind its place an output row sees, every path kept open."""
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.1)
    for module in [m for m in net.modules() if isinstance(m, nn.Sequential)]:
        for index, child in enumerate(module):
            if isinstance(child, nn.InstanceNorm2d):
                module[index] = nn.Identity()
    before = behind = 0
    for row in at:
        image = torch.full((1, 1, side, 48), 1e-3, requires_grad=True)
        raw = (net.layers if hasattr(net, "layers") else net)(image)
        column = raw.shape[3] // 2
        (gradient,) = torch.autograd.grad(raw[0, 0, row, column], image)
        rows = np.flatnonzero(gradient.sum((0, 1, 3)).numpy())
        centre = row * side // raw.shape[2]
        before, behind = max(before, centre - int(rows[0])), max(behind, int(rows[-1]) - centre)
    return before, behind


@pytest.mark.parametrize(("net", "side"), [(PatchDiscriminator, 70), (SpectralDiscriminator, 38)])
def test_a_verdict_sees_a_patch_of_its_size(net: Callable[..., nn.Module], side: int) -> None:
    before, behind = _reach(net(width=2), 192, [10])
    assert before + behind + 1 == side


@pytest.mark.parametrize(("rows", "reach"), [([128], 82), ([128, 129, 130, 131], 84)], ids=["one phase", "any"])
def test_resnet9_sees_82_px_to_each_side_and_84_where_its_strides_fall_badly(rows: list[int], reach: int) -> None:
    assert _reach(ResnetGenerator(width=2), 256, rows) == (reach, reach)


@pytest.mark.parametrize(
    ("make", "low"),
    [(lambda: ResnetGenerator(1, 2, 4, 1), 0.0), (lambda: ResnetGenerator(1, 2, 4, 1, signed=True), -1.0),
     (lambda: HalfUnet(1, 2, 4), -1.0)],
    ids=["stains", "contrast", "inverse"],
)  # fmt: skip
def test_a_generator_answers_in_its_range(make: Net, low: float) -> None:
    torch.manual_seed(0)
    net = make()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(30)
        answer = net(torch.randn(2, 1, 32, 48))
    assert answer.shape == (2, 2, 32, 48)
    assert low <= answer.min() < low + 0.2
    assert 0.8 < answer.max() <= 1.0


def test_weights_start_gaussian_and_biases_at_0() -> None:
    torch.manual_seed(0)
    for net in (ResnetGenerator(width=16), PatchDiscriminator(width=32)):
        weights = torch.cat([p.flatten() for name, p in net.named_parameters() if name.endswith("weight")])
        assert weights.std().item() == pytest.approx(0.02, rel=0.01)
        assert all(not p.any() for name, p in net.named_parameters() if name.endswith("bias"))


def _trained_like(seed: int) -> ResnetGenerator:
    """A network whose biases are not 0, as after training."""
    torch.manual_seed(seed)
    net = ResnetGenerator(width=4, blocks=2)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, 0.0, 0.1)
    return net


def test_a_frozen_network_is_the_trained_one_on_the_frame_it_was_frozen_over() -> None:
    net, frame = _trained_like(1), torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        before = net(frame)
        net.freeze([frame])
        after = net(frame)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    assert "InstanceNorm2d" not in _kinds(net)


def test_after_freezing_a_bright_object_leaves_distant_cells_alone() -> None:
    net = _trained_like(2)
    frames = [torch.randn(1, 1, 160, 32) for _ in range(8)]
    with_object = frames[0].clone()
    with_object[..., :16, :] = 4.0

    def change_far_away() -> float:
        with torch.no_grad():
            return float((net(with_object) - net(frames[0]))[..., 120:, :].abs().max())

    assert change_far_away() > 1e-4
    net.freeze(frames)
    assert change_far_away() == 0.0
