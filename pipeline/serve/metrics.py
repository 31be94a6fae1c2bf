"""What the server counts; no label ever holds what a user sent.

`docs/reference/metrics.md` is made from what is said here and from the alerts in `docker/prometheus/rules/`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from prometheus_client import ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from pipeline.model.answer import FALLBACKS
from pipeline.serve.series import Histogram, Readings, Tally

SECONDS = (
    0.00005, 0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
PAUSES = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SCORES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0)
LENGTHS = (0, 1, 2, 3, 5, 8, 13, 20, 30, 50, 100, 200, 500, 1000)

SHED_STATUS = 503
STAGES = ("queue", "decode", "history", "features", "tower", "index", "rank", "explain", "encode")
SHED = ("connections", "queue", "wait", "batch", "gone")
REFUSALS = ("sequence", "goldens", "missing", "corrupt", "unavailable", "unexpected")
KEPT_OUT = ("missing", "unknown", "scope", "site")
LOOKUPS = ("found", "empty", "timeout", "error", "skipped")
TOLD = ("accepted", "known", "left_out", "refused")
GAUGES = {
    "serve_ready": "1 while this server may be asked: it has a champion and is not ending.",
    "serve_queue": "Requests that wait for their turn.",
    "serve_connections": "Open connections.",
    "serve_promised_p99_seconds": "What p99 may be, by `gate.max_p99_ms`.",
    "serve_live_items": "Items put since the served bundle was made.",
    "serve_history_reachable": "1 while stored histories are asked for.",
}


class Model(NamedTuple):
    """What is told of the bundle that is served; times are unix seconds."""

    version: object
    digest: str
    recipe: str
    sequence: int
    items: int
    data_end: float
    since: float
    load_seconds: float


MODEL = {
    "serve_sequence": ("Ledger sequence number of what is served.", "sequence"),
    "serve_model_items": ("Items of the served bundle.", "items"),
    "serve_model_data_end_timestamp_seconds": ("Nothing later was seen by the served model.", "data_end"),
    "serve_model_since_timestamp_seconds": ("When the served bundle was taken into service.", "since"),
    "serve_model_load_seconds": ("What verifying, loading and rehearsing the served bundle took.", "load_seconds"),
}


class ServedModel(Collector):
    """All that is told of the served bundle, at any moment of one bundle."""

    labels = ()

    def __init__(self) -> None:
        self.model: Model | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the families, as a registry asks for them."""
        model = self.model
        says = "1 for the bundle being served, by `digest`, `recipe` and `version`."
        info = GaugeMetricFamily("serve_model_info", says, labels=("digest", "recipe", "version"))
        if model:
            info.add_metric([model.digest, model.recipe, str(model.version)], 1)
        yield info
        for name, (help_text, field) in MODEL.items():
            yield GaugeMetricFamily(name, help_text, value=getattr(model, field) if model else None)


Series = TypeVar("Series", ServedModel, Readings, Tally, Histogram)


