"""Words of titles put since a bundle was made, beside those of its own.

How rare a word is and how long a title is told by the bundle's titles alone, so that no score of its items changes.

Shapes: M items that match a text.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.lexical import Lexical
from pipeline.model.text import words


class LiveWords:
    """Adds to scores as the bundle's `Lexical` does, and just that while nothing was put.

    Attributes: sealed: the bundle's.
    """

    def __init__(self, sealed: Lexical) -> None:
        self.sealed = sealed
        self._titles: dict[int, str] = {}
        self._rows: dict[str, set[int]] = {}

    def put(self, row: int, title: str | None) -> None:
        """Sets the title of a row, in place of the bundle's or of one put before."""
        self.drop(row)
        self._titles[row] = title or ""
        for word in set(words(title or "")):
            self._rows.setdefault(word, set()).add(row)

    def drop(self, row: int) -> None:
        """Forgets the title put for a row, if there is one; the bundle's, if any, counts again."""
        for word in set(words(self._titles.pop(row, ""))):
            self._rows[word].discard(row)
            if not self._rows[word]:
                del self._rows[word]

    def added(self, text: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns int64 item index - 1 [M], ascending, and float32 what is added to the score of each [M]."""
        rows_M, added_M = self.sealed.added(text)
        if not text or not self.sealed.weight or not self._titles:
            return rows_M, added_M
        retold_M = np.isin(rows_M, np.fromiter(self._titles, np.int64))
        found = sorted({row for word in words(text) for row in self._rows.get(word, ())})
        scores = [self.sealed.weight * self.sealed.postings.score(text, self._titles[row]) for row in found]
        rows_M = np.concatenate([rows_M[~retold_M], np.array(found, np.int64)])
        added_M = np.concatenate([added_M[~retold_M], np.array(scores, np.float32)])
        order_M = np.argsort(rows_M, kind="stable")
        return rows_M[order_M], added_M[order_M]
