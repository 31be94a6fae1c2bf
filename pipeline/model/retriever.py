"""Answers requests from a release bundle: query tower, item index, filters, popularity where nothing is known.

What optimize measures, gate judges and the server serves is this one class. No TensorFlow, no pandas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from pipeline.core.errors import CorruptArtifactError, DataError
from pipeline.model.answer import EMPTY_HISTORY, NO_WORDS, UNKNOWN_ITEMS, Answer, Scored
from pipeline.model.breath import breathe
from pipeline.model.bundle import ITEMS, LEXICAL, REPEATS, TOWERS, Bundle, open_bundle
from pipeline.model.catalogue import Catalogue
from pipeline.model.config import TowerConfig
from pipeline.model.features import Query, encode_queries
from pipeline.model.filters import EVERYTHING, Filter
from pipeline.model.lexical import CANDIDATES, Lexical, greatest
from pipeline.model.lite_tower import MAX_BATCH
from pipeline.model.live_index import LiveIndex
from pipeline.model.live_words import LiveWords
from pipeline.model.repeats import Repeats
from pipeline.model.served import QueryTower, load_stores


class UnknownItemError(DataError):
    """The bundle does not hold the item asked for."""


class Asked(NamedTuple):
    """One request.

    Attributes:
        query: history oldest first, and a search text or None; items the bundle does not know are ignored.
        k: how many items; fewer only where fewer are allowed.
        exclude_seen: leave out every known item of the history.
        allowed: what an item must be to be answered, by popularity too.
    """

    query: Query
    k: int
    exclude_seen: bool = True
    allowed: Filter = EVERYTHING


@dataclass(slots=True)
class _Turn:
    """A request on its way to an answer."""

    asked: Asked
    only: np.ndarray | None
    without: set[int]
    features: dict[str, np.ndarray]
    fallback: str | None
    spent: dict[str, float] = field(default_factory=dict)
    vector_1D: np.ndarray = field(init=False)
    found: tuple[np.ndarray, np.ndarray] = field(init=False)
    items: list[Scored] | None = None


class Retriever:
    """One bundle, ready to answer. Not for two threads at once: have one a worker."""

    def __init__(self, folder: Path, bundle: Bundle | None = None) -> None:
        self.bundle = bundle
        self.config = TowerConfig.load(folder / TOWERS)
        self.catalogue = Catalogue.load(folder / ITEMS)
        sealed, words = load_stores(folder)
        breathe()
        self.index = LiveIndex(sealed)
        self.tower = QueryTower(folder, self.index, words)
        breathe()
        self.repeats = Repeats.load(folder / REPEATS)
        self.lexical = LiveWords(Lexical.load(folder / LEXICAL, self.catalogue.columns["title"]))
        sizes = {len(self.catalogue), len(self.index), self.config.items}
        lengths = {self.tower.dim, self.index.dim, words.dim, self.config.dim}
        buckets = {len(words), self.config.text_buckets}
        if max(len(sizes), len(lengths), len(buckets)) > 1:
            raise CorruptArtifactError(
                f"{folder}: tower, index, words and catalogue are of different bundles (items {sorted(sizes)}, vector "
                f"lengths {sorted(lengths)}, words {sorted(buckets)}); make the bundle again."
            )

    @classmethod
    def load(cls, folder: Path, digest: str | None = None) -> Retriever:
        """Opens a sealed bundle after verifying every byte of it.

        Raises: MissingInputError, CorruptArtifactError: as `bundle.open_bundle`, or its parts do not fit each other.
        """
        return cls(folder, open_bundle(folder, digest))

    def recommend(self, query: Query, k: int, exclude_seen: bool = True, allowed: Filter = EVERYTHING) -> Answer:
        """Answers one request; arguments as in `Asked`."""
        return self.recommend_each([Asked(query, k, exclude_seen, allowed)])[0]

    def recommend_each(self, requests: Sequence[Asked]) -> list[Answer]:
        """Answers requests as each would be alone, to the last bit, in less time.

        One part after the other, each for all of them: a search goes over more memory than a processor keeps at hand,
        and what comes behind it finds code and tables of its own gone. Kernels for many rows at once would be faster
        still, but round otherwise than those for one, and an answer must not hang on who asked beside it.
        """
        turns = [self._encoded(asked) for asked in requests]
        met = [turn for turn in turns if turn.items is None]
        for part in (self._told, self._found, self._ranked):
            for turn in met:
                part(turn)
        return [Answer(turn.items or [], turn.fallback, turn.spent) for turn in turns]

    def _encoded(self, asked: Asked) -> _Turn:
        begun = perf_counter()
        query, k, exclude_seen, allowed = asked
        only = self.catalogue.filters.rows(allowed)
        without = self.catalogue.rows_of(query.item_ids) if exclude_seen else set()
        if allowed.deny:
            without |= self.catalogue.rows_of(allowed.deny)
        features = encode_queries(self.config, self.catalogue.tower_index, [query])
        turn = _Turn(asked, only, without, features, _fallback(query, features, 0))
        encoded = perf_counter()
        turn.spent["features"] = encoded - begun
        if turn.fallback:
            turn.items = self._scored(self.catalogue.popular(k, without, only))
            turn.spent["rank"] = perf_counter() - encoded
        return turn

    def _told(self, turn: _Turn) -> None:
        begun = perf_counter()
        turn.vector_1D = self.tower(turn.features)
        turn.spent["tower"] = perf_counter() - begun

    def _found(self, turn: _Turn) -> None:
        begun = perf_counter()
        query, k, exclude_seen, _ = turn.asked
        # Asking for as many more as may be dropped keeps k answers and is cheaper than a selector over the index.
        depth = self._depth(query, k, turn.without, exclude_seen)
        turn.found = self.index.search(turn.vector_1D, depth, turn.only)
        turn.spent["index"] = perf_counter() - begun

    def _ranked(self, turn: _Turn) -> None:
        begun = perf_counter()
        query, k, exclude_seen, _ = turn.asked
        (scores_K,), (rows_K,) = turn.found
        added = self._added(query, exclude_seen, turn.only, rows_K)
        turn.items = self._scored(self._best(turn.vector_1D[0], (scores_K, rows_K), k, turn.without, added))
        turn.spent["rank"] = perf_counter() - begun

    def similar(self, item_id: str, k: int, allowed: Filter = EVERYTHING) -> Answer:
        """Answers the items whose vectors lie nearest to an item's, itself left out.

        Raises: UnknownItemError: the bundle does not hold that item.
        """
        index = self.catalogue.tower_index.get(item_id)
        if index is None:
            raise UnknownItemError(
                f"The item {item_id!r} is not among the {len(self.catalogue):,} items of this bundle."
            )
        begun = perf_counter()
        only, without = self.catalogue.filters.rows(allowed), {index - 1} | self.catalogue.rows_of(allowed.deny)
        vector_1D = self.index.vectors(np.array([index - 1]))
        read = perf_counter()
        scores_1K, rows_1K = self.index.search(vector_1D, k + len(without), only)
        found = perf_counter()
        items = self._scored(self._best(vector_1D[0], (scores_1K[0], rows_1K[0]), k, without, {}))
        spent = {"features": read - begun, "index": found - read, "rank": perf_counter() - found}
        return Answer(items, None, spent)

    def rank(self, queries: Sequence[Query], k: int, exclude_seen: bool = True) -> list[list[str]]:
        """Answers many queries as `recommend` would, in batches.

        Returns: for each query at most k item ids, best first.
        """
        chunks = (queries[at : at + MAX_BATCH] for at in range(0, len(queries), MAX_BATCH))
        return [ranked for chunk in chunks for ranked in self._rank_chunk(chunk, k, exclude_seen)]

    def _rank_chunk(self, queries: Sequence[Query], k: int, exclude_seen: bool) -> Iterable[list[str]]:
        ids = self.catalogue.ids
        seen_Q = [self.catalogue.rows_of(query.item_ids) if exclude_seen else set() for query in queries]
        features = encode_queries(self.config, self.catalogue.tower_index, queries)
        vectors_QD = self.tower(features)
        depths = [self._depth(query, k, seen, exclude_seen) for query, seen in zip(queries, seen_Q, strict=True)]
        scores_QK, rows_QK = self.index.search(vectors_QD, max(depths))
        for at, (query, seen, depth) in enumerate(zip(queries, seen_Q, depths, strict=True)):
            if _fallback(query, features, at):
                _, rows = self.catalogue.popular(k, seen, None)
            else:
                scores_K, rows_K = scores_QK[at, :depth], rows_QK[at, :depth]
                added = self._added(query, exclude_seen, None, rows_K)
                _, rows = self._best(vectors_QD[at], (scores_K, rows_K), k, seen, added)
            yield [ids[row] for row in rows]

    def _depth(self, query: Query, k: int, without: set[int], exclude_seen: bool) -> int:
        """Returns how many items the index is asked for, so that k are left of them whatever is dropped or added."""
        if query.text:
            return max(k, CANDIDATES) + len(without)
        return k + len(without) + (0 if exclude_seen else len(self.catalogue.rows_of(query.item_ids)))

    def added(self, query: Query, exclude_seen: bool) -> dict[int, float]:
        """Returns what is added to the scores of rows for words or for having been met, beside likeness."""
        rows, added = self._all_added(query, exclude_seen)
        return dict(zip(rows.tolist(), added.tolist(), strict=True))

    def _all_added(self, query: Query, exclude_seen: bool) -> tuple[np.ndarray, np.ndarray]:
        if query.text:
            return self.lexical.added(query.text)
        if exclude_seen:
            return np.zeros(0, np.int64), np.zeros(0)
        return self.repeats.added(query, self.catalogue.tower_index)

    def _added(
        self, query: Query, exclude_seen: bool, only: np.ndarray | None, found_K: np.ndarray
    ) -> dict[int, float]:
        """Returns what is added to the scores of rows that may be answered.

        Args: found_K: rows the index found; those that match best by words come on top.
        """
        if exclude_seen and not query.text:
            return {}
        rows, added = self._all_added(query, exclude_seen)
        if only is not None:
            allowed = np.isin(rows, only)
            rows, added = rows[allowed], added[allowed]
        if query.text:
            kept = np.union1d(greatest(added), np.flatnonzero(np.isin(rows, found_K)))
            rows, added = rows[kept], added[kept]
        return dict(zip(rows.tolist(), added.tolist(), strict=True))

    def _best(
        self,
        vector_D: np.ndarray,
        found: tuple[np.ndarray, np.ndarray],
        k: int,
        without: set[int],
        added: Mapping[int, float],
    ) -> tuple[list[float], list[int]]:
        """Returns scores and rows of the k best of those found and those that something is added to."""
        scores, rows = found[0].tolist(), found[1].tolist()
        if not added:
            places = [place for place, row in enumerate(rows) if row not in without][:k]
            return [scores[place] for place in places], [rows[place] for place in places]
        pairs = zip(scores, rows, strict=True)
        kept = [(score, row) for score, row in pairs if row not in without and row not in added]
        allowed = {row: more for row, more in added.items() if row not in without}
        if allowed:
            likeness = self.index.vectors(np.fromiter(allowed, np.int64)) @ vector_D
            kept += [(like + more, row) for like, (row, more) in zip(likeness.tolist(), allowed.items(), strict=True)]
            kept.sort(key=lambda pair: -pair[0])
        return [score for score, _ in kept[:k]], [row for _, row in kept[:k]]

    def _scored(self, found: tuple[Sequence[float], Sequence[int]]) -> list[Scored]:
        shown = [self.catalogue.columns[name] for name in ("title", "category", "brand", "price")]
        ids, (titles, categories, brands, prices) = self.catalogue.ids, shown
        return [
            Scored(ids[row], score, titles[row], categories[row], brands[row], prices[row])
            for score, row in zip(*found, strict=True)
        ]


def _fallback(query: Query, features: dict[str, np.ndarray], at: int) -> str | None:
    # Histories end at the right, texts begin at the left: where these places are empty, all are.
    if features["history_items"][at, -1] or features["query_text"][at, 0]:
        return None
    if len(query.item_ids):
        return UNKNOWN_ITEMS
    return NO_WORDS if query.text else EMPTY_HISTORY
