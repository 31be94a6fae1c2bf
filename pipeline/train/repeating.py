"""Fits `model.repeats` to what people chose after the training.

Shapes: Q queries, O items met by all queries, B numbers, n items, D dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from pipeline.model.features import Query
from pipeline.model.repeats import NUMBERS, Met, Repeats
from pipeline.train.examples import UNTIMED_EVERY
from pipeline.train.validation import Validation, VectorRanker

MOST_QUERIES = 3000
QUERIES_PER_BLOCK = 64
PRIOR_VARIANCE = 1.0
"""Of the numbers, on the scale of the softmax: what few queries tell is not believed."""


@dataclass(frozen=True)
class Choices:
    """What each query met, and what it chose of that.

    Attributes:
        logits_O: float64, scores / temperature. chosen_O: float64, share of the query's targets that the item is.
        bands_O3: as `repeats.Met`. begins_Q: int64, where each query's items begin.
        others_Q: float64, log of the sum of exp(logit) over all items not met.
    """

    logits_O: np.ndarray
    chosen_O: np.ndarray
    bands_O3: np.ndarray
    begins_Q: np.ndarray
    others_Q: np.ndarray

    def loss(self, numbers_B: np.ndarray) -> tuple[float, np.ndarray]:
        """Returns -log likelihood of the targets, and of the numbers under their prior; and the gradient [B].

        What the targets not met contribute does not hang on the numbers and is left out.
        """
        logits_O = self.logits_O + numbers_B[self.bands_O3].sum(axis=1)
        query_O = np.repeat(np.arange(len(self.begins_Q)), np.diff(self.begins_Q, append=len(logits_O)))
        whole_Q = np.logaddexp(self.others_Q, np.logaddexp.reduceat(logits_O, self.begins_Q))
        loss = whole_Q.sum() - (self.chosen_O * logits_O).sum()
        wrong_O = np.exp(logits_O - whole_Q[query_O]) - self.chosen_O
        gradient_B = np.bincount(self.bands_O3.ravel(), np.repeat(wrong_O, 3), NUMBERS)
        prior = numbers_B / PRIOR_VARIANCE
        return float(loss + (prior * numbers_B).sum() / 2), gradient_B + prior


def fitted_repeats(ranker: VectorRanker, validation: Validation, temperature: float) -> Repeats:
    """Returns the likeliest numbers given validation's recommendations to people with a history, in scores' units."""
    choices = _choices(ranker, validation.thinned(MOST_QUERIES), temperature)
    if not len(choices.begins_Q):
        return Repeats.none()
    found = minimize(choices.loss, np.zeros(NUMBERS), jac=True, method="L-BFGS-B")
    return Repeats(found.x * temperature)


def _choices(ranker: VectorRanker, validation: Validation, temperature: float) -> Choices:
    index = ranker.index
    asked = [
        (query if place % UNTIMED_EVERY else replace(query, times=(), now=None), wanted)
        for place, (query, wanted) in enumerate(zip(validation.queries, validation.targets, strict=True))
        if wanted and not query.text and any(item_id in index for item_id in query.item_ids)
    ]
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray, float]] = []
    for begin in range(0, len(asked), QUERIES_PER_BLOCK):
        found += _block(ranker, asked[begin : begin + QUERIES_PER_BLOCK], temperature)
    sizes = [len(logits) for logits, *_ in found]
    logits, chosen, met = ([each[place] for each in found] for place in range(3))
    empty = (np.zeros(0), np.zeros(0), np.zeros((0, 3), np.int64))
    return Choices(
        *(np.concatenate([none, *each]) for none, each in zip(empty, (logits, chosen, met), strict=True)),
        np.cumsum([0, *sizes[:-1]]) if sizes else np.zeros(0, np.int64),
        np.array([others for *_, others in found]),
    )


def _block(
    ranker: VectorRanker, asked: Sequence[tuple[Query, Sequence[str]]], temperature: float
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, float]]:
    """Returns for each query the logits of what it met, the share of targets, the bands, and the others' sum."""
    logits_Qn = ranker.scores([query for query, _ in asked]).astype(np.float64) / temperature
    found = []
    for (query, targets), logits_n in zip(asked, logits_Qn, strict=True):
        met, wanted = Met.by(query, ranker.index), set(targets)
        hits_O = [ranker.item_ids[row] in wanted for row in met.rows_O]
        logits_O = logits_n[met.rows_O]
        logits_n[met.rows_O] = -np.inf
        found.append((logits_O, np.array(hits_O, np.float64) / len(wanted), met.bands_O3, float(logsumexp(logits_n))))
    return found
