"""Every way to compress, as a table: what is done to the query tower, how it is converted, how vectors are stored."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.model.recipe_table import YARDSTICK
from pipeline.optimize.towers.algorithms import ALGORITHMS
from pipeline.optimize.towers.weights import Weights


@dataclass(frozen=True)
class Recipe:
    """One way to compress.

    Attributes:
        transforms: names of `ALGORITHMS`, applied to the query tower in this order.
        weights: how the converter stores both towers' weights.
        items, words: how the vectors of items and of words are stored, each one of `model.storage.KINDS`.
        doc: one line for tables and pages.
        source: where the method is described; those of transforms and kinds are with them.
    """

    name: str
    transforms: tuple[str, ...]
    weights: Weights
    items: str
    words: str
    doc: str
    source: str = ""

    @property
    def learns(self) -> bool:
        """Whether it fine-tunes, which takes minutes instead of seconds."""
        return any(ALGORITHMS[name].learns for name in self.transforms)

    @property
    def settings(self) -> tuple[str, ...]:
        """Fields of the optimize section that change what it makes."""
        named = [field for name in self.transforms for field in ALGORITHMS[name].settings]
        return tuple(dict.fromkeys(named))


LITERT = "https://ai.google.dev/edge/litert/models/post_training_quantization"
COLLABORATIVE = "https://www.tensorflow.org/model_optimization/guide/combine/collaborative_optimization"

RECIPES = (
    Recipe(YARDSTICK, (), "float32", "float32", "float32", "The trained towers and vectors as they are."),
    Recipe("float16", (), "float16", "float16", "float16", "Two bytes a number, computed in float32.", LITERT),
    Recipe("dynamic_int8", (), "int8", "int8", "int8", "A byte a number, activations in float.", LITERT),
    Recipe("full_int8", (), "full_int8", "int8", "int8", "A byte a number, computed in integers.", LITERT),
    Recipe("int6", (), "int8", "int6", "pq4", "Towers a byte a number, items six bits, words a byte for four."),
    Recipe("int4", (), "int8", "int4", "int4", "Towers a byte a number, vectors half a byte."),
    Recipe("pq2", (), "int8", "pq2", "pq4", "Towers a byte a number, items a byte for two, words for four."),
    Recipe("pq4", (), "int8", "pq4", "pq4", "Towers a byte a number, vectors a byte for four."),
    Recipe("nested_half", (), "int8", "nested_half_int8", "int8", "Half of the items' dimensions, a byte each."),
    Recipe("nested_quarter", (), "int8", "nested_quarter_int8", "int8", "A quarter of them, a byte each."),
    Recipe("qat_int8", ("quantize_aware",), "int8", "int8", "int8", "Dense layers trained under 8 bit rounding."),
    Recipe(
        "pruned_qat_int8",
        ("prune", "quantize_aware"),
        "int8",
        "int8",
        "int8",
        "Pruned by magnitude, then trained under 8 bit rounding with its zeros kept.",
        COLLABORATIVE,
    ),
    Recipe(
        "pruned_clustered_int8",
        ("prune", "cluster", "preserve_quantize_aware"),
        "int8",
        "int8",
        "int8",
        "Pruned, its weights made to share values, then trained under 8 bit rounding with both kept.",
        COLLABORATIVE,
    ),
    Recipe("clustered_int8", ("cluster",), "int8", "int8", "int8", "Weights of a layer share a few values."),
    Recipe("fewer_neurons_int8", ("prune_neurons",), "int8", "int8", "int8", "Hidden units cut out."),
    Recipe("low_rank_int8", ("factorise",), "int8", "int8", "int8", "Dense layers as products of narrow ones."),
    Recipe("student_int8", ("student",), "int8", "int8", "int8", "A smaller tower that learnt the answers."),
    Recipe("pq4_healed", ("heal",), "int8", "pq4", "pq4", "As pq4, the tower trained to read such vectors."),
    Recipe(
        "pruned_qat_int6",
        ("prune", "quantize_aware"),
        "int8",
        "int6",
        "pq4",
        "As int6, the tower pruned and trained to read such vectors under 8 bit rounding.",
        COLLABORATIVE,
    ),
    Recipe("low_rank_int6", ("factorise",), "int8", "int6", "pq4", "As int6, Dense layers as products of narrow ones."),
    Recipe("low_rank_pq2", ("factorise",), "int8", "pq2", "pq4", "As pq2, Dense layers as products of narrow ones."),
    Recipe("student_int6", ("student",), "int8", "int6", "pq4", "As int6, a smaller tower that learnt to read it."),
    Recipe("student_pq2", ("student",), "int8", "pq2", "pq4", "As pq2, a smaller tower that learnt to read it."),
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
