"""Every way to compress, as a table: what is done to the towers, how they are converted, how the index is stored."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.core.errors import SettingsError


@dataclass(frozen=True)
class Recipe:
    """One way to compress.

    Attributes:
        transforms: names of `attempt.TRANSFORMS`, applied to the query tower in this order.
        weights: how the converter stores both towers' weights.
        items, words: how the vectors of items and of words are stored, each one of `item_index.KINDS`.
        settings: fields of the optimize section that change what it makes.
        doc: one line for tables and pages.
        source: where the method is described.
    """

    name: str
    transforms: tuple[str, ...]
    weights: Literal["float32", "int8"]
    items: str
    words: str
    settings: tuple[str, ...]
    doc: str
    source: str


YARDSTICK = "float32"
"""Always tried: every other recipe's loss and gain is held against it, query by query."""

RECIPES = (
    Recipe(
        YARDSTICK,
        (),
        "float32",
        "float32",
        "float32",
        (),
        "The trained towers as they are, index in float32.",
        "https://ai.google.dev/edge/litert",
    ),
    Recipe(
        "dynamic_int8",
        (),
        "int8",
        "int8",
        "int8",
        (),
        "Post-training dynamic range: weights and index a byte a number, activations in float.",
        "https://ai.google.dev/edge/litert/models/post_training_quant",
    ),
    Recipe(
        "pruned_qat_int8",
        ("prune", "quantize_aware"),
        "int8",
        "int8",
        "int8",
        ("sparsity", "finetune_epochs"),
        "Dense layers pruned by magnitude and trained under 8 bit rounding (TF-MOT), then as dynamic_int8.",
        "https://www.tensorflow.org/model_optimization/guide/combine/collaborative_optimization",
    ),
)

BY_NAME = {recipe.name: recipe for recipe in RECIPES}


def chosen_recipes(names: Sequence[str]) -> list[Recipe]:
    """Returns the recipes asked for, in that order, the yardstick first.

    Raises: SettingsError: a name is unknown.
    """
    for name in names:
        if name not in BY_NAME:
            near = difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.0)
            raise SettingsError(
                f"The setting optimize.recipes names {name!r}, which is no recipe; did you mean {near[0]}? "
                f"Known are {', '.join(BY_NAME)}."
            )
    return [BY_NAME[name] for name in dict.fromkeys((YARDSTICK, *names))]


def key_sections(recipe: Recipe, optimize: Any, shop: Any) -> dict[str, Any]:
    """Returns what a recipe's own input key covers: settings that do not concern it leave its result valid."""
    used = {name: getattr(optimize, name) for name in recipe.settings}
    return {"recipe": recipe.name, "optimize": used, "shop": {"k": shop.k, "metric": shop.metric}}
