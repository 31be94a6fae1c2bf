"""What every model of `accuracy` does alike: try settings on validation within a budget, and answer the test.

A model is a `fit(task, settings)` that yields a function from histories to scores whenever it can be judged: once, or
after each epoch. Its first settings are those its documentation recommends; further ones are drawn at random from
declared choices until the budget is spent. For each sense the answers of whatever found most on validation are kept.
Needs numpy alone, so that it runs in any peer's environment.

Shapes: n items, N events, S sequences, Q queries, K answers.
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

K, DEPTH = 20, 100
"""Settings are chosen by recall@K; DEPTH answers are handed on."""
CELLS_PER_BLOCK = 20_000_000
MOST_TRIALS = 500
ALL_ITEMS, NEW_ITEMS = "all_items", "new_items"

Settings = dict[str, Any]


@dataclass(frozen=True)
class Histories:
    """Lists of items, oldest first: training sequences, or what queries tell.

    Attributes:
        items: int32, item rows end to end; types: uint8, their kinds of event; times: int64, unix seconds.
        offsets: int64, where each list begins, and the end.
        asked: int64, unix seconds at which each query is asked; None for training sequences.
    """

    items: np.ndarray
    types: np.ndarray
    times: np.ndarray
    offsets: np.ndarray
    asked: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice) -> Histories:
        begin, end, _ = rows.indices(len(self))
        offsets = self.offsets[begin : end + 1]
        inside = slice(int(offsets[0]), int(offsets[-1]))
        asked = None if self.asked is None else self.asked[begin:end]
        return Histories(self.items[inside], self.types[inside], self.times[inside], offsets - offsets[0], asked)

    @property
    def rows(self) -> list[np.ndarray]:
        """The items of each."""
        return np.split(self.items, self.offsets[1:-1])

    @property
    def row_of(self) -> np.ndarray:
        """Which list each event belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def last(self, most: int) -> Histories:
        """Keeps the last items of each; all where `most` is 0."""
        if not most:
            return self
        kept = np.arange(len(self.items)) >= self.offsets[1:][self.row_of] - most
        lengths = np.minimum(np.diff(self.offsets), most)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Histories(self.items[kept], self.types[kept], self.times[kept], offsets, self.asked)

    def visits(self, pause_seconds: int = 1800) -> Histories:
        """Parts every list where so long a pause lies between two events."""
        pause = np.flatnonzero(np.diff(self.times) > pause_seconds) + 1
        return Histories(self.items, self.types, self.times, np.union1d(self.offsets, pause))


Scores = Callable[[Histories], np.ndarray]
"""Histories to float [Q, n]."""


class TimeUp(Exception):
    """The budget is spent."""


