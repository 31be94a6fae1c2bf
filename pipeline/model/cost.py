"""What serving, a night and a promoted model cost: C = compute + storage + people, as tables of figures with sources.

Plain arithmetic over what was measured and what the section `cost` states. What is not known is None, prints as a
dash, and leaves unknown whatever would need it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.prices import Cost
from pipeline.core.spent import Spent

HOURS_A_MONTH = 730
"""365 days of 24 hours, a twelfth."""
GIGA = 1e9
MILLION = 1_000_000


@dataclass(frozen=True)
class Line:
    """One figure in one or several columns, and where it comes from."""

    what: str
    unit: str
    values: tuple[float | None, ...]
    source: str


@dataclass(frozen=True)
class Table:
    """Lines under a title; `note` says what holds for all of them, or why there are none."""

    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    note: str = ""


@dataclass(frozen=True)
class Replica:
    """What one server needs, as far as it was measured.

    Attributes:
        name: of the recipe.
        cpu_ms: of the thread, a request, batch 1: tower and index.
        memory_mb: resident, of a process that answers from the bundle.
        bytes: of the bundle on disk.
    """

    name: str
    cpu_ms: float | None
    memory_mb: float | None
    bytes: int | None


@dataclass(frozen=True)
class Around:
    """What the server adds around tower and index, as the gate measures it on the real one; None before it did."""

    cpu_ms: float | None = None
    memory_mb: float | None = None


def known(formula: Callable[..., float], *values: float | None) -> float | None:
    """Returns what a formula gives; None where a value is unknown."""
    return None if any(value is None for value in values) else formula(*values)


def core_seconds_per_million(cpu_ms: float) -> float:
    """Returns seconds of a core for a million requests."""
    return cpu_ms / 1e3 * MILLION


def eur_per_million(cpu_ms: float, prices: Cost) -> float:
    """Returns money for a million requests; cores that stand idle below the peak are paid for as well."""
    return core_seconds_per_million(cpu_ms) / prices.target_utilisation / 3600 * prices.core_hour_eur


def replicas(cpu_ms: float, requests_per_second: float, prices: Cost) -> int:
    """Returns how many servers the peak needs: each core may be busy up to the target, and one may fail."""
    busy_cores = requests_per_second * cpu_ms / 1e3
    return max(prices.least_replicas, math.ceil(busy_cores / (prices.cores_per_replica * prices.target_utilisation)))


def serving_eur_per_month(servers: float, memory_mb: float, prices: Cost) -> float:
    """Returns money for so many servers that never stop: their cores and their memory."""
    memory_gb = memory_mb * 1e6 / GIGA
    hour = prices.cores_per_replica * prices.core_hour_eur + memory_gb * prices.memory_gb_hour_eur
    return servers * hour * HOURS_A_MONTH


def storage_eur_per_month(size: float, prices: Cost) -> float:
    """Returns money for so many bytes kept for a month."""
    return size / GIGA * prices.storage_gb_month_eur


def night_eur(spent: Spent, prices: Cost) -> float:
    """Returns money for one process of a step: the machine is paid for while it runs, busy or not."""
    return spent.wall_seconds * spent.cores / 3600 * prices.training_core_hour_eur


@dataclass(frozen=True)
class _Served:
    """One side of the table; a request counts whole where the gate measured the server, else tower and index alone."""

    replica: Replica
    around: Around
    prices: Cost

    @property
    def cpu_ms(self) -> float | None:
        return known(lambda own: own + (self.around.cpu_ms or 0), self.replica.cpu_ms)

    @property
    def memory_mb(self) -> float | None:
        return known(lambda own: own + (self.around.memory_mb or 0), self.replica.memory_mb)

    @property
    def core_seconds(self) -> float | None:
        return known(core_seconds_per_million, self.cpu_ms)

    @property
    def million_eur(self) -> float | None:
        return known(lambda ms: eur_per_million(ms, self.prices), self.cpu_ms)

    @property
    def servers(self) -> float | None:
        peak = self.prices.peak_requests_per_second
        return known(lambda ms, load: replicas(ms, load, self.prices), self.cpu_ms, peak)

    @property
    def month_eur(self) -> float | None:
        return known(lambda n, mb: serving_eur_per_month(n, mb, self.prices), self.servers, self.memory_mb)

    @property
    def disk_eur(self) -> float | None:
        return known(lambda size: storage_eur_per_month(size, self.prices), self.replica.bytes)


def serving(before: Replica, after: Replica, around: Around, prices: Cost, note: str = "") -> Table:
    """Returns the table of serving before and after compression."""
    sides = tuple(_Served(replica, around, prices) for replica in (before, after))
    scope = "tower and index alone" if around.cpu_ms is None else "whole requests"
    core = f"cost.core_hour_eur {prices.core_hour_eur:g}, idle cores too: cost.target_utilisation "
    core += f"{prices.target_utilisation:g}"
    measured = "measured by optimize: one thread, batch 1, mean"
    of_disk = f"cost.storage_gb_month_eur {prices.storage_gb_month_eur:g}"
    lines: tuple[tuple[str, str, Callable[[_Served], float | None], str], ...] = (
        ("CPU of tower and index, a request", "ms", lambda side: side.replica.cpu_ms, measured),
        ("CPU of the server around it, a request", "ms", lambda side: side.around.cpu_ms, "measured by the gate"),
        ("core-seconds for a million requests", "s", lambda side: side.core_seconds, scope),
        ("compute for a million requests", "EUR", lambda side: side.million_eur, f"{scope}; {core}"),
        ("memory of a replica", "MB", lambda side: side.memory_mb, _memory_source(around)),
        ("replicas at the peak", "", lambda side: side.servers, _peak_source(prices, scope)),
        ("serving for a month", "EUR", lambda side: side.month_eur, _month_source(prices)),
        ("bundle on disk", "MB", lambda side: known(lambda size: size / 1e6, side.replica.bytes), "its files"),
        ("bundle stored for a month", "EUR", lambda side: side.disk_eur, of_disk),
    )
    made = tuple(Line(what, unit, tuple(read(side) for side in sides), source) for what, unit, read, source in lines)
    return Table("Serving, before and after compression", (before.name, after.name), made, note)


def _month_source(prices: Cost) -> str:
    memory = f"cost.memory_gb_hour_eur {prices.memory_gb_hour_eur:g}"
    return f"replicas x {HOURS_A_MONTH} h x (cores x cost.core_hour_eur + memory x {memory})"


def _memory_source(around: Around) -> str:
    more = "" if around.memory_mb is None else ", and what the gate saw the server add"
    return f"measured by optimize: resident, a process that answers from it{more}"


def _peak_source(prices: Cost, scope: str) -> str:
    if prices.peak_requests_per_second is None:
        return "not known: set cost.peak_requests_per_second"
    load = f"cost.peak_requests_per_second {prices.peak_requests_per_second:g}"
    each = f"cost.cores_per_replica {prices.cores_per_replica:g}, cost.least_replicas {prices.least_replicas}"
    return f"{load}, {each}; {scope}"


def night(times: Sequence[Spent], prices: Cost) -> Table:
    """Returns what each step of this run took and cost, every attempt of it counted."""
    steps = list(dict.fromkeys(spent.step for spent in times))
    lines = [_step(step, [spent for spent in times if spent.step == step], prices) for step in steps]
    if times:
        lines.append(_step("together", times, prices))
    note = "" if times else "No step of this run was timed."
    return Table("This night", ("wall s", "CPU s", "EUR"), tuple(lines), note)


def _step(name: str, times: Sequence[Spent], prices: Cost) -> Line:
    walls, busy = (math.fsum(values) for values in ([s.wall_seconds for s in times], [s.cpu_seconds for s in times]))
    ends = [end for end in ("failed", "cached") for spent in times if spent.end == end]
    told = f"{len(times)} process{'es' if len(times) > 1 else ''}"
    told += "".join(f", {ends.count(end)} {end}" for end in dict.fromkeys(ends))
    return Line(name, "", (walls, busy, math.fsum(night_eur(spent, prices) for spent in times)), told)


def promoted(times: Sequence[Spent], stored_bytes: int | None, prices: Cost) -> Table:
    """Returns what this model costs until it serves, should it be promoted: compute, storage, people."""
    compute = math.fsum(night_eur(spent, prices) for spent in times) if times else None
    kept = known(lambda size: storage_eur_per_month(size, prices) * prices.kept_months, stored_bytes)
    people = prices.review_minutes / 60 * prices.person_hour_eur
    core = f"cost.training_core_hour_eur {prices.training_core_hour_eur:g} x cores x wall time, steps so far"
    size = "-" if stored_bytes is None else f"{stored_bytes / 1e6:,.1f} MB"
    lines = (
        Line("compute", "EUR", (compute,), core),
        Line("storage", "EUR", (kept,), f"{size} for cost.kept_months {prices.kept_months:g}"),
        Line(
            "people",
            "EUR",
            (people,),
            f"cost.review_minutes {prices.review_minutes:g} at cost.person_hour_eur {prices.person_hour_eur:g}",
        ),
        Line("together", "EUR", (known(lambda *parts: math.fsum(parts), compute, kept, people),), "their sum"),
    )
    return Table("This model, once promoted", ("EUR",), lines)


def markdown(tables: Sequence[Table]) -> str:
    """Returns the tables as Markdown."""
    return "\n".join(line for table in tables for line in _markdown(table))


def _markdown(table: Table) -> list[str]:
    rows = [("", *table.columns, "where it comes from"), ("---", *["--:"] * len(table.columns), "---")]
    for line in table.lines:
        rows.append((_named(line), *(shown(value) for value in line.values), line.source))
    told = [f"\n### Cost: {table.title[0].lower()}{table.title[1:]}\n"]
    note = [f"{table.note}\n"] if table.note else []
    return [*told, *note, *(["| " + " | ".join(row) + " |" for row in rows] if table.lines else [])]


def _named(line: Line) -> str:
    return f"{line.what}, {line.unit}" if line.unit else line.what


def shown(value: float | None) -> str:
    """Returns three significant digits without an exponent; a dash for what is not known."""
    if value is None:
        return "-"
    if 0 < abs(value) < 1e-4:
        return "< 0.0001"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value == int(value) else f"{value:.3g}"


def plain(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Returns the tables as JSON values, each figure beside its unit and source."""
    return [
        {
            "title": table.title,
            "columns": list(table.columns),
            "note": table.note,
            "lines": [
                {"what": line.what, "unit": line.unit, "values": list(line.values), "from": line.source}
                for line in table.lines
            ],
        }
        for table in tables
    ]
