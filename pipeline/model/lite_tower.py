"""A converted tower run by LiteRT: no TensorFlow in the process, one thread, memory allocated once a batch size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from pipeline.core.errors import CorruptArtifactError, ShapeError
from pipeline.model.packed import read_packed

MAX_BATCH = 128


class LiteTower:
    """Turns a batch of features into vectors.

    Batches are padded to a power of two, so there is one allocated interpreter a size and no allocation later. All
    read the same bytes. Not for two threads at once.
    """

    def __init__(self, path: Path) -> None:
        """Raises: CorruptArtifactError: the file is torn or no tower."""
        self._path, self._content = path, read_packed(path)
        self._by_batch: dict[int, _Allocated] = {}
        self._allocated(1)

    def __call__(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """Args: features: arrays [B, …] by input name. Returns: float32 [B, dim]."""
        rows = len(next(iter(features.values())))
        if rows == 1:
            return self._by_batch[1].run(features)
        parts = [self._part(features, at, min(at + MAX_BATCH, rows)) for at in range(0, rows, MAX_BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    @property
    def dim(self) -> int:
        return self._allocated(1).dim

    def _part(self, features: Mapping[str, np.ndarray], low: int, high: int) -> np.ndarray:
        size = 1 << (high - low - 1).bit_length()
        return self._allocated(size).run({name: values[low:high] for name, values in features.items()})[: high - low]

    def _allocated(self, batch: int) -> _Allocated:
        if batch not in self._by_batch:
            self._by_batch[batch] = _Allocated(self._path, self._content, batch)
        return self._by_batch[batch]


class _Allocated:
    def __init__(self, path: Path, content: bytes, batch: int) -> None:
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            inputs = self._interpreter.get_signature_runner().get_input_details()
            for detail in inputs.values():
                self._interpreter.resize_tensor_input(detail["index"], [batch, *detail["shape_signature"][1:]])
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise CorruptArtifactError(
                f"{path}: LiteRT cannot load this tower ({str(error).splitlines()[0][:120]})."
            ) from None
        self._inputs: list[tuple[str, int, np.ndarray]] = [
            (name, detail["index"], np.zeros([batch, *detail["shape_signature"][1:]], detail["dtype"]))
            for name, detail in inputs.items()
        ]
        self._output = self._interpreter.get_output_details()[0]

    @property
    def dim(self) -> int:
        return int(self._output["shape"][-1])

    def run(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        for name, index, padded in self._inputs:
            values = features.get(name)
            if values is None or values.shape != padded.shape or values.dtype != padded.dtype:
                values = _filled(name, padded, values)
            self._interpreter.set_tensor(index, values)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"])


def _filled(name: str, padded: np.ndarray, values: np.ndarray | None) -> np.ndarray:
    """Raises: ShapeError: values of another shape than the input takes, or none."""
    if values is None or values.shape[1:] != padded.shape[1:]:
        found = "nothing" if values is None else values.shape[1:]
        raise ShapeError(f"The tower's input {name} takes rows of shape {padded.shape[1:]}, found {found}.")
    padded[: len(values)] = values
    return padded
