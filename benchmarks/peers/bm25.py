"""BM25 over titles: `python -m benchmarks.peers.bm25 FOLDER` tunes on validation and answers the test.

k1, b and whether category and brand are written behind the title are those that find most on validation. Of items with
equal scores the one met by more people comes first.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import bm25s
import numpy as np

from pipeline.model.metrics import recall_at_k

K1 = (0.3, 0.6, 0.9, 1.2, 1.5, 2.0)
B = (0.0, 0.25, 0.5, 0.75, 1.0)


class Bm25:
    """Texts are items' in the order in which equal scores are ranked."""

    def __init__(self, texts: list[str], k1: float, b: float) -> None:
        self._index = bm25s.BM25(k1=k1, b=b)
        self._index.index(_tokens(texts), show_progress=False)

    def rank(self, queries: list[str], k: int) -> list[list[int]]:
        """Returns the best k places of each query; places that share no word with it are no answer."""
        asked = list(dict.fromkeys(queries))
        found = {text: self._best(words, k) for text, words in zip(asked, _tokens(asked), strict=True)}
        return [found[text] for text in queries]

    def _best(self, words: list[str], k: int) -> list[int]:
        scores_n = self._index.get_scores(words) if words else np.zeros(0)
        order = np.argsort(-scores_n, kind="stable")[:k]
        return [int(place) for place in order if scores_n[place] > 0]


def _tokens(texts: list[str]) -> list[list[str]]:
    """Returns each text's words, in small letters, none left out: titles are short."""
    return bm25s.tokenize(texts, token_pattern=r"(?u)\b\w+\b", stopwords=None, return_ids=False, show_progress=False)


def main(folder: Path) -> None:
    asked = json.loads((folder / "asked.json").read_text())
    validation, k = asked["validation"], asked["k"]

    def recall(named: str, k1: float, b: float) -> float:
        ranked = Bm25(asked["texts"][named], k1, b).rank(validation["queries"], k)
        return float(np.mean(recall_at_k(ranked, validation["targets"], k)))

    chosen = {}
    for named in asked["texts"]:
        tried = {given: recall(named, *given) for given in itertools.product(K1, B)}
        chosen[named] = max(tried, key=tried.get)
        print(f"BM25 on {named}: {chosen[named]} finds {tried[chosen[named]]:.4f} on validation", flush=True)
    answers = {
        named: {"tuned": given, **_answered(Bm25(asked["texts"][named], *given), asked["test"], k)}
        for named, given in chosen.items()
    }
    (folder / "answered.json").write_text(json.dumps(answers))


def _answered(model: Bm25, queries: dict[str, list[str]], k: int) -> dict[str, list[list[int]]]:
    return {name: model.rank(texts, k) for name, texts in queries.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
