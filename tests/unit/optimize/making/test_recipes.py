"""The table of recipes, and what a recipe's key covers."""

from __future__ import annotations

from pipeline.core.sections import Optimize
from pipeline.model.storage import KINDS
from pipeline.optimize.making.recipes import BY_NAME, RECIPES, key_sections
from pipeline.optimize.towers.algorithms import ALGORITHMS


def test_a_recipes_key_covers_only_the_settings_it_uses(settings) -> None:
    changed = settings.optimize.model_copy(update={"sparsity": 0.9, "max_p99_ms": 1.0})
    same = [
        recipe.name
        for recipe in RECIPES
        if key_sections(recipe, settings.optimize, settings.shop) == key_sections(recipe, changed, settings.shop)
    ]
    # Of what was changed sparsity alone is read, and by pruning alone.
    assert same == [recipe.name for recipe in RECIPES if "prune" not in recipe.transforms]


def test_the_table_of_recipes_says_what_each_does_and_where_it_is_described() -> None:
    for recipe in RECIPES:
        assert recipe.doc.endswith(".") and set(recipe.transforms) <= ALGORITHMS.keys()
        stores = [KINDS[kind] for kind in (recipe.items, recipe.words)]
        sources = [recipe.source, *(each.source for each in (*stores, *map(ALGORITHMS.get, recipe.transforms)))]
        assert all(sources[1:])


def test_the_recipes_tried_by_default_are_of_the_table() -> None:
    assert set(Optimize().recipes) <= BY_NAME.keys()
