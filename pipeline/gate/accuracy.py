"""Recall through the index, query by query, of the challenger and of everything it is held against.

Shapes: P pairs of a query and one of its targets.
"""

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
from pipeline.model.baselines import BASELINES, Interactions
from pipeline.model.statistics import interval, paired_interval

BUNDLES = ("challenger", "champion")
Ranked = Sequence[Sequence[str]]


def measure(
    into: Measured,
    test: TestSet,
    challenger: Contender,
    champion: Contender | None,
    anchors: Sequence[Contender],
    prepared: Artifact,
    settings: Settings,
) -> dict[str, Ranked]:
    """Ranks every test query by every side, compares query by query, and returns what the two bundles answered."""
    sides = {"challenger": challenger, **({"champion": champion} if champion else {})}
    sides |= {f"anchor {anchor.digest[:12]}": anchor for anchor in anchors}
    rankers: dict[str, Any] = {name: side.retriever for name, side in sides.items() if side.retriever}
    log = Interactions.load(prepared)
    rankers |= {name: baseline(log) for name, baseline in BASELINES.items()}
    values, answers = _rank_all(test, rankers, settings.shop.k)
    compare(into, test, values, settings)
    return answers


def _rank_all(test: TestSet, rankers: Mapping[str, Any], k: int) -> tuple[dict[str, np.ndarray], dict[str, Ranked]]:
    values, kept = {}, {}
    with progress("gate: ranking the test", len(rankers) * len(test), "queries") as bar:
        for name, ranker in rankers.items():
            answers = test.answers(ranker, k)
            values[name] = test.found(answers, k)
            kept |= {name: answers} if name in BUNDLES else {}
            bar.advance(len(test), side=name)
    return values, kept


def compare(into: Measured, test: TestSet, values: Mapping[str, np.ndarray], settings: Settings) -> None:
    """Turns what each side found into evidence.

    Args:
        values: float64 [P], found or not, by side: `challenger`, `champion`, `anchor …`, and the baselines' names.
    """
    for name, baseline in BASELINES.items():
        into.add(f"recall_{name}", _paired(test, values, name, baseline.title, settings))
    slices = test.judged.main_slices()
    asked = dict.fromkeys(gate.slice for gate in settings.gate.table if gate.metric == "recall_level")
    into.add("recall_level", *(_level(test, values, settings, slices.get(name), name) for name in asked))
    if "champion" not in values:
        return
    into.add("recall", _paired(test, values, "champion", "the champion", settings))
    into.add("recall_anchor", _anchor(test, values, settings))
    for name, inside_P in slices.items():
        into.add("recall_slice", _paired(test, values, "champion", "the champion", settings, inside_P, name))


def _anchor(test: TestSet, values: Mapping[str, np.ndarray], settings: Settings) -> Evidence:
    served = [name for name in values if name == "champion" or name.startswith("anchor")]
    best = max(served, key=lambda name: test.judged.recall(values[name]).mean())
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
    inside_P: np.ndarray | None = None,
    slice_: str = "",
) -> Evidence:
    kept_Q = test.judged.within(inside_P)
    n, gate = int(kept_Q.sum()), settings.gate
    users = _users(test, kept_Q)
    if other not in values or "challenger" not in values:
        lacking = "the challenger" if "challenger" not in values else against
        why = f"Recall of {lacking} was not measured; a gate without evidence is not passed."
        return Evidence(slice_, n, failed=True, detail=why)
    if n == 0:
        return Evidence(slice_, 0, detail="The test holds no query of this slice.")
    ours, theirs = (test.judged.recall(values[side], inside_P)[kept_Q] for side in ("challenger", other))
    if not np.isfinite(ours).all():
        return Evidence(slice_, n, failed=True, detail=_not_numbers("the challenger", ours))
    if not np.isfinite(theirs).all():
        return Evidence(slice_, n, challenger=float(ours.mean()), detail=_not_numbers(against, theirs))
    found = paired_interval(ours, theirs, users, gate.bootstrap_samples, gate.confidence, gate.seed)
    return Evidence(
        slice_,
        n,
        len(set(users)),
        len({user for user, differs in zip(users, ours != theirs, strict=True) if differs}),
        challenger=float(ours.mean()),
        champion=float(theirs.mean()),
        difference=found,
        against=against,
        queries_per_day=test.queries_per_day,
    )


def _level(
    test: TestSet, values: Mapping[str, np.ndarray], settings: Settings, inside_P: np.ndarray | None, slice_: str
) -> Evidence:
    kept_Q = test.judged.within(inside_P)
    n, gate = int(kept_Q.sum()), settings.gate
    if "challenger" not in values:
        return Evidence(slice_, n, failed=True, detail="Recall of the challenger was not measured.")
    if n == 0:
        return Evidence(slice_, 0, detail="The test holds no query of this slice.")
    ours = test.judged.recall(values["challenger"], inside_P)[kept_Q]
    if not np.isfinite(ours).all():
        return Evidence(slice_, n, failed=True, detail=_not_numbers("the challenger", ours))
    users = _users(test, kept_Q)
    found = interval(ours, users, gate.bootstrap_samples, gate.confidence, gate.seed)
    return Evidence(slice_, n, len(set(users)), value=found)


def _users(test: TestSet, kept_Q: np.ndarray) -> list[str]:
    return [user for user, kept in zip(test.users, kept_Q, strict=True) if kept]


def _not_numbers(side: str, values: np.ndarray) -> str:
    return f"Recall of {side} is not a number for {int((~np.isfinite(values)).sum()):,} of {len(values):,} queries."
