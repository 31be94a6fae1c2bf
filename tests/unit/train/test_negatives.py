"""`train.negatives` on catalogues whose categories are counted by hand."""

from __future__ import annotations

import numpy as np

from pipeline.train.negatives import LEAST_ITEMS, Categories

# Shoes hold enough items; sandals within them do not, so those count as shoes. Hats are few and uppermost already.
PATHS = [*["shoes/boots"] * LEAST_ITEMS, *["Shoes/sandals"] * 2, *["hats"] * 2, None]


def test_an_items_category_is_the_deepest_that_holds_enough_items() -> None:
    categories = Categories.of(PATHS, np.full(len(PATHS) + 1, 1 / len(PATHS)))
    found = categories.category_n1.tolist()
    boots, shoes, hats, none = found[1], found[LEAST_ITEMS + 1], found[-2], found[-1]
    assert found == [0, *[boots] * LEAST_ITEMS, *[shoes] * 2, *[hats] * 2, none]
    assert len({boots, shoes, hats}) == 3
    assert none == 0


def test_shares_are_those_of_the_category_and_the_draws_follow_them() -> None:
    # Boots were a target alike; of sandals the first three times as often; hats never were; the last has no category.
    probability_n1 = np.array([0, *[0.03] * LEAST_ITEMS, 0.15, 0.05, 0, 0, 0.2])
    categories = Categories.of(PATHS, probability_n1)
    first = LEAST_ITEMS + 1
    assert np.allclose(categories.share_n1, [0, *[0.05] * LEAST_ITEMS, 0.75, 0.25, 0, 0, 0])
    luck = np.array([[0.0, 0.74, 0.76, 1 - 1e-16]])
    assert categories.drawn(luck, np.array([first])).tolist() == [[first, first, first + 1, first + 1]]
    assert categories.drawn(luck, np.array([1])).tolist() == [[1, 15, 16, LEAST_ITEMS]]
    assert categories.drawn(luck, np.array([len(PATHS)])).tolist() == [[0] * 4]


def test_a_catalogue_without_categories_has_no_hard_negatives() -> None:
    categories = Categories.of([None] * 3, np.array([0, 0.5, 0.25, 0.25]))
    assert not categories.share_n1.any()
    assert not categories.drawn(np.zeros((2, 4)), np.array([1, 3])).any()
