"""What stands in a title as it was typed, beside what vectors know of a text.

Vectors read words and n-grams by hash buckets, summed up in a few dozen numbers: they know that a mug is a cup, and
hardly tell two titles apart that differ in one rare word. So to the score of an item a weight times BM25 of its title
is added. The weight is the one that finds most on validation (`train.matching`).

Sources: BM25, Robertson & Zaragoza 2009, section 3, with k1 and b as they are usually set; the weighted sum with dot
products, Bruch et al. 2023, section 4.

Shapes: n items, P occurrences of a word in a title, each title counted once, M items that match a text.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.artifacts import write_beside
from pipeline.core.errors import CorruptArtifactError
from pipeline.model.text import words

K1, B = 0.9, 0.5
CANDIDATES = 200
"""The best so many by likeness and by words are held against each other; what is among neither is not answered."""


def greatest(scores: np.ndarray) -> np.ndarray:
    """Returns int64, the places of the `CANDIDATES` greatest scores, in no order."""
    return np.argpartition(-scores, CANDIDATES)[:CANDIDATES] if len(scores) > CANDIDATES else np.arange(len(scores))


@dataclass(frozen=True)
class Postings:
    """BM25 of every word for every title that holds it.

    Attributes:
        of_word: where a word's titles begin and end.
        rows_P: int32, item index - 1; scores_P: float32.
    """

    items: int
    of_word: dict[str, slice]
    rows_P: np.ndarray
    scores_P: np.ndarray

    @classmethod
    def of(cls, titles: Sequence[str | None]) -> Postings:
        """Args: titles: by item index - 1."""
        counted = [Counter(words(title)) if title else Counter() for title in titles]
        lengths_n = np.array([sum(each.values()) for each in counted], np.float64)
        named = {word: place for place, word in enumerate(dict.fromkeys(word for each in counted for word in each))}
        word_P = np.array([named[word] for each in counted for word in each], np.int64)
        times_P = np.array([times for each in counted for times in each.values()], np.float64)
        rows_P = np.repeat(np.arange(len(titles)), [len(each) for each in counted])
        titles_W = np.bincount(word_P, minlength=len(named))
        rarity_W = np.log1p((len(titles) - titles_W + 0.5) / (titles_W + 0.5))
        length_n = lengths_n / max(lengths_n.sum() / max(len(titles), 1), 1.0)
        scores_P = rarity_W[word_P] * times_P * (K1 + 1) / (times_P + K1 * (1 - B + B * length_n[rows_P]))
        order_P, ends_W = np.argsort(word_P, kind="stable"), np.cumsum(titles_W).tolist()
        of_word = {word: slice(end - count, end) for word, end, count in zip(named, ends_W, titles_W, strict=True)}
        return cls(len(titles), of_word, rows_P[order_P].astype(np.int32), scores_P[order_P].astype(np.float32))

    def match(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns int64 rows of the titles that share a word with a text [M], ascending, and float32 BM25 of each."""
        scores_n = np.zeros(self.items, np.float32)
        for word in dict.fromkeys(words(text)):
            if found := self.of_word.get(word):
                scores_n[self.rows_P[found]] += self.scores_P[found]
        rows_M = np.flatnonzero(scores_n)
        return rows_M, scores_n[rows_M]


@dataclass(frozen=True)
class Lexical:
    """What is added to the scores of items for the words of a text that stand in their titles.

    Attributes: weight: of BM25, beside the dot product of unit vectors.
    """

    postings: Postings
    weight: float = 0.0

    def added(self, text: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns int64 item index - 1 [M], ascending, and float32 what is added to the score of each [M]."""
        if not text or not self.weight:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        rows_M, scores_M = self.postings.match(text)
        return rows_M, self.weight * scores_M

    def save(self, path: Path) -> None:
        write_beside(path, json.dumps({"weight": self.weight}))

    @classmethod
    def load(cls, path: Path, titles: Sequence[str | None]) -> Lexical:
        """Raises: CorruptArtifactError: the file does not hold a weight."""
        try:
            weight = float(json.loads(path.read_text())["weight"])
            if not 0 <= weight < math.inf:
                raise ValueError(f"weight {weight}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptArtifactError(
                f"{path}: does not hold a finite weight of at least 0 ({error}); train the model again."
            ) from None
        return cls(Postings.of(titles if weight else ()), weight)
