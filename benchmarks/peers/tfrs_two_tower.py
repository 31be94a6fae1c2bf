"""TensorFlow Recommenders' two towers: the last items through an embedding and a GRU or a mean, against item vectors.

As in its sequential-retrieval tutorial: the query is the last 10 items, GRU, Adagrad at 0.1, in-batch softmax. The
choices add its other means: Adam, temperature, sampling-probability correction and removal of accidental hits.

Shapes: T targets, L length of the history shown, D dim.
"""

from __future__ import annotations

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from benchmarks.peers.search import Histories, Scores, Settings, Task, main

FIRST = {
    "pooling": "gru", "length": 10, "dim": 32, "optimizer": "adagrad", "learning_rate": 0.1, "batch": 1024,
    "temperature": None, "correct": True, "shared": False, "unit": False, "before_moment": False,
}  # fmt: skip
CHOICES = {
    "pooling": ["gru", "mean"],
    "length": [5, 10, 20],
    "dim": [32, 64, 128],
    "optimizer": ["adam"],
    "learning_rate": [0.0005, 0.001, 0.003, 0.01],
    "batch": [512, 1024, 2048],
    "temperature": [0.05, 0.07, 0.1],
    "correct": [True],
    "shared": [True, False],
    "unit": [True],
    "before_moment": [False, True],
}
EPOCHS, PATIENCE = 50, 3
OPTIMIZERS = {"adam": tf.keras.optimizers.Adam, "adagrad": tf.keras.optimizers.Adagrad}


class TwoTower(tfrs.Model):
    """Item 0 is padding."""

    def __init__(self, items: int, settings: Settings, probability_n1: np.ndarray) -> None:
        super().__init__()
        dim = settings["dim"]
        self.candidates = tf.keras.layers.Embedding(items + 1, dim)
        self.met = self.candidates if settings["shared"] else tf.keras.layers.Embedding(items + 1, dim)
        self.pool = tf.keras.layers.GRU(dim) if settings["pooling"] == "gru" else None
        self.dense = tf.keras.layers.Dense(dim)
        self.unit = settings["unit"]
        self.probability_n1 = tf.constant(probability_n1, tf.float32) if settings["correct"] else None
        self.task = tfrs.tasks.Retrieval(temperature=settings["temperature"], remove_accidental_hits=True)

    def queries(self, history_TL: tf.Tensor) -> tf.Tensor:
        known_TL = history_TL > 0
        vectors_TLD = self.met(history_TL)
        if self.pool is not None:
            pooled_TD = self.pool(vectors_TLD, mask=known_TL)
        else:
            shown_TL1 = tf.cast(known_TL, tf.float32)[:, :, tf.newaxis]
            pooled_TD = tf.math.divide_no_nan(tf.reduce_sum(vectors_TLD * shown_TL1, 1), tf.reduce_sum(shown_TL1, 1))
        return self._formed(self.dense(pooled_TD))

    def items(self, items_T: tf.Tensor) -> tf.Tensor:
        return self._formed(self.candidates(items_T))

    def _formed(self, vectors_TD: tf.Tensor) -> tf.Tensor:
        return tf.math.l2_normalize(vectors_TD, 1) if self.unit else vectors_TD

    def compute_loss(self, features, training: bool = False) -> tf.Tensor:  # type: ignore[no-untyped-def]
        history_TL, targets_T = features
        drawn_T = None if self.probability_n1 is None else tf.gather(self.probability_n1, targets_T)
        return self.task(
            self.queries(history_TL),
            self.items(targets_T),
            candidate_sampling_probability=drawn_T,
            candidate_ids=targets_T,
            compute_metrics=False,
        )


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Scores]]:
    tf.keras.utils.set_random_seed(task.seed)
    ends_T, targets_T = examples(task.training, settings["before_moment"])
    counts_n1 = np.bincount(targets_T, minlength=task.items + 1)
    model = TwoTower(task.items, settings, np.maximum(counts_n1, 1) / len(targets_T))
    model.compile(OPTIMIZERS[settings["optimizer"]](settings["learning_rate"]))
    starts_N = task.training.offsets[task.training.row_of]
    random, best, stale = np.random.default_rng(task.seed), -1.0, 0

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order_T = random.permutation(len(ends_T))
        for begin in range(0, len(order_T) - settings["batch"] + 1, settings["batch"]):
            chosen = order_T[begin : begin + settings["batch"]]
            begins = starts_N[ends_T[chosen]]
            yield shown(task.training.items, begins, ends_T[chosen] + 1, settings["length"]), targets_T[chosen]

    signature = (tf.TensorSpec((None, settings["length"]), tf.int32), tf.TensorSpec((None,), tf.int32))
    for epoch in range(1, EPOCHS + 1):
        data = tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)
        loss = model.fit(data, verbose=0).history["loss"][-1]
        yield {"epoch": epoch}, scorer(model, task.items, settings["length"])
        stale = 0 if task.newest > best else stale + 1
        best = max(best, task.newest)
        if stale >= PATIENCE or not np.isfinite(loss):
            return


def examples(training: Histories, before_moment: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns the place of the last event shown of each target, and the target's item from 1.

    Args:
        before_moment: what has the target's own time is not shown.
    """
    places_N, starts_N = np.arange(len(training.items)), training.offsets[training.row_of]
    moments_N = places_N
    if before_moment:
        begins = (np.diff(training.times, prepend=-1) != 0) | (places_N == starts_N)
        moments_N = np.maximum.accumulate(np.where(begins, places_N, 0))
    told = moments_N > starts_N
    return moments_N[told] - 1, training.items[told].astype(np.int32) + 1


def shown(items_N: np.ndarray, begins_T: np.ndarray, ends_T: np.ndarray, length: int) -> np.ndarray:
    """Returns int32 [T, L]: the last items from 1, the newest last, 0 in front."""
    places_TL = ends_T[:, np.newaxis] - np.arange(length, 0, -1)
    inside_TL = places_TL >= begins_T[:, np.newaxis]
    return np.where(inside_TL, items_N[np.maximum(places_TL, 0)] + 1, 0).astype(np.int32)


def scorer(model: TwoTower, items: int, length: int) -> Scores:
    vectors_nD = model.items(tf.range(1, items + 1)).numpy()

    def scores(histories: Histories) -> np.ndarray:
        items_N = histories.items if len(histories.items) else np.zeros(1, np.int32)
        rows = shown(items_N, histories.offsets[:-1], histories.offsets[1:], length)
        return model.queries(tf.constant(rows)).numpy() @ vectors_nD.T

    return scores


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    main(fit, FIRST, CHOICES)
