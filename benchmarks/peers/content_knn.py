"""Content-KNN: `python -m benchmarks.peers.content_knn FOLDER` tunes on validation and answers the test.

An item is TF-IDF of its title, the prefixes of its category path, its brand and its price band, each of unit length
times a weight, the whole of unit length; a query is the sum of its newest items, older ones weighing less. Ranked is by
cosine, what the history holds left out. Weights, words or character n-grams, how many items count and how fast they
fade are those of so many draws that find most on validation, for each set of candidates.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from pipeline.model.metrics import recall_at_k

DRAWS = 100
PRICE_BANDS = 10
TITLES = {"words": {"token_pattern": r"(?u)\b\w+\b"}, "n-grams": {"analyzer": "char_wb", "ngram_range": (3, 5)}}
CHOICES = {
    "title": tuple(TITLES),
    "title_weight": (0.3, 0.6, 1.0),
    "category_weight": (0.0, 0.3, 1.0, 2.0),
    "brand_weight": (0.0, 0.3, 1.0),
    "price_weight": (0.0, 0.1, 0.3),
    "newest": (1, 2, 5, 10, 30, 100, 1000),
    "fade": (0.5, 0.7, 0.8, 0.9, 0.97, 1.0),
}


@dataclass(frozen=True)
class Items:
    """Columns of the catalogue, one value an item."""

    title: list[str | None]
    category: list[str | None]
    brand: list[str | None]
    price: list[float | None]

    @cached_property
    def titles(self) -> dict[str, Any]:
        return {name: _tfidf([text or "" for text in self.title], **how) for name, how in TITLES.items()}

    @cached_property
    def fields(self) -> dict[str, Any]:
        paths = [(path or "").split("/") for path in self.category]
        prefixes = [["/".join(path[: n + 1]) for n in range(len(path)) if path[0]] for path in paths]
        brands = [[brand] if brand else [] for brand in self.brand]
        known = np.array([np.nan if price is None else price for price in self.price], float)
        edges = np.nanquantile(known, np.linspace(0, 1, PRICE_BANDS + 1)[1:-1]) if np.isfinite(known).any() else []
        bands = [[str(np.searchsorted(edges, price))] if np.isfinite(price) else [] for price in known]
        named = {"category": prefixes, "brand": brands, "price": bands}
        return {name: _tfidf(tokens, analyzer=lambda each: each) for name, tokens in named.items()}

    def vectors(self, how: dict[str, Any]) -> Any:
        """Returns float64 [n, words], rows of unit length."""
        parts = [self.titles[how["title"]] * how["title_weight"]]
        parts += [block * how[f"{name}_weight"] for name, block in self.fields.items()]
        return normalize(sparse.hstack(parts).tocsr())


def _tfidf(documents: list[Any], **how: Any) -> Any:
    if not any(documents):
        return sparse.csr_matrix((len(documents), 1))
    return TfidfVectorizer(sublinear_tf=True, **how).fit_transform(documents)


def rank(
    items: Items, how: dict[str, Any], histories: list[list[int]], candidates: np.ndarray, k: int
) -> list[list[int]]:
    """Returns the best k of the candidates for each history, which is oldest first."""
    vectors = items.vectors(how)
    rows, columns, weights = [], [], []
    for row, history in enumerate(histories):
        newest = history[::-1][: how["newest"]]
        rows += [row] * len(newest)
        columns += newest
        weights += [how["fade"] ** age for age in range(len(newest))]
    shape = (len(histories), vectors.shape[0])
    profiles = sparse.coo_matrix((weights, (rows, columns)), shape).tocsr() @ vectors
    scores_QC = (profiles @ vectors[candidates].T).toarray()
    place = {item: column for column, item in enumerate(candidates.tolist())}
    for row, history in enumerate(histories):
        scores_QC[row, [place[item] for item in history if item in place]] = -np.inf
    return [[int(candidates[c]) for c in np.argsort(-row, kind="stable")[:k] if row[c] > 0] for row in scores_QC]


def main(folder: Path) -> None:
    asked = json.loads((folder / "asked.json").read_text())
    items, k, draw = Items(**asked["items"]), asked["k"], np.random.default_rng(7)
    tried = [{name: draw.choice(values).item() for name, values in CHOICES.items()} for _ in range(DRAWS)]
    answers = {}
    for name, rows in asked["candidates"].items():
        candidates = np.array(rows)

        def recall(how: dict[str, Any], among: np.ndarray = candidates) -> float:
            ranked = rank(items, how, asked["validation"]["histories"], among, k)
            return float(np.mean(recall_at_k(ranked, asked["validation"]["targets"], k)))

        found = [recall(how) for how in tried]
        best = tried[int(np.argmax(found))]
        print(f"content-KNN among {name}: {best} finds {max(found):.4f} on validation", flush=True)
        answers[name] = {"tuned": best, "ranked": rank(items, best, asked["test"]["histories"], candidates, k)}
    (folder / "answered.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
