"""What is answered, right or not: how much of the catalogue, how popular, how new, how like the champion's answers.

Also what compression and index cost, as the search measured them on validation, and what requests a bundle reads.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.settings import Settings
from pipeline.gate.contenders import Contender
from pipeline.gate.held_out import TestSet
from pipeline.gate.rules import Evidence, Measured
from pipeline.model.metrics import coverage_at_k, overlap_at_k, popularity_at_k, share_at_k
from pipeline.model.recipe_table import YARDSTICK
from pipeline.model.retriever import Retriever
from pipeline.model.slices import Catalogued
from pipeline.model.statistics import Interval, interval

Answers = Mapping[str, Sequence[Sequence[str]]]

POPULAR = 0.01
"""The head of the catalogue: so large a share of its items, those with the most events in training."""

NOTHING_ANSWERED = Evidence(detail="No query of the test was answered with an item.")


def measure(
    into: Measured,
    test: TestSet,
    answers: Answers,
    challenger: Contender,
    champion: Contender | None,
    optimized: Path,
    settings: Settings,
) -> None:
    """Adds evidence of what both sides answered to the test queries, and of the challenger's bundle.

    Args:
        answers: item ids, best first, by query, of `challenger` and, where there is one, `champion`.
        optimized: folder that may hold `recipes.json`.
    """
    sides = {"challenger": challenger, **({"champion": champion} if champion else {})}
    retrievers = {name: side.retriever for name, side in sides.items() if side.retriever and name in answers}
    into.add("coverage", _coverage(answers, retrievers, settings.shop.k))
    for metric, values in by_query(answers, test.items, settings.shop.k).items():
        into.add(metric, _mean(values, test, settings))
    into.add("float_recall_kept", float_recall_kept(optimized, challenger.digest))
    into.add("index_recall", _index_recall(retrievers["challenger"]))
    if "champion" in retrievers:
        into.add("signature", signature(retrievers["challenger"], retrievers["champion"], settings.gate.new_signature))


def by_query(answers: Answers, items: Catalogued, k: int) -> dict[str, dict[str, np.ndarray]]:
    """Returns float64 [Q] by metric and side; NaN where nothing was answered."""
    percentiles = defaultdict(float, items.percentiles)  # what training never met is the least popular
    head = {item for item, percentile in items.percentiles.items() if percentile > 1 - POPULAR}
    trained = {item for item, known in zip(items.item_ids, items.trained_n, strict=True) if known}
    values = {
        "popularity_percentile": {side: popularity_at_k(ranked, percentiles, k) for side, ranked in answers.items()},
        "popular_share": {side: share_at_k(ranked, head.__contains__, k) for side, ranked in answers.items()},
        "cold_start_share": {
            side: share_at_k(ranked, lambda item: item not in trained, k) for side, ranked in answers.items()
        },
    }
    if "champion" in answers:
        values["champion_overlap"] = {"challenger": overlap_at_k(answers["challenger"], answers["champion"], k)}
    return values


def _mean(sides: Mapping[str, np.ndarray], test: TestSet, settings: Settings) -> Evidence:
    gate, answered_Q = settings.gate, np.isfinite(sides["challenger"])
    if not answered_Q.any():
        return NOTHING_ANSWERED
    users = [user for user, answered in zip(test.users, answered_Q, strict=True) if answered]
    ours = sides["challenger"][answered_Q]
    found = interval(ours, users, gate.bootstrap_samples, gate.confidence, gate.seed)
    theirs = sides.get("champion", np.array([]))
    theirs = theirs[np.isfinite(theirs)]
    champion = float(theirs.mean()) if theirs.size else None
    return Evidence("", len(ours), len(set(users)), value=found, champion=champion, detail=_told(found, champion))


def _told(found: Interval, champion: float | None) -> str:
    beside = "" if champion is None else f"; the champion's is {champion:.4f}"
    return f"{found.mean:.4f} (interval {found.low:.4f} to {found.high:.4f}){beside}."


def _coverage(answers: Answers, retrievers: Mapping[str, Retriever], k: int) -> Evidence:
    if not any(answers["challenger"]):
        return NOTHING_ANSWERED
    sizes = {side: len(retriever.catalogue) for side, retriever in retrievers.items()}
    shares = {side: coverage_at_k(answers[side], k, sizes[side]) for side in sizes}
    beside = f"; of the champion's {shares['champion']:.1%}" if "champion" in shares else ""
    detail = f"Of {sizes['challenger']:,} items {shares['challenger']:.1%} are in some answer to the test{beside}."
    return Evidence(value=_exactly(shares["challenger"]), champion=shares.get("champion"), detail=detail)


def float_recall_kept(optimized: Path, digest: str) -> Evidence:
    """Returns recall through the index of the bundle that ships, as a share of float32's on the validation queries.

    Its interval is that of the paired difference, as `optimize` measured it.
    """
    rows = _rows(optimized / "recipes.json")
    ours = next((row for row in rows if row.get("digest") == digest), None)
    whole = next((row for row in rows if row.get("recipe") == YARDSTICK), None)
    try:
        base, d = whole["recall"]["mean"], ours["difference"]  # type: ignore[index]
        kept = {name: 1 + d[name] / base for name in ("mean", "low", "high")}
        found = Interval(**kept, se=d["se"] / base, n=d["n"])
    except (KeyError, TypeError, ZeroDivisionError):
        return Evidence(detail="The search left no recall of this bundle beside that of float32; run optimize again.")
    detail = (
        f"On validation {found.mean:.2%} of float32's recall is kept (interval {found.low:.2%} to {found.high:.2%})."
    )
    return Evidence(n=found.n, value=found, detail=detail)


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return [row for row in json.loads(path.read_text()) if isinstance(row, dict)]
    except (OSError, ValueError, TypeError):
        return []


def _index_recall(retriever: Retriever) -> Evidence:
    facts = retriever.bundle.manifest["index"] if retriever.bundle else {}
    recall = facts.get("recall_against_exact")
    if recall is None:
        return Evidence(detail="The bundle does not say how much of the exact top k its index finds.")
    detail = f"The index finds {recall:.2%} of the exact top {facts['k']} (float32, every item compared)."
    return Evidence(value=_exactly(recall), detail=detail)


def signature(challenger: Retriever, champion: Retriever, declared: str) -> Evidence:
    """Says whether both bundles read the same of a request and of an item that is put.

    Args: declared: the name of the one signature that may differ; it ends itself with the next change.
    """
    (ours, theirs) = (_signature(side) for side in (challenger, champion))
    changed = [f"{name}, {ours[name]} instead of {theirs[name]}" for name in ours if ours[name] != theirs[name]]
    if not changed:
        return Evidence(holds=True, detail="Requests and items that are put are read as the champion reads them.")
    what, name = f"The challenger reads otherwise: {'; '.join(changed)}", _name(ours)
    if declared == name:
        return Evidence(holds=True, detail=f"{what}. gate.new_signature={name} declares it.")
    return Evidence(holds=False, detail=f"{what}. Tell those who send requests, then set gate.new_signature={name}.")


def _name(signature: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(signature, sort_keys=True).encode()).hexdigest()[:8]


def _signature(retriever: Retriever) -> dict[str, str]:
    config = retriever.config
    return {
        "the context of a request": "yes" if config.context_buckets else "no",
        "numbers in an item's vector": str(config.vector_dim),
    }


def _exactly(value: float) -> Interval:
    return Interval(value, value, value, 0.0, 1)
