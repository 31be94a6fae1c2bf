"""How long work is shown: a bar with rate and ETA in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts work done and says so from time to time."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done, self.facts = 0, ""
        self.began = self._said = time.monotonic()
        self._said_done = -1

    def advance(self, amount: int = 1, **facts: object) -> None:
        """Adds work done; `facts` such as `loss=3.2` replace those shown before."""
        self.done += amount
        if facts:
            self.facts = " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in facts.items())
        if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self.say()

    def say(self) -> None:
        """Prints where the work stands now."""
        self._said, self._said_done = time.monotonic(), self.done
        elapsed = max(self._said - self.began, 1e-9)
        rate = self.done / elapsed
        left = f", {max(self.total - self.done, 0) / rate:.0f} s left" if rate and self.total else ""
        of = f"/{self.total:,}" if self.total else ""
        print(
            f"{self.label}: {self.done:,}{of} {self.unit}, {rate:,.1f} {self.unit}/s{left} {self.facts}".rstrip(),
            flush=True,
        )


class _Bar(Progress):
    def __init__(self, label: str, total: int, unit: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich

        super().__init__(label, total, unit)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        self.rich = Rich(*columns, TimeRemainingColumn(), TextColumn("{task.fields[facts]}"))
        self.task = self.rich.add_task(label, total=total or None, facts="", rate="")

    def say(self) -> None:
        self._said = time.monotonic()
        rate = self.done / max(self._said - self.began, 1e-9)
        self.rich.update(self.task, completed=self.done, facts=self.facts, rate=f"{rate:,.0f} {self.unit}/s")


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Progress]:
    """Shows work of `total` units (0 when unknown) while the block runs."""
    if not sys.stdout.isatty():
        line = Progress(label, total, unit)
        yield line
        if line._said_done < line.done:
            line.say()
        return
    bar = _Bar(label, total, unit)
    with bar.rich:
        yield bar
        bar.say()
