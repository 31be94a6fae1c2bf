"""Items never trained on: how many of those people went on to are found, against content-KNN.

    python -m benchmarks.cold_start [--shops generated online_retail] [--items 2000] [--share 0.1] [--scratch FOLDER]

A tenth of the items, drawn evenly, is taken out of every training sequence, as history and as target; the catalogue
keeps them, as if it had listed them on the last day of training. The model is learned and compressed by the real
commands at their defaults and asked through its release bundle for what people met on the test days: right is every
such item that was new to them. `whole catalogue` ranks these items among all others, as a shop would; `cold items`
among themselves. Content-KNN knows the same catalogue and the same histories; it is tuned on the validation days by a
hundred draws, for each set of candidates. Online Retail describes its items by a title and prices alone; its logs are
looked for in the folder BEHAVIOUR_LOGS_DIR names. Intervals by a paired bootstrap over visitors.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from benchmarks.claims import Claim, judged_queries, publish
from benchmarks.held_out_items import drawn_items, prepare_without
from benchmarks.nights import SHOPS, TO_BUNDLE, TO_PREPARE, Night, retriever_of
from benchmarks.peers.environments import python_of
from pipeline.core.artifacts import Artifact
from pipeline.model.features import Query, encode_queries
from pipeline.model.metrics import recall_at_k
from pipeline.model.retriever import Retriever

K = 20
WHOLE, COLD = "whole catalogue", "cold items"
FIELDS = ("title", "category", "brand", "price")
PACKAGES = ("tensorflow", "tf-keras", "ai-edge-litert", "faiss-cpu", "numpy")


@dataclass(frozen=True)
class Asked:
    """Recommendations of one period whose reader went on to a cold item, in rows of the catalogue where not in ids."""

    users: list[str]
    queries: list[Query]
    histories: list[list[int]]
    targets: list[list[int]]

    @classmethod
    def load(cls, prepared: Artifact, period: str, row_of: dict[str, int], cold: set[int]) -> Asked:
        users, queries, histories, targets = [], [], [], []
        for row in parquet.read_table(prepared.file(f"{period}.parquet")).to_pylist():
            met = [row_of[item] for item in row["history_item_ids"] if item in row_of]
            wanted = [row_of[item] for item in row["new_target_item_ids"] if row_of.get(item) in cold]
            if row["kind"] == "recommend" and met and wanted:
                users.append(row["user"])
                queries.append(Query.of(row))
                histories.append(met)
                targets.append(wanted)
        return cls(users, queries, histories, targets)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.cold_start", description=__doc__.splitlines()[0])
    parser.add_argument("--shops", nargs="+", choices=SHOPS, default=["generated"])
    parser.add_argument("--items", type=int, default=2000, help="of the generated shop")
    parser.add_argument("--share", type=float, default=0.1, help="of the items, never trained on")
    parser.add_argument("--scratch", type=Path, default=Path("var/benchmarks/nights"))
    given = parser.parse_args()
    claims, details = [], {}
    for shop in given.shops:
        made, details[shop] = _at(Night.of(shop, given.scratch, given.items), shop, given.share)
        claims += made
    publish("cold_start", claims, PACKAGES, details)


def _at(night: Night, shop: str, share: float) -> tuple[list[Claim], dict[str, Any]]:
    """Measures one shop."""
    whole = night.steps(TO_PREPARE, "all-items").artifact("prepare")
    drawn = drawn_items(whole, share)
    prepare_without(whole, drawn, night.run("cold-items"))
    run = night.steps(TO_BUNDLE, "cold-items")
    retriever, prepared = retriever_of(run), run.artifact("prepare")
    cold = drawn - 1
    row_of = {item_id: row for row, item_id in enumerate(retriever.catalogue.ids)}
    validation, test = (Asked.load(prepared, p, row_of, set(cold.tolist())) for p in ("validation", "test"))
    candidates = {WHOLE: np.arange(len(row_of)), COLD: cold}
    peer = _content_knn(night.root / "content_knn", retriever, candidates, validation, test)
    claims, told = [], {}
    for name, rows in candidates.items():
        ours, theirs = _ranked(retriever, test, rows), peer[name]["ranked"]
        values = [recall_at_k(ranked, test.targets, K) for ranked in (ours, theirs)]
        claim = f"{shop}: recall@{K} of items never trained on, {name}, beside content-KNN"
        claims.append(judged_queries(claim, *values, test.users, "share", ">= 1"))
        told[name] = {
            "content-KNN, as tuned": peer[name]["tuned"],
            "share of answers that are cold": {"ours": _share(ours, cold), "content-KNN": _share(theirs, cold)},
        }
    counts = {"items": len(row_of), "never trained on": len(cold), "queries": len(test.queries)}
    return claims, {**counts, "targets": sum(map(len, test.targets)), **told}


def _ranked(retriever: Retriever, asked: Asked, candidates: np.ndarray) -> list[list[int]]:
    """Returns the best K of the candidates for each query, what its history holds left out."""
    vectors_QD = retriever.tower(encode_queries(retriever.config, retriever.catalogue.tower_index, asked.queries))
    most_seen = max(map(len, asked.histories))
    _, rows_QK = retriever.index.search(vectors_QD, K + most_seen, candidates)
    pairs = zip(rows_QK.tolist(), map(set, asked.histories), strict=True)
    return [[row for row in rows if row not in seen][:K] for rows, seen in pairs]


def _content_knn(
    folder: Path, retriever: Retriever, candidates: dict[str, np.ndarray], validation: Asked, test: Asked
) -> dict[str, Any]:
    """Returns by the candidates' name the ranked rows, and how the peer was tuned."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = {
        "k": K,
        "items": {name: list(retriever.catalogue.columns[name]) for name in FIELDS},
        "candidates": {name: rows.tolist() for name, rows in candidates.items()},
        "validation": {"histories": validation.histories, "targets": validation.targets},
        "test": {"histories": test.histories},
    }
    (folder / "asked.json").write_text(json.dumps(asked))
    subprocess.run([str(python_of("text")), "-m", "benchmarks.peers.content_knn", str(folder)], check=True)
    return json.loads((folder / "answered.json").read_text())


def _share(ranked: Sequence[Sequence[int]], rows: np.ndarray) -> float:
    answered = np.concatenate([np.array(each, np.int64) for each in ranked])
    return round(float(np.isin(answered, rows).mean()), 4) if len(answered) else 0.0


if __name__ == "__main__":
    main()
