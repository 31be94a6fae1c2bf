"""Search on the generated shop, against BM25 over titles.

    python -m benchmarks.search [--items 2000 10000] [--scratch FOLDER]

Every shop is generated, ingested, prepared, learned and compressed by the real commands at their defaults; ours answers
from the release bundle. Asked are the searches of the last days, which neither training nor tuning saw; what the
visitor then looked at, put into the cart or bought is right. BM25 is tuned on the searches of the days before: k1 and
b, over titles and over titles with category and brand behind them; each claim is held against whichever of the two
finds more. `with history` gives our model what the visitor met before they searched, and asks only searches that
something came before. Then every title of the catalogue is typed as it stands; right is the item itself, or one of the
very same title. Intervals by a paired bootstrap over visitors, over items for titles.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from benchmarks.claims import Claim, judged_queries, publish
from benchmarks.nights import TO_BUNDLE, TO_PREPARE, Night, retriever_of
from benchmarks.peers.environments import python_of
from pipeline.core.artifacts import Artifact
from pipeline.model.features import Query
from pipeline.model.metrics import hit_rate_at_k, recall_at_k

K = 20
NOT_ON_SHELF = -1
PACKAGES = ("tensorflow", "tf-keras", "ai-edge-litert", "faiss-cpu", "numpy")


@dataclass(frozen=True)
class Searches:
    """Searches of one period that something answered."""

    users: list[str]
    queries: list[Query]
    targets: list[list[str]]

    @classmethod
    def load(cls, prepared: Artifact, period: str) -> Searches:
        rows = parquet.read_table(prepared.file(f"{period}.parquet")).to_pylist()
        rows = [row for row in rows if row["kind"] == "search" and row["target_item_ids"]]
        queries = [Query.of(row) for row in rows]
        return cls([row["user"] for row in rows], queries, [row["target_item_ids"] for row in rows])

    @property
    def texts(self) -> list[str]:
        return [query.text or "" for query in self.queries]

    @property
    def alone(self) -> list[Query]:
        """Returns the same searches by somebody nothing is known of."""
        return [Query([], [], text) for text in self.texts]

    @property
    def after_something(self) -> np.ndarray:
        """Returns the places of searches with a history."""
        return np.flatnonzero([len(query.item_ids) > 0 for query in self.queries])


@dataclass(frozen=True)
class Shelf:
    """The items that are searched, those met by more people first."""

    rows: Sequence[dict[str, Any]]

    @classmethod
    def load(cls, prepared: Artifact) -> Shelf:
        rows = parquet.read_table(prepared.file("items.parquet")).to_pylist()
        return cls(sorted(rows, key=lambda row: -row["events"]))

    @cached_property
    def ids(self) -> list[str]:
        return [row["item_id"] for row in self.rows]

    @property
    def texts(self) -> dict[str, list[str]]:
        fields = ("title", "category", "brand")
        titled = [row["title"] or "" for row in self.rows]
        return {
            "title": titled,
            "title, category, brand": [" ".join(row[f] or "" for f in fields) for row in self.rows],
        }

    @property
    def named_alike(self) -> tuple[list[str], list[list[str]]]:
        """Returns every title once, with the items that bear it."""
        items = defaultdict(list)
        for row in self.rows:
            items[row["title"]].append(row["item_id"])
        return list(items), list(items.values())


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.search", description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[2000, 10_000], help="of the generated shop")
    parser.add_argument("--scratch", type=Path, default=Path("var/benchmarks/nights"))
    asked = parser.parse_args()
    claims, details = [], {}
    for items in asked.items:
        made, told = _at(items, asked.scratch)
        claims += made
        details[f"{items:,} items"] = told
    publish("search", claims, PACKAGES, details)


def _at(items: int, scratch: Path) -> tuple[list[Claim], dict[str, Any]]:
    """Measures one size of shop."""
    night = Night.of("generated", scratch, items)
    run = night.steps((*TO_PREPARE, *TO_BUNDLE), "search")
    prepared, retriever = run.artifact("prepare"), retriever_of(run)
    shelf, validation, searches = Shelf.load(prepared), *(Searches.load(prepared, p) for p in ("validation", "test"))
    titles, bearers = shelf.named_alike
    rank = partial(retriever.rank, k=K, exclude_seen=False)
    peers, tuned = _bm25(night.root / "bm25", shelf, validation, {"searches": searches.texts, "titles": titles})
    knowing = recall_at_k(rank(searches.queries), searches.targets, K)
    ours = {"searches": rank(searches.alone), "titles": rank([Query([], [], title) for title in titles])}
    answers = {"ours": ours, **peers}
    found = {
        f"searches, recall@{K}": _values(answers, "searches", lambda r: recall_at_k(r, searches.targets, K)),
        f"exact titles, hit@{K}": _values(answers, "titles", lambda r: hit_rate_at_k(r, bearers, K)),
        "exact titles, hit@1": _values(answers, "titles", lambda r: hit_rate_at_k(r, bearers, 1)),
    }
    asked = {what: (each, searches.users if what.startswith("searches") else titles) for what, each in found.items()}
    after = searches.after_something
    known = {model: values_Q[after] for model, values_Q in found[f"searches, recall@{K}"].items()}
    with_history = (known | {"ours": knowing[after]}, [searches.users[place] for place in after])
    asked = {f"searches with history, recall@{K}": with_history, **asked}
    claims = [_claim(f"{items:,} items: {what}, beside BM25", *given) for what, given in asked.items()]
    means = {what: {m: round(float(v.mean()), 4) for m, v in each.items()} for what, (each, _) in asked.items()}
    means[f"searches with history, recall@{K}"]["ours, not told of it"] = round(float(known["ours"].mean()), 4)
    asked_of = {"items": len(shelf.ids), "searches": len(searches.users), "of them with history": len(after)}
    return claims, {**asked_of, "titles": len(titles), "BM25, as tuned": tuned, "found": means}


def _bm25(
    folder: Path, shelf: Shelf, validation: Searches, test: dict[str, list[str]]
) -> tuple[dict[str, dict[str, list[list[str]]]], dict[str, Any]]:
    """Returns the ranked items by the text that was searched and what was asked, and how BM25 was tuned for it."""
    place = {item_id: place for place, item_id in enumerate(shelf.ids)}
    targets = [[place.get(item, NOT_ON_SHELF) for item in items] for items in validation.targets]
    folder.mkdir(parents=True, exist_ok=True)
    asked = {
        "k": K,
        "texts": shelf.texts,
        "test": test,
        "validation": {"queries": validation.texts, "targets": targets},
    }
    (folder / "asked.json").write_text(json.dumps(asked))
    subprocess.run([str(python_of("text")), "-m", "benchmarks.peers.bm25", str(folder)], check=True)
    answered = json.loads((folder / "answered.json").read_text())
    tuned = {text: each.pop("tuned") for text, each in answered.items()}
    ranked = {
        f"BM25 on {text}": {what: [[shelf.ids[at] for at in row] for row in rows] for what, rows in each.items()}
        for text, each in answered.items()
    }
    return ranked, tuned


def _values(
    answers: dict[str, dict[str, list[list[str]]]], what: str, metric: Callable[[list[list[str]]], np.ndarray]
) -> dict[str, np.ndarray]:
    return {model: metric(each[what]) for model, each in answers.items()}


def _claim(claim: str, found: dict[str, np.ndarray], users: list[str]) -> Claim:
    """Holds ours against the better of the peers on this very question."""
    peers = [values_Q for model, values_Q in found.items() if model != "ours"]
    return judged_queries(claim, found["ours"], max(peers, key=np.mean), users, "share", ">= 1")


if __name__ == "__main__":
    main()
