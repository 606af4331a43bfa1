"""One training step at the paper's size: time, memory and arithmetic, against what was computed beforehand.

::

    python benchmarks/full_size.py            a step of each recipe in float32 and in bfloat16: minutes each on a CPU
    python benchmarks/full_size.py --quick    the same with tiny networks: a check

The step is that of the loop: turn by turn, gradients, Adam. Multiplications are counted by
`torch.utils.flop_counter`, memory is by how much a process grows that takes this one step, looked at every 20 ms.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import psutil
import torch
from common import Report, arguments
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from livestain.train.config import TrainConfig
from livestain.train.crops import Batch
from livestain.train.recipes import find_recipe
from livestain.train.recipes.cyclegan import CycleGan

RECIPES = ("mvs-cyclegan", "cyclegan")
TINY = {"width": 4, "crop_px": 64, "options": {"resnet_blocks": 2.0}}
PARAMETERS = {"generator": 11_365_633, "inverse": 11_365_633, "judge_a": 2_762_689, "judge_b": 2_762_689}
GENERATOR_TMAC, JUDGE_TMAC = 0.1949, 0.0125
PASSES = {"mvs-cyclegan": 8, "cyclegan": 6}
"""Passes through a generator in a step; each costs three times its forward way, there and back."""

JUDGED = 4 + 12
"""Ways through a discriminator: two there and back to its input, four there and back to input and weights."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--recipe", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--precision", nargs="+", default=["bf16-mixed", "32-true"])
    parser.add_argument("--minutes", type=float, default=60.0, help="no further step is begun after this time")
    asked = parser.parse_args()
    report = Report("full_size", asked)
    report.add("torch", {"threads": torch.get_num_threads()})
    until = time.monotonic() + 60 * asked.minutes
    for name in asked.recipe:
        for precision in asked.precision:
            if time.monotonic() < until:
                measure(report, name, precision, tiny=asked.quick)
            else:
                print(f"left out for lack of time: {name}, {precision}")
    raise SystemExit(report.finish())


def measure(report: Report, name: str, precision: str, *, tiny: bool) -> None:
    """Add the row of one step."""
    # A process of its own: one that has taken a step keeps its memory, and the next would seem to need none.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own:
        row, parameters = own.submit(one_step, name, precision, tiny).result()
    report.add(f"{name}, {precision}", row)
    tmac = row["tmac"]
    if not tiny:
        computed = 3 * PASSES[name] * GENERATOR_TMAC + JUDGED * JUDGE_TMAC
        report.check(f"{name}, {precision}: counted of computed arithmetic", tmac / computed, at_least=0.97)
        report.check(f"{name}, {precision}: counted of computed arithmetic", tmac / computed, at_most=1.03)
        for network, count in parameters.items():
            report.check(
                f"{name}: parameters of {network} beside the table's", abs(count - PARAMETERS[network]), at_most=0
            )


def one_step(name: str, precision: str, tiny: bool) -> tuple[dict[str, float], dict[str, int]]:
    """Return the figures of one step, and how many parameters each network has."""
    recipe = make_recipe(name, tiny)
    torch.manual_seed(0)
    networks = recipe.networks(1)
    counter = FlopCounterMode(display=False)
    with peak_mib() as peak, counter:
        began = time.perf_counter(), time.process_time()
        take_step(recipe, networks, precision)
        wall_s, cpu_s = time.perf_counter() - began[0], time.process_time() - began[1]
    tmac = counter.get_total_flops() / 2e12
    row = {"wall_s": wall_s, "cpu_s": cpu_s, "tmac": tmac, "gflop_per_cpu_s": 2e3 * tmac / cpu_s, "peak_mib": peak[0]}
    return row, {name: sum(each.numel() for each in net.parameters()) for name, net in networks.items()}


def make_recipe(name: str, tiny: bool) -> CycleGan:
    """Return the recipe at full size, in its second stage where it has two."""
    kind = find_recipe(name)
    settings = {**kind.defaults, **kind.full_size, **(TINY if tiny else {}), "recipe": name}
    recipe = kind(TrainConfig.model_validate(settings))
    assert isinstance(recipe, CycleGan)
    recipe.cycle_share(0.5)  # stage 2 begins here, and with the next epoch the cycle has its whole weight
    return recipe


def take_step(recipe: CycleGan, networks: dict[str, nn.Module], precision: str) -> None:
    """Take the first step of a training, on noise; mixed precision as Lightning has it."""
    side, rng = recipe.config.crop_px, torch.Generator().manual_seed(0)
    planes = (1, 1, side, side)
    batch = Batch(0.1 * torch.randn(planes, generator=rng), 0.5 * torch.rand(planes, generator=rng), ("",))
    optimisers = recipe.optimisers(networks)
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed", cache_enabled=False)
    with mixed:
        for turn in recipe.step(networks, batch, 0.6, rng):
            optimisers[turn.optimiser].zero_grad()
            turn.total().backward()
            optimisers[turn.optimiser].step()


@contextmanager
def peak_mib() -> Iterator[list[float]]:
    """Yield a list whose one number is, after the block, by how much the process had grown at most."""
    process, done, peak = psutil.Process(), threading.Event(), [0.0]
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], (process.memory_info().rss - before) / 2**20)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


if __name__ == "__main__":
    main()