class Metrics:
    """Counters of one server.

    Attributes:
        process: memory, processor time and files of the process.
        series: what is counted here.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.process = ProcessCollector(registry=None)
        self.series: list[ServedModel | Readings | Tally | Histogram] = []
        self._model, self._readings = self._kept(ServedModel()), self._kept(Readings(GAUGES))
        self._of_requests()
        self._of_answers()
        self._swaps = self._tally("serve_swaps", "Bundles taken into service.")
        self._refusals = self._tally("serve_swap_failures", "Times a bundle was refused.", "reason", REFUSALS)
        self._lookups = self._tally("serve_history_lookups", "Stored histories asked for.", "outcome", LOOKUPS)
        self._events = self._tally("serve_history_events", "Events told, by what became of them.", "outcome", TOLD)
        self._kept_out = self._tally("serve_kept_out", "Requests of who may not ask.", "reason", KEPT_OUT)
        self._lag = self._histogram("serve_loop_lag_seconds", "How late the event loop comes to its work.", "", PAUSES)
        self.collections = self._histogram(
            "serve_gc_pause_seconds", "What the garbage collector takes at a time.", "generation", PAUSES
        )

    def _of_requests(self) -> None:
        by = ("route", "status")
        self._requests = self._kept(Tally("serve_requests", "Requests answered or refused.", by, known=()))
        waiting = "From a request's last byte to its answer, waiting included; those refused for load left out."
        self._seconds = self._histogram("serve_request_seconds", waiting, "route", SECONDS)
        parts = f"What the parts of an answer take: {', '.join(STAGES)}."
        self.stages = self._histogram("serve_stage_seconds", parts, "stage", SECONDS)
        self._shed = self._tally("serve_shed", "Requests and connections refused for load.", "reason", SHED)

    def _of_answers(self) -> None:
        self._fallbacks = self._tally("serve_fallbacks", "Answers the towers did not give.", "fallback", FALLBACKS)
        self._short = self._tally("serve_short_answers", "Answers of fewer items than asked for.", "route")
        self._scores = self._histogram(
            "serve_best_score", "Score of the first item the towers answered; below 0 counts as 0.", "route", SCORES
        )
        self._lengths = self._histogram("serve_history_length", "Events a request is answered by.", "route", LENGTHS)

    def _tally(self, name: str, help_text: str, label: str = "", known: tuple[str, ...] = ()) -> Tally:
        if not label:
            return self._kept(Tally(name, help_text))
        return self._kept(Tally(name, help_text, (label,), [(value,) for value in known]))

    def _histogram(self, name: str, help_text: str, label: str, buckets: tuple[float, ...]) -> Histogram:
        return self._kept(Histogram(name, help_text, label, buckets))

    def _kept(self, series: Series) -> Series:
        self.series.append(series)
        return series

    # What is read when somebody asks.

    def watch(self, waiting: Callable[[], int], connections: Callable[[], int]) -> None:
        """Reads these whenever metrics are asked for, and so all of `watch_…`."""
        self._readings.watch("serve_queue", waiting)
        self._readings.watch("serve_connections", connections)

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        self._readings.watch("serve_ready", ready)

    def watch_promise(self, seconds: Callable[[], float]) -> None:
        self._readings.watch("serve_promised_p99_seconds", seconds)

    def count_live(self, live: Callable[[], int]) -> None:
        self._readings.watch("serve_live_items", live)

    def watch_histories(self, reachable: Callable[[], bool]) -> None:
        """Only where there are stored histories; elsewhere the gauge has no value."""
        self._readings.watch("serve_history_reachable", reachable)

    async def text(self) -> bytes:
        """Writes one series after the other and lets requests in between, for all of them take milliseconds."""
        written = []
        for each in (self.process, *self.series):
            written.append(generate_latest(each))
            await asyncio.sleep(0)
        return b"".join(written)

    # What requests tell.

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests.add(route, status)
        if status != SHED_STATUS:
            # In an overload most answers are quick refusals; counted here they would make it look like a fast server.
            self._seconds.observe(route, seconds)

    def unread(self, status: int) -> None:
        """Counts what was refused before there was a request."""
        self._requests.add("unread", status)

    def shed(self, reason: str) -> None:
        self._shed.add(reason)

    def kept_out(self, reason: str) -> None:
        """Counts a request of who may not ask."""
        self._kept_out.add(reason)

    # What answers tell.

    def gave(
        self, route: str, asked: int, given: int, best: float | None, fallback: str | None, history: int | None
    ) -> None:
        """Counts what an answer was like.

        Args:
            asked: how many items were asked for.
            given: how many were answered.
            best: score of the first.
            history: how many events it was answered by; None where none are asked for.
        """
        if fallback:
            self._fallbacks.add(fallback)
        elif best is not None:
            self._scores.observe(route, best if best > 0 else 0.0)
        if history is not None:
            self._lengths.observe(route, history)
        if given < asked:
            self._short.add(route)

    def looked_up(self, outcome: str, seconds: float) -> None:
        """Counts a stored history that was asked for."""
        self._lookups.add(outcome)
        self.stages.observe("history", seconds)

    def told(self, outcome: str, events: int) -> None:
        """Counts events a shop told, by what became of them."""
        self._events.add(outcome, count=events)

    # What the process tells.

    def lagged(self, seconds: float) -> None:
        self._lag.observe("", max(seconds, 0.0))

    def swapped(self, model: Model) -> None:
        self._model.model = model
        self._swaps.add()

    def refused(self, reason: str) -> None:
        self._refusals.add(reason)
