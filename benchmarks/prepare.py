"""How `prepare` grows with the window, and what the same training set costs in pandas.

    python -m benchmarks.prepare --rows 1000000 10000000 50000000 --peer-rows 1000000 10000000 --into FOLDER

It writes published partitions of generated events into FOLDER (kept, and taken again next time), runs
`python -m pipeline prepare` on each size and, up to `--peer-rows`, a pandas script that makes the same training
sequences, targets with the searches they answer, vocabulary and split from the same Parquet files: cancels netted,
ties broken alike. Both results are compared, array by array, before anything is claimed. Ours does more in its time:
it draws and writes the evaluation queries, describes the items from every day's catalogue, adds those only listed
there, asserts that nothing leaked, and seals the artifact.

    python -m benchmarks.prepare pandas ROOT OUT      the peer alone
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as parquet

from benchmarks.claims import Claim, Usage, interleaved, judged, judged_values, measured, publish
from pipeline.core.artifacts import Artifact, seal
from pipeline.core.run import Layout
from pipeline.core.schema import EVENT_TYPES

FIRST = date(2026, 1, 1)
ARRAYS = ("sequence_items", "sequence_types", "sequence_times", "sequence_offsets", "targets", "target_queries")
VALIDATION_DAYS, ANSWER_MINUTES = 7, 30
# With one query asked for, the test is the last day, which both can tell without counting.
SETTINGS = ("prepare.min_test_queries=1", "prepare.window_days=400")
GROWTH_BOUND, MEMORY_BOUND_MB = 1.5, 8000

EVENTS = """
WITH drawn AS (
    SELECT i, i // 8 AS visit, hash(i) % 1000000 / 1000000.0 AS luck, hash(i + 7777777) % 100 AS kind,
        i % 8 = 2 AS searches
    FROM range($begin, $end) t(i)
), placed AS (
    SELECT *, visit % 2 = 0 AS anonymous, hash(visit * 31) % $users AS person, hash(visit * 17) % 85000 AS second
    FROM drawn
)
SELECT
    md5(i::VARCHAR) AS event_id,
    CASE WHEN NOT anonymous THEN sha256(person::VARCHAR) || '.01234567' END AS user_id,
    sha256('visit' || visit) || '.01234567' AS session_id,
    CASE WHEN NOT searches THEN 'item-' || (pow(luck, 3) * $items)::BIGINT END AS item_id,
    CASE WHEN searches THEN 'search' WHEN kind < 70 THEN 'view' WHEN kind < 80 THEN 'cart' WHEN kind < 84 THEN 'remove'
        WHEN kind < 95 THEN 'purchase' WHEN kind < 97 THEN 'cancel' ELSE 'impression' END AS event_type,
    $midnight::TIMESTAMPTZ + to_seconds((second + (i % 8) * 20 + (luck * 10)::INT)::INT) AS event_time,
    CASE WHEN searches THEN 'words ' || (hash(i) % 20000) END AS query,
    9.5::DOUBLE AS price,
    (1 + kind % 3)::BIGINT AS quantity
FROM placed ORDER BY event_time, event_id
"""
CATALOGUE = """
SELECT 'item-' || i AS item_id, 'c' || (i % 20) || '/d' || (i % 200) AS category, 'brand ' || (i % 50) AS brand,
    'title ' || i AS title, (i % 100)::DOUBLE AS price, true AS in_stock, $midnight::TIMESTAMPTZ AS valid_from
