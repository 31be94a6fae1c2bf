"""The loop: epochs, early stopping, checkpoints, and an orderly end on SIGTERM."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.core.errors import DataError, UnavailableError
from pipeline.core.progress import Progress, progress
from pipeline.core.sections import Train
from pipeline.train.batch import Batch
from pipeline.train.checkpoint import Checkpoints, Position
from pipeline.train.examples import Examples
from pipeline.train.trainer import Trainer

STEPS_BETWEEN_LOOKS = 20


@dataclass
class Fit:
    """One training, from wherever its checkpoints stand.

    Attributes:
        judge: returns validation recall@k with the weights as they are.
        tell: is given the record of each finished epoch.
        tell_step: is given figures of the last steps, and how many were made, every `figures_seconds`.
    """

    trainer: Trainer
    examples: Examples
    settings: Train
    checkpoints: Checkpoints
    judge: Callable[[], float]
    tell: Callable[[dict[str, Any]], None]
    tell_step: Callable[[dict[str, float], int], None] = lambda figures, number: None

    def run(self) -> Position:
        """Learns until the last epoch, or until patience ends, and leaves the best weights in the trainer.

        Raises:
            DataError: the loss is no finite number.
            UnavailableError: SIGTERM came; a checkpoint was written.
        """
        position = self._resume()
        with terminated_is_noted() as terminated, self._progress(position) as bar:
            while not self._finished(position):
                self._stop_when(terminated, position)
                position = self._epoch(position, bar, terminated)
        if position.best_epoch >= 0:
            self.trainer.load_weights(self.checkpoints.load_best(position.best_epoch))
        return position

    def _resume(self) -> Position:
        found = self.checkpoints.load()
        if found is None:
            return Position()
        position, state = found
        self.trainer.load_state(state)
        print(f"train: goes on from epoch {position.epoch + 1}, step {position.step}.", flush=True)
        return position

    def _progress(self, position: Position) -> Any:
        left = self.settings.epochs * self.examples.steps - position.number
        return progress("train", max(left, 0) * self.settings.batch_size, "targets")

    def _finished(self, position: Position) -> bool:
        stale = position.epoch - 1 - position.best_epoch
        return position.epoch >= self.settings.epochs or (position.epoch > 0 and stale >= self.settings.patience_epochs)

    def _epoch(self, position: Position, bar: Progress, terminated: threading.Event) -> Position:
        saved = told = began = time.monotonic()
        before = known = position
        pending: list[Any] = []
        for batch in self.batches(position):
            pending.append(self.trainer.step(batch, position.number))
            bar.advance(self.settings.batch_size)
            position = replace(position, step=position.step + 1, number=position.number + 1)
            due = time.monotonic() - saved >= self.settings.checkpoint_seconds
            if due or terminated.is_set() or len(pending) == STEPS_BETWEEN_LOOKS:
                position = _with_losses(position, pending)
                self._show(bar, position)
                if (now := time.monotonic()) - told >= self.settings.figures_seconds:
                    self.tell_step(self._figures(known, position, now - told), position.number)
                    told, known = now, position
            if due or terminated.is_set():
                spent = replace(position, seconds=before.seconds + time.monotonic() - began)
                self.checkpoints.save(spent, self.trainer.state())
                saved = time.monotonic()
                self._stop_when(terminated, position)
        position = _with_losses(position, pending)
        return self._end_epoch(replace(position, seconds=before.seconds + time.monotonic() - began), bar)

    def _stop_when(self, terminated: threading.Event, position: Position) -> None:
        if terminated.is_set():
            raise UnavailableError(
                f"Training was told to end before epoch {position.epoch + 1}, step {position.step + 1}; its checkpoint "
                f"is in {self.checkpoints.folder}, so run the same command again and it goes on from there."
            )

    def batches(self, position: Position) -> Iterator[Batch]:
        """Yields what is left of the epoch, each batch gathered while the one before it is learnt from."""
        order_T = self.examples.order(position.epoch)
        with ThreadPoolExecutor(1) as gatherer:
            coming = gatherer.submit(self.examples.batch, order_T, position.epoch, position.step)
            for step in range(position.step, self.examples.steps):
                batch = coming.result()
                coming = gatherer.submit(self.examples.batch, order_T, position.epoch, step + 1)
                yield batch

    def _show(self, bar: Progress, position: Position) -> None:
        loss = position.loss_sum / max(position.step, 1)
        facts = {"epoch": position.epoch + 1, "step": position.step, "loss": loss}
        if position.best_epoch >= 0:
            facts["best_recall"] = position.best_recall
        bar.advance(0, **facts)

    def _figures(self, known: Position, position: Position, seconds: float) -> dict[str, float]:
        steps = position.number - known.number
        return {
            "step.loss": (position.loss_sum - known.loss_sum) / steps,
            "step.learning_rate": self.trainer.learning_rate(position.number),
            "step.targets_per_second": steps * self.settings.batch_size / max(seconds, 1e-9),
        }

    def _end_epoch(self, position: Position, bar: Progress) -> Position:
        recall = self.judge()
        targets = self.examples.steps * self.settings.batch_size
        record = {
            "epoch": position.epoch + 1,
            "loss": position.loss_sum / self.examples.steps,
            "recall": recall,
            "learning_rate": self.trainer.learning_rate(position.number),
            "seconds": position.seconds,
            "targets_per_second": targets / max(position.seconds, 1e-9),
        }
        if recall > position.best_recall:
            self.checkpoints.save_best(position.epoch, self.trainer.weight_values())
            position = replace(position, best_epoch=position.epoch, best_recall=recall)
        fresh = {"epoch": position.epoch + 1, "step": 0, "loss_sum": 0.0, "seconds": 0.0}
        position = replace(position, **fresh, epochs=(*position.epochs, record))
        self.checkpoints.save(position, self.trainer.state())
        self.tell(record)
        bar.advance(0, epoch=record["epoch"], loss=record["loss"], recall=recall)
        return position


def _with_losses(position: Position, pending: list[Any]) -> Position:
    """Waits for the losses of the last steps and adds them up.

    Raises: DataError: one is no finite number.
    """
    losses = np.array([float(loss) for loss in pending], np.float64)
    if not np.isfinite(losses).all():
        step = position.step - len(losses) + int(np.argmin(np.isfinite(losses)))
        raise DataError(
            f"The loss is {losses[~np.isfinite(losses)][0]} at epoch {position.epoch + 1}, step {step}; "
            "lower train.learning_rate or raise train.temperature."
        )
    pending.clear()
    total = position.loss_sum
    for loss in losses:
        total += loss
    return replace(position, loss_sum=float(total))


@contextmanager
def terminated_is_noted() -> Iterator[threading.Event]:
    """Gives an event that SIGTERM sets while the block runs, instead of ending the process."""
    terminated = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield terminated
        return
    before = signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    try:
        yield terminated
    finally:
        signal.signal(signal.SIGTERM, before)
