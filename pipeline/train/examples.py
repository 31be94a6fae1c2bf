"""Training examples by batched gather from the flat arrays: every draw is a function of seed, epoch and step.

Shapes: B batch, L history length, W text length, M uniform negatives, T targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.core.sections import Train
from pipeline.model.config import TowerConfig
from pipeline.model.text import encode_texts
from pipeline.train.prepared import Prepared

ORDER, DRAWS = 0, 1
Batch = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Examples:
    """Turns places in the flat arrays into towers' inputs.

    Attributes:
        places_T: int64, where each target stands in the flat arrays.
        firsts_T: int64, where its sequence begins.
        moments_T: int64, the first event of the target's very moment: what is bought at once does not tell itself.
        visits_T: int64, where its visit begins: no longer pause between there and the target.
        weights_T: float32, mean 1, how much each target counts.
        title_n1W, text_QW: int32, encoded titles by item index, and searches.
    """

    prepared: Prepared
    config: TowerConfig
    settings: Train
    places_T: np.ndarray
    firsts_T: np.ndarray
    moments_T: np.ndarray
    visits_T: np.ndarray
    weights_T: np.ndarray
    title_n1W: np.ndarray
    text_QW: np.ndarray

    @classmethod
    def build(cls, prepared: Prepared, config: TowerConfig, settings: Train, title_n1W: np.ndarray) -> Examples:
        starts_N = _sequence_starts(prepared)
        places_T = prepared.targets_T
        return cls(
            prepared,
            config,
            settings,
            places_T,
            starts_N[places_T],
            _run_starts(prepared, starts_N, 0)[places_T],
            _run_starts(prepared, starts_N, settings.visit_pause_minutes * 60)[places_T],
            _weights(prepared.times_N[places_T], settings.half_life_days),
            title_n1W,
            encode_texts(prepared.queries, config.text_length, config.text_buckets),
        )

    @property
    def steps(self) -> int:
        """Batches an epoch; the last wraps around to the epoch's first targets, so that all are of one size."""
        return -(-len(self.places_T) // self.settings.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """Returns int64 [T], the order of this epoch's targets."""
        return np.random.default_rng([self.settings.seed, ORDER, epoch]).permutation(len(self.places_T))

    def batch(self, order_T: np.ndarray, epoch: int, step: int) -> Batch:
        """Returns the inputs of one step.

        Returns: int32 `history_items`, `history_types` [B, L], `query_text` [B, W], `targets` [B] item indices,
            `uniform` [M] item indices; float32 `weight` [B] with mean 1 over an epoch; bool `target_known` [B],
            `uniform_known` [M]: false where the item tower sees an item as new.
        """
        size, settings = self.settings.batch_size, self.settings
        draw = np.random.default_rng([settings.seed, DRAWS, epoch, step])
        chosen_B = order_T[np.arange(step * size, (step + 1) * size) % len(order_T)]
        targets_B = self.prepared.items_N[self.places_T[chosen_B]].astype(np.int32)
        items_BL, types_BL = self._history(self._ends(draw, chosen_B), self.firsts_T[chosen_B])
        text_BW, alone_B = self._text(draw, chosen_B, targets_B)
        items_BL[alone_B], types_BL[alone_B] = 0, 0
        uniform_M = draw.integers(1, self.config.items + 1, settings.uniform_negatives, dtype=np.int32)
        return {
            "history_items": items_BL,
            "history_types": types_BL,
            "query_text": text_BW,
            "targets": targets_B,
            "weight": self.weights_T[chosen_B],
            "uniform": uniform_M,
            "target_known": self._known(draw, targets_B),
            "uniform_known": self._known(draw, uniform_M),
        }

    def _ends(self, draw: np.random.Generator, chosen_B: np.ndarray) -> np.ndarray:
        """Returns int64 [B], where histories end: before the target's moment, or before its visit."""
        visits_B = self.visits_T[chosen_B]
        returned_B = visits_B > self.firsts_T[chosen_B]
        earlier_B = returned_B & (draw.random(len(chosen_B)) < self.settings.next_visit_share)
        return np.where(earlier_B, visits_B, self.moments_T[chosen_B])

    def _history(self, ends_B: np.ndarray, firsts_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places_BL = ends_B[:, np.newaxis] + np.arange(-self.config.history_length, 0)
        inside_BL = places_BL >= firsts_B[:, np.newaxis]
        places_BL = np.where(inside_BL, places_BL, 0)
        items_BL = np.where(inside_BL, self.prepared.items_N[places_BL], 0).astype(np.int32)
        return items_BL, np.where(inside_BL, self.prepared.types_N[places_BL].astype(np.int32) + 1, 0)

    def _text(self, draw: np.random.Generator, chosen_B: np.ndarray, targets_B: np.ndarray) -> tuple[np.ndarray, ...]:
        """Gives targets of a search their query, a share of the others their title; most of them without history."""
        query_B = self.prepared.queries_T[chosen_B]
        searched_B = query_B >= 0
        titled_B = ~searched_B & (draw.random(len(chosen_B)) < self.settings.title_share)
        text_BW = np.zeros((len(chosen_B), self.config.text_length), np.int32)
        text_BW[searched_B] = self.text_QW[query_B[searched_B]]
        titles = self.title_n1W[targets_B[titled_B]]
        kept = draw.random(titles.shape) < draw.uniform(0.3, 1.0, (len(titles), 1))
        text_BW[titled_B] = np.where(kept, titles, 0)
        return text_BW, titled_B | (searched_B & (draw.random(len(chosen_B)) < 0.5))

    def _known(self, draw: np.random.Generator, items: np.ndarray) -> np.ndarray:
        """Hides some ids, so that the tower learns to place an item by its content; unsold items always."""
        seen = self.prepared.probability_n1[items] > 0
        return seen & (draw.random(len(items)) >= self.settings.id_dropout)


def _weights(times_T: np.ndarray, half_life_days: float) -> np.ndarray:
    """Returns float32 [T], mean 1: a target one half-life older counts half as much."""
    if not half_life_days:
        return np.ones(len(times_T), np.float32)
    weights_T = 0.5 ** ((times_T.max() - times_T) / (half_life_days * 86_400))
    return (weights_T / weights_T.mean()).astype(np.float32)


def _sequence_starts(prepared: Prepared) -> np.ndarray:
    return np.repeat(prepared.offsets_S1[:-1], np.diff(prepared.offsets_S1))


def _run_starts(prepared: Prepared, starts_N: np.ndarray, pause_seconds: float) -> np.ndarray:
    """Returns int64 [N]: for each event the first of its run, no two of which lie further apart than the pause."""
    places_N = np.arange(len(starts_N))
    pause_N = np.diff(prepared.times_N, prepend=prepared.times_N[:1]) > pause_seconds
    return np.maximum.accumulate(np.where(pause_N | (places_N == starts_N), places_N, 0))