FROM range($items) t(i)
"""


def days_of(rows: int) -> int:
    """Returns how long the window of so many events is: a larger shop has a longer history too, up to 400 days."""
    return min(400, max(50, rows // 50_000))


def write_window(root: Path, rows: int) -> None:
    """Publishes partitions of generated events under a root: half of the visits anonymous, a search in each."""
    days, con = days_of(rows), duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    for number in range(days):
        day = FIRST + timedelta(days=number)
        given = {"midnight": f"{day} 00:00:00+00", "items": min(max(rows // 50, 200), 100_000)}
        span = {"begin": number * (rows // days), "end": (number + 1) * (rows // days), "users": max(rows // 25, 100)}
        key = hashlib.sha256(f"{rows} {day}".encode()).hexdigest()[:32]
        folder = Layout(root).artifact("ingest", key)
        folder.mkdir(parents=True)
        _copy(con, EVENTS, {**given, **span}, folder / "events.parquet")
        _copy(con, CATALOGUE, given, folder / "catalogue.parquet")
        digest = seal(folder, {"stage": "ingest", "key": key})["digest"]
        record = {"day": str(day), "ingest_key": key, "digest": digest, "run_id": "benchmark", "revision": 1}
        record |= {"rows": rows // days, "closed": False, "late_rows": 0, "validated_by": ""}
        path = Layout(root).published(day)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record))


def _copy(con: duckdb.DuckDBPyConnection, question: str, given: dict[str, Any], path: Path) -> None:
    for name, value in given.items():
        question = question.replace(f"${name}", repr(value))
    con.execute(f"COPY ({question}) TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 65536)")


def window_of(into: Path, rows: int) -> Path:
    root = into / f"prepare-{rows}"
    if not (root / "whole").exists():
        shutil.rmtree(root, ignore_errors=True)
        print(f"writing {rows:,} events to {root}", flush=True)
        write_window(root, rows)
        (root / "whole").touch()
    return root


def ours(root: Path, rows: int) -> list[str]:
    days = f"{FIRST}..{FIRST + timedelta(days=days_of(rows) - 1)}"
    sets = [word for setting in (f"store.root={root}", *SETTINGS) for word in ("--set", setting)]
    return [sys.executable, "-m", "pipeline", "prepare", "--run", "benchmark", "--days", days, "--force", *sets]


def with_pandas(root: Path, out: Path) -> None:
    """Makes the training set as one would in a notebook, and saves its arrays and items."""
    import pandas as pd

    out.mkdir(parents=True, exist_ok=True)
    events = _read_events(root, pd)
    start = pd.Timestamp(FIRST + timedelta(days=_days_in(root) - 1 - VALIDATION_DAYS), tz="UTC")
    removed = _cancelled(events, pd)
    events["text"] = _answered(events, pd)
    stands = events.event_type.isin(["view", "cart", "remove", "purchase"]) & events.item_id.notna()
    stands &= (events.event_time < start) & ~(removed < start)
    training = events[stands]
    counts = training.item_id.value_counts().rename_axis("item_id").reset_index(name="events")
    counts = counts.sort_values(["events", "item_id"], ascending=[False, True], ignore_index=True)
    index = pd.Series(np.arange(1, len(counts) + 1), counts.item_id)
    positive = training.event_type.isin(["view", "cart", "purchase"])
    texts = pd.Categorical(training.text[positive])
    sizes = training.groupby(["unknown", "actor"], sort=True).size()
    arrays = {
        "sequence_items": training.item_id.map(index).to_numpy(np.int32),
        "sequence_types": training.event_type.map({n: c for c, n in enumerate(EVENT_TYPES)}).to_numpy(np.uint8),
        "sequence_times": training.event_time.dt.as_unit("s").astype("int64").to_numpy(),
        "sequence_offsets": np.concatenate([[0], sizes.cumsum()]),
        "targets": np.flatnonzero(positive),
        "target_queries": texts.codes.astype(np.int32),
    }
    for name, array in arrays.items():
        np.save(out / f"{name}.npy", array)
    counts.to_parquet(out / "items.parquet")
    (out / "split.json").write_text(json.dumps({"validation_start": start.isoformat()}))


def _read_events(root: Path, pd: Any) -> Any:
    columns = ["event_id", "user_id", "session_id", "item_id", "event_type", "event_time", "query", "quantity"]
    events = pd.concat([pd.read_parquet(path, columns=columns) for path in _event_files(root)], ignore_index=True)
    events = events[events.event_type != "impression"]
    events["unknown"] = events.user_id.isna()
    events["actor"] = events.user_id.fillna(events.session_id)
    events["turn"] = events.event_type.map({"search": 0, "cancel": 2}).fillna(1)
    return events.sort_values(["unknown", "actor", "event_time", "turn", "event_id"], ignore_index=True)


def _event_files(root: Path) -> list[Path]:
    records = (json.loads(path.read_text()) for path in sorted((root / "published").glob("2*.json")))
    return [Layout(root).artifact("ingest", record["ingest_key"]) / "events.parquet" for record in records]


def _days_in(root: Path) -> int:
    return len(list((root / "published").glob("2*.json")))


def _cancelled(events: Any, pd: Any) -> Any:
    """Returns when each purchase was cancelled in whole, NaT for all else."""
    moved = events[events.event_type.isin(["purchase", "cancel"])]
    pairs = moved.loc[moved.event_type == "cancel", ["actor", "item_id"]].drop_duplicates()
    moved = moved.reset_index().merge(pairs, on=["actor", "item_id"]).sort_values("index")
    standing: dict[tuple[str, str], list[list[int]]] = defaultdict(list)
    times = {}
    for row in moved.itertuples():
        bought, pieces = standing[row.actor, row.item_id], row.quantity
        if row.event_type == "purchase":
            bought.append([row.index, pieces])
            continue
        while bought and pieces:
            taken = min(pieces, bought[-1][1])
            pieces, bought[-1][1] = pieces - taken, bought[-1][1] - taken
            if not bought[-1][1]:
                times[bought.pop()[0]] = row.event_time
    removed = pd.Series(pd.NaT, events.index, events.event_time.dtype)
    removed.loc[list(times)] = list(times.values())
    return removed


def _answered(events: Any, pd: Any) -> Any:
    """Returns the text of the latest search of its session, at most so many minutes before each event."""
    searches = events.loc[events.event_type == "search", ["session_id", "event_time", "query"]]
    searches = searches.sort_values("event_time", kind="stable")
    others = events.loc[events.event_type.isin(["view", "cart", "purchase"]), ["session_id", "event_time"]]
    others = others.sort_values("event_time", kind="stable").reset_index()
    tolerance = pd.Timedelta(minutes=ANSWER_MINUTES)
    found = pd.merge_asof(others, searches, on="event_time", by="session_id", tolerance=tolerance)
    return found.set_index("index")["query"].reindex(events.index)


def differences(mine: Artifact, out: Path) -> list[str]:
    """Returns the names of what the two did not make alike."""
    load = [{name: np.load(place / f"{name}.npy", mmap_mode="r") for name in ARRAYS} for place in (mine.path, out)]
    wrong = [name for name in ARRAYS if not np.array_equal(load[0][name], load[1][name])]
    met = {"columns": ["item_id", "events"], "filters": [("events", ">", 0)]}
    items = [parquet.read_table(place / "items.parquet", **met) for place in (mine.path, out)]
    wrong += ["items"] if items[0].to_pydict() != items[1].to_pydict() else []
    starts = [json.loads((place / "split.json").read_text())["validation_start"] for place in (mine.path, out)]
    return wrong + (["split"] if starts[0] != starts[1] else [])


def made(root: Path) -> Artifact:
    refs = json.loads((root / "runs" / "benchmark" / "refs" / "prepare.json").read_text())
    return Artifact(Layout(root).artifact("prepare", refs[""]))


def against_pandas(into: Path, rows: int, rounds: int) -> tuple[list[Claim], list[Usage]]:
    """Raises: SystemExit: the two training sets are not the same."""
    root, out = window_of(into, rows), into / f"pandas-{rows}"
    peer = [sys.executable, "-m", "benchmarks.prepare", "pandas", str(root), str(out)]
    runs = interleaved(ours(root, rows), {"pandas": peer}, rounds)
    wrong = differences(made(root), out)
    if wrong:
        raise SystemExit(f"{rows:,} events: pandas made other {', '.join(wrong)}; there is nothing to compare.")
    label = f"prepare {rows / 1e6:.0f} M events"
    claims = [
        judged(f"{label}: times faster than pandas", runs["ours"], runs["pandas"], "wall_seconds", ">= 2", "s", True),
        judged(f"{label}: memory, of pandas'", runs["ours"], runs["pandas"], "peak_mb", "<= 0.5"),
    ]
    return claims, runs["ours"]


def growth(usages: dict[int, list[Usage]]) -> list[Claim]:
    """Holds time a row at each size against the size before, and the peak at the largest against a bound."""
    sizes, claims = sorted(usages), []
    for less, more in pairwise(sizes):
        rounds = min(len(usages[less]), len(usages[more]))
        a_row = [[run.wall_seconds / rows * 1e6 for run in usages[rows][:rounds]] for rows in (more, less)]
        name = f"prepare: time a row, {more / 1e6:.0f} M beside {less / 1e6:.0f} M events"
        claims.append(judged_values(name, *a_row, "µs", f"<= {GROWTH_BOUND}"))
    peaks, largest = [run.peak_mb for run in usages[sizes[-1]]], sizes[-1] / 1e6
    bounds = [float(MEMORY_BOUND_MB)] * len(peaks)
    name = f"prepare: peak memory at {largest:.0f} M events, beside {MEMORY_BOUND_MB:,} MB"
    return [*claims, judged_values(name, peaks, bounds, "MB", "<= 1")]


def figures(usages: dict[int, list[Usage]]) -> list[dict[str, float]]:
    rows = []
    for size, runs in sorted(usages.items()):
        wall = sorted(run.wall_seconds for run in runs)[len(runs) // 2]
        peak = max(run.peak_mb for run in runs)
        rows.append(
            {"rows": size, "seconds": round(wall, 1), "rows_a_second": round(size / wall), "peak_mb": round(peak)}
        )
        print(f"{size:>12,} events: {wall:8.1f} s, {size / wall:>9,.0f} rows/s, peak {peak:,.0f} MB")
    return rows


def main(words: Sequence[str]) -> None:
    if words[:1] == ["pandas"]:
        with_pandas(Path(words[1]), Path(words[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--peer-rows", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--growth-rounds", type=int, default=1, help="runs of a size that has no peer")
    parser.add_argument("--into", type=Path, default=Path("var/benchmarks"))
    asked = parser.parse_args(words)
    claims: list[Claim] = []
    usages: dict[int, list[Usage]] = {}
    for rows in sorted(asked.rows):
        if rows in asked.peer_rows:
            held, usages[rows] = against_pandas(asked.into, rows, asked.rounds)
            claims += held
        else:
            command = ours(window_of(asked.into, rows), rows)
            usages[rows] = [measured(command) for _ in range(asked.growth_rounds)]
    claims += growth(usages)
    publish("prepare", claims, ("duckdb", "ibis-framework", "numpy", "pandas"), {"growth": figures(usages)})


if __name__ == "__main__":
    main(sys.argv[1:])
