"""A run of the tracking server that keeps nothing, for trainings whose figures are measured elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Untracked:
    """As `pipeline.train.tracked.Tracked` asks for."""

    def params(self, values: Mapping[str, Any]) -> None: ...
    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None: ...
    def tags(self, values: Mapping[str, Any]) -> None: ...
    def artifact(self, path: Path) -> None: ...
