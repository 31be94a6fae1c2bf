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
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.artifacts import write_beside
from pipeline.core.errors import CorruptArtifactError
from pipeline.model.breath import breathe, breaths
from pipeline.model.text import words

K1, B = 0.9, 0.5
TITLES = 64
"""So many are read in a piece of work that does not give way."""
CANDIDATES = 200
"""The best so many by likeness and by words are held against each other; what is among neither is not answered."""


def greatest(scores: np.ndarray) -> np.ndarray:
    """Returns int64, the places of the `CANDIDATES` greatest scores, in no order."""
    return np.argpartition(-scores, CANDIDATES)[:CANDIDATES] if len(scores) > CANDIDATES else np.arange(len(scores))


@dataclass(frozen=True)
class Postings:
    """BM25 of every word for every title that holds it.

    Attributes:
        items: n; mean_length: of their titles, in words, one at least.
        hashes_W: int64, ascending: what Python makes of each word in this process. A dict of as many words would take
            ten times the memory, and stall the interpreter whenever it grows.
        ends_W: where the titles of each word end, and those of the next begin.
        rows_P: int32, item index - 1; scores_P: float32.
    """

    items: int
    mean_length: float
    hashes_W: np.ndarray
    ends_W: np.ndarray
    rows_P: np.ndarray
    scores_P: np.ndarray

    @classmethod
    def of(cls, titles: Sequence[str | None]) -> Postings:
        """Args: titles: by item index - 1."""
        met, lengths = array("q"), array("q")
        for rows in breaths(range(len(titles)), TITLES):
            for row in rows:
                title = titles[row]
                found = words(title) if title else ()
                lengths.append(len(found))
                met.extend(map(hash, found))
        lengths_n, n = np.asarray(lengths, np.int64), len(titles)
        hashes_W, words_of = np.unique(np.asarray(met, np.int64), return_inverse=True)
        breathe()
        # By word and then by title, each pair once, with how often it is met.
        keys_P, times_P = np.unique(words_of * n + np.repeat(np.arange(n), lengths_n), return_counts=True)
        breathe()
        word_P, rows_P = np.divmod(keys_P, max(n, 1))
        titles_W = np.bincount(word_P, minlength=len(hashes_W))
        mean = max(float(lengths_n.sum()) / max(n, 1), 1.0)
        scores_P = _rarity(n, titles_W)[word_P] * _weight(times_P, lengths_n[rows_P] / mean)
        breathe()
        return cls(n, mean, hashes_W, np.cumsum(titles_W), rows_P.astype(np.int32), scores_P.astype(np.float32))

    def match(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns int64 rows of the titles that share a word with a text [M], ascending, and float32 BM25 of each."""
        scores_n = np.zeros(self.items, np.float32)
        for word in dict.fromkeys(words(text)):
            if found := self._titles_of(word):
                scores_n[self.rows_P[found]] += self.scores_P[found]
        rows_M = np.flatnonzero(scores_n)
        return rows_M, scores_n[rows_M]

    def scores(self, title: str) -> dict[str, float]:
        """Returns the BM25 of each word of a title that is none of these, as if it were, and they were as they are."""
        counted = Counter(words(title))
        length = sum(counted.values()) / self.mean_length
        return {word: self._rarity_of(word) * float(_weight(times, length)) for word, times in counted.items()}

    def _rarity_of(self, word: str) -> float:
        found = self._titles_of(word)
        return float(_rarity(self.items, found.stop - found.start if found else 0))

    def _titles_of(self, word: str) -> slice | None:
        code = hash(word)
        place = int(np.searchsorted(self.hashes_W, code))
        if place == len(self.hashes_W) or self.hashes_W[place] != code:
            return None
        return slice(int(self.ends_W[place - 1]) if place else 0, int(self.ends_W[place]))


def _rarity(titles: int, holding: Any) -> Any:
    return np.log1p((titles - holding + 0.5) / (holding + 0.5))


def _weight(times: Any, length: Any) -> Any:
    """Args: length: in words, beside the mean."""
    return times * (K1 + 1) / (times + K1 * (1 - B + B * length))


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
