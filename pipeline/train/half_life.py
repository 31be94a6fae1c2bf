"""How fast a log ages, where the settings leave it to the log.

What shops sell changes within weeks, how things belong together hardly in years, and how much of which a log holds
shows only in what it foretells. So a few half-lives are tried on the simplest model that reads them: items met beside
those of the history, each occasion counting less the older it is, judged on validation. That takes seconds, where a
training takes minutes.

Shapes: n items, N events, Q queries.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.core.settings import Settings
from pipeline.model.baselines import Baseline, Interactions
from pipeline.model.baselines.ranking import Histories
from pipeline.train.examples import recency_weights
from pipeline.train.prepared import Prepared
from pipeline.train.start import met_together
from pipeline.train.validation import Validation

SHARES = (1.0, 0.5, 0.25, 0.1, 0.05, 0.025)
"""Of the time from the first event of training to the last."""
MOMENTS_APART = 10
FADING = 0.8
"""Each item of the history counts so much less than the one met after it."""
MOST_EVENTS, MOST_QUERIES = 1_000_000, 3000


class MetBeside(Baseline):
    """Items met beside those of the history: the sum of their shares, the newest of the history first."""

    title = "met beside"

    def __init__(self, log: Interactions, prepared: Prepared, half_life_share: float) -> None:
        weights_N = recency_weights(prepared.times_N, half_life_share)
        super().__init__(log, np.bincount(prepared.items_N, weights_N, len(prepared.items) + 1)[1:])
        together_nn = met_together(prepared, MOMENTS_APART, weights_N)[1:, 1:]
        met_n = np.asarray(together_nn.sum(axis=1)).ravel()
        self._shares_nn = together_nn.multiply(1.0 / np.maximum(met_n, 1e-12)[:, np.newaxis]).tocsr()

    def scores(self, histories: Histories) -> Any:
        return histories.matrix(FADING**histories.step_H) @ self._shares_nn


def aged(settings: Settings, prepared: Prepared, validation: Validation) -> Settings:
    """Returns the settings with `train.half_life_share` chosen, where it is 0, and prints it; the longest of equals."""
    if settings.train.half_life_share:
        return settings
    some, queries = _thinned(prepared), validation.thinned(MOST_QUERIES)
    log = Interactions([item.item_id for item in some.items], some.items_N, some.times_N, some.offsets_S1, 1.0)
    recalls = {share: queries.judged_recall(MetBeside(log, some, share)) for share in SHARES}
    best = max(recalls, key=lambda share: recalls[share])
    days = np.ptp(prepared.times_N) * best / 86_400
    tried = ", ".join(f"{share:g}: {recall:.4f}" for share, recall in recalls.items())
    print(
        f"train: half_life_share {best:g} ({days:.3g} days), by recall@{validation.k} of items met beside ({tried}).",
        flush=True,
    )
    return settings.model_copy(update={"train": settings.train.model_copy(update={"half_life_share": best})})


def _thinned(prepared: Prepared) -> Prepared:
    """Returns every so many-th sequence, that not more than `MOST_EVENTS` or so are counted six times."""
    step = -(-len(prepared.items_N) // MOST_EVENTS)
    if step == 1:
        return prepared
    lengths_S = np.diff(prepared.offsets_S1)
    kept_S = np.arange(len(lengths_S)) % step == 0
    kept_N = np.repeat(kept_S, lengths_S)
    offsets_S1 = np.concatenate([[0], np.cumsum(lengths_S[kept_S])])
    return replace(prepared, items_N=prepared.items_N[kept_N], times_N=prepared.times_N[kept_N], offsets_S1=offsets_S1)
