"""Training examples by batched gather from the flat arrays: every draw is a function of seed, epoch and step.

Shapes: B targets, b those of one replica, W windows of one replica, S events of a window, U items of one replica,
M uniform negatives, H hard ones, E exposed, T targets, N events, L history length, X length of the longest text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.schema import EVENT_TYPES
from pipeline.core.sections import Train
from pipeline.model.config import TowerConfig
from pipeline.model.context import encode_contexts
from pipeline.model.text import encode_texts, trimmed
from pipeline.train.batch import Batch, lay_out, padded
from pipeline.train.negatives import Categories
from pipeline.train.prepared import Prepared
from pipeline.train.windows import Windows

ORDER, DRAWS = 0, 1
WINDOWS_MULTIPLE = 64
"""Windows of a step are padded to a multiple, so that few shapes are compiled."""
UNTIMED_EVERY, UNPLACED_EVERY = 8, 8
"""One window of so many, others each step, keeps its times or its contexts to itself, so that requests without them are
answered."""


@dataclass(frozen=True)
class Drawn:
    """What one step learns from, or one replica of it.

    Attributes:
        chosen_B: int64, the targets. windows_B: the window of each. asked_B: int64, from which event it is asked.
        text_BX: int32, the text it is asked with. alone_B: bool, its history is not shown.
        uniform_M, hard_BH: int64, item indices.
    """

    chosen_B: np.ndarray
    windows_B: np.ndarray
    asked_B: np.ndarray
    text_BX: np.ndarray
    alone_B: np.ndarray
    uniform_M: np.ndarray
    hard_BH: np.ndarray

    def split(self, replicas: int) -> list[Drawn]:
        """Parts every array evenly."""
        columns = [np.split(values, replicas) for values in vars(self).values()]
        return [Drawn(*column) for column in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Examples:
    """Turns targets into what one step learns from.

    A target is told by the history before its very moment (what is bought at once does not tell itself), or by the
    text that found it; one with neither is left out.

    Attributes:
        places_T: int64, where each target stands in the flat arrays.
        asked_T: int64, the last event before its moment, or before the search it answers; earlier_T: the last one
            before its visit, or that search. Where there is none both are its own place.
        alone_T: bool, no history came before.
        exposed_T2: int64, where what was shown before it and not chosen begins and ends.
        weights_T: float32, mean 1, how much each target counts.
        negatives_n: int64, indices of the items that uniform negatives are drawn from.
        categories: where hard negatives are drawn from.
        described_n1: bool, which items have any content.
        title_n1X, text_QX, context_K1C: int32, encoded titles by item index, searches, and contexts, the
            last of which is none.
    """

    prepared: Prepared
    config: TowerConfig
    settings: Train
    replicas: int
    windows: Windows
    places_T: np.ndarray
    queries_T: np.ndarray
    asked_T: np.ndarray
    earlier_T: np.ndarray
    alone_T: np.ndarray
    exposed_T2: np.ndarray
    weights_T: np.ndarray
    negatives_n: np.ndarray
    categories: Categories
    described_n1: np.ndarray
    title_n1X: np.ndarray
    text_QX: np.ndarray
    context_K1C: np.ndarray

    @classmethod
    def build(
        cls, prepared: Prepared, config: TowerConfig, settings: Train, title_n1X: np.ndarray, replicas: int = 1
    ) -> Examples:
        """Raises: DataError: no target has anything to be told by."""
        starts_N = _sequence_starts(prepared)
        moments_N = _run_starts(prepared, starts_N, 0)
        told_T = (moments_N[prepared.targets_T] > starts_N[prepared.targets_T]) | (prepared.queries_T >= 0)
        places_T, queries_T = prepared.targets_T[told_T], prepared.queries_T[told_T]
        if not len(places_T):
            raise DataError(
                f"None of the {len(prepared.targets_T)} training targets has an event before it or a search that it "
                "answers, so there is nothing to tell them by; prepare a longer window."
            )
        searched_T = prepared.searched_T[told_T]
        asks_T = np.where(queries_T >= 0, searched_T, moments_N[places_T])
        visits_N = _run_starts(prepared, starts_N, settings.visit_pause_minutes * 60)
        starts_T, visits_T = starts_N[places_T], np.where(queries_T >= 0, searched_T, visits_N[places_T])
        alone_T = asks_T == starts_T
        asked_T = np.where(alone_T, places_T, asks_T - 1)
        windows = Windows.cut(asked_T, starts_T, config.history_length)
        begins_T = windows.begins_W[windows.of(np.arange(len(places_T)))]
        earlier_T = np.where(alone_T | (visits_T <= begins_T), asked_T, visits_T - 1)
        offsets_T1 = prepared.exposed_offsets_T1
        exposed_T2 = np.stack([offsets_T1[:-1], offsets_T1[1:]], 1)[told_T]
        weights_T = target_weights(prepared.types_N[places_T], prepared.times_N[places_T], settings)
        negatives_n = np.flatnonzero(~prepared.new_n1(settings.new_item_days)[1:]) + 1
        categories = Categories.of([item.category for item in prepared.items], prepared.probability_n1)
        text_QX = trimmed(encode_texts(prepared.queries, config.text_length, config.text_buckets))
        title_n1X = trimmed(title_n1X)
        width = max(text_QX.shape[1], title_n1X.shape[1])
        title_n1X, text_QX = (np.pad(ids, ((0, 0), (0, width - ids.shape[1]))) for ids in (title_n1X, text_QX))
        contexts = prepared.contexts if config.context_buckets else []
        context_K1C = encode_contexts([*contexts, None], config.context_buckets)
        return cls(
            prepared, config, settings, replicas, windows, places_T, queries_T, asked_T, earlier_T, alone_T, exposed_T2,
            weights_T, negatives_n, categories, prepared.described_n1, title_n1X, text_QX, context_K1C,
        )  # fmt: skip

    @property
    def steps(self) -> int:
        """Batches an epoch; the last wraps around to the epoch's first targets, so that all are of one size."""
        return -(-len(self.places_T) // self.settings.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """Returns int64 [T], the order of this epoch's targets."""
        draw = np.random.default_rng([self.settings.seed, ORDER, epoch])
        return self.windows.shuffled(draw, self.settings.batch_size)

    def batch(self, order_T: np.ndarray, epoch: int, step: int) -> Batch:
        """Returns the inputs of one step; those of the replicas lie end to end, each array of equal parts.

        Returns: int32 `items` [U], the items a replica needs, 0 first, and bool `known` [U], false where the item tower
            sees an item as new; int32 `events`, `types`, `pauses` [W, S] (events are places in `items`, 0 padding), and
            `now_pauses` [W, S], how long after each it is asked; int32 `rows`, `columns` [b], from which event a target
            is asked, bool `alone` [b]: its history is not shown; int32 `query_text` [b, X] and, if the towers read
            contexts, `query_context` [b, C]; int32 `targets` [b], `uniform` [M], `hard` [b, H] and `exposed` [b, E],
            places in `items`, 0 for none; int32 `windows` [b], which targets of one stretch of a sequence share;
            float32 `weight` [b] with mean 1 over an epoch.
        """
        draw = np.random.default_rng([self.settings.seed, DRAWS, epoch, step])
        drawn = self._draw(draw, order_T, step)
        known_n1 = self._known(draw)
        parts = drawn.split(self.replicas)
        width = self.windows.sizes[self.windows.kinds_W[drawn.windows_B].max()]
        height = padded(max(len(np.unique(part.windows_B)) for part in parts), WINDOWS_MULTIPLE)
        hidden = int(draw.integers(UNTIMED_EVERY)), int(draw.integers(UNPLACED_EVERY))
        return lay_out([self._gather(part, (height, width), *hidden) for part in parts], known_n1)

    def _draw(self, draw: np.random.Generator, order_T: np.ndarray, step: int) -> Drawn:
        size, settings = self.settings.batch_size, self.settings
        chosen_B = order_T[np.arange(step * size, (step + 1) * size) % len(order_T)]
        earlier_B = draw.random(size) < settings.next_visit_share
        asked_B = np.where(earlier_B, self.earlier_T[chosen_B], self.asked_T[chosen_B])
        text_BX, alone_B = self._text(draw, chosen_B)
        uniform_M = self.negatives_n[draw.integers(0, len(self.negatives_n), settings.uniform_negatives)]
        luck_BH = draw.random((size, settings.hard_negatives))
        hard_BH = self.categories.drawn(luck_BH, self.prepared.items_N[self.places_T[chosen_B]])
        return Drawn(chosen_B, self.windows.of(chosen_B), asked_B, text_BX, alone_B, uniform_M, hard_BH)

    def _gather(self, drawn: Drawn, shape: tuple[int, int], untimed: int, unplaced: int) -> dict[str, np.ndarray]:
        """Returns what one replica learns from, items as indices, in so many windows of so many events."""
        prepared, windows_b = self.prepared, drawn.windows_B
        windows_W, rows_b = np.unique(windows_b, return_inverse=True)
        places_WS, inside_WS = self._places(windows_W, shape)
        timed_WS = inside_WS.copy()
        timed_WS[np.flatnonzero(windows_W % UNTIMED_EVERY == untimed)] = False
        return self._context(drawn, unplaced) | {
            "events": np.where(inside_WS, prepared.items_N[places_WS], 0),
            "types": np.where(inside_WS, prepared.types_N[places_WS].astype(np.int32) + 1, 0),
            "pauses": np.where(timed_WS, prepared.pauses_N1[places_WS], 0),
            "now_pauses": np.where(timed_WS, prepared.pauses_N1[places_WS + 1], 0),
            "rows": rows_b,
            "columns": drawn.asked_B - self.windows.begins_W[windows_b],
            "alone": drawn.alone_B,
            "query_text": drawn.text_BX,
            "targets": prepared.items_N[self.places_T[drawn.chosen_B]],
            "uniform": drawn.uniform_M,
            "hard": drawn.hard_BH,
            "exposed": self._exposed(drawn.chosen_B),
            "windows": windows_b,
            "weight": self.weights_T[drawn.chosen_B],
        }

    def _context(self, drawn: Drawn, unplaced: int) -> dict[str, np.ndarray]:
        """Returns the context of each target's own event, if the towers read contexts."""
        if not self.config.context_buckets:
            return {}
        placed_b = drawn.windows_B % UNPLACED_EVERY != unplaced
        said_b = self.prepared.contexts_N[self.places_T[drawn.chosen_B]]
        return {"query_context": self.context_K1C[np.where(placed_b, said_b, -1)]}

    def _places(self, windows_W: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Returns int64 places [W, S] and bool [W, S], whether the window reaches so far."""
        rows, size = shape
        begins_W, lengths_W = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        begins_W[: len(windows_W)] = self.windows.begins_W[windows_W]
        lengths_W[: len(windows_W)] = self.windows.lengths_W[windows_W]
        inside_WS = np.arange(size) < lengths_W[:, np.newaxis]
        return np.where(inside_WS, begins_W[:, np.newaxis] + np.arange(size), 0), inside_WS

    def _exposed(self, chosen_b: np.ndarray) -> np.ndarray:
        """Returns int32 [b, E], the newest of what was shown, newest first; 0 behind the last."""
        begins_b1, ends_b1 = np.split(self.exposed_T2[chosen_b], 2, axis=1)
        places_bE = ends_b1 - 1 - np.arange(self.settings.exposed_negatives)
        shown_bE = places_bE >= begins_b1
        exposed_bE = np.zeros(places_bE.shape, np.int32)
        exposed_bE[shown_bE] = self.prepared.exposed_X[places_bE[shown_bE]]
        return exposed_bE

    def _text(self, draw: np.random.Generator, chosen_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gives targets of a search their query, a share of the others their title; most of them without history."""
        query_B = self.queries_T[chosen_B]
        searched_B = query_B >= 0
        lucky_B = draw.random(len(chosen_B)) < self.settings.title_share
        titled_B = ~searched_B & lucky_B & self.title_n1X[self.prepared.items_N[self.places_T[chosen_B]]].any(axis=1)
        text_BX = np.zeros((len(chosen_B), self.text_QX.shape[1]), np.int32)
        text_BX[searched_B] = self.text_QX[query_B[searched_B]]
        titles = self.title_n1X[self.prepared.items_N[self.places_T[chosen_B[titled_B]]]]
        kept = draw.random(titles.shape) < draw.uniform(0.3, 1.0, (len(titles), 1))
        text_BX[titled_B] = np.where(kept, titles, 0)
        return text_BX, self.alone_T[chosen_B] | titled_B | (searched_B & (draw.random(len(chosen_B)) < 0.5))

    def _known(self, draw: np.random.Generator) -> np.ndarray:
        """Returns bool [n + 1]. Some ids are hidden, so that the tower learns to place an item by its content, where it
        has any; of items that were no target always."""
        sold_n1 = self.prepared.probability_n1 > 0
        return sold_n1 & (~self.described_n1 | (draw.random(len(sold_n1)) >= self.settings.id_dropout))


def target_weights(types_T: np.ndarray, times_T: np.ndarray, settings: Train) -> np.ndarray:
    """Returns float32 [T], mean 1: by type of event, and less the older it is.

    Raises: DataError: all of them weigh nothing.
    """
    by_type = {"view": settings.view_weight, "cart": settings.cart_weight, "purchase": settings.purchase_weight}
    weights_T = np.array([by_type.get(name, 0.0) for name in EVENT_TYPES])[types_T]
    if not weights_T.any():
        raise DataError(
            f"All {len(types_T)} training targets are of types that weigh nothing ("
            + ", ".join(f"train.{name}_weight={weight}" for name, weight in by_type.items())
            + "); give a type that the log holds a weight above 0."
        )
    weights_T = weights_T * recency_weights(times_T, settings.half_life_share)
    return (weights_T / weights_T.mean()).astype(np.float32)


def recency_weights(times_T: np.ndarray, half_life_share: float) -> np.ndarray:
    """Returns float32 [T], mean 1: one half-life, a share of the time from first to last, halves what counts."""
    seconds = np.ptp(times_T) * half_life_share
    if not seconds:
        return np.ones(len(times_T), np.float32)
    weights_T = 0.5 ** ((times_T.max() - times_T) / seconds)
    return (weights_T / weights_T.mean()).astype(np.float32)


def _sequence_starts(prepared: Prepared) -> np.ndarray:
    return np.repeat(prepared.offsets_S1[:-1], np.diff(prepared.offsets_S1))


def _run_starts(prepared: Prepared, starts_N: np.ndarray, pause_seconds: float) -> np.ndarray:
    """Returns int64 [N]: for each event the first of its run, no two of which lie further apart than the pause."""
    places_N = np.arange(len(starts_N))
    pause_N = np.diff(prepared.times_N, prepend=prepared.times_N[:1]) > pause_seconds
    return np.maximum.accumulate(np.where(pause_N | (places_N == starts_N), places_N, 0))
