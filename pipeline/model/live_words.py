"""Words of titles put since a bundle was made, beside those of its own.

How rare a word is and how long a title is told by the bundle's titles alone, so that no score of its items changes.

Shapes: M items that match a text, P of all its words together.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.lexical import Lexical
from pipeline.model.text import words

Found = tuple[np.ndarray, np.ndarray]


class LiveWords:
    """Adds to scores as the bundle's `Lexical` does, and just that while nothing was put.

    Attributes: sealed: the bundle's.
    """

    def __init__(self, sealed: Lexical) -> None:
        self.sealed = sealed
        self._titles: dict[int, str] = {}
        self._scores: dict[str, dict[int, float]] = {}
        # Both made when they are asked for: of a word, and of all rows of the bundle that have another title.
        self._found: dict[str, Found] = {}
        self._retold: np.ndarray | None = None

    def put(self, row: int, title: str | None) -> None:
        """Sets the title of a row, in place of the bundle's or of one put before."""
        self.drop(row)
        self._titles[row] = title or ""
        for word, score in self.sealed.postings.scores(title or "").items():
            self._scores.setdefault(word, {})[row] = score
            self._found.pop(word, None)

    def drop(self, row: int) -> None:
        """Forgets the title put for a row, if there is one; the bundle's, if any, counts again."""
        self._retold = None
        for word in set(words(self._titles.pop(row, ""))):
            del self._scores[word][row]
            self._found.pop(word, None)
            if not self._scores[word]:
                del self._scores[word]

    def added(self, text: str | None) -> Found:
        """Returns int64 item index - 1 [M], ascending, and float32 what is added to the score of each [M]."""
        rows_M, added_M = self.sealed.added(text)
        if not text or not self.sealed.weight or not self._titles:
            return rows_M, added_M
        if self._retold is None:
            self._retold = np.array([row for row in self._titles if row < self.sealed.postings.items], np.int64)
        if len(self._retold):
            kept_M = ~np.isin(rows_M, self._retold)
            rows_M, added_M = rows_M[kept_M], added_M[kept_M]
        met = [self._of_word(word) for word in dict.fromkeys(words(text)) if word in self._scores]
        if not met:
            return rows_M, added_M
        rows_P, scores_P = (np.concatenate(parts) for parts in zip(*met, strict=True))
        live_M, places_P = np.unique(rows_P, return_inverse=True)
        scores_M = self.sealed.weight * np.bincount(places_P, scores_P)
        rows_M = np.concatenate([rows_M, live_M])
        order_M = np.argsort(rows_M, kind="stable")
        return rows_M[order_M], np.concatenate([added_M, scores_M.astype(np.float32)])[order_M]

    def _of_word(self, word: str) -> Found:
        found = self._found.get(word)
        if found is None:
            scores = self._scores[word]
            found = np.fromiter(scores, np.int64), np.fromiter(scores.values(), np.float64)
            self._found[word] = found
        return found
