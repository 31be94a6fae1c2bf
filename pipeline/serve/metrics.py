"""What the server counts, in a registry of its own; no label ever holds what a user sent."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.utils import floatToGoString

SECONDS = (
    0.00005, 0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
STAGES = ("queue", "decode", "history", "features", "tower", "index", "encode")


class Histogram:
    """Counts values by a label and by bucket, on one thread, in a tenth of what a locked histogram takes."""

    def __init__(self, name: str, help_text: str, label: str, buckets: Sequence[float]) -> None:
        self._name, self._help, self._label = name, help_text, label
        self._buckets = tuple(buckets)
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, label: str, value: float) -> None:
        counts = self._counts.get(label)
        if counts is None:
            counts = self._counts[label] = [0] * (len(self._buckets) + 1)
            self._sums[label] = 0.0
        counts[bisect_left(self._buckets, value)] += 1
        self._sums[label] += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yields the family, as a registry asks for it."""
        family = HistogramMetricFamily(self._name, self._help, labels=[self._label])
        bounds = [*map(floatToGoString, self._buckets), "+Inf"]
        for label, counts in self._counts.items():
            family.add_metric([label], list(zip(bounds, accumulate(counts), strict=True)), self._sums[label])
        yield family


class Metrics:
    """Counters of one server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        own: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter("serve_requests", "Requests answered.", ["route", "status"], **own)
        self._seconds = Histogram(
            "serve_request_seconds", "From a request's last byte to its answer, waiting included.", "route", SECONDS
        )
        self.stages = Histogram("serve_stage_seconds", "What the parts of an answer take.", "stage", SECONDS)
        for histogram in (self._seconds, self.stages):
            self.registry.register(histogram)
        self._shed = Counter("serve_shed", "Requests and connections refused for load.", ["reason"], **own)
        self._kept_out = Counter("serve_kept_out", "Requests of who may not ask.", ["reason"], **own)
        self._fallbacks = Counter("serve_fallbacks", "Answers the towers did not give.", ["fallback"], **own)
        self._lookups = Counter("serve_history_lookups", "Stored histories asked for.", ["outcome"], **own)
        self._told = Counter("serve_history_events", "Events told, by what became of them.", ["outcome"], **own)
        self._info = Gauge("serve_model_info", "1 for the bundle being served.", ["version", "digest"], **own)
        self._sequence = Gauge("serve_sequence", "Ledger sequence number of what is served.", **own)
        self._swaps = Counter("serve_swaps", "Bundles taken into service.", **own)
        self._failures = Counter("serve_swap_failures", "Bundles refused.", **own)
        self._waiting = Gauge("serve_queue", "Requests that wait for their turn.", **own)
        self._connections = Gauge("serve_connections", "Open connections.", **own)
        self._known: dict[tuple[str, int], Any] = {}

    def watch(self, waiting: Callable[[], int], connections: Callable[[], int]) -> None:
        """Reads these whenever metrics are asked for."""
        self._waiting.set_function(waiting)
        self._connections.set_function(connections)

    def answered(self, route: str, status: int, seconds: float) -> None:
        counter = self._known.get((route, status))
        if counter is None:
            counter = self._known[route, status] = self._requests.labels(route, str(status))
        counter.inc()
        self._seconds.observe(route, seconds)

    def shed(self, reason: str) -> None:
        self._shed.labels(reason).inc()

    def kept_out(self, reason: str) -> None:
        self._kept_out.labels(reason).inc()

    def fell_back(self, fallback: str) -> None:
        self._fallbacks.labels(fallback).inc()

    def looked_up(self, outcome: str, seconds: float) -> None:
        self._lookups.labels(outcome).inc()
        self.stages.observe("history", seconds)

    def told(self, outcome: str, events: int) -> None:
        self._told.labels(outcome).inc(events)

    def watch_histories(self, reachable: Callable[[], bool]) -> None:
        """Says whether stored histories can be read, on a server that has any."""
        Gauge(
            "serve_history_reachable", "1 while stored histories are asked for.", registry=self.registry
        ).set_function(reachable)

    def swapped(self, version: object, digest: str, sequence: int) -> None:
        self._swaps.inc()
        self._info.clear()
        self._info.labels(str(version), digest).set(1)
        self._sequence.set(sequence)

    def refused(self) -> None:
        self._failures.inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
