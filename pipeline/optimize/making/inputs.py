"""What train and prepare handed on, as recipes need it; read once, costly parts only when a recipe asks.

Shapes: n items, N events, T targets, B lessons, L history length.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import CorruptArtifactError, DataError
from pipeline.model.bundle import LEXICAL, REPEATS
from pipeline.model.catalogue import COLUMNS, Catalogue
from pipeline.model.config import TowerConfig
from pipeline.model.context import encode_contexts
from pipeline.model.features import encode_queries, sequence_pauses
from pipeline.model.lexical import Lexical
from pipeline.model.repeats import Repeats
from pipeline.model.text import encode_texts
from pipeline.optimize.judged import Judged

MAX_LESSONS = 50_000
TITLE_SHARE = 0.1
SEED = 29
UNPLACED_EVERY = 8
PROBES = 512


@dataclass(frozen=True)
class Inputs:
    """One run's towers and data."""

    prepared: Artifact
    trained: Artifact
    metric: str

    @cached_property
    def config(self) -> TowerConfig:
        return TowerConfig.load(self.trained.file("towers.json"))

    @cached_property
    def repeats(self) -> Repeats:
        return Repeats.load(self.trained.file(REPEATS))

    @cached_property
    def lexical(self) -> Lexical:
        return Lexical.load(self.trained.file(LEXICAL), self.catalogue.columns["title"])

    @cached_property
    def judged(self) -> Judged:
        return Judged.load(self.prepared, self.metric)

    @cached_property
    def catalogue(self) -> Catalogue:
        table = parquet.read_table(self.prepared.file("items.parquet")).sort_by("index")
        return Catalogue({name: table[name].to_pylist() for name in COLUMNS})

    @cached_property
    def item_vectors(self) -> np.ndarray:
        """float32 [n, dim], in catalogue order.

        Raises: DataError: training and preparation do not hold the same items.
        """
        vectors_n1D = np.load(self.trained.file("item_vectors.npy"))
        if len(vectors_n1D) != len(self.catalogue) + 1:
            raise DataError(
                f"{self.trained.path}: holds vectors of {len(vectors_n1D) - 1} items and {self.prepared.path} "
                f"{len(self.catalogue)}; run train again for this prepare."
            )
        return vectors_n1D[1:]

    @cached_property
    def probes(self) -> np.ndarray:
        """float32 [Q, dim], vectors of validation queries: how many lists are looked at is settled with them."""
        features = encode_queries(self.config, self.catalogue.tower_index, self.judged.queries[:PROBES])
        return self.query_tower.predict(features, batch_size=PROBES, verbose=0)

    @cached_property
    def words(self) -> tuple[np.ndarray, np.ndarray]:
        """Vectors and logits of words, as `stripping.word_table`."""
        from pipeline.model.stripping import word_table

        return word_table(self.query_tower)

    @cached_property
    def facts(self) -> dict[str, Any]:
        keys = {"prepare": self.prepared.key, "train": self.trained.key}
        return {"data_end": self.prepared.json("split.json")["data_end"], "keys": keys}

    @cached_property
    def query_tower(self) -> Any:
        from pipeline.model.towers import build_query_tower

        return self._with_weights(build_query_tower(self.config), "query_tower.weights.h5")

    @cached_property
    def item_tower(self) -> Any:
        from pipeline.model.towers import build_item_tower

        return self._with_weights(build_item_tower(self.config), "item_tower.weights.h5")

    def _with_weights(self, tower: Any, name: str) -> Any:
        path = self.trained.file(name)
        try:
            tower.load_weights(str(path))
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise CorruptArtifactError(
                f"{path}: these weights do not load into a tower of {self.trained.path / 'towers.json'} "
                f"({(str(error).splitlines() or [''])[0][:120]}); run train again with --force."
            ) from None
        return tower

    @cached_property
    def lessons(self) -> Any:
        """`distil.Lessons`: at most `MAX_LESSONS` real training queries with the float tower's vectors."""
        from pipeline.optimize.towers.distil import Lessons

        features = self.lesson_features()
        return Lessons(features, self.query_tower.predict(features, batch_size=1024, verbose=0))

    def lesson_features(self) -> dict[str, np.ndarray]:
        """Returns the query tower's inputs for drawn training targets: each with the history that led to it.

        One that answers a search is asked for when the search was made. A search keeps its text, half of them without
        history; a share of the others asks by title alone.
        """
        draw = np.random.default_rng(SEED)
        targets_T, queries_T, searched_T = (
            np.load(self.prepared.file(f"{name}.npy")) for name in ("targets", "target_queries", "target_searched")
        )
        asked_T = np.where(queries_T >= 0, searched_T, targets_T)
        chosen_B = np.sort(draw.permutation(len(targets_T))[:MAX_LESSONS])
        items_N = np.load(self.prepared.file("sequence_items.npy"), mmap_mode="r")
        items_BL, types_BL, pauses_BL, now_B1 = told = self._histories(items_N, asked_T[chosen_B])
        query_B, chance_B = queries_T[chosen_B], draw.random(len(chosen_B))
        titled_B = (query_B < 0) & (chance_B < TITLE_SHARE)
        alone_B = titled_B | ((query_B >= 0) & (chance_B < 0.5))
        for each in told:
            each[alone_B] = 0
        searches, titles = self.prepared.json("queries.json"), self.catalogue.columns["title"]
        bought_B = items_N[targets_T[chosen_B]]
        texts = [
            searches[query] if query >= 0 else titles[item - 1] if titled else None
            for query, titled, item in zip(query_B.tolist(), titled_B.tolist(), bought_B.tolist(), strict=True)
        ]
        text_BW = encode_texts(texts, self.config.text_length, self.config.text_buckets)
        return self._contexts(targets_T[chosen_B]) | {
            "history_items": items_BL,
            "history_types": types_BL,
            "history_pauses": pauses_BL,
            "now_pause": now_B1,
            "query_text": text_BW,
        }

    def _contexts(self, places_B: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the contexts of these events, one in `UNPLACED_EVERY` hidden, if the towers read contexts."""
        if not self.config.context_buckets:
            return {}
        contexts = encode_contexts([*self.prepared.json("contexts.json"), None], self.config.context_buckets)
        said_B = np.load(self.prepared.file("sequence_contexts.npy"), mmap_mode="r")[places_B]
        placed_B = np.arange(len(places_B)) % UNPLACED_EVERY > 0
        return {"query_context": contexts[np.where(placed_B, said_B, -1)]}

    def _histories(self, items_N: np.ndarray, places_B: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns int32 items, types and pauses [B, L], and how long after the last of them it was asked [B, 1]."""
        offsets_S1 = np.load(self.prepared.file("sequence_offsets.npy"))
        types_N, times_N = (
            np.load(self.prepared.file(f"sequence_{name}.npy"), mmap_mode="r") for name in ("types", "times")
        )
        pauses_N1 = sequence_pauses(times_N, offsets_S1)
        first_B = offsets_S1[np.searchsorted(offsets_S1, places_B, side="right") - 1]
        places_BL = places_B[:, None] + np.arange(-self.config.history_length, 0)
        inside_BL = places_BL >= first_B[:, None]
        safe_BL = np.where(inside_BL, places_BL, 0)
        told = items_N[safe_BL], types_N[safe_BL].astype(np.int32) + 1, pauses_N1[safe_BL]
        histories = (np.where(inside_BL, values_BL, 0).astype(np.int32) for values_BL in told)
        return *histories, pauses_N1[places_B, None].astype(np.int32)
