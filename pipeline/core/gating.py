"""What a challenger must prove, as settings: limits, and rules that change a built-in gate or add one."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pipeline.core.gates import (
    ABSOLUTE,
    BUILT_IN,
    COMPARISONS,
    GATES,
    MARGINS,
    METRICS,
    QUERIES,
    SLICES,
    Comparison,
    OnInconclusive,
)
from pipeline.core.gates import Gate as Row
from pipeline.core.names import known_as, nearest
from pipeline.core.sections import FREE, Section


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
    def gate(self) -> Row:
        """The gate it makes of the built-in one, or out of nothing."""
        base = BUILT_IN.get(self.name) or Row(self.name, self.metric or "", self.comparison or "report")
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

    def _limits(self, gate: Row) -> str:
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


def _check(limits: Gate) -> None:
    """Raises: ValueError: two rules of one name, or one that risks more than the section does."""
    names = [rule.name for rule in limits.rules]
    for rule in limits.rules:
        if names.count(rule.name) > 1:
            raise ValueError(f"two rules are named {rule.name!r}; a gate has one")
        if rule.margin is not None and rule.margin > limits.max_margin:
            raise ValueError(
                f"{rule.name!r} gives a margin of {rule.margin:g}, the shop's limit gate.max_margin is "
                f"{limits.max_margin:g}"
            )
        if rule.gate.needed:
            _refuse_weaker(rule, limits)


def _refuse_weaker(rule: Rule, limits: Gate) -> None:
    least = "min_slice_queries" if rule.gate.comparison == "not_harmed" else "min_queries"
    for name, setting in (("confidence", "confidence"), ("min_queries", least)):
        given, needed = getattr(rule, name), getattr(limits, setting)
        if given is not None and given < needed:
            raise ValueError(
                f"{rule.name!r} gives {name} {given:g}, but every promotion needs this gate, and gate.{setting} is "
                f"{needed:g}; give no less"
            )


class Gate(Section):
    """What a challenger must prove."""

    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of every interval, two-sided.")
    power: float = Field(
        0.9, gt=0.5, lt=1, description="Chance with which an equal challenger shall pass the derived margin."
    )
    bootstrap_samples: int = Field(2000, ge=100, description="Resamples of users behind each interval.")
    max_margin: float = Field(
        0.1, gt=0, lt=1, description="The shop's limit: relative recall it may risk for a newer model."
    )
    anchor_days: int = Field(28, ge=1, description="The best promoted of so many days is the anchor.")
    min_queries: int = Field(100, ge=1, description="Fewer test queries than this are inconclusive.")
    min_slice_queries: int = Field(50, ge=1, description="Slices with fewer are reported, not judged.")
    max_p99_ms: float = Field(100.0, gt=0, description="The shop's promise, held by the interval's upper end.")
    max_latency_ratio: float = Field(1.15, ge=1, description="Most p50 and p95, relative to the champion's.")
    latency_rate: float = Field(200.0, gt=0, description="Requests/s to each server, open loop, in blocks by turns.")
    latency_requests: int = Field(1200, ge=50, description="Requests to each server in a look.")
    latency_rounds: int = Field(6, ge=2, description="Fresh starts of both servers in a look.")
    latency_looks: int = Field(
        3, ge=1, description="Most looks; the error rate of `confidence` is spent over them, so none is free."
    )
    max_memory_mb: float = Field(1024.0, gt=0, description="Resident memory of a server with the bundle loaded.")
    start_timeout_seconds: float = Field(
        60.0, gt=0, description="A server not ready by then fails the infra gate.", json_schema_extra=FREE
    )
    seed: int = Field(23, description="Seed of the bootstrap.")
    new_signature: str = Field(
        "", description="Declares one changed signature of requests, by the name the failed gate tells."
    )
    rules: tuple[Rule, ...] = Field((), description="Gates of the shop's own, and changes to those built in.")

    @model_validator(mode="after")
    def _rules_fit(self) -> Gate:
        _check(self)
        return self

    @property
    def table(self) -> tuple[Row, ...]:
        """Every gate a challenger meets: built-in ones in their order, then the shop's own in theirs."""
        ruled = {rule.name: rule.gate for rule in self.rules}
        own = [gate for name, gate in ruled.items() if name not in BUILT_IN]
        return (*(ruled.get(gate.name, gate) for gate in GATES), *own)
