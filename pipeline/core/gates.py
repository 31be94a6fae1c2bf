"""The gates every challenger meets, as data, and what may be measured; a shop's own rules are in `gating.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Comparison = Literal["holds", "at_most", "at_least", "non_inferior", "superior", "not_harmed", "report"]
OnInconclusive = Literal["ask", "note"]

COMPARISONS: Mapping[str, tuple[Comparison, ...]] = {
    "fact": ("holds", "report"),
    "figure": ("at_most", "at_least", "report"),
    "by query": ("at_most", "at_least", "report"),
    "paired": ("non_inferior", "superior", "report"),
    "slices": ("not_harmed", "non_inferior", "superior", "report"),
}
"""What each kind of metric may be held to."""
QUERIES = ("by query", "paired", "slices")
"""Kinds that rest on test queries: they have a confidence and a least number of them."""
ABSOLUTE, MARGINS = ("at_most", "at_least"), ("non_inferior", "not_harmed")

SLICES = (
    "recommend",
    "search",
    "no history",
    "history of 1 to 4",
    "history of 5 to 19",
    "history of 20 and more",
    "last event a view",
    "last event a cart",
    "last event a purchase",
    "items trained on",
    "items never trained on",
)
"""Parts of the test that hold in any shop; `pipeline/model/slices.py` says what is in each."""


@dataclass(frozen=True)
class Metric:
    """What is measured, in words.

    Attributes:
        kind: a key of `COMPARISONS`.
        of_both: whether there is nothing to measure without a champion.
        sliced: whether it is also measured in each of `SLICES`.
    """

    kind: str
    says: str
    unit: str = ""
    of_both: bool = False
    sliced: bool = False


METRICS: Mapping[str, Metric] = {
    "bundle_whole": Metric("fact", "whether every byte is the one that was sealed"),
    "start_seconds": Metric("figure", "until a fresh server is ready", "s"),
    "requests_answered": Metric("fact", "whether every request was answered with 200"),
    "memory_mb": Metric("figure", "resident memory of the server", "MB"),
    "goldens": Metric("fact", "whether the server answers the golden requests as sealed"),
    "champion_readable": Metric("fact", "whether the champion's bundle is whole and its server works"),
    "recall": Metric("paired", "recall@k, against the champion", of_both=True),
    "recall_anchor": Metric("paired", "recall@k, against the best promoted of the last days", of_both=True),
    "recall_slice": Metric("slices", "recall@k within a slice, against the champion", of_both=True, sliced=True),
    "recall_level": Metric("by query", "recall@k of the challenger alone, overall and within a slice", sliced=True),
    "recall_popularity": Metric("paired", "recall@k, against popularity"),
    "recall_recently_popular": Metric("paired", "recall@k, against recent popularity"),
    "recall_own_items": Metric("paired", "recall@k, against one's own items again"),
    "recall_item_knn": Metric("paired", "recall@k, against item-KNN"),
    "recall_session_knn": Metric("paired", "recall@k, against session-KNN"),
    "coverage": Metric("figure", "share of the catalogue that is in some answer to the test"),
    "popularity_percentile": Metric("by query", "mean percentile, by events in training, of what is answered"),
    "popular_share": Metric("by query", "share of answers among the most popular 1 % of the catalogue"),
    "cold_start_share": Metric("by query", "share of answers that training never met as a target"),
    "champion_overlap": Metric("by query", "overlap@k of answers with the champion's", of_both=True),
    "float_recall_kept": Metric("figure", "recall on validation as a share of the float32 bundle's"),
    "index_recall": Metric("figure", "share of the exact top k that the index finds"),
    "signature": Metric("fact", "whether requests and put items are read as the champion reads them", of_both=True),
    "p99_ms": Metric("figure", "99 % of answers come within", "ms"),
    "p50_ratio": Metric("figure", "median latency relative to the champion's", of_both=True),
    "p95_ratio": Metric("figure", "95th percentile of latency relative to the champion's", of_both=True),
    "p99_ratio": Metric("figure", "99th percentile of latency relative to the champion's", of_both=True),
    "requests_per_second": Metric("figure", "answers to eight clients that ask at once", "1/s"),
}


@dataclass(frozen=True)
class Gate:
    """One rule of the table.

    Attributes:
        metric: a key of `METRICS`, the evidence it reads.
        comparison: how evidence is held against the limit, see `judge.COMPARISONS` of the stage.
        setting: field of the section `gate` that holds the threshold or the largest margin; empty where none does.
        limit: the same from a rule, where there is one.
        slice: the one slice that is judged; empty is overall, or with `not_harmed` each of them.
        confidence, min_queries: the section's own where not given.
        on_inconclusive: `ask` makes the decision inconclusive, `note` only says so.
        needed: whether a promotion needs its pass; no rule may make it say less.
        overridable: whether a person may promote against it, giving a reason; no rule may touch one nobody may.
    """

    name: str
    metric: str
    comparison: Comparison
    setting: str = ""
    limit: float | None = None
    slice: str = ""
    confidence: float | None = None
    min_queries: int | None = None
    on_inconclusive: OnInconclusive = "ask"
    needed: bool = False
    overridable: bool = True

    @property
    def unit(self) -> str:
        return METRICS[self.metric].unit

    @property
    def without_champion(self) -> bool:
        """Whether it also judges a first model."""
        return not METRICS[self.metric].of_both


INFRA: dict[str, Any] = {"needed": True, "overridable": False}

GATES: tuple[Gate, ...] = (
    Gate("bundle whole", "bundle_whole", "holds", **INFRA),
    Gate("server starts", "start_seconds", "at_most", "start_timeout_seconds", **INFRA),
    Gate("requests answered", "requests_answered", "holds", **INFRA),
    Gate("memory", "memory_mb", "at_most", "max_memory_mb", needed=True),
    Gate("goldens", "goldens", "holds", **INFRA),
    Gate("champion readable", "champion_readable", "holds", needed=True),
    Gate("accuracy", "recall", "non_inferior", "max_margin", needed=True),
    Gate("anchor", "recall_anchor", "non_inferior", "max_margin", needed=True),
    Gate("beats popularity", "recall_popularity", "superior"),
    Gate("recent popularity", "recall_recently_popular", "report"),
    Gate("own items again", "recall_own_items", "report"),
    Gate("item-KNN", "recall_item_knn", "report"),
    Gate("session-KNN", "recall_session_knn", "report"),
    Gate("slice", "recall_slice", "not_harmed", "max_margin", on_inconclusive="note", needed=True),
    Gate("catalogue coverage", "coverage", "report"),
    Gate("popularity of answers", "popularity_percentile", "report"),
    Gate("most popular 1 %", "popular_share", "report"),
    Gate("cold-start share", "cold_start_share", "report"),
    Gate("overlap with champion", "champion_overlap", "report"),
    Gate("recall kept of float32", "float_recall_kept", "report"),
    Gate("recall of the index", "index_recall", "report"),
    Gate("signature", "signature", "holds", needed=True),
    Gate("latency p99", "p99_ms", "at_most", "max_p99_ms", needed=True),
    Gate("latency p50 ratio", "p50_ratio", "at_most", "max_latency_ratio", needed=True),
    Gate("latency p95 ratio", "p95_ratio", "at_most", "max_latency_ratio", needed=True),
    Gate("latency p99 ratio", "p99_ratio", "report"),
    Gate("throughput", "requests_per_second", "report"),
)
BUILT_IN: Mapping[str, Gate] = {gate.name: gate for gate in GATES}
