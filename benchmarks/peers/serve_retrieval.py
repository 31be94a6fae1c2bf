"""What the peers of `serve` answer with: from a history to features, tower, search in the same index, shown fields.

Features and catalogue are this project's own, so that everybody does the same work; the tower is whatever a peer runs.
Imports nothing that a peer's environment does not have.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipeline.model.bundle import INDEX, ITEMS, TOWERS
from pipeline.model.catalogue import Catalogue
from pipeline.model.config import TowerConfig
from pipeline.model.features import Query, encode_queries

SHOWN = ("item_id", "title", "category", "brand", "price")
VectorsOf = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def model_folder() -> Path:
    """Returns where the model lies, which a server is told by its environment."""
    return Path(os.environ["SERVE_MODEL"])


class Retrieval:
    """Answers one request at a time, on one thread."""

    def __init__(self, bundle: Path, vectors_of: VectorsOf) -> None:
        faiss.omp_set_num_threads(1)
        self._config, self._catalogue = TowerConfig.load(bundle / TOWERS), Catalogue.load(bundle / ITEMS)
        self._index = faiss.read_index(str(bundle / INDEX), faiss.IO_FLAG_MMAP_IFC)
        self._vectors_of = vectors_of
        self._columns = [self._catalogue.columns[name] for name in SHOWN]

    def answer(
        self, ids: Sequence[str], kinds: Sequence[str], times: Sequence[float | None], now: float, k: int, unseen: bool
    ) -> dict[str, Any]:
        """Answers a history.

        Args: times: unix seconds of its events, or None. unseen: what was met is left out of the answer.
        """
        if None not in times:
            order = sorted(range(len(ids)), key=times.__getitem__)
            ids, kinds, times = ([values[place] for place in order] for values in (ids, kinds, times))
        told = [] if None in times else times
        features = encode_queries(self._config, self._catalogue.tower_index, [Query(ids, kinds, None, told, now)])
        seen = self._catalogue.rows_of(ids) if unseen else set()
        if not features["history_items"].any():
            scores, rows = self._catalogue.popular(k, seen, None)
            return {"items": self._shown(scores, rows), "fallback": "unknown_items" if ids else "empty_history"}
        scores_1K, rows_1K = self._index.search(self._vectors_of(features), k + len(seen))
        pairs = zip(scores_1K[0].tolist(), rows_1K[0].tolist(), strict=True)
        kept = [pair for pair in pairs if pair[1] not in seen][:k]
        return {"items": self._shown(*zip(*kept, strict=True)), "fallback": None}

    def _shown(self, scores: Sequence[float], rows: Sequence[int]) -> list[dict[str, Any]]:
        ids, titles, categories, brands, prices = self._columns
        return [
            {
                "item_id": ids[row],
                "score": score,
                "title": titles[row],
                "category": categories[row],
                "brand": brands[row],
                "price": prices[row],
            }
            for score, row in zip(scores, rows, strict=True)
        ]


def onnx_tower(folder: Path) -> VectorsOf:
    """Returns the tower run by ONNX Runtime on one thread, as its documentation sets one for a single request."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    path = str(folder / "onnx" / "model.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda features: session.run(["vectors"], dict(features))[0]


def saved_model_tower(folder: Path) -> VectorsOf:
    """Returns the tower run by TensorFlow on one thread."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    loaded = tf.saved_model.load(str(folder))
    ask = loaded.signatures["serving_default"]

    def vectors_of(features: Mapping[str, np.ndarray]) -> np.ndarray:
        return ask(**{name: tf.constant(values) for name, values in features.items()})["vectors"].numpy()

    # The signature borrows the variables of what was loaded.
    vectors_of.held = loaded  # type: ignore[attr-defined]
    return vectors_of
