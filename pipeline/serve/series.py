"""Counters, histograms and gauges of one server, cheap enough to be fed many times a request.

The client library's own take a lock and a look-up each; an answer takes a few hundred microseconds and feeds a dozen.
Each of these is written by one thread alone and may be read by another.
"""

from __future__ import annotations

import gc
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Tally(Collector):
    """Counts by labels."""

    def __init__(
        self, name: str, help_text: str, labels: Sequence[str] = (), known: Iterable[Sequence[str]] = ((),)
    ) -> None:
        """Args: known: what is counted from 0 on, so that the first of its kind is seen as an increase."""
        self._name, self._help, self.labels = name, help_text, tuple(labels)
        self._counts: dict[tuple[Any, ...], float] = {tuple(values): 0 for values in known}

    def add(self, *labels: Any, count: float = 1) -> None:
        self._counts[labels] = self._counts.get(labels, 0) + count

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yields the family, as a registry asks for it."""
        family = CounterMetricFamily(self._name, self._help, labels=self.labels)
        for labels, count in list(self._counts.items()):
            family.add_metric([str(label) for label in labels], count)
        yield family


class Histogram(Collector):
    """Counts values by one label, or by none, and by bucket; a bucket holds its upper bound."""

    def __init__(self, name: str, help_text: str, label: str, buckets: Sequence[float]) -> None:
        """Args: label: its name; empty for a histogram without."""
        self._name, self._help = name, help_text
        self.labels = (label,) if label else ()
        self._buckets = tuple(buckets)
        # By label a count for each bucket, one for what is beyond the last, and the sum.
        self._rows: dict[str, list[float]] = {}

    def observe(self, label: str, value: float) -> None:
        try:
            row = self._rows[label]
        except KeyError:
            row = self._rows[label] = [0] * (len(self._buckets) + 2)
        row[bisect_left(self._buckets, value)] += 1
        row[-1] += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yields the family, as a registry asks for it."""
        family = HistogramMetricFamily(self._name, self._help, labels=self.labels)
        bounds = [*map(floatToGoString, self._buckets), "+Inf"]
        for label, row in list(self._rows.items()):
            *counts, total = row
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric([label] if self.labels else [], buckets, total)
        yield family


class Readings(Collector):
    """Gauges that are read when metrics are asked for; one that nobody feeds is named and has no value."""

    def __init__(self, helps: Mapping[str, str]) -> None:
        """Args: helps: what each says, by name."""
        self._helps = dict(helps)
        self.labels: tuple[str, ...] = ()
        self._sources: dict[str, Callable[[], float]] = {}

    def watch(self, name: str, source: Callable[[], float]) -> None:
        """Reads a gauge from `source` from now on. Raises: KeyError: there is no such gauge."""
        if name not in self._helps:
            raise KeyError(name)
        self._sources[name] = source

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields a family a gauge, as a registry asks for them."""
        for name, help_text in self._helps.items():
            source = self._sources.get(name)
            yield GaugeMetricFamily(name, help_text, value=source() if source else None)


@contextmanager
def timed_collections(pauses: Histogram) -> Iterator[None]:
    """Observes by generation how long the garbage collector holds everybody up, while the block runs."""
    began = 0.0

    def observe(phase: str, info: Mapping[str, int]) -> None:
        # One collection runs at a time, whichever thread set it off, so one start time is enough.
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
        else:
            pauses.observe(str(info["generation"]), time.perf_counter() - began)

    gc.callbacks.append(observe)
    try:
        yield
    finally:
        gc.callbacks.remove(observe)
