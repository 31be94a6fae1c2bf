"""What a person sees while a night runs: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

COLOUR = {"running": "cyan", "success": "green", "failed": "red", "upstream_failed": "red", "up_for_retry": "yellow"}
WIDTH_WITHOUT_TERMINAL = 160


@dataclass
class Row:
    """One task as it was last seen."""

    state: str = "waiting"
    seconds: float = 0.0
    says: str = ""
    attempt: int = 1


class View:
    """Tasks of the night, in order; without a terminal every change and every line is printed once."""

    def __init__(self, tasks: Iterable[str]) -> None:
        self.rows = {task: Row() for task in tasks}
        self.began = time.monotonic()
        self.console = Console(highlight=False)
        self._live: Live | None = None
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=WIDTH_WITHOUT_TERMINAL)

    def __enter__(self) -> View:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, get_renderable=self._table)
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.__exit__(None, None, None)
            self._live = None

    @property
    def elapsed(self) -> str:
        return _clock(time.monotonic() - self.began)

    def say(self, sentence: str) -> None:
        """Prints one line that stays."""
        self.console.print(f"[dim]{self.elapsed}[/dim] {escape(sentence)}", soft_wrap=True)

    def task(self, name: str, state: str | None, seconds: float, attempt: int) -> None:
        """Notes where a task stands now."""
        row = self._row(name)
        state = state or "waiting"
        changed = state != row.state or attempt != row.attempt
        row.state, row.seconds, row.attempt = state, seconds, attempt
        if changed and state not in ("waiting", "scheduled", "queued", "removed"):
            took = f" after {seconds:.1f} s" if state != "running" else ""
            again = f" (attempt {attempt})" if attempt > 1 else ""
            self.console.print(
                f"[dim]{self.elapsed}[/dim] [{COLOUR.get(state, 'white')}]{name}: {state}[/]{took}{again}",
                soft_wrap=True,
            )

    def line(self, name: str, text: str) -> None:
        """Shows what a task's step just said."""
        self._row(name).says = text
        if self._live is None:
            self.console.print(f"{self.elapsed} {name} | {text}", markup=False, soft_wrap=True)

    def _row(self, name: str) -> Row:
        """Returns a task's row, new ones last; one of a mapped task, `task part`, behind its task's others."""
        if name not in self.rows:
            self._insert(name)
        return self.rows[name]

    def _insert(self, name: str) -> None:
        task = name.partition(" ")[0]
        rows = list(self.rows.items())
        places = [place for place, (known, _) in enumerate(rows) if known.partition(" ")[0] == task]
        rows.insert(places[-1] + 1 if places else len(rows), (name, Row()))
        # The row that stood for all parts says nothing any more.
        self.rows = {known: row for known, row in rows if known == name or known != task}

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for title in ("task", "state", "time", "says"):
            table.add_column(title, no_wrap=True, overflow="ellipsis")
        for name, row in self.rows.items():
            colour = COLOUR.get(row.state, "dim")
            took = f"{row.seconds:.0f} s" if row.seconds else ""
            table.add_row(name, f"[{colour}]{row.state}[/]", took, escape(row.says))
        return Group(table)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Prints a table that stays."""
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(escape(_cell(value)) for value in row))
        self.console.print(table)

    def text(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
