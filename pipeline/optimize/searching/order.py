"""In which order recipes are tried: what must be known first, what is likely to ship next, what costs most last."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.core.artifacts import MANIFEST
from pipeline.core.run import Layout
from pipeline.model.recipe_table import YARDSTICK
from pipeline.optimize.making.recipes import Recipe


def in_order(recipes: Sequence[Recipe], champions: str) -> list[Recipe]:
    """Returns the recipes as they are tried, so that a search cut short knows the most.

    The yardstick, which all are held against; then the recipe the champion was made by; then those that only convert,
    then those that learn, each as declared.
    """
    return sorted(recipes, key=lambda each: (each.name != YARDSTICK, each.name != champions, each.learns))


def champions_recipe(layout: Layout) -> str:
    """Returns the recipe the serving champion was made by; empty where none serves or its bundle is not here."""
    try:
        return str(json.loads((layout.bundle(layout.champion() or "none") / MANIFEST).read_text())["recipe"])
    except (OSError, ValueError, KeyError, TypeError):
        # A wish, not a need: without it the night tries the same recipes in another order.
        return ""
