"""Makes raw logs of any size in the format of the `generated` profile, faster than anything reads them.

    python -m benchmarks.logs --rows 1000000 --days 1 --into FOLDER [--gzip] [--first 2026-01-05] [--seed 7]

writes for each day `events-DAY.csv`, `catalogue-DAY.csv` and `truth-DAY.json` (what ingest must find: the counts of
every outcome, type and kind of dirt), and `profile.yaml`, the shipped profile with the names of these files. `--rows`
is the total of all days. Ingest it with

    python -m pipeline ingest --run 2026-01-05 --set ingest.source=FOLDER --set ingest.profile=FOLDER/profile.yaml

In Python: `Logs(rows=1_000_000, days=30).write(folder)` returns the truths. Equal arguments give equal bytes.

Time runs through the file. As many sessions as the day is busy are open at once and take turns, so that no two clean
rows can pass for duplicates of each other. Each kind of dirt takes `--dirt` (1 %) of the rows; a robot takes
ROBOT_EVENTS of them, so that a day of fewer than ROBOT_EVENTS / dirt rows has none.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from string import Template
from typing import Any

import duckdb

from pipeline.ingest.profiles.profile import SHIPPED
from pipeline.simulate.lexicon import COLOURS, LEAVES, MATERIALS

HEADER = "time,user,session,action,item,query,price,quantity"
EPOCHS_A_DAY = 48
STEPS = 12
"""Rows an open session may take before the next begins in its place; chance cuts it into shorter ones."""
ROBOT_EVENTS = 120
ROBOT_VIEWS_A_SECOND = 3
OUTCOME_OF = {
    "torn": "quarantined",
    "bad_time": "quarantined",
    "bad_price": "quarantined",
    "bad_quantity": "quarantined",
    "unknown_type": "quarantined",
    "no_person": "quarantined",
    "duplicate": "duplicate",
    "near_duplicate": "duplicate",
    "late": "routed",
    "robot": "robot",
}
"""Each kind of dirt and what ingest must make of it; a kind has its own place in every period of rows."""
CANONICAL = {"add_to_cart": "cart", "remove_from_cart": "remove"}


@dataclass(frozen=True)
class Logs:
    """Raw logs of several days.

    Attributes:
        rows: of all days together.
        dirt: share of the rows each kind of dirt takes, at most 0.04.
    """

    rows: int = 1_000_000
    days: int = 1
    first: date = date(2026, 1, 5)
    gzip: bool = False
    seed: int = 7
    users: int = 200_000
    items: int = 20_000
    dirt: float = 0.01

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Writes every day's files and returns their truths."""
        folder.mkdir(parents=True, exist_ok=True)
        text = (SHIPPED / "generated.yaml").read_text()
        (folder / "profile.yaml").write_text(text if self.gzip else text.replace(".csv.gz", ".csv"))
        return list(self._each(folder))

    def name(self, kind: str, day: date) -> str:
        """Returns the name of a day's file of `events` or `catalogue`."""
        return f"{kind}-{day}.csv{'.gz' if self.gzip else ''}"

    def _each(self, folder: Path) -> Iterator[dict[str, Any]]:
        with duckdb.connect() as engine:
            engine.execute(_SETUP)
            for n in range(self.days):
                day = self.first + timedelta(days=n)
                count = self.rows * (n + 1) // self.days - self.rows * n // self.days
                numbers = self._numbers(day, count)
                # A table is read by all threads, a range by one.
                engine.execute(f"CREATE OR REPLACE TEMP TABLE numbers AS SELECT i FROM range({count}) t(i)")
                events = _EVENTS.substitute(numbers)
                self._copy(engine, _CATALOGUE.substitute(numbers), folder / self.name("catalogue", day), '"')
                self._copy(engine, _LINES.substitute(numbers, events=events), folder / self.name("events", day), "")
                truth = _truth(engine, day, events)
                (folder / f"truth-{day}.json").write_text(json.dumps(truth, indent=1))
                yield truth

    def _numbers(self, day: date, rows: int) -> dict[str, Any]:
        """Returns what the SQL is filled with."""
        steps = STEPS * EPOCHS_A_DAY
        period = max(round(1 / self.dirt), 2 * len(OUTCOME_OF) + 1)
        return {
            "rows": rows,
            "day": str(day),
            "seed": self.seed * 1_000_003 + day.toordinal(),
            "users": self.users,
            "items": self.items,
            "tastes": self.items // 40,
            "open": max(rows // steps, 1),
            "period": period,
            "spare": period - 2 * len(OUTCOME_OF),
            "robot": ROBOT_EVENTS,
            "a_second": ROBOT_VIEWS_A_SECOND,
            "seconds_a_row": 86_000 / max(rows, steps),
        }

    def _copy(self, engine: duckdb.DuckDBPyConnection, select: str, path: Path, quote: str) -> None:
        packed = "gzip" if self.gzip else "none"
        delimiter = "," if quote else "\t"
        engine.execute(
            f"COPY ({select}) TO '{path}' (FORMAT csv, HEADER true, DELIMITER '{delimiter}', QUOTE '{quote}', "
            f"ESCAPE '{quote}', COMPRESSION '{packed}')"
        )


def _truth(engine: duckdb.DuckDBPyConnection, day: date, events: str) -> dict[str, Any]:
    """Counts what was planted, in the form of the generated shop's own truth."""
    dirt, types = dict.fromkeys(OUTCOME_OF, 0), {}
    for kind, action, count in engine.execute(f"SELECT kind, action, count(*) FROM ({events}) GROUP BY ALL").fetchall():
        if kind == "clean":
            types[CANONICAL.get(action, action)] = count
        else:
            dirt[kind] += count
    outcomes = dict.fromkeys(("clean", "quarantined", "duplicate", "robot", "routed"), 0)
    outcomes["clean"] = sum(types.values())
    for kind, count in dirt.items():
        outcomes[OUTCOME_OF[kind]] += count
    return {
        "day": str(day),
        "rows": sum(outcomes.values()),
        "outcomes": outcomes,
        "event_types": dict(sorted(types.items())),
        "dirt": dirt,
    }


def _listed(words: tuple[str, ...] | list[str]) -> str:
    return "[" + ", ".join(f"'{word}'" for word in words) + "]"


_SETUP = f"""
CREATE MACRO dice(key, salt) AS (hash(key, salt) >> 1)::BIGINT;
CREATE MACRO luck(key, salt) AS dice(key, salt) % 1000003 / 1000003.0::DOUBLE;
CREATE MACRO colour(n) AS ({_listed(COLOURS)})[1 + n % {len(COLOURS)}];
CREATE MACRO material(n) AS ({_listed(MATERIALS)})[1 + n % {len(MATERIALS)}];
CREATE MACRO noun(n) AS ({_listed([noun for _, noun in LEAVES])})[1 + n % {len(LEAVES)}];
CREATE MACRO path(n) AS ({_listed([path for path, _ in LEAVES])})[1 + n % {len(LEAVES)}];
CREATE MACRO price(item) AS ((199 + (1.5 * exp(9 * luck(item, 'price')))::BIGINT) / 100)::DECIMAL(9, 2)::VARCHAR;
"""

# A dirty place is the second of a pair, counted from where its period's dirt begins: the row before is clean and can be
# repeated.
_EVENTS = Template(f"""
SELECT *,
    CASE WHEN kind NOT IN ('clean', 'duplicate', 'near_duplicate', 'late') THEN 'view'
        ELSE (['impression', 'impression', 'impression', 'view', 'view', 'view', 'view', 'view', 'view', 'view', 'view',
            'view', 'view', 'add_to_cart', 'add_to_cart', 'purchase', 'search', 'search', 'cancel', 'remove_from_cart'])
            [1 + dice(source, '$seed action') % 20] END AS action
FROM (
    SELECT i, i // $period AS period, i - (kind IN ('duplicate', 'near_duplicate'))::INT AS source,
        CASE WHEN kind = 'robot' AND (period // $robot + 1) * $robot * $period > $rows
            THEN 'clean' ELSE kind END AS kind
    FROM (
        SELECT i, i // $period AS period, coalesce(
            ({_listed([word for kind in OUTCOME_OF for word in ("clean", kind)])})
            [greatest(1 + i % $period - dice(i // $period, '$seed') % $spare, 0)], 'clean') AS kind
        FROM numbers
    )
)
""")

_LINES = Template(f"""
SELECT CASE kind WHEN 'torn' THEN time || ',' || person || ',view'
    ELSE time || ',' || person || ',' || said || ',' || goods END AS "{HEADER}"
FROM (
    SELECT kind,
        CASE kind WHEN 'bad_time' THEN 'yesterday at ' || i ELSE strftime(moment, '%Y-%m-%dT%H:%M:%SZ') END AS time,
        CASE kind WHEN 'no_person' THEN ',' WHEN 'robot' THEN ',robot$day' || 'x' || (period // $robot)
            WHEN 'late' THEN person || 'late' ELSE person END AS person,
        CASE kind WHEN 'unknown_type' THEN 'hover' ELSE action END AS said,
        CASE action WHEN 'search' THEN ',' || CASE
                WHEN drawn % 8 = 0 THEN '"' || noun(item) || ', ' || colour(drawn) || '"'
                ELSE colour(drawn) || ' ' || noun(item) END || ',,'
            ELSE 'sku' || item || ',,' ||
                CASE kind WHEN 'bad_price' THEN '-1.00' WHEN 'no_person' THEN (i / 100)::DECIMAL(12, 2)::VARCHAR
                    ELSE price(item) END || ',' ||
                CASE WHEN kind = 'bad_quantity' THEN '1.5' WHEN action IN ('impression', 'view') THEN ''
                    WHEN drawn % 7 = 0 THEN '2' ELSE '1' END END AS goods
    FROM (
        SELECT *,
            CASE WHEN dice(session, 'known') % 10 < 4
                THEN 'user' || ($users * pow(luck(session, 'user'), 1.7))::BIGINT ELSE '' END
                || ',visit' || to_hex(session) AS person,
            CASE WHEN kind = 'robot' THEN (dice(period // $robot, '$seed page') + period % $robot) % $items
                WHEN drawn % 10 < 6 THEN dice(session, 'taste') % $tastes + $tastes * (pow(40.9, luck)::BIGINT - 1)
                ELSE pow($items, luck)::BIGINT - 1 END AS item,
            TIMESTAMP '$day' + to_seconds(CASE WHEN kind = 'robot'
                THEN (period // $robot * $robot * $period * $seconds_a_row)::BIGINT + period % $robot // $a_second
                ELSE (source * $seconds_a_row)::BIGINT + drawn % 97 + CASE kind
                    WHEN 'near_duplicate' THEN 1 WHEN 'late' THEN -86400 ELSE 0 END END) AS moment
        FROM (
            SELECT *, dice(source, '$seed drawn') AS drawn, luck(source, '$seed luck') AS luck,
                -- The highest cut not after this step tells the session that is open in this place now.
                dice(place * {STEPS} + floor(log2(1 | (cuts & ((2 << step) - 1))))::BIGINT, '$seed session') AS session
            FROM (
                SELECT *, source // $open % {STEPS} AS step,
                    source // ($open * {STEPS}) * $open + source % $open AS place,
                    dice(place, '$seed cuts') & dice(place, '$seed too') & {2**STEPS - 1} AS cuts
                FROM ($events)
            )
        )
    )
)
""")

_CATALOGUE = Template("""
SELECT 'sku' || i AS item, path(i) AS category, 'brand' || dice(i % $tastes, 'brand') % 300 AS brand,
    colour(dice(i, 'colour')) || ' ' || material(dice(i, 'material')) || ' ' || noun(i) AS title,
    price(i) AS price, CASE WHEN dice(i, '$day') % 33 = 0 THEN 'false' ELSE 'true' END AS in_stock
FROM range($items) t(i)
""")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.logs", description="Makes raw logs of any size.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of all days together")
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--into", type=Path, required=True, help="folder")
    parser.add_argument("--first", type=date.fromisoformat, default=Logs.first, help="day")
    parser.add_argument("--gzip", action="store_true")
    parser.add_argument("--seed", type=int, default=Logs.seed)
    parser.add_argument("--users", type=int, default=Logs.users)
    parser.add_argument("--items", type=int, default=Logs.items)
    parser.add_argument("--dirt", type=float, default=Logs.dirt, help="share of the rows each kind takes")
    wanted = vars(parser.parse_args())
    folder = wanted.pop("into")
    truths = Logs(**wanted).write(folder)
    print(f"{sum(truth['rows'] for truth in truths):,} rows of {len(truths)} days in {folder}")


if __name__ == "__main__":
    main()
