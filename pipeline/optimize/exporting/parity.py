"""Whether an export answers as its bundle does, asked on validation queries and on the bundle's own goldens.

Shapes: Q queries, D dim, K answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import CorruptArtifactError
from pipeline.model.features import encode_queries
from pipeline.model.goldens import check_goldens
from pipeline.model.item_index import ItemIndex
from pipeline.model.lite_tower import MAX_BATCH
from pipeline.model.retriever import Retriever
from pipeline.optimize.judged import Judged
from pipeline.optimize.towers.weights import Weights

QUERIES = 300
Answers = tuple[np.ndarray, np.ndarray, np.ndarray]
"""float32 vectors [Q, D], int rows of the catalogue [Q, K] and float32 scores [Q, K], best first."""
Ask = Callable[[Mapping[str, np.ndarray]], Answers]
"""From `features.encode_queries` to answers."""


@dataclass(frozen=True)
class Tolerance:
    """How far an export may be from its bundle.

    Attributes:
        cosine: of a query's two vectors, at least.
        score: two items may change places, or one be left out for another, where their scores differ by less.
    """

    cosine: float
    score: float


TOLERANCES: Mapping[Weights, Tolerance] = {
    "float32": Tolerance(0.9999, 2e-3),
    "float16": Tolerance(0.9999, 2e-3),
    "int8": Tolerance(0.99, 2e-2),
    "full_int8": Tolerance(0.99, 2e-2),
}
"""By how the recipe stores its weights in LiteRT: what is rounded there, an export computes in float."""


@dataclass(frozen=True)
class Proof:
    """What was seen.

    Attributes:
        queries, goldens: how many were asked of both.
        least_cosine: of the two vectors of a query.
        shared: share of the bundle's answers that the export answers as well.
        widest: greatest difference of two scores of one item, and by which an item left out is better than the last.
    """

    queries: int
    goldens: int
    k: int
    least_cosine: float
    shared: float
    widest: float
    tolerance: Tolerance

    @property
    def sentence(self) -> str:
        return (
            f"{self.queries} queries, cosine {self.least_cosine:.5f} at least, {self.shared:.1%} of the best {self.k} "
            f"the same, scores within {self.widest:.4f}; {self.goldens} golden requests."
        )


def prove(ask: Ask, retriever: Retriever, judged: Judged, k: int, weights: Weights) -> Proof:
    """Asks both the same.

    Args: retriever: of the bundle; its tower is the export's afterwards. weights: of the recipe.
    Raises: CorruptArtifactError: they differ by more than is tolerated.
    """
    tolerance = TOLERANCES[weights]
    queries = judged.queries[:: max(1, len(judged) // QUERIES)]
    features = encode_queries(retriever.config, retriever.catalogue.tower_index, queries)
    mine, theirs = _answers(ask, features), retriever.tower(features)
    found = retriever.index.search(theirs, k)
    cosine, widest = float((mine[0] * theirs).sum(axis=1).min()), _widest(retriever.index, mine, theirs, found)
    shared = float(np.mean([np.isin(rows_K, best_K).mean() for rows_K, best_K in zip(found[1], mine[1], strict=True)]))
    retriever.tower = _Tower(ask, retriever.tower.dim)
    wrong = check_goldens(retriever, tolerance.score)
    proof = Proof(len(queries), len(retriever.bundle.goldens), k, cosine, shared, widest, tolerance)
    if not (cosine >= tolerance.cosine and widest <= tolerance.score):
        wrong.insert(0, f"{proof.sentence[:-1]}, where {tolerance.cosine:g} and {tolerance.score:g} are allowed")
    if wrong:
        raise CorruptArtifactError(f"The export does not answer like its bundle ({wrong[0]}); nothing was written.")
    return proof


def _widest(index: ItemIndex, mine: Answers, theirs_QD: np.ndarray, found: tuple[np.ndarray, np.ndarray]) -> float:
    """Returns the greatest of three differences: of an item's two scores, and of what either leaves out to its last."""
    _, rows_QK, scores_QK = mine
    products = [
        index.vectors(rows_K.astype(np.int64)) @ vector for rows_K, vector in zip(rows_QK, theirs_QD, strict=True)
    ]
    products_QK = np.stack(products)
    left_out = [
        (scores_K[~np.isin(their_rows, rows_K)], last)
        for scores_K, their_rows, rows_K, last in zip(found[0], found[1], rows_QK, scores_QK[:, -1], strict=True)
    ]
    return float(
        max(
            np.abs(products_QK - scores_QK).max(),
            (found[0][:, -1:] - products_QK).max(),
            max((float((scores.max() - last)) for scores, last in left_out if len(scores)), default=0.0),
        )
    )


def _answers(ask: Ask, features: Mapping[str, np.ndarray]) -> Answers:
    """Asks batch by batch: scores of every item for all queries at once would fill the memory."""
    rows = len(next(iter(features.values())))
    batches = [
        ask({name: values[at : at + MAX_BATCH] for name, values in features.items()})
        for at in range(0, rows, MAX_BATCH)
    ]
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))


class _Tower:
    """Lets a retriever ask an export for vectors."""

    def __init__(self, ask: Ask, dim: int) -> None:
        self._ask, self.dim = ask, dim

    def __call__(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        return self._ask(features)[0]
