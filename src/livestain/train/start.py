"""Beginning at a trained model instead of at random: its ONNX weights, by name, in the network of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from onnx import numpy_helper
from torch import Tensor

from livestain.errors import UserError
from livestain.model import Model
from livestain.train.config import TrainConfig
from livestain.train.loop import Training
from livestain.train.networks import stain_field

SAME_ANSWER = 1e-3
"""Largest difference to the model's own test stains: ten thousandths come from another order of sums, not more."""

_STEM = "stem.0.0.weight"
_WRAPPER = "net."
"""What `livestain.train.export` wraps the network in, so that its answers are clipped."""

_SLOWER = 10


def settings_to_start_at(model: Model, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that go with fine-tuning where the user has ``given`` none: its width, a tenth of the rate.

    At the full rate a few pairs undo in a hundred steps what the model has learned.
    """
    rate: float = TrainConfig.model_fields["learning_rate"].default
    stem = read_weights(model).get(_STEM)
    fitting = {"learning_rate": rate / _SLOWER, **({} if stem is None else {"width": stem.shape[0]})}
    return {name: value for name, value in fitting.items() if name not in given}


def read_weights(model: Model) -> dict[str, Tensor]:
    """Return the weights of a model folder by their names."""
    return {
        initialiser.name.removeprefix(_WRAPPER): torch.from_numpy(numpy_helper.to_array(initialiser).copy())
        for initialiser in model.generator().graph.initializer
    }


def start_at(training: Training, model: Model) -> None:
    """Fill the generator of a training, and its average, with the weights of a model.

    Raises
    ------
    UserError
        Its generator is another network than the recipe's, by a weight's name or shape, or by what it answers.
    """
    network, found = training.networks[training.recipe.generator], read_weights(model)
    wanted = network.state_dict()
    for name, weight in wanted.items():
        has = tuple(found[name].shape) if name in found else None
        if has != tuple(weight.shape):
            raise _other_network(
                model, f"its weight {name} is {has or 'not there'}, the recipe's network needs {tuple(weight.shape)}"
            )
    for one in (network, training.average):
        one.load_state_dict({name: found[name] for name in wanted})
    training_mode = network.training
    answer = stain_field(network.eval(), model.test_input()[0, 0], int(network.stride))
    network.train(training_mode)
    difference = float(np.abs(answer - model.test_output()[0]).max())
    if not difference <= SAME_ANSWER:
        raise _other_network(model, f"with its weights the recipe's network answers otherwise, by {difference:.2g}")


def _other_network(model: Model, why: str) -> UserError:
    return UserError(
        f"{model.folder} is no model to start from: {why}; take one that 'livestain train' made without normalisation "
        "(recipes simulate, distill, gan, paired), and set no other width than its own"
    )
