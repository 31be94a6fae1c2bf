"""What `serve` has measured so far, a file a round, so that it can be ended at any time and goes on where it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.artifacts import code_digest


@dataclass(frozen=True)
class Round:
    """One turn of everybody.

    Attributes:
        facts: by contestant, and under `CODE` the code that was measured.
        times: arrays by contestant and what was timed, as `key` joins them.
    """

    facts: Mapping[str, Any]
    times: Mapping[str, np.ndarray] = field(default_factory=dict)


CODE = "code"


def key(contestant: str, what: object) -> str:
    return f"{contestant} {what}"


class Kept:
    """The rounds of one piece of the measurement."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def rounds(self) -> list[Round]:
        return [_read(path) for path in sorted(self._folder.glob("*.npz"))]

    def __len__(self) -> int:
        return len(list(self._folder.glob("*.npz")))

    def add(self, made: Round) -> None:
        """Keeps a round, whole or not at all, beside which code it is of."""
        self._folder.mkdir(parents=True, exist_ok=True)
        beside = self._folder / "unfinished"
        with beside.open("wb") as file:
            np.savez(file, facts=json.dumps({**made.facts, CODE: code_digest("serve")[:8]}), **made.times)
        beside.replace(self._folder / f"{len(self):03d}.npz")

    def forget(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _read(path: Path) -> Round:
    with np.load(path, allow_pickle=False) as stored:
        times = {name: stored[name] for name in stored.files if name != "facts"}
        return Round(json.loads(str(stored["facts"])), times)
