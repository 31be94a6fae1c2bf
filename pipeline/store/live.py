"""A tracked run that never holds up the work it is told of.

What is logged goes through a thread, in order. While MLflow is away the thread keeps it and tries again; what cannot be
handed on before the work ends is given up, and said. A training is worth more than its curves, and leaves them in its
artifact as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from pipeline.core.errors import PipelineError, UnavailableError
from pipeline.store.tracking import TrackedRun, Tracking

RETRY_SECONDS = 10.0
GOODBYE_SECONDS = 20.0
SAMPLE_SECONDS = 10.0


class LiveRun:
    """Logs what it is told to an MLflow run, without waiting for it."""

    def __init__(self, run: TrackedRun) -> None:
        self._run, self._lost = run, 0
        self._orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._hand_on, daemon=True)
        self._thread.start()

    def params(self, values: Mapping[str, Any]) -> None:
        self._orders.put(lambda: self._run.params(values))

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self._orders.put(lambda: self._run.metrics(values, step))

    def tags(self, values: Mapping[str, Any]) -> None:
        self._orders.put(lambda: self._run.tags(values))

    def artifact(self, path: Path) -> None:
        """Logs a file, which must stay until the run is closed."""
        self._orders.put(lambda: self._run.artifact(path))

    def close(self, status: str) -> None:
        """Hands on what is left, tries nothing twice any more, and ends the run."""
        self._orders.put(lambda: self._run.end(status))
        self._orders.put(None)
        self._ending.set()
        self._thread.join(GOODBYE_SECONDS)
        if self._lost or self._thread.is_alive():
            print(
                f"MLflow did not take everything that was told to run {self._run.run_id}; "
                "the artifact of this step holds the same figures.",
                flush=True,
            )

    def _hand_on(self) -> None:
        while (order := self._orders.get()) is not None:
            while not self._took(order):
                self._ending.wait(RETRY_SECONDS)

    def _took(self, order: Callable[[], None]) -> bool:
        """Says whether an order is done with: logged, or given up."""
        gives_up = self._ending.is_set()
        try:
            order()
        except UnavailableError:
            self._lost += gives_up
            return gives_up
        except (PipelineError, MlflowException, OSError) as error:
            print(f"MLflow refuses what this step logs: {error}", flush=True)
            self._lost += 1
        return True


@contextmanager
def live_child(tracking: Tracking, run_id: str, name: str) -> Iterator[LiveRun]:
    """Opens the nested run of a stage as `Tracking.child` does; machine and memory are watched meanwhile.

    Raises: UnavailableError: MLflow does not answer at the beginning. Afterwards it may come and go.
    """
    run = tracking.begin(run_id, name)
    live, status = LiveRun(run), "FAILED"
    monitor = SystemMetricsMonitor(run.run_id, SAMPLE_SECONDS, resume_logging=True, tracking_uri=tracking.uri)
    monitor.start()
    try:
        yield live
        status = "FINISHED"
    finally:
        monitor.finish()
        live.close(status)
