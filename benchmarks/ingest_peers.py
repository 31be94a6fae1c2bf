"""What ingest is measured against: `python -m benchmarks.ingest_peers copy|pandas|reading EVENTS.csv FOLDER`."""

from __future__ import annotations

import hmac
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

KEY = "b3" * 32
THREADS = 2
TYPES = {
    "impression": "impression",
    "view": "view",
    "add_to_cart": "cart",
    "remove_from_cart": "remove",
    "purchase": "purchase",
    "cancel": "cancel",
    "search": "search",
}
COUNTED = ["cart", "remove", "purchase", "cancel"]
SAME = ["user", "session", "item", "type", "query", "price", "quantity"]
MAX_PRICE, MAX_QUANTITY = 1_000_000, 1_000_000
WINDOW = "1s"
ROBOT_EVENTS, ROBOT_A_MINUTE = 50, 60


def copy(events: Path, folder: Path) -> None:
    """DuckDB's plain typed copy; rows that do not fit the types are left out, nothing else is looked at."""
    import duckdb

    columns = dict.fromkeys(("user", "session", "action", "item", "query"), "VARCHAR")
    typed = {"time": "TIMESTAMPTZ", **columns, "price": "DOUBLE", "quantity": "BIGINT"}
    reader = f"read_csv('{events}', header=true, columns={typed}, auto_detect=false, ignore_errors=true)"
    with duckdb.connect(config={"threads": THREADS}) as engine:
        engine.execute(f"COPY (FROM {reader}) TO '{folder}/events.parquet' (FORMAT parquet, COMPRESSION zstd)")


def by_pandas(events: Path, folder: Path) -> None:
    """The same rules, the way one writes them with pandas."""
    import pandas as pd

    raw = pd.read_csv(events, dtype="string[pyarrow]", keep_default_na=False, na_values=[""])
    raw["row_number"] = range(1, len(raw) + 1)
    raw["user"], raw["session"] = _named(raw["user"]), _named(raw["session"])
    rows = _typed(raw)
    rule = pd.Series(pd.NA, index=raw.index, dtype="string[pyarrow]")
    for name, taken in _by_row(raw, rows).items():
        rule[taken & rule.isna()] = name
    for name, judge in (("exact_duplicate", _repeated), ("near_duplicate", _echoed), ("robot_rate", _too_fast)):
        rule[judge(raw, rows, rule.isna())] = name
    day = pd.Timestamp(events.stem.removeprefix("events-"), tz="UTC")
    elsewhere = (rows["time"] < day) | (rows["time"] >= day + pd.Timedelta(days=1))
    rule[rule.isna() & elsewhere.fillna(False)] = "other_day"
    _write(raw, rows, rule, folder)


def _named(ids: pd.Series) -> pd.Series:
    known = ids.dropna().unique()
    secret = KEY.encode()
    ending = hmac.digest(secret, b"the fingerprint of a pseudonym key", "sha256").hex()[:8]
    names = {raw: f"{hmac.digest(secret, raw.encode(), 'sha256').hex()}.{ending}" for raw in known}
    return ids.map(names).astype("string[pyarrow]")


