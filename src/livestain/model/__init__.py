"""The model folder: what was trained, with its card, its test frame and its hashes."""

from livestain.model.card import LivestainCard
from livestain.model.read import Model, read_model, shipped_models

__all__ = ["LivestainCard", "Model", "read_model", "shipped_models"]
