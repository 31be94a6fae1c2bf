"""Ingest against a plain typed copy by DuckDB, and against pandas doing the same rules.

    python -m benchmarks.ingest [--rows 1000000 10000000 50000000] [--rounds 5] [--scratch FOLDER]

Ours is the real command, its start included: CSV -> clean partition, routed rows, quarantine, catalogue, pseudonyms.
The copy reads the same file with typed columns, leaves out what does not fit and writes Parquet (zstd, as ours); it
judges nothing. pandas does the same rules with the same pseudonyms; it does not know where in the file a row lies, and
calls its events by a cheaper hash. The counts of ours and of pandas are held to what was planted, to the row; else
nothing is published. pandas is left out where it would need more memory than there is. `reading` is the first half of
ours alone, from bytes to batches with pseudonyms; it is no peer and only told.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import psutil

from benchmarks.claims import Claim, Usage, interleaved, judged, judged_values, publish, rounds_by_size
from benchmarks.ingest_peers import KEY, THREADS
from benchmarks.logs import Logs

DAY = Logs.first
LIMIT_MB = 2048
"""`engine.memory_mb` for the engine and as much again for reading, hashing and packing."""
PANDAS_BYTES_A_ROW = 1000
PACKAGES = ("duckdb", "pyarrow", "pandas", "numpy", "ibis-framework")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.ingest", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000, 50_000_000])
    parser.add_argument("--rounds", type=int, nargs="+", default=[5], help="one number, or one a size")
    parser.add_argument("--scratch", type=Path, default=Path("var/benchmarks/ingest"))
    asked = parser.parse_args()
    claims, details = [], {}
    for rows, rounds in rounds_by_size(asked.rows, asked.rounds).items():
        made, told = _at(rows, rounds, asked.scratch / str(rows))
        claims += made
        details[f"{rows:,} rows"] = told
    publish("ingest", claims, PACKAGES, details)


def _at(rows: int, rounds: int, scratch: Path) -> tuple[list[Claim], dict[str, Any]]:
    """Measures one size."""
    logs = scratch / "logs"
    (truth,) = Logs(rows=rows).write(logs)
    peers = {name: _peer(name, logs, scratch) for name in ("copy", "reading")}
    room = psutil.virtual_memory().available
    if rows * PANDAS_BYTES_A_ROW < room:
        peers["pandas"] = _peer("pandas", logs, scratch)
    else:
        print(f"{rows:,} rows: pandas is left out, it would need more than the {room >> 30} GB there are.")
    runs = interleaved(
        lambda n: _ours(logs, scratch / f"ours-{n}"), peers, rounds, {"PIPELINE_SECRETS__PSEUDONYM_KEY": KEY}
    )
    for number in range(rounds):
        (counts,) = (scratch / f"ours-{number}").glob("store/ingest/*/counts.json")
        _require_same("ours", json.loads(counts.read_text()), truth)
    if "pandas" in peers:
        _require_same("pandas", json.loads((scratch / "pandas" / "counts.json").read_text()), truth)
    shutil.rmtree(scratch)
    return _claims(rows, runs), {**_told(rows, runs), "rows in = rows accounted for": truth["outcomes"]}


def _ours(logs: Path, root: Path) -> list[str]:
    shutil.rmtree(root, ignore_errors=True)
    given = {
        "ingest.source": logs,
        "ingest.profile": logs / "profile.yaml",
        "store.root": root,
        "engine.threads": THREADS,
    }
    options = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    return [sys.executable, "-m", "pipeline", "ingest", "--run", str(DAY), *options]


def _peer(name: str, logs: Path, scratch: Path) -> list[str]:
    events = logs / Logs().name("events", DAY)
    return [sys.executable, "-m", "benchmarks.ingest_peers", name, str(events), str(scratch / name)]


def _require_same(who: str, counts: dict[str, Any], truth: dict[str, Any]) -> None:
    """Raises: SystemExit: a row went missing, was counted twice or got another outcome than the one planted."""
    found = {name: counts[name] for name in truth["outcomes"]}
    if found != truth["outcomes"] or sum(found.values()) != truth["rows"]:
        raise SystemExit(
            f"{who} found {found}, planted were {truth['outcomes']}: not the same work, nothing is measured."
        )


def _claims(rows: int, runs: dict[str, list[Usage]]) -> list[Claim]:
    ours, size = runs["ours"], f"{rows / 1e6:g} M rows"
    claims = [
        judged(
            f"ingest of {size} takes at most twice DuckDB's plain typed copy",
            ours,
            runs["copy"],
            "wall_seconds",
            "<= 2",
        )
    ]
    if "pandas" in runs:
        claims.append(
            judged(
                f"ingest of {size} is 8 times as fast as pandas",
                ours,
                runs["pandas"],
                "wall_seconds",
                ">= 8",
                inverted=True,
            )
        )
    held = [run.peak_mb for run in ours]
    limits = [float(LIMIT_MB)] * len(held)
    claims.append(judged_values(f"ingest of {size} holds at most {LIMIT_MB:,} MB", held, limits, "MB", "<= 1"))
    return claims


def _told(rows: int, runs: dict[str, list[Usage]]) -> dict[str, Any]:
    return {
        name: {
            "rows a second": round(rows / sorted(run.wall_seconds for run in used)[len(used) // 2]),
            "cpu seconds": [round(run.cpu_seconds, 2) for run in used],
            "wall seconds": [round(run.wall_seconds, 2) for run in used],
            "peak MB": [round(run.peak_mb) for run in used],
        }
        for name, used in runs.items()
    }


if __name__ == "__main__":
    main()