def _typed(raw: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows = raw[["user", "session", "item", "query"]].copy()
    rows["type"] = raw["action"].map(TYPES).astype("string[pyarrow]")
    rows["time"] = pd.to_datetime(raw["time"], format="ISO8601", errors="coerce", utc=True)
    rows["price"] = pd.to_numeric(raw["price"], errors="coerce").astype("float64[pyarrow]")
    pieces = pd.to_numeric(raw["quantity"], errors="coerce").astype("float64[pyarrow]")
    rows["pieces"] = pieces.where(rows["type"] != "cancel", pieces.abs())
    one = raw["quantity"].isna() & rows["type"].isin(COUNTED)
    rows["quantity"] = rows["pieces"].mask(one, 1.0)
    return rows


def _by_row(raw: pd.DataFrame, rows: pd.DataFrame) -> dict[str, pd.Series]:
    """A line with too few columns is told by what misses at its end: every whole one has an item or a query."""
    price, pieces = rows["price"], rows["pieces"]
    return {
        "torn": raw[["item", "query", "price", "quantity"]].isna().all(axis=1),
        "no_person": rows["user"].isna() & rows["session"].isna(),
        "unknown_type": rows["type"].isna(),
        "no_item": rows["item"].isna() & (rows["type"] != "search").fillna(True),
        "no_query": rows["query"].isna() & (rows["type"] == "search").fillna(False),
        "bad_time": rows["time"].isna(),
        "bad_price": raw["price"].notna() & ~((price >= 0) & (price <= MAX_PRICE)).fillna(False),
        "bad_quantity": raw["quantity"].notna()
        & ~((pieces >= 1) & (pieces <= MAX_QUANTITY) & (pieces == pieces.round())).fillna(False),
    }


def _repeated(raw: pd.DataFrame, rows: pd.DataFrame, free: pd.Series) -> pd.Index:
    found = raw[free]
    return found.index[found.drop(columns="row_number").duplicated()]


def _echoed(raw: pd.DataFrame, rows: pd.DataFrame, free: pd.Series) -> pd.Index:
    import pandas as pd

    found = rows[free].sort_values("time", kind="stable")
    found = found.loc[found.duplicated(SAME, keep=False)]
    before = found.groupby(SAME, dropna=False)["time"].shift()
    return found.index[(found["time"] - before <= pd.Timedelta(WINDOW)).fillna(False)]


def _too_fast(raw: pd.DataFrame, rows: pd.DataFrame, free: pd.Series) -> pd.Index:
    found = rows[free & (rows["type"] != "impression").fillna(False)]
    times = found.groupby(found["session"].fillna(found["user"]))["time"].agg(["size", "min", "max"])
    seconds = (times["max"] - times["min"]).dt.total_seconds().clip(lower=1)
    fast = times.index[(times["size"] >= ROBOT_EVENTS) & (times["size"] * 60 > ROBOT_A_MINUTE * seconds)]
    return rows.index[free & rows["session"].fillna(rows["user"]).isin(fast)]


def _write(raw: pd.DataFrame, rows: pd.DataFrame, rule: pd.Series, folder: Path) -> None:
    import pandas as pd

    for name, of in (("events", rule.isna()), ("routed", rule == "other_day")):
        events = rows[of.fillna(False)].drop(columns="pieces")
        events["event_id"] = pd.util.hash_pandas_object(events, index=False)
        events.sort_values(["time", "event_id"]).to_parquet(folder / f"{name}.parquet", compression="zstd")
    refused = ~(rule.isna() | rule.isin(["exact_duplicate", "near_duplicate", "robot_rate", "other_day"]))
    told = pd.DataFrame({"rule": rule[refused], "row_number": raw.loc[refused, "row_number"]})
    shown = raw.loc[refused].drop(columns="row_number").astype(object)
    told["row"] = [json.dumps(row, default=lambda _: None) for row in shown.to_dict("records")]
    told.to_parquet(folder / "quarantine.parquet", compression="zstd")
    found = rule.value_counts().to_dict()
    counts = {"clean": int(rule.isna().sum()), "quarantined": int(refused.sum())}
    counts["duplicate"] = found.get("exact_duplicate", 0) + found.get("near_duplicate", 0)
    counts |= {"robot": found.get("robot_rate", 0), "routed": found.get("other_day", 0), "rules": found}
    (folder / "counts.json").write_text(json.dumps(counts))


def reading(events: Path, folder: Path) -> None:
    """Ours, the first half alone: from bytes to batches with pseudonyms, nothing behind."""
    from pipeline.ingest.people.pseudonyms import pseudonymiser
    from pipeline.ingest.profiles.profile import load_profile
    from pipeline.ingest.reading.batches import read_batches
    from pipeline.store.files import RawFile

    profile = load_profile(str(events.parent / "profile.yaml"))
    for _ in read_batches([RawFile(events.name, str(events), "")], profile, pseudonymiser(KEY)):
        pass


PEERS: dict[str, Any] = {"copy": copy, "pandas": by_pandas, "reading": reading}


def main() -> None:
    name, events, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    PEERS[name](events, folder)


if __name__ == "__main__":
    main()
