"""Finding the best of what a filter allows, in the lists that may hold it, beside looking at every list.

    python -m benchmarks.filters [--items 100000 1000000] [--queries 200] [--rounds 7]

The item index as a bundle holds it, a byte a number (`int8`), over the vectors of `benchmarks.index`. Recall is of the
best by the vectors as they are stored, among those allowed: what lists cost, not what bytes do. Filters are
*scattered*, any items at random, as a brand or a price may be; *a department*, what lies nearest to one direction, as
a category does, far from most queries; *departments*, twenty such; and *both*, a random third of a department. The
peer is the same index made to look at every list for the allowed, exact over what is stored. They take turns, query by
query, on one thread; a round is all queries, for 20 answers each.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from time import perf_counter

import faiss
import numpy as np

from benchmarks.claims import Claim, judged_values, publish
from benchmarks.made_vectors import made_queries, made_vectors
from pipeline.model.item_index import ItemIndex

DIM, KIND, PROBES, ASKED, DEEP = 64, "int8", 500, 20, 100
SHARES = (0.5, 0.2, 0.05, 0.01)
BLOCK = 50


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.filters", description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    claims, tables = [], []
    for items in given.items:
        made, told = _at(items, given.queries, given.rounds)
        claims += made
        tables.append(told)
        print(told, flush=True)
    publish("filters", claims, ("faiss-cpu", "numpy"), {"tables": tables})


def _at(items: int, queries: int, rounds: int) -> tuple[list[Claim], str]:
    vectors_nD = made_vectors(items, DIM)
    index = ItemIndex.build(vectors_nD, KIND, made_queries(vectors_nD, PROBES, 0))
    asked_QD = made_queries(vectors_nD, queries, 1)
    lines = [f"{items:,} items, {index.facts.nprobe} of {index.facts.lists} lists without a filter", ""]
    lines += [
        f"| allowed | items | recall@{ASKED} | recall@{DEEP} | µs a query | every list, µs |",
        "|---|---|---|---|---|---|",
    ]
    claims = []
    for name, only in _filters(vectors_nD):
        recalls = [_recall(index, asked_QD, k, only) for k in (ASKED, DEEP)]
        ours, peer = _raced(index, asked_QD, only, rounds)
        micros = [statistics.median(each) * 1e6 for each in (ours, peer)]
        cells = [f"{len(only):,}", *(f"{recall:.4f}" for recall in recalls), *(f"{each:,.0f}" for each in micros)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        claims.append(
            judged_values(f"{items:,} items, {name}: time beside every list", ours, peer, "s a query", "<= 1")
        )
        print(lines[-1], flush=True)
    return claims, "\n".join(lines)


def _filters(vectors_nD: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yields names and rows, ascending."""
    draw, items = np.random.default_rng(3), len(vectors_nD)
    for share in SHARES:
        count, told = int(share * items), f"{share * 100:g} %"
        yield f"{told}, scattered", np.sort(draw.choice(items, count, replace=False))
        yield f"{told}, a department", _nearest(vectors_nD, vectors_nD[draw.integers(items, size=1)], count)
        yield f"{told}, departments", _nearest(vectors_nD, vectors_nD[draw.integers(items, size=20)], count)
        department = _nearest(vectors_nD, vectors_nD[draw.integers(items, size=1)], min(3 * count, items))
        yield f"{told}, both", np.sort(draw.choice(department, min(count, len(department)), replace=False))


def _nearest(vectors_nD: np.ndarray, to_CD: np.ndarray, count: int) -> np.ndarray:
    likeness_n = (vectors_nD @ to_CD.T).max(axis=1)
    return np.sort(np.argpartition(-likeness_n, count - 1)[:count])


def _recall(index: ItemIndex, asked_QD: np.ndarray, k: int, only: np.ndarray) -> float:
    shares = []
    stored_RD = index.vectors(only)
    for at in range(0, len(asked_QD), BLOCK):
        block_QD = asked_QD[at : at + BLOCK]
        best_QK = only[np.argpartition(-(block_QD @ stored_RD.T), k, axis=1)[:, :k]]
        found_QK = index.search(block_QD, k, only)[1]
        shares += [len(np.intersect1d(best, found)) / k for best, found in zip(best_QK, found_QK, strict=True)]
    return statistics.fmean(shares)


def _raced(index: ItemIndex, asked_QD: np.ndarray, only: np.ndarray, rounds: int) -> tuple[list[float], list[float]]:
    """Returns seconds a query, the median of each round, of ours and of a look at every list."""
    bits = np.packbits(np.isin(np.arange(len(index)), only), bitorder="little")
    every = faiss.SearchParametersIVF(sel=faiss.IDSelectorBitmap(bits), nprobe=index.facts.lists)
    ours, peer = [], []
    for _ in range(rounds):
        times: tuple[list[float], list[float]] = ([], [])
        for at in range(len(asked_QD)):
            query_1D, begun = asked_QD[at : at + 1], perf_counter()
            index.search(query_1D, ASKED, only)
            between = perf_counter()
            index._index.search(query_1D, ASKED, params=every)
            times[0].append(between - begun)
            times[1].append(perf_counter() - between)
        ours.append(statistics.median(times[0]))
        peer.append(statistics.median(times[1]))
    return ours, peer


if __name__ == "__main__":
    main()
