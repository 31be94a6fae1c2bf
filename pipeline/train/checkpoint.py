"""What a killed training needs to go on: weights, optimizer, position; written beside and switched by one rename.

Order of examples and draws are functions of (seed, epoch, step), so a position is all the random state there is.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.artifacts import HOST
from pipeline.core.errors import CorruptArtifactError

STATE, POSITION = "state.npz", "position"


@dataclass(frozen=True)
class Position:
    """Where training stands.

    Attributes:
        epoch, step: the next batch to learn from.
        number: steps taken in all.
        loss_sum: of the steps of this epoch so far.
        seconds: spent on this epoch so far.
        best_epoch: the epoch whose weights found most on validation; -1 before the first.
        best_recall: what they found.
        epochs: one record for each finished epoch.
    """

    epoch: int = 0
    step: int = 0
    number: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_epoch: int = -1
    best_recall: float = -1.0
    epochs: tuple[Mapping[str, Any], ...] = ()


class Checkpoints:
    """The checkpoints of one training, in a folder of its own.

    Args:
        while_ours: what every change of the folder happens inside of; it raises where another took this one's place.
    """

    def __init__(self, folder: Path, while_ours: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self.folder, self._while_ours = folder, while_ours

    def save(self, position: Position, variables: Sequence[np.ndarray]) -> None:
        """Replaces the last checkpoint."""
        note = np.frombuffer(json.dumps(asdict(position)).encode(), np.uint8)
        with self._written(self.folder / STATE, {POSITION: note, **_numbered(variables)}):
            for old in self.folder.glob("best-*.npz"):
                if old != self._best(position.best_epoch):
                    old.unlink()

    def load(self) -> tuple[Position, list[np.ndarray]] | None:
        """Returns the last checkpoint, or None before the first.

        Raises: CorruptArtifactError: the file is not a checkpoint.
        """
        path = self.folder / STATE
        if not path.exists():
            return None
        arrays = _read(path)
        raw = json.loads(arrays.pop(POSITION).tobytes())
        return Position(**{**raw, "epochs": tuple(raw["epochs"])}), list(arrays.values())

    def save_best(self, epoch: int, weights: Sequence[np.ndarray]) -> None:
        """Keeps an epoch's weights; the checkpoint that names this epoch must be saved afterwards."""
        with self._written(self._best(epoch), _numbered(weights)):
            pass

    def load_best(self, epoch: int) -> list[np.ndarray]:
        return list(_read(self._best(epoch)).values())

    def remove(self) -> None:
        """Takes everything away, once the artifact is in its place."""
        with self._while_ours():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _best(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch}.npz"

    @contextmanager
    def _written(self, path: Path, arrays: Mapping[str, np.ndarray]) -> Iterator[None]:
        """Writes beside and switches in; the block runs before anybody else may change the folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{HOST}.{os.getpid()}.tmp")
        try:
            with beside.open("wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            with self._while_ours():
                beside.replace(path)
                yield
        finally:
            beside.unlink(missing_ok=True)


def _numbered(arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{number:05d}": array for number, array in enumerate(arrays)}


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptArtifactError(
            f"{path}: this checkpoint cannot be read ({error}); remove its folder to train from the beginning."
        ) from None
