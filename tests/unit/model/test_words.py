"""Stored word vectors: summed as the towers sum them, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import CorruptArtifactError
from pipeline.model.words import Words

# exp(logit) is 1, 3 and 1 up to one factor, so a text of words 1 and 2 is a quarter of the one and three of the other.
VECTORS = np.array([[4, 0], [0, 8], [1, 1]], np.float32)
LOGITS = np.log(np.array([1, 3, 1], np.float32))


def test_a_text_is_the_weighted_mean_of_its_words() -> None:
    words = Words.build(VECTORS, LOGITS, "float32")
    texts = np.array([[1, 2, 0], [0, 0, 0], [3, 0, 0], [1, 1, 2]], np.int32)
    # The last has word 1 twice: (4 + 4, 3 * 8) over 1 + 1 + 3.
    assert np.allclose(words.pooled(texts), [[1, 6], [0, 0], [1, 1], [1.6, 4.8]])
    assert np.allclose(words.pooled(texts[1:2]), 0) and words.pooled(texts[:0]).shape == (0, 2)


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_what_is_saved_sums_up_as_before(tmp_path: Path, kind: str) -> None:
    words = Words.build(VECTORS, LOGITS, kind)
    words.save(tmp_path)
    again, texts = Words.load(tmp_path), np.array([[2, 3]], np.int32)
    assert np.array_equal(again.pooled(texts), words.pooled(texts))
    assert np.array_equal(again.vectors(), words.vectors()) and len(again) == 3


def test_parts_that_do_not_fit_and_torn_ones_are_refused(tmp_path: Path) -> None:
    Words.build(VECTORS, LOGITS, "float32").save(tmp_path)
    np.save(tmp_path / "word_shares.npy", np.ones(2, np.float32))
    with pytest.raises(CorruptArtifactError, match=r"words\.faiss holds 3 words and word_shares\.npy 2"):
        Words.load(tmp_path)
    (tmp_path / "word_shares.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(CorruptArtifactError, match=r"word_shares\.npy: holds no numbers"):
        Words.load(tmp_path)


def test_too_few_words_for_a_codebook_are_stored_a_byte_a_number(tmp_path: Path) -> None:
    words = Words.build(VECTORS, LOGITS, "pq2")
    assert np.allclose(words.vectors(), VECTORS, atol=0.05)


def test_a_text_of_nothing_but_the_rarest_words_is_their_mean(tmp_path: Path) -> None:
    # Beside a word of weight 1 the others weigh exp(-40), which half precision does not hold.
    words = Words.build(VECTORS, np.array([0, -40, -40], np.float32), "int8")
    words.save(tmp_path)
    assert np.allclose(Words.load(tmp_path).pooled(np.array([[2, 3]], np.int32)), [[0.5, 4.5]], atol=0.05)
