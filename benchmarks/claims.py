"""How a claim is measured, judged and written down.

    runs = interleaved(["python", "-m", …], {"peer": lambda n: [… f"out-{n}"]}, rounds=5)
    claims = [judged("…", runs["ours"], runs["peer"], "wall_seconds", goal="<= 2")]
    publish("ingest", claims, packages=("duckdb", "pyarrow"))

Every run is a process of its own, so that neither its memory nor its caches are another's; ours and the peers take
turns, A B A B, so that a busy moment of the machine meets all of them. A claim is a ratio with an interval, and holds
when the whole interval does.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil

from pipeline.model.statistics import paired_interval

RESULTS = Path(__file__).parent / "results"
SAMPLE_SECONDS = 0.05
CONFIDENCE = 0.93
"""Five rounds give a median's interval of 93.75 %, from the least to the greatest."""
LEAST_MEAN = 1e-6
"""What a peer that found nothing is taken for, since a ratio to it is asked for."""

Command = Sequence[str] | Callable[[int], Sequence[str]]


@dataclass(frozen=True)
class Usage:
    """What one run took, its own child processes included."""

    wall_seconds: float
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Claim:
    """Medians of ours and the peer's, and the ratio with its interval the goal is held against."""

    claim: str
    ours: float
    peer: float
    unit: str
    ratio: float
    low: float
    high: float
    goal: str
    holds: bool


def interleaved(
    ours: Command, peers: Mapping[str, Command], rounds: int = 5, environment: Mapping[str, str] | None = None
) -> dict[str, list[Usage]]:
    """Runs ours and every peer in turn, and returns what each round took under `ours` and the peers' names.

    Args:
        ours: a command, or a function from the round's number to one (for an output folder of its own).
    """
    commands = {"ours": ours, **peers}
    runs: dict[str, list[Usage]] = {name: [] for name in commands}
    for number in range(rounds):
        for name, command in commands.items():
            used = measured(command(number) if callable(command) else command, environment)
            runs[name].append(used)
            print(f"round {number + 1}/{rounds} {name}: {used.wall_seconds:.2f} s, {used.peak_mb:,.0f} MB", flush=True)
    return runs


def rounds_by_size(sizes: Sequence[int], rounds: Sequence[int]) -> dict[int, int]:
    """Returns how often each size runs: as given one by one, or the same for all.

    Raises: SystemExit: neither one number nor one a size.
    """
    if len(rounds) not in (1, len(sizes)):
        raise SystemExit(f"--rounds takes one number for all or one for each of the {len(sizes)} sizes.")
    return dict(zip(sizes, rounds if len(rounds) > 1 else [*rounds] * len(sizes), strict=True))


def measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Usage:
    """Runs a command to its end.

    Raises: RuntimeError: it failed; with the end of what it said.
    """
    begun = perf_counter()
    child = subprocess.Popen(
        list(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **(environment or {})}
    )
    peak, said = _Peak(child.pid), bytearray()
    reader = threading.Thread(target=lambda: said.extend(child.stderr.read()), daemon=True)
    reader.start()
    peak.start()
    _, status, used = os.wait4(child.pid, 0)
    wall_seconds = perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    peak.ended.set()
    peak.join()
    reader.join()
    if child.returncode:
        raise RuntimeError(f"{shlex.join(command)} ended with {child.returncode}: {said.decode()[-2000:]}")
    return Usage(wall_seconds, used.ru_utime + used.ru_stime, max(peak.mb, _own_peak_mb(used)))


def _own_peak_mb(used: resource.struct_rusage) -> float:
    """Returns the greatest memory of the process alone, unless it may be what it was forked with."""
    forked_with = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used.ru_maxrss / 1024 if used.ru_maxrss > forked_with else 0.0


