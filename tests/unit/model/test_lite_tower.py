"""A converted tower: the same rows whatever the batch, refusals in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import CorruptArtifactError, ShapeError
from pipeline.model.lite_tower import LiteTower
from pipeline.model.packed import write_packed


def _features(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    shapes = {"history_items": (8, 51), "history_types": (8, 8), "history_pauses": (8, 33), "now_pause": (1, 33)}
    shapes |= {"query_context": (4, 65)}
    read = {name: draw.integers(0, top, (rows, width), dtype=np.int32) for name, (width, top) in shapes.items()}
    words_BD, vectors_BLD = (draw.normal(size=(rows, *shape)).astype(np.float32) for shape in ((16,), (8, 16)))
    return read | {"query_words": words_BD, "history_vectors": vectors_BLD}


@pytest.fixture(scope="module")
def tower(tiny_bundle: Path) -> LiteTower:
    return LiteTower(tiny_bundle / "query_tower.tflite.gz")


@pytest.mark.parametrize("rows", [2, 3, 128, 300])
def test_a_row_has_one_vector_in_whatever_batch_it_comes(tower: LiteTower, rows: int) -> None:
    features = _features(rows)
    together = tower(features)
    alone = [
        tower({name: values[at : at + 1] for name, values in features.items()})[0] for at in (0, rows // 2, rows - 1)
    ]
    assert together.shape == (rows, 16)
    assert np.allclose(together[[0, rows // 2, rows - 1]], alone, atol=1e-3)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-4)


def test_a_smaller_batch_after_a_larger_one_sees_nothing_of_it(tower: LiteTower) -> None:
    first = tower(_features(3, seed=1))
    tower(_features(4, seed=2))
    assert (tower(_features(3, seed=1)) == first).all()


def test_no_rows_give_no_vectors(tower: LiteTower) -> None:
    assert tower(_features(0)).shape == (0, 16)


def test_features_of_another_shape_and_a_torn_file_are_refused(tower: LiteTower, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"input history_items takes rows of shape \(8,\), found \(7,\)"):
        tower({**_features(2), "history_items": np.zeros((2, 7), np.int32)})
    with pytest.raises(ShapeError, match=r"input query_words takes rows of shape .*, found nothing"):
        tower({name: values for name, values in _features(1).items() if name != "query_words"})
    write_packed(tmp_path / "tower.tflite.gz", b"not a tower")
    with pytest.raises(CorruptArtifactError, match="LiteRT cannot load this tower"):
        LiteTower(tmp_path / "tower.tflite.gz")
