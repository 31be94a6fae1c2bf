"""What the server counts, in a registry of its own."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

BUCKETS_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """Counters of one server; no label ever holds what a user sent."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        own = {"registry": self.registry}
        self._requests = Counter("serve_requests", "Requests answered.", ["route", "status"], **own)
        self._seconds = Histogram(
            "serve_request_seconds",
            "From the body's last byte to the answer.",
            ["route"],
            buckets=BUCKETS_SECONDS,
            **own,
        )
        self._fallbacks = Counter("serve_fallbacks", "Answers the towers did not give.", ["fallback"], **own)
        self._info = Gauge("serve_model_info", "1 for the bundle being served.", ["version", "digest"], **own)
        self._sequence = Gauge("serve_sequence", "Ledger sequence number of what is served.", **own)
        self._swaps = Counter("serve_swaps", "Bundles taken into service.", **own)
        self._failures = Counter("serve_swap_failures", "Bundles refused.", **own)
        self._known: dict[tuple[str, int], Any] = {}
        self._timers: dict[str, Any] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        counter = self._known.get((route, status))
        if counter is None:
            counter = self._known[route, status] = self._requests.labels(route, str(status))
            self._timers.setdefault(route, self._seconds.labels(route))
        counter.inc()
        self._timers[route].observe(seconds)

    def fell_back(self, fallback: str) -> None:
        self._fallbacks.labels(fallback).inc()

    def swapped(self, version: object, digest: str, sequence: int) -> None:
        self._swaps.inc()
        self._info.clear()
        self._info.labels(str(version), digest).set(1)
        self._sequence.set(sequence)

    def refused(self) -> None:
        self._failures.inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