class _Peak(threading.Thread):
    """Watches how much memory a process and its children hold together."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.mb, self.ended = pid, 0.0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(SAMPLE_SECONDS):
            try:
                process = psutil.Process(self.pid)
                held = sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
            except psutil.Error:
                continue
            self.mb = max(self.mb, held / 2**20)


def judged(
    claim: str,
    ours: Sequence[Usage],
    peer: Sequence[Usage],
    what: str,
    goal: str,
    unit: str = "",
    inverted: bool = False,
) -> Claim:
    """Holds one figure of the runs against a goal.

    Args:
        what: a field of Usage.
        goal: `<= 2` or `>= 8`, of the ratio.
        inverted: the ratio is peer / ours ("times faster"), else ours / peer.
    """
    units = {"wall_seconds": "s", "cpu_seconds": "s", "peak_mb": "MB"}
    values = [[getattr(run, what) for run in runs] for runs in (ours, peer)]
    return judged_values(claim, *values, unit or units[what], goal, inverted)


def judged_values(
    claim: str, ours: Sequence[float], peer: Sequence[float], unit: str, goal: str, inverted: bool = False
) -> Claim:
    """Holds figures, one a round, against a goal; the interval is that of the median of the rounds' ratios."""
    ratios = [b / a if inverted else a / b for a, b in zip(ours, peer, strict=True)]
    low, high = median_interval(ratios)
    sign, bound = goal.split()
    holds = high <= float(bound) if sign == "<=" else low >= float(bound)
    medians = (statistics.median(ours), statistics.median(peer), statistics.median(ratios))
    mine, theirs, ratio = (round(value, 4) for value in medians)
    return Claim(claim, mine, theirs, unit, ratio, round(low, 4), round(high, 4), goal, holds)


def judged_queries(
    claim: str, ours_Q: Sequence[float], peer_Q: Sequence[float], users: Sequence[str], unit: str, goal: str
) -> Claim:
    """Holds the ratio of two means over the same queries against a goal of the form `>= 1`.

    Its interval is that of the paired difference, by a bootstrap over users, as a share of the peer's mean.
    """
    found = paired_interval(ours_Q, peer_Q, users)
    ours, peer = statistics.fmean(ours_Q), statistics.fmean(peer_Q)
    ratio, low, high = (1 + difference / max(peer, LEAST_MEAN) for difference in (found.mean, found.low, found.high))
    figures = (round(value, 4) for value in (ours, peer))
    held = low >= float(goal.removeprefix(">= "))
    return Claim(claim, *figures, unit, *(round(value, 4) for value in (ratio, low, high)), goal, held)


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Returns order statistics that hold the median with at least this confidence; with too few values, their range.

    The k-th least and the k-th greatest of n hold it with 1 - 2 P(B < k), B binomial (n, 1/2).
    """
    ordered, count = sorted(values), len(values)
    outside, skipped = 0.0, 0
    while 2 * skipped < count - 2:
        outside += math.comb(count, skipped) / 2**count
        if 1 - 2 * (outside + math.comb(count, skipped + 1) / 2**count) < confidence:
            break
        skipped += 1
    return ordered[skipped], ordered[count - 1 - skipped]


def publish(
    name: str, claims: Sequence[Claim], packages: Sequence[str] = (), details: Mapping[str, Any] | None = None
) -> Path:
    """Prints the claims as a table and writes them, with host, versions and command, to `results/<name>.json`.

    Args: details: what else was seen; `tables`, a list of Markdown tables, stands above the claims in the docs.
    """
    given = ["FOLDER" if word.startswith("/") else word for word in sys.argv[1:]]
    command = shlex.join(["python", "-m", f"benchmarks.{name}", *given])
    result = {
        "host": host(),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in packages}},
        "command": command,
        "claims": [asdict(claim) for claim in claims],
        **({"details": details} if details else {}),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, default=asdict) + "\n")
    print(table(claims))
    print(f"Written to {path}.")
    return path


def host() -> dict[str, Any]:
    """Returns what the figures depend on."""
    info = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), platform.machine())
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "system": platform.platform(),
        "load": round(os.getloadavg()[0], 1),
    }


def table(claims: Sequence[Claim]) -> str:
    """Returns the claims as Markdown."""
    lines = ["| claim | ours | peer | unit | ratio | interval | goal | holds |", "|---|---:|---:|---|---:|---|---|---|"]
    lines += [
        f"| {c.claim} | {c.ours:,.4g} | {c.peer:,.4g} | {c.unit} | {c.ratio:.2f} | {c.low:.2f} … {c.high:.2f} "
        f"| {c.goal} | {'yes' if c.holds else 'no'} |"
        for c in claims
    ]
    return "\n".join(lines)
