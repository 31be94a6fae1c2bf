"""TensorFlow Recommenders' two towers, timed: `python -m benchmarks.peers.tfrs_speed FOLDER OUT --reading mean …`.

The model is that of `tfrs_two_tower`, fed as the documentation feeds one: `shuffle(100_000).batch(size).cache()`.

Shapes: N events, T targets, Q queries, L history length.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.peers.tfrs_two_tower import TwoTower, tf
from pipeline.model.metrics import recall_at_k

SHUFFLED = 100_000
QUERIES_PER_BLOCK = 1024
PATIENCE = 3
FORM = {"temperature": 0.07, "correct": True, "shared": False, "unit": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--reading", choices=("mean", "gru"), required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    given = parser.parse_args()
    asked = json.loads((given.folder / "asked.json").read_text())
    with np.load(given.folder / "arrays.npz") as arrays:
        told = _learn(given, asked, dict(arrays))
    given.out.write_text(json.dumps(told))


def _learn(given: argparse.Namespace, asked: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns the seconds to the end of each epoch, judging not counted, and what was found then."""
    tf.keras.utils.set_random_seed(17)
    begun = perf_counter()
    history_TL, target_T = _examples(arrays, asked["history_length"])
    counts_n1 = np.maximum(np.bincount(target_T, minlength=asked["items"] + 1), 1)
    settings = {**FORM, "pooling": given.reading, "dim": asked["dim"]}
    model = TwoTower(asked["items"], settings, counts_n1 / len(target_T))
    model.compile(tf.keras.optimizers.Adam(given.learning_rate))
    data = tf.data.Dataset.from_tensor_slices((history_TL, target_T))
    data = data.shuffle(SHUFFLED).batch(asked["batch_size"]).cache()
    seconds, epochs = perf_counter() - begun, []
    while len(epochs) < given.epochs and not _stale(epochs):
        begun = perf_counter()
        model.fit(data, epochs=1, verbose=0)
        spent = perf_counter() - begun
        seconds += spent
        recall = _recall(model, asked, arrays["asked_histories"])
        epochs.append({"seconds": seconds, "recall": recall, "targets_per_second": len(target_T) / spent})
    return {"targets": len(target_T), "epochs": epochs}


def _examples(arrays: dict[str, np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns int32 [T, L], what stands before each target in its sequence, right-aligned, and the targets' items."""
    items_N, offsets_S1, places_T = arrays["items"], arrays["offsets"], arrays["targets"]
    starts_T = offsets_S1[np.searchsorted(offsets_S1, places_T, side="right") - 1]
    places_T, starts_T = (values[places_T > starts_T] for values in (places_T, starts_T))
    before_TL = places_T[:, np.newaxis] + np.arange(-length, 0)
    inside_TL = before_TL >= starts_T[:, np.newaxis]
    history_TL = np.where(inside_TL, items_N[np.where(inside_TL, before_TL, 0)], 0)
    return history_TL.astype(np.int32), items_N[places_T]


def _stale(epochs: list[dict[str, float]]) -> bool:
    recalls = [epoch["recall"] for epoch in epochs]
    return bool(recalls) and len(recalls) - 1 - int(np.argmax(recalls)) >= PATIENCE


def _recall(model: TwoTower, asked: dict[str, Any], history_QL: np.ndarray) -> float:
    """Returns mean recall@k over the whole catalogue, what the history holds left out."""
    items_nD = model.items(tf.range(1, asked["items"] + 1)).numpy()
    ranked: list[list[int]] = []
    for begin in range(0, len(history_QL), QUERIES_PER_BLOCK):
        scores_Qn = model.queries(tf.constant(history_QL[begin : begin + QUERIES_PER_BLOCK])).numpy() @ items_nD.T
        for row, seen in zip(scores_Qn, asked["seen"][begin:], strict=False):
            row[np.array(seen, np.int64) - 1] = -np.inf
        ranked += (np.argpartition(-scores_Qn, asked["k"], axis=1)[:, : asked["k"]] + 1).tolist()
    return float(np.mean(recall_at_k(ranked, asked["wanted"], asked["k"])))


if __name__ == "__main__":
    main()
