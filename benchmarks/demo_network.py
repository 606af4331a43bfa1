"""The training of the demo model: batch norm until it is frozen, one cosine, a checkpoint that it goes on from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from livestain.contrast import Field
from livestain.train.networks import Generator

WEIGHT_DECAY = 1e-3
CHECKPOINT_STEPS = 1000


def train(
    net: Generator,
    batches: Iterator[tuple[Field, Field]],
    steps: int,
    learning_rate: float,
    checkpoint: Path,
) -> None:
    """Train in place with mean squared error, AdamW and one cosine; a checkpoint and a line every 1000 steps.

    Parameters
    ----------
    batches
        Endless (contrast (N, 1, Y, X), stains (N, 2, Y, X)), float32.
    steps
        Length of the whole training. Where ``checkpoint`` exists, it goes on from there.
    """
    net.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps, pct_start=0.05)
    parts = {"net": net, "optimiser": optimiser, "schedule": schedule}
    done = _resume(parts, checkpoint)
    net.train()
    losses = []
    for step in range(done + 1, steps + 1):
        losses.append(_step(net, optimiser, *next(batches)))
        schedule.step()
        if step % CHECKPOINT_STEPS == 0 or step == steps:
            torch.save({"step": step} | {name: part.state_dict() for name, part in parts.items()}, checkpoint)
            print(f"{checkpoint.stem} network, step {step}: loss {np.mean(losses):.5f}", flush=True)
            losses.clear()
    net.eval().to(memory_format=torch.contiguous_format)  # channels-last weights tie the export to one batch size


def _step(net: Generator, optimiser: torch.optim.Optimizer, contrast: Field, stains: Field) -> float:
    with torch.autocast("cpu", torch.bfloat16):  # twice the steps per second of float32
        guess = net(torch.from_numpy(contrast).to(memory_format=torch.channels_last))
    loss = functional.mse_loss(guess.float(), torch.from_numpy(stains))
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def _resume(parts: dict[str, Any], checkpoint: Path) -> int:
    if not checkpoint.is_file():
        return 0
    state = torch.load(checkpoint, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])
