"""Version skew: this night's query tower on the champion's index and catalogue, as servers may hold them for a while.

A shop that replaces tower and index one after the other asks queries of one night among items of another. How much that
loses is measured, not assumed: a tower's answer is mostly a sum of the vectors it reads, the rest it learnt beside
vectors of its own night.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.core.run import Layout
from pipeline.model.retriever import Retriever
from pipeline.model.served import QueryTower, load_stores
from pipeline.optimize.judged import Judged


def skew(layout: Layout, bundle: Path, judged: Judged, own: float, k: int) -> dict[str, Any] | None:
    """Returns recall@k of a bundle, of the champion, and of the bundle's tower on the champion's vectors.

    All three on the same validation queries; what the champion does not know counts as not found.

    Args: own: the bundle's, as it was measured.
    Returns: None where no champion serves; only its digest and a sentence where nothing can be measured.
    """
    digest = layout.champion()
    if digest is None:
        return None
    told: dict[str, Any] = {"champion": digest}
    mine = Retriever.load(bundle)
    if mine.bundle and mine.bundle.digest == digest:
        return {**told, "sentence": "it is this night's own bundle"}
    try:
        theirs = Retriever.load(layout.bundle(digest), digest)
        if reason := _misfit(mine, theirs):
            return {**told, "sentence": f"does not fit: {reason}"}
        recalls = {"own": own, "champion": _mean(judged, theirs, k)}
        # The champion's recall is known by now, so its retriever may take the other tower.
        recalls["mixed"] = _mean(judged, _mixed(bundle, mine, theirs), k)
    except (PipelineError, OSError) as error:
        return {**told, "sentence": f"does not fit: {str(error).rstrip('.')}"}
    return {**told, "k": k, "queries": len(judged), "recall": recalls, "sentence": _sentence(recalls, k)}


def _misfit(mine: Retriever, theirs: Retriever) -> str:
    """Returns in what the two differ that a tower reads; empty where they fit."""
    fields = {"vectors": "dim", "buckets of words": "text_buckets"}
    for what, field in fields.items():
        ours, others = getattr(mine.config, field), getattr(theirs.config, field)
        if ours != others:
            return f"this night's tower has {what} of {ours:,}, the champion's index of {others:,}"
    return ""


def _mixed(bundle: Path, mine: Retriever, theirs: Retriever) -> Retriever:
    """Puts a bundle's tower into another's retriever; features are encoded as that tower reads them.

    For this measurement only: no server ever answers from parts of two bundles.
    """
    theirs.config, theirs.tower = mine.config, QueryTower(bundle, *load_stores(theirs.bundle.path))
    return theirs


def _mean(judged: Judged, retriever: Retriever, k: int) -> float:
    return float(judged.recall(retriever, k).mean())


def _sentence(recalls: dict[str, float], k: int) -> str:
    return (
        f"this night's tower on the champion's index finds recall@{k} {recalls['mixed']:.4f}, on its own "
        f"{recalls['own']:.4f}; the champion {recalls['champion']:.4f}"
    )
