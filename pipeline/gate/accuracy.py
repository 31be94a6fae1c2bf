"""Recall through the index, query by query, of the challenger and of everything it is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.progress import progress
from pipeline.core.settings import Settings
from pipeline.gate.contenders import Contender
from pipeline.gate.held_out import TestSet
from pipeline.gate.rules import Evidence, Measured
from pipeline.model.baselines import Interactions, ItemKnn, Popularity
from pipeline.model.statistics import paired_interval


def measure(
    into: Measured,
    test: TestSet,
    challenger: Contender,
    champion: Contender | None,
    anchors: Sequence[Contender],
    prepared: Artifact,
    settings: Settings,
) -> None:
    """Ranks every test query by every side and compares query by query."""
    sides = {"challenger": challenger, **({"champion": champion} if champion else {})}
    sides |= {f"anchor {anchor.digest[:12]}": anchor for anchor in anchors}
    rankers: dict[str, Any] = {name: side.retriever for name, side in sides.items() if side.retriever}
    log = Interactions.load(prepared)
    rankers |= {"popularity": Popularity(log), "item_knn": ItemKnn(log)}
    compare(into, test, _rank_all(test, rankers, settings.shop.k), settings)


def _rank_all(test: TestSet, rankers: Mapping[str, Any], k: int) -> dict[str, np.ndarray]:
    values = {}
    with progress("gate: ranking the test", len(rankers) * len(test), "queries") as bar:
        for name, ranker in rankers.items():
            values[name] = test.recalls(ranker, k)
            bar.advance(len(test), side=name)
    return values


def compare(into: Measured, test: TestSet, values: Mapping[str, np.ndarray], settings: Settings) -> None:
    """Turns each side's recall a query into evidence.

    Args:
        values: float64 [Q] by side: `challenger`, `champion`, `anchor …`, `popularity`, `item_knn`.
    """
    into.add("recall_popularity", _paired(test, values, "popularity", "popularity", settings))
    into.add("recall_item_knn", _paired(test, values, "item_knn", "item-KNN", settings))
    if "champion" not in values:
        return
    into.add("recall", _paired(test, values, "champion", "the champion", settings))
    into.add("recall_anchor", _anchor(test, values, settings))
    for name, mask in test.slices().items():
        into.add("recall_slice", _paired(test, values, "champion", "the champion", settings, mask, name))


def _anchor(test: TestSet, values: Mapping[str, np.ndarray], settings: Settings) -> Evidence:
    means = {name: float(v.mean()) for name, v in values.items() if name == "champion" or name.startswith("anchor")}
    best = max(means, key=lambda name: means[name])
    if best == "champion":
        detail = f"The champion itself is the best promoted of the last {settings.gate.anchor_days} days."
        return Evidence(reported=True, n=len(test), detail=detail)
    return _paired(test, values, best, f"the {best}", settings)


def _paired(
    test: TestSet,
    values: Mapping[str, np.ndarray],
    other: str,
    against: str,
    settings: Settings,
    mask: np.ndarray | None = None,
    slice_: str = "",
) -> Evidence:
    mask = np.ones(len(test), bool) if mask is None else mask
    n, gate = int(mask.sum()), settings.gate
    if other not in values or "challenger" not in values:
        lacking = "the challenger" if "challenger" not in values else against
        why = f"Recall of {lacking} was not measured; a gate without evidence is not passed."
        return Evidence(slice_, n, failed=True, detail=why)
    if n == 0:
        return Evidence(slice_, 0, detail="The test holds no query of this slice.")
    ours, theirs = values["challenger"][mask], values[other][mask]
    if not np.isfinite(ours).all():
        return Evidence(slice_, n, failed=True, detail=_not_numbers("the challenger", ours))
    if not np.isfinite(theirs).all():
        return Evidence(slice_, n, challenger=float(ours.mean()), detail=_not_numbers(against, theirs))
    users = [user for user, kept in zip(test.users, mask, strict=True) if kept]
    found = paired_interval(ours, theirs, users, gate.bootstrap_samples, gate.confidence, gate.seed)
    return Evidence(
        slice_,
        n,
        challenger=float(ours.mean()),
        champion=float(theirs.mean()),
        difference=found,
        against=against,
        queries_per_day=test.queries_per_day,
    )


def _not_numbers(side: str, values: np.ndarray) -> str:
    return f"Recall of {side} is not a number for {int((~np.isfinite(values)).sum()):,} of {len(values):,} queries."
