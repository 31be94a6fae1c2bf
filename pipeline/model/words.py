"""The vectors of words and n-grams, which both towers add up: one store beside the towers instead of a table in each.

Shapes: V buckets, B texts, T places of a text, P of all of them filled, D dim.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.core.errors import CorruptArtifactError
from pipeline.model.bundle import WORD_SHARES, WORDS
from pipeline.model.item_index import ItemIndex
from pipeline.model.storage import KINDS

FEW = "int8"
LEAST_SHARE = 6e-5
"""Half precision keeps smaller numbers by fewer digits, and at last not at all."""


class Words:
    """What `parts.TextPooling` does, from stored vectors: a softmax over a text's places is a sum of shares.

    Not for two threads at once.
    """

    def __init__(self, table: ItemIndex, shares_V: np.ndarray) -> None:
        self._table, self._shares_V = table, shares_V.astype(np.float32)

    @classmethod
    def build(cls, vectors_VD: np.ndarray, logits_V: np.ndarray, kind: str) -> Words:
        """Args:
        vectors_VD, logits_V: of bucket 1 on, for 0 is no word.
        kind: one of `storage.KINDS`; words too few to learn codebooks from are stored as `FEW`.
        """
        kind = kind if len(vectors_VD) >= KINDS[kind].least_rows else FEW
        shares_V = np.exp(logits_V - logits_V.max())
        # The rarest words may weigh next to nothing, but a text of such words alone is still their mean.
        kept_V = shares_V if kind == "float32" else np.maximum(shares_V, LEAST_SHARE).astype(np.float16)
        return cls(ItemIndex.build(vectors_VD, kind, lists_from=None), kept_V)

    @classmethod
    def load(cls, folder: Path) -> Words:
        """Raises: CorruptArtifactError: a file is torn, or the two do not fit each other."""
        table = ItemIndex.load(folder / WORDS)
        try:
            shares_V = np.load(folder / WORD_SHARES, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise CorruptArtifactError(f"{folder / WORD_SHARES}: holds no numbers ({error}); make it again.") from None
        if shares_V.shape != (len(table),):
            raise CorruptArtifactError(
                f"{folder}: {WORDS} holds {len(table):,} words and {WORD_SHARES} {len(shares_V):,}; "
                "make the bundle again."
            )
        return cls(table, shares_V)

    def save(self, folder: Path) -> None:
        self._table.save(folder / WORDS)
        exact = self._shares_V.astype(np.float16).astype(np.float32)
        kept = self._shares_V.astype(np.float16) if np.array_equal(exact, self._shares_V) else self._shares_V
        np.save(folder / WORD_SHARES, kept)

    @property
    def dim(self) -> int:
        return self._table.dim

    def __len__(self) -> int:
        return len(self._table)

    def shares(self) -> np.ndarray:
        """Returns float32 [V], what each word weighs beside the others of a text."""
        return self._shares_V

    def vectors(self) -> np.ndarray:
        """Returns float32 [V, D], as stored."""
        return self._table.vectors(np.arange(len(self)))

    def pooled(self, ids_BT: np.ndarray) -> np.ndarray:
        """Returns float32 [B, D]: the vectors of a text's words, weighed by their shares; no words give zeros.

        Args: ids_BT: int32 from 1 to V, 0 where a place is empty.
        """
        pooled_BD = np.zeros((len(ids_BT), self.dim), np.float32)
        if not ids_BT.any():
            return pooled_BD
        present_BT = ids_BT > 0
        count_B = present_BT.sum(axis=1)
        rows_P = ids_BT[present_BT] - 1
        shares_P = self._shares_V[rows_P]
        told_B = np.flatnonzero(count_B)
        begins = np.concatenate([[0], np.cumsum(count_B[told_B])[:-1]])
        summed_BD = np.add.reduceat(self._table.vectors(rows_P) * shares_P[:, None], begins)
        pooled_BD[told_B] = summed_BD / np.add.reduceat(shares_P, begins)[:, None]
        return pooled_BD
