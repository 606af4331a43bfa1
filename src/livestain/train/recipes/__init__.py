"""The training recipes, one file each; a new one is a file and a line here."""

from __future__ import annotations

import importlib

from livestain.errors import UserError
from livestain.train.recipe import Recipe

RECIPES = {
    "simulate": "simulate",
    "paired": "paired",
    "distill": "distill",
    "gan": "gan",
    "cyclegan": "cyclegan",
    "mvs-cyclegan": "mvs_cyclegan",
    "utom": "utom",
}
"""Name on the command line -> module in this folder, whose class `RECIPE` it is."""


def find_recipe(name: str) -> type[Recipe]:
    """Return the recipe of this name; `UserError` lists those there are."""
    if name not in RECIPES:
        raise UserError(f"there is no recipe {name!r}: {', '.join(RECIPES)} are possible")
    recipe: type[Recipe] = importlib.import_module(f"{__name__}.{RECIPES[name]}").RECIPE
    return recipe
