"""How wide, deep and long a model is, and how large its steps are, where the settings leave it to the log.

Shapes: T targets.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.core.errors import SettingsError
from pipeline.core.settings import Settings
from pipeline.train.prepared import Prepared

WIDTHS, BATCHES, LENGTHS = (32, 256), (512, 4096), (10, 100)
NUMBERS_A_TARGET = 5.0
STEPS_AN_EPOCH = 128
LONG_SEQUENCES_SHARE = 0.05
"""So many sequences may be longer than what is read of them."""


def sized(settings: Settings, prepared: Prepared) -> Settings:
    """Returns the settings with the sizes that are 0 derived from the log, and prints those.

    Width grows with the fourth root of the number of targets, so that the items' table does not outgrow what is there
    to learn it from; a step with the number itself, so that an epoch has about `STEPS_AN_EPOCH`; the history holds all
    events of most sequences. Widths and batches are powers of two.

    Raises: SettingsError: the heads do not divide the width.
    """
    train, targets = settings.train, len(prepared.targets_T)
    dim = train.dim or _power_of_two(NUMBERS_A_TARGET * targets**0.25, WIDTHS)
    derived = {
        "dim": dim,
        "hidden_units": train.hidden_units or 2 * dim,
        "history_length": train.history_length or _usual_length(prepared),
        "batch_size": train.batch_size or _power_of_two(targets / STEPS_AN_EPOCH, BATCHES),
    }
    derived["uniform_negatives"] = train.uniform_negatives or derived["batch_size"]
    if dim % train.heads:
        raise SettingsError(
            f"train.dim is {dim}, which train.heads={train.heads} cannot share evenly; make it a multiple of "
            f"{train.heads}."
        )
    told = ", ".join(f"{name} {size}" for name, size in derived.items() if not getattr(train, name))
    if told:
        print(f"train: {told}, derived from {targets:,} targets on {len(prepared.items):,} items.", flush=True)
    return settings.model_copy(update={"train": train.model_copy(update=derived)})


def _power_of_two(size: float, bounds: tuple[int, int]) -> int:
    return int(np.clip(2 ** round(math.log2(size)), *bounds))


def _usual_length(prepared: Prepared) -> int:
    """Returns the length that all but few sequences keep within, rounded up to tens."""
    usual = np.quantile(np.diff(prepared.offsets_S1), 1 - LONG_SEQUENCES_SHARE, method="lower")
    return int(np.clip(math.ceil(usual / 10) * 10, *LENGTHS))
