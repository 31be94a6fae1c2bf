"""Validate against the same suites in Great Expectations on pandas, the reading of the day included.

    python -m benchmarks.validate [--rows 1000000 10000000] [--alone 50000000] [--rounds 5] [--scratch FOLDER]

Ours is the real command, its start, Data Docs and page included. The peer reads the day's Parquet files into pandas and
holds the frame to every rule with Great Expectations' own expectations; what rules ask of the trailing days it works
out from figures pandas computes, and it writes neither docs nor page. Both find fourteen published days behind the
judged one. Before anything is measured both judge a good day and a bad one, with faults of every kind planted, and
must find the same rules broken on the same columns. `--alone` sizes are measured without the peer, which would need
more memory than there is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.claims import Claim, Usage, interleaved, judged, publish, rounds_by_size
from benchmarks.ingest_peers import KEY, THREADS
from benchmarks.logs import Logs

DAY = Logs.first
TRAILING = 14
GOOD, BAD = "good", "bad"
PACKAGES = ("great-expectations", "pandas", "duckdb", "pyarrow", "ibis-framework")
ENVIRONMENT = {"PIPELINE_SECRETS__PSEUDONYM_KEY": KEY}
SPOILED = """
    SELECT * REPLACE (
        CASE WHEN hash(event_id) % 1000 = 1 THEN -1 WHEN hash(event_id) % 3 = 0 THEN price * 40 ELSE price END AS price,
        CASE WHEN hash(event_id) % 5000 = 2 AND event_type = 'view' THEN NULL ELSE item_id END AS item_id,
        CASE WHEN hash(event_id) % 5000 = 3 AND event_type = 'search' THEN '' ELSE query END AS query,
        CASE WHEN hash(event_id) % 7000 = 4 AND event_type = 'cart' THEN 0 ELSE quantity END AS quantity)
    FROM events WHERE hour(event_time) NOT BETWEEN 9 AND 15
    UNION ALL (SELECT * FROM events WHERE hour(event_time) = 3 LIMIT 10)
"""
"""Hours lost, prices in other money, and a few rows with each other fault; ten events twice."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.validate", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--alone", type=int, nargs="*", default=[])
    parser.add_argument("--rounds", type=int, nargs="+", default=[5], help="one number, or one a size")
    parser.add_argument("--scratch", type=Path, default=Path("var/benchmarks/validate"))
    asked = parser.parse_args()
    claims: list[Claim] = []
    details: dict[str, Any] = {}
    for rows, rounds in rounds_by_size([*asked.rows, *asked.alone], asked.rounds).items():
        root = asked.scratch / str(rows)
        _prepare(rows, root)
        peers = {} if rows in asked.alone else {"gx_on_pandas": _peer(root, GOOD)}
        told: dict[str, Any] = {"rules broken": {}} if rows in asked.alone else {"rules broken": _same_verdicts(root)}
        runs = interleaved(_ours(root, GOOD), peers, rounds, ENVIRONMENT)
        if peers:
            claims += _claims(rows, runs)
        details[f"{rows:,} rows"] = told | {name: _told(used) for name, used in runs.items()}
        shutil.rmtree(root)
    publish("validate", claims, PACKAGES, details)


def _prepare(rows: int, root: Path) -> None:
    """Ingests one generated day, spoils a copy of it, and lets both find a past like it."""
    shutil.rmtree(root, ignore_errors=True)
    Logs(rows=rows).write(root / "logs")
    source = [f"ingest.source={root / 'logs'}", f"ingest.profile={root / 'logs' / 'profile.yaml'}"]
    _succeed([*_command("ingest", root, GOOD), *(word for each in source for word in ("--set", each))])
    _spoil(root)
    _give_a_past(root)


def _command(step: str, root: Path, run: str) -> list[str]:
    settings = ["--set", f"store.root={root}", "--set", f"engine.threads={THREADS}"]
    return [sys.executable, "-W", "ignore", "-m", "pipeline", step, "--run", run, "--days", str(DAY), *settings]


def _ours(root: Path, run: str) -> list[str]:
    return [*_command("validate", root, run), "--force"]


def _peer(root: Path, run: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "benchmarks.validate_peer", str(root), run]


