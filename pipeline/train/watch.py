"""Looking closer at a training on request: TensorBoard's curves, and a profile of some steps."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from pipeline.model.keras import tf
from pipeline.train.batch import Batch
from pipeline.train.trainer import Trainer

PROFILE = "profile"
WARM_UP_STEPS = 20


class Board:
    """Curves for TensorBoard; its own package is not needed to write them."""

    def __init__(self, folder: Path) -> None:
        self._writer = tf.summary.create_file_writer(str(folder))
        self._scalar = tf.compat.v1.SummaryMetadata(plugin_data={"plugin_name": "scalars"}, data_class=1)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.write(name, tf.constant(value, tf.float32), step, self._scalar)
        self._writer.flush()


def profile(trainer: Trainer, batches: Iterator[Batch], steps: int, out: Path) -> dict[str, float]:
    """Takes steps as the training will, times their parts, and leaves the trainer as it was.

    Args:
        batches: more than `WARM_UP_STEPS` and the steps together.

    Writes `profile/profile.json` and, for TensorBoard's profiler, a trace of what TensorFlow did.

    Returns: `steps`, `wall_seconds`, and of those `step_seconds` in the compiled step (the batch's way to the replicas
        included), `waiting_seconds` for the next batch, and `step_share`.
    """
    before = trainer.state()
    for number, batch in enumerate(islice(batches, WARM_UP_STEPS)):
        float(trainer.step(batch, number))
    tf.profiler.experimental.start(str(out / PROFILE))
    waiting = working = 0.0
    asked = time.monotonic()
    for number, batch in enumerate(islice(batches, steps), WARM_UP_STEPS):
        got = time.monotonic()
        float(trainer.step(batch, number))
        done = time.monotonic()
        waiting, working, asked = waiting + got - asked, working + done - got, done
    tf.profiler.experimental.stop()
    trainer.load_state(before)
    found = {"steps": steps, "wall_seconds": waiting + working, "step_seconds": working, "waiting_seconds": waiting}
    found["step_share"] = working / max(waiting + working, 1e-9)
    (out / PROFILE / "profile.json").write_text(json.dumps(found, indent=1))
    return found
