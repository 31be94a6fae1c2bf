"""The data sets of `accuracy`, all in the form of a `prepare` artifact, and what a peer is given of them.

Shapes: n items, N events, S sequences, Q queries.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from benchmarks.peers.search import ALL_ITEMS, NEW_ITEMS
from pipeline.core.artifacts import Artifact, build, digest_of, digest_of_file
from pipeline.core.run import Layout
from pipeline.core.schema import EVENT_TYPES, QUERY

VALIDATION_SHARE = 0.05
MOST_VALIDATION_QUERIES = 6000
SPREAD_DAYS = 180
FIRST_SECOND = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
SEEN = "data.npz"
SESSION_TRAIN, SESSION_TEST = "train_sessions.jsonl.gz", "test_prefixes.jsonl.gz"
ONLINE_RETAIL_DAYS = "2010-12-01..2011-12-09"
ONLINE_RETAIL = ("ingest.profile=online_retail", "prepare.max_test_days=25", "prepare.min_test_queries=100000")
"""So many queries are never there: the test takes as many days as it may, from 2011-11-11."""
KEY = {"PIPELINE_SECRETS__PSEUDONYM_KEY": "7a" * 32}


@dataclass(frozen=True)
class DataSet:
    """A training set, and in which senses its answers are judged."""

    name: str
    artifact: Artifact
    senses: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """The recommendations that are asked of every model, and what would have been right.

    Attributes:
        rows: of `schema.QUERY`, in the file's order.
    """

    rows: Sequence[Mapping[str, Any]]

    @classmethod
    def load(cls, artifact: Artifact, part: str) -> Asked:
        rows = parquet.read_table(artifact.file(f"{part}.parquet")).to_pylist()
        return cls([row for row in rows if row["kind"] == "recommend"])

    @property
    def users(self) -> list[str]:
        return [row["user"] for row in self.rows]

    def targets(self, sense: str) -> list[list[str]]:
        return [row["new_target_item_ids" if sense == NEW_ITEMS else "target_item_ids"] for row in self.rows]


def online_retail(logs: Path, root: Path) -> DataSet:
    """Brings the shop's logs through the pipeline's own steps, which do nothing where it was done before."""
    settings = (f"store.root={root}", f"ingest.source={logs / 'online_retail' / 'raw'}", *ONLINE_RETAIL)
    words = [word for setting in settings for word in ("--set", setting)]
    for step in ("ingest", "validate", "prepare"):
        command = [sys.executable, "-W", "ignore", "-m", "pipeline", step, "--run", "accuracy"]
        command += ["--days", ONLINE_RETAIL_DAYS, *words]
        subprocess.run(command, check=True, env={**os.environ, **KEY})
    refs = json.loads((Layout(root).runs / "accuracy" / "refs" / "prepare.json").read_text())
    return prepared("online_retail", Layout(root).artifact("prepare", refs[""]))


def prepared(name: str, folder: Path) -> DataSet:
    """Takes a `prepare` artifact as it is, judged in both senses."""
    return DataSet(name, Artifact(folder), (ALL_ITEMS, NEW_ITEMS))


def sessions(name: str, folder: Path, root: Path) -> DataSet:
    """Writes sessions of items as a training set, judged with repetitions, for that is what sessions are.

    Training is the first 95 % of the sessions, in the file's order, and validation the rest; neither has times, so the
    sessions are spread evenly over half a year, one second an event. Test queries are the prefixes given.
    """
    inputs = {file: digest_of_file(folder / file) for file in (SESSION_TRAIN, SESSION_TEST)}
    code = digest_of_file(Path(__file__))
    path = Layout(root).artifact("prepare", digest_of({"inputs": inputs, "code": code})[:32])
    whole = Artifact(path) if path.exists() else build(path, lambda out: _write_sessions(folder, out))
    return DataSet(name, whole, (ALL_ITEMS,))


def _write_sessions(folder: Path, out: Path) -> None:
    lists = [[str(item) for item in line] for line in _lines(folder / SESSION_TRAIN)]
    tests = list(_lines(folder / SESSION_TEST))
    cut = int(len(lists) * (1 - VALIDATION_SHARE))
    spacing = SPREAD_DAYS * 86_400 / len(lists)
    starts = [FIRST_SECOND + int(number * spacing) for number in range(len(lists) + 1)]
    rank = _write_training(out, lists[:cut], starts[:cut])
    # Validation asks as the test does: every prefix at least as long as the test's shortest.
    least = min(len(test["prefix"]) for test in tests)
    every = [(n, end) for n in range(cut, len(lists)) for end in range(least, len(lists[n]))]
    chosen = np.random.default_rng(0).permutation(len(every))[:MOST_VALIDATION_QUERIES]
    drawn = [every[place] for place in np.sort(chosen)]
    validation = [(f"session-{n}", starts[n], lists[n][:end], lists[n][end]) for n, end in drawn]
    test = [
        (f"session-{each['session']}", starts[-1], [str(item) for item in each["prefix"]], str(each["target"]))
        for each in tests
    ]
    _write_queries(out / "validation.parquet", validation)
    _write_queries(out / "test.parquet", test)
    _write_split(out, starts[cut], starts[-1], {"items": len(rank), "validation": len(validation), "test": len(test)})


def _lines(path: Path) -> Iterator[Any]:
    with gzip.open(path, "rt") as file:
        for line in file:
            yield json.loads(line)


def _write_training(out: Path, lists: Sequence[Sequence[str]], starts: Sequence[int]) -> dict[str, int]:
    flat = [item for items in lists for item in items]
    names, codes, events = np.unique(np.array(flat), return_inverse=True, return_counts=True)
    order = np.lexsort((names, -events))
    index = np.empty(len(names), np.int32)
    index[order] = np.arange(1, len(names) + 1)
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in lists])]).astype(np.int64)
    within = np.arange(len(flat)) - np.repeat(offsets[:-1], np.diff(offsets))
    arrays = {
        "sequence_items": index[codes],
        "sequence_types": np.full(len(flat), EVENT_TYPES.index("view"), np.uint8),
        "sequence_times": np.repeat(np.array(starts, np.int64), np.diff(offsets)) + within,
        "sequence_contexts": np.full(len(flat), -1, np.int32),
        "sequence_offsets": offsets,
        "targets": np.arange(len(flat), dtype=np.int64),
        "target_queries": np.full(len(flat), -1, np.int32),
        "target_searched": np.full(len(flat), -1, np.int64),
        "exposed_items": np.zeros(0, np.int32),
        "exposed_offsets": np.zeros(len(flat) + 1, np.int64),
    }
    for name, array in arrays.items():
        np.save(out / f"{name}.npy", array)
    (out / "queries.json").write_text("[]")
    (out / "contexts.json").write_text("[]")
    nothing = {name: pa.nulls(len(names), pa.string()) for name in ("category", "brand", "title")}
    columns = {
        "index": np.arange(1, len(names) + 1, dtype=np.int32),
        "item_id": names[order],
        **nothing,
        "price": pa.nulls(len(names), pa.float64()),
        "in_stock": pa.array(np.ones(len(names), bool)),
        "vector": pa.nulls(len(names), pa.list_(pa.float64())),
        "age_days": np.zeros(len(names), np.int32),
        "events": events[order].astype(np.int64),
        "probability": events[order] / len(flat),
        "previous_index": np.zeros(len(names), np.int32),
    }
    parquet.write_table(pa.table(columns), out / "items.parquet")
    return {str(name): int(row) for name, row in zip(names, index, strict=True)}


def _write_queries(path: Path, queries: Sequence[tuple[str, int, Sequence[str], str]]) -> None:
    """Writes `schema.QUERY`, a row for each user, time of the session's start, history and target."""
    rows = []
    for number, (user, start, history, target) in enumerate(queries):
        times = [datetime.fromtimestamp(start + place, UTC) for place in range(len(history) + 1)]
        rows.append({
            "query_id": number,
            "user": user,
            "kind": "recommend",
            "time": times[-1],
            "history_item_ids": history,
            "history_event_types": ["view"] * len(history),
            "history_times": times[:-1],
            "query": None,
            "context": None,
            "target_item_ids": [target],
            "new_target_item_ids": [target] if target not in history else [],
        })  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(rows, ibis.schema(QUERY).to_pyarrow()), path)


