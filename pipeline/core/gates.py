"""The gates, as data: those every challenger meets, and the rules a shop's settings change them by or add to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pipeline.core.names import known_as, nearest

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
    "p99_ms": Metric("figure", "99 % of answers come within", "ms"),
    "p50_ratio": Metric("figure", "median latency relative to the champion's", of_both=True),
    "p95_ratio": Metric("figure", "95th percentile of latency relative to the champion's", of_both=True),
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
    Gate("latency p99", "p99_ms", "at_most", "max_p99_ms", needed=True),
    Gate("latency p50 ratio", "p50_ratio", "at_most", "max_latency_ratio", needed=True),
    Gate("latency p95 ratio", "p95_ratio", "at_most", "max_latency_ratio", needed=True),
)
BUILT_IN: Mapping[str, Gate] = {gate.name: gate for gate in GATES}


class Rule(BaseModel):
    """An entry of `gate.rules`: changes the built-in gate of its name, or adds one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="Of a built-in gate, or of a new one.")
    metric: Annotated[str, AfterValidator(lambda name: known_as(name, METRICS, "metric"))] | None = None
    slice: Annotated[str, AfterValidator(lambda name: known_as(name, ("", *SLICES), "slice"))] = ""
    comparison: Comparison | None = None
    threshold: float | None = Field(None, allow_inf_nan=False, description="For `at_most` and `at_least`.")
    margin: float | None = Field(None, gt=0, lt=1, description="For `non_inferior` and `not_harmed`, relative.")
    confidence: float | None = Field(None, gt=0.5, lt=1)
    min_queries: int | None = Field(None, ge=1)
    on_inconclusive: OnInconclusive | None = None

    @model_validator(mode="after")
    def _fits(self) -> Rule:
        problem = self._touches() or self._lacks() or self._unfit()
        if problem:
            raise ValueError(f"{self.name!r} {problem}")
        return self

    @property
    def gate(self) -> Gate:
        """The gate it makes of the built-in one, or out of nothing."""
        base = BUILT_IN.get(self.name) or Gate(self.name, self.metric or "", self.comparison or "report")
        given = {name: getattr(self, name) for name in ("comparison", "confidence", "min_queries", "on_inconclusive")}
        changes = {name: value for name, value in given.items() if value is not None}
        limit = self.threshold if self.threshold is not None else self.margin
        return replace(base, slice=self.slice, limit=limit, **changes)

    def _touches(self) -> str:
        built_in = BUILT_IN.get(self.name)
        if built_in is None:
            return ""
        if not built_in.overridable:
            return "is an infra gate, which no rule may change; leave it out of gate.rules"
        if self.metric not in (None, built_in.metric) or self.slice:
            return f"is built in and judges {built_in.metric} as a whole; give a gate of another metric or slice a name"
        if built_in.needed and (self.comparison not in (None, built_in.comparison) or self.on_inconclusive == "note"):
            return f"is a gate every promotion needs; it stays {built_in.comparison} and what is unclear asks a person"
        if self.threshold is not None and built_in.setting:
            return f"has its threshold in gate.{built_in.setting}; set that instead"
        return ""

    def _lacks(self) -> str:
        if self.name not in BUILT_IN and (self.metric is None or self.comparison is None):
            return f"is no built-in gate, so it needs metric and comparison{nearest(self.name, BUILT_IN).rstrip('.?')}"
        return ""

    def _unfit(self) -> str:
        gate, metric = self.gate, METRICS[self.gate.metric]
        fit = COMPARISONS[metric.kind]
        if gate.comparison not in fit:
            return f"compares {gate.metric} by {gate.comparison}; what fits it is {', '.join(fit)}"
        if self.slice and not metric.sliced:
            return f"asks for {gate.metric} within a slice; only {', '.join(_sliced())} are measured so"
        if gate.metric == "recall_slice" and not self.slice and gate.comparison not in ("not_harmed", "report"):
            return f"needs the slice that shall be {gate.comparison}"
        if metric.kind not in QUERIES and (self.confidence or self.min_queries):
            return f"gives confidence or min_queries, but {gate.metric} does not rest on test queries"
        return self._limits(gate)

    def _limits(self, gate: Gate) -> str:
        for name, comparisons in (("threshold", ABSOLUTE), ("margin", MARGINS)):
            given = getattr(self, name) is not None
            if given and gate.comparison not in comparisons:
                return (
                    f"gives a {name}, which {gate.comparison} has no use for; it goes with {' and '.join(comparisons)}"
                )
            if not given and not gate.setting and gate.comparison in comparisons:
                return f"compares by {gate.comparison} and needs a {name}"
        return ""


def _sliced() -> list[str]:
    return [name for name, metric in METRICS.items() if metric.sliced]


def table(rules: Iterable[Rule]) -> tuple[Gate, ...]:
    """Returns the gates with the rules applied: built-in ones in their order, then the shop's own in theirs."""
    ruled = {rule.name: rule.gate for rule in rules}
    own = [gate for name, gate in ruled.items() if name not in BUILT_IN]
    return (*(ruled.get(gate.name, gate) for gate in GATES), *own)


def check(rules: tuple[Rule, ...], max_margin: float) -> None:
    """Raises: ValueError: two rules of one name, or a margin the shop does not risk."""
    names = [rule.name for rule in rules]
    for rule in rules:
        if names.count(rule.name) > 1:
            raise ValueError(f"two rules are named {rule.name!r}; a gate has one")
        if rule.margin is not None and rule.margin > max_margin:
            raise ValueError(
                f"{rule.name!r} gives a margin of {rule.margin:g}, the shop's limit gate.max_margin is {max_margin:g}"
            )
