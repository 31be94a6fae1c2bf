"""Where figures are logged while training runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracked(Protocol):
    """A run of the tracking server, as far as training needs to know it."""

    def params(self, values: Mapping[str, Any]) -> None: ...
    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None: ...
    def tags(self, values: Mapping[str, Any]) -> None: ...
    def artifact(self, path: Path) -> None: ...