def _write_split(out: Path, validation_second: int, test_second: int, counts: Mapping[str, int]) -> None:
    first, validation, test = (datetime.fromtimestamp(s, UTC) for s in (FIRST_SECOND, validation_second, test_second))
    end = test + timedelta(days=1)
    record = {
        "window": [str(first.date()), str(end.date())],
        "validation_start": validation.isoformat(),
        "test_start": test.isoformat(),
        "test_end": end.isoformat(),
        "data_end": test.isoformat(),
        "grown_from": None,
        "counts": dict(counts),
    }
    (out / "split.json").write_text(json.dumps(record, indent=1))


def write_for_models(data: DataSet, folder: Path) -> None:
    """Writes what every model sees: training, validation with its targets, and the test's histories alone.

    Items are rows from 0 in the order of `items.parquet`; what training never saw is left out of histories, and stands
    among validation targets as -2.
    """
    artifact = data.artifact
    ids = parquet.read_table(artifact.file("items.parquet")).sort_by("index")["item_id"].to_pylist()
    row = {item: place for place, item in enumerate(ids)}
    load = {name: np.load(artifact.file(f"sequence_{name}.npy")) for name in ("items", "types", "times", "offsets")}
    arrays = {f"training_{name}": values for name, values in load.items()} | {"n": len(ids), "senses": data.senses}
    arrays["training_items"] = arrays["training_items"] - 1
    for part in ("validation", "test"):
        asked = Asked.load(artifact, part)
        arrays |= {f"{part}_{name}": values for name, values in _histories(asked, row).items()}
        if part == "validation":
            for sense in data.senses:
                rows, offsets = _flat([[row.get(item, -2) for item in wanted] for wanted in asked.targets(sense)])
                arrays |= {f"{sense}_targets": rows.astype(np.int32), f"{sense}_offsets": offsets}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / SEEN, **arrays)
    # Ours learns from the artifact itself, as its step does.
    (folder / "artifact.json").write_text(json.dumps(str(artifact.path.resolve())))


def _histories(asked: Asked, row: Mapping[str, int]) -> dict[str, np.ndarray]:
    known = [[place for place, item in enumerate(q["history_item_ids"]) if item in row] for q in asked.rows]
    columns = {
        "items": [[row[q["history_item_ids"][p]] for p in ps] for q, ps in zip(asked.rows, known, strict=True)],
        "types": [
            [EVENT_TYPES.index(q["history_event_types"][p]) for p in ps]
            for q, ps in zip(asked.rows, known, strict=True)
        ],
        "times": [
            [int(q["history_times"][p].timestamp()) for p in ps] for q, ps in zip(asked.rows, known, strict=True)
        ],
    }
    kinds = {"items": np.int32, "types": np.uint8, "times": np.int64}
    arrays = {name: _flat(lists)[0].astype(kinds[name]) for name, lists in columns.items()}
    when = np.array([int(q["time"].timestamp()) for q in asked.rows], np.int64)
    return {**arrays, "offsets": _flat(known)[1], "asked": when}


def _flat(lists: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    values = np.array([value for each in lists for value in each], np.int64)
    return values, np.concatenate([[0], np.cumsum([len(each) for each in lists])]).astype(np.int64)
