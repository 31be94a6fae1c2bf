"""The catalogue of a bundle: rows by id, by category path, by popularity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import CorruptArtifactError, ShapeError
from pipeline.model.catalogue import Catalogue
from pipeline.model.packed import read_arrays, write_arrays, write_packed


def _catalogue() -> Catalogue:
    return Catalogue(
        {
            "item_id": ["a", "b", "c", "d"],
            "category": ["home/kitchen", "home", "homeware", None],
            "brand": ["x", None, "x", "y"],
            "title": ["A", "B", None, "D"],
            "price": [1.0, float("nan"), None, 4.0],
            "in_stock": [True, True, False, True],
            "events": [1, 5, 2, 2],
        }
    )


def test_tower_indices_begin_at_one_because_zero_pads() -> None:
    assert _catalogue().tower_index == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert _catalogue().rows_of(["d", "nobody", "a", "d"]) == {0, 3}


@pytest.mark.parametrize(
    ("category", "rows"),
    [("home", [0, 1]), ("home/kitchen", [0]), ("/home/", [0, 1]), ("homeware", [2]), ("hom", []), ("home/garden", [])],
)
def test_a_category_means_its_whole_levels_and_all_below(category: str, rows: list[int]) -> None:
    assert _catalogue().rows_under(category).tolist() == rows


def test_popularity_goes_by_events_then_by_place() -> None:
    # Events 1, 5, 2, 2 of 10 in all: b, then c before d because it comes first, then a.
    scores, rows = _catalogue().popular(4, without=set(), only=None)
    assert (rows, scores) == ([1, 2, 3, 0], [0.5, 0.2, 0.2, 0.1])


def test_popularity_keeps_k_after_leaving_out_and_filtering() -> None:
    assert _catalogue().popular(2, without={1, 2}, only=None)[1] == [3, 0]
    assert _catalogue().popular(2, without={1}, only=np.array([0, 1, 3]))[1] == [3, 0]


def test_a_catalogue_is_loaded_as_it_was_saved_and_nan_is_no_price(tmp_path: Path) -> None:
    _catalogue().save(tmp_path / "items.npz.gz")
    loaded = {name: list(column) for name, column in Catalogue.load(tmp_path / "items.npz.gz").columns.items()}
    assert loaded == {name: list(column) for name, column in _catalogue().columns.items()}
    assert loaded["price"] == [1.0, None, None, 4.0] and loaded["in_stock"] == [True, True, False, True]
    assert loaded["title"] == ["A", "B", None, "D"] and loaded["category"][1:] == ["home", "homeware", None]


def test_columns_of_different_length_and_torn_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="differ in length"):
        Catalogue({**_catalogue().columns, "brand": ["x"]})
    path = tmp_path / "items.npz.gz"
    path.write_text("torn")
    with pytest.raises(CorruptArtifactError, match="cannot be unpacked"):
        Catalogue.load(path)
    write_packed(path, b"torn")
    with pytest.raises(CorruptArtifactError, match="holds no arrays"):
        Catalogue.load(path)
    write_arrays(path, {"item_id.text": np.zeros(0, np.uint8), "item_id.length": np.zeros(0, np.int32)})
    with pytest.raises(CorruptArtifactError, match="is not a catalogue"):
        Catalogue.load(path)


@pytest.mark.parametrize(
    ("part", "rows"),
    [
        ("title.length", [1, 1, 1, 1]),
        ("category.code", [0, 1, 2, 3]),
        ("brand.code", [0, -2, 0, 1]),
        ("price.number", [1]),
    ],
)
def test_columns_that_do_not_hold_together_are_refused(tmp_path: Path, part: str, rows: list[int]) -> None:
    path = tmp_path / "items.npz.gz"
    _catalogue().save(path)
    arrays = read_arrays(path)
    write_arrays(path, arrays | {part: np.array(rows, arrays[part].dtype)})
    with pytest.raises(CorruptArtifactError, match="is not a catalogue"):
        Catalogue.load(path)