def _spoil(root: Path) -> None:
    import duckdb

    from pipeline.core.artifacts import build

    run = _run(root, BAD)
    good = _run(root, GOOD).artifact("ingest", str(DAY))

    def fill(folder: Path) -> None:
        shutil.copytree(good.path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        target = folder / "events.parquet"
        with duckdb.connect() as engine:
            engine.execute("SET TimeZone = 'UTC'")
            engine.execute(f"CREATE VIEW events AS SELECT * FROM '{good.file('events.parquet')}'")
            engine.execute(f"COPY ({SPOILED}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
            (written,) = engine.execute(f"SELECT count(*) FROM '{target}'").fetchone()
        counts = json.loads((folder / "counts.json").read_text())
        lost = counts["clean"] - written
        counts |= {"clean": written, "rows": counts["rows"] - lost}
        (folder / "counts.json").write_text(json.dumps(counts))

    spoiled = build(run.layout.artifact("ingest", "bad" * 10), fill)
    run.refer("ingest", spoiled.key, str(DAY))


def _run(root: Path, name: str) -> Any:
    from pipeline.core.days import Days
    from pipeline.core.run import Run

    return Run.open(root.resolve(), name, "UTC", Days(DAY, DAY))


def _give_a_past(root: Path) -> None:
    """Publishes the days before as a night would have left them, each a little larger than the one before."""
    from dataclasses import replace

    from pipeline.core import settings as settings_module
    from pipeline.core.artifacts import build
    from pipeline.store.partitions import Partitions, Record
    from pipeline.validate.summary import read_summaries, write_summaries

    _succeed(_ours(root, GOOD))
    run = _run(root, GOOD)
    (own,) = read_summaries(run.artifact("validate").json("summaries.json")).values()
    days = [DAY - timedelta(days=n) for n in range(1, TRAILING + 1)]
    past = [replace(own, day=day, rows=round(own.rows * (1 - n / 400))) for n, day in enumerate(days, 1)]
    made = build(run.layout.artifact("validate", "past" * 8), lambda folder: write_summaries(folder, past))
    partitions = Partitions.open(settings_module.load([f"store.root={root}"]), "published")
    good = run.artifact("ingest", str(DAY))
    for each in past:
        fields = {"day": str(each.day), "ingest_key": good.key, "digest": good.digest, "rows": each.rows}
        partitions.switch(each.day, Record({**fields, "closed": False, "validated_by": made.key}), None)


def _succeed(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **ENVIRONMENT})


def _same_verdicts(root: Path) -> dict[str, list[str]]:
    """Raises: SystemExit: ours and the peer disagree on a rule, so it would not be the same work."""
    broken = {}
    for name in (GOOD, BAD):
        # A failed day ends our command with an error, which is its verdict.
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(_ours(root, name), check=False, env={**os.environ, **ENVIRONMENT}, **quiet)
        verdict = _run(root, name).artifact("validate").json("verdict.json")
        ours = sorted(f"{f['suite']}: {f['expectation']} ({f['column']})" for f in verdict["failures"])
        said = subprocess.run(_peer(root, name), check=True, capture_output=True, text=True)
        theirs = json.loads(said.stdout.splitlines()[-1])
        if ours != theirs:
            differing = sorted(set(ours) ^ set(theirs))
            raise SystemExit(f"The {name} day: ours and the peer disagree on {differing}; nothing is measured.")
        broken[name] = ours
    if not broken[BAD]:
        raise SystemExit("The bad day broke no rule: nothing is measured.")
    return broken


def _claims(rows: int, runs: dict[str, list[Usage]]) -> list[Claim]:
    ours, peer, size = runs["ours"], runs["gx_on_pandas"], f"{rows / 1e6:g} M rows"
    faster = f"validate of {size} is 5 times as fast as Great Expectations on pandas"
    smaller = f"validate of {size} takes a fifth of the memory of Great Expectations on pandas"
    return [
        judged(faster, ours, peer, "wall_seconds", ">= 5", inverted=True),
        judged(smaller, ours, peer, "peak_mb", "<= 0.2"),
    ]


def _told(used: list[Usage]) -> dict[str, Any]:
    return {
        "wall seconds": [round(run.wall_seconds, 2) for run in used],
        "cpu seconds": [round(run.cpu_seconds, 2) for run in used],
        "peak MB": [round(run.peak_mb) for run in used],
    }


if __name__ == "__main__":
    main()
