"""Text as hash buckets of words and character n-grams: any language, no vocabulary to keep."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from zlib import crc32

import numpy as np

GRAM = 3
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Returns a text's words in order, in one case and one form of every letter."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def tokens(text: str) -> list[str]:
    """Returns a text's words, then the character trigrams of each (`<` and `>` mark its ends), without repeats."""
    found = words(text)
    grams = (gram for word in found for gram in _grams(f"<{word}>"))
    return list(dict.fromkeys([*found, *grams]))


def _grams(word: str) -> Iterable[str]:
    return (word[i : i + GRAM] for i in range(len(word) - GRAM + 1))


def bucket(token: str, buckets: int) -> int:
    """Returns a number from 1 to `buckets`, the same on every machine; 0 stays free for padding."""
    return crc32(token.encode()) % buckets + 1


def trimmed(ids_BW: np.ndarray) -> np.ndarray:
    """Returns int32 [B, X], the columns up to the last that any text reaches, one at least."""
    return ids_BW[:, : max(1, int((ids_BW > 0).any(axis=0).sum()))]


def encode_texts(texts: Sequence[str | None], length: int, buckets: int) -> np.ndarray:
    """Returns int32 [B, length]: buckets from the left, 0 behind; a missing text is all zeros.

    Words come before n-grams, so a long text loses n-grams first.
    """
    ids_BW = np.zeros((len(texts), length), np.int32)
    for row, text in enumerate(texts):
        if text:
            ids = [bucket(token, buckets) for token in tokens(text)[:length]]
            ids_BW[row, : len(ids)] = ids
    return ids_BW