class Task:
    """One data set, one budget, and the best answers so far.

    Args:
        data: folder with `data.npz` as `benchmarks.accuracy_data` writes it.
        out: folder for `answers.npz` and `trials.json`.
    """

    def __init__(self, data: Path, out: Path, minutes: float, seed: int) -> None:
        self.data, self.out, self.seed = data, out, seed
        with np.load(data / "data.npz") as file:
            arrays = dict(file)
        self.items = int(arrays["n"])
        self.senses: list[str] = arrays["senses"].tolist()
        self.training, self.validation, self.test = (
            Histories(
                *(arrays[f"{part}_{name}"] for name in ("items", "types", "times", "offsets")),
                arrays.get(f"{part}_asked"),
            )
            for part in ("training", "validation", "test")
        )
        self._targets = {
            sense: np.split(arrays[f"{sense}_targets"], arrays[f"{sense}_offsets"][1:-1]) for sense in self.senses
        }
        self.random = np.random.default_rng(seed)
        self._left, self._began = minutes * 60, time.monotonic()
        self._best: dict[str, dict[str, Any]] = {}
        self._trials: list[dict[str, Any]] = []
        self._answers: dict[str, np.ndarray] = {}

    @property
    def newest(self) -> float:
        """Mean over senses of what the model judged last found: what early stopping goes by."""
        return float(np.mean(list(self._trials[-1]["recall"].values())))

    @property
    def seconds_left(self) -> float:
        return self._left - (time.monotonic() - self._began)

    def search(self, fit: Callable[[Task, Settings], Iterator[tuple[Settings, Scores]]], trials: Iterator[Settings]):
        """Tries settings in order until time is up. Before the first answer there is no limit: an answer must be."""
        for settings in trials:
            if self._best and self.seconds_left <= 0:
                break
            models = fit(self, settings)
            while True:
                try:
                    with limited(self.seconds_left if self._best else None):
                        further, scores = next(models)
                except StopIteration:
                    break
                except TimeUp:
                    break
                self._judge({**settings, **further}, scores)
                if self.seconds_left <= 0:
                    break
            models.close()
        self._save()

    def _judge(self, settings: Settings, scores: Scores) -> None:
        ranked = rank(scores, self.validation, self.items, self.senses)
        found = {sense: recall(ranked[sense], self._targets[sense]) for sense in self.senses}
        better = [sense for sense in self.senses if found[sense] > self._best.get(sense, {}).get("recall", -1.0)]
        trial = {"settings": settings, "recall": found, "seconds_left": round(self.seconds_left, 1)}
        self._trials.append(trial)
        print(json.dumps(trial), flush=True)
        if better:
            paused = time.monotonic()
            for sense, answer in rank(scores, self.test, self.items, better).items():
                self._best[sense] = {"settings": settings, "recall": found[sense]}
                self._answers |= {f"validation_{sense}": ranked[sense], f"test_{sense}": answer}
            self._began += time.monotonic() - paused

    def _save(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(self.out / "answers.npz", **self._answers)
        spent = round(self._left - self.seconds_left, 1)
        told = {"seconds": spent, "best": self._best, "trials": self._trials}
        (self.out / "trials.json").write_text(json.dumps(told, indent=1))


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Raises: TimeUp: the block took longer."""

    def end(*_: Any) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, 0 if seconds is None else max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def rank(scores: Scores, histories: Histories, items: int, senses: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns int32 [Q, DEPTH] a sense: the best items' rows, best first, -1 where there are no more."""
    answers = {sense: np.full((len(histories), DEPTH), -1, np.int32) for sense in senses}
    size = max(1, CELLS_PER_BLOCK // items)
    for begin in range(0, len(histories), size):
        block = histories[begin : begin + size]
        scores_Qn = np.array(scores(block), np.float32)
        for sense in sorted(senses):  # all items first: the other changes the scores
            if sense == NEW_ITEMS:
                scores_Qn[block.row_of, block.items] = -np.inf
            best_QK = _best(scores_Qn, min(DEPTH, items))
            answers[sense][begin : begin + len(block), : best_QK.shape[1]] = best_QK
    return answers


def _best(scores_Qn: np.ndarray, k: int) -> np.ndarray:
    some_QK = np.argpartition(-scores_Qn, k - 1, axis=1)[:, :k]
    scores_QK = np.take_along_axis(scores_Qn, some_QK, 1)
    order_QK = np.argsort(-scores_QK, axis=1, kind="stable")
    best_QK = np.take_along_axis(some_QK, order_QK, 1)
    return np.where(np.isfinite(np.take_along_axis(scores_QK, order_QK, 1)), best_QK, -1)


def recall(ranked_QK: np.ndarray, targets: Sequence[np.ndarray]) -> float:
    """Returns mean recall@K over the queries that have targets; those outside the vocabulary are -2, never found."""
    shares = [
        np.isin(wanted, answer[:K]).mean() for answer, wanted in zip(ranked_QK, targets, strict=True) if len(wanted)
    ]
    return float(np.mean(shares)) if shares else 0.0


def drawn(first: Settings, choices: Mapping[str, Sequence[Any]], random: np.random.Generator) -> Iterator[Settings]:
    """Yields the documentation's settings, then others drawn from the choices, none twice."""
    yield first
    seen = [first]
    for _ in range(MOST_TRIALS):
        other = {name: values[int(random.integers(len(values)))] for name, values in choices.items()}
        if other not in seen:
            seen.append(other)
            yield other


def main(
    fit: Callable[[Task, Settings], Iterator[tuple[Settings, Scores]]],
    first: Settings,
    choices: Mapping[str, Sequence[Any]],
) -> None:
    """The command of every model: `python -m benchmarks.peers.NAME DATA OUT --minutes 10 --seed 1`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    asked = parser.parse_args()
    task = Task(asked.data, asked.out, asked.minutes, asked.seed)
    task.search(fit, drawn(first, choices, task.random))
