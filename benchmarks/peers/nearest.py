"""Who finds the nearest, one query at a time: `python -m benchmarks.peers.nearest FOLDER NAME` answers on its pipes.

Every contestant is a process of its own that builds its index once and then waits. A line of JSON on its input asks,
one on its output answers: `{"recall": 0.95}` has it find its least effort for that, `{"seconds": 1}` has it search so
long. Needs numpy, and whichever library the contestant is of.

Shapes: n items, D dim, Q queries, K answers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np

K = 100
FACTORS = (2, 4, 8, 16)
"""Candidates put in order for each answer, where codes propose them."""
TRIAL_SECONDS = 0.3


class Contestant(Protocol):
    """One index.

    `ladders` hold efforts, each from least to most; along one recall does not fall.
    """

    ladders: Sequence[Sequence[Any]]

    def build(self, vectors_nD: np.ndarray) -> None: ...
    def set(self, effort: Any) -> None: ...
    def search(self, query_1D: np.ndarray) -> np.ndarray: ...
    def save(self, path: Path) -> None: ...


class Flat:
    """Every vector, in float32."""

    ladders = ((None,),)

    def build(self, vectors_nD: np.ndarray) -> None:
        import faiss

        self.index = faiss.IndexFlatIP(vectors_nD.shape[1])
        self.index.add(vectors_nD)

    def set(self, effort: None) -> None: ...

    def search(self, query_1D: np.ndarray) -> np.ndarray:
        return self.index.search(query_1D, K)[1][0]

    def save(self, path: Path) -> None:
        import faiss

        faiss.write_index(self.index, str(path))


class Hnsw(Flat):
    """A graph, 32 links a vector as faiss's guidelines begin with."""

    ladders = (tuple(range(100, 400, 20)) + tuple(range(400, 2000, 100)),)

    def build(self, vectors_nD: np.ndarray) -> None:
        import faiss

        self.index = faiss.IndexHNSWFlat(vectors_nD.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self.index.add(vectors_nD)

    def set(self, effort: int) -> None:
        self.index.hnsw.efSearch = effort


class FastScan(Flat):
    """Lists of four-bit product codes, then the best in float32: guidelines for under a million vectors."""

    def build(self, vectors_nD: np.ndarray) -> None:
        import faiss

        rows, dim = vectors_nD.shape
        lists = round(4 * rows**0.5)
        self.index = faiss.index_factory(dim, f"IVF{lists},PQ{dim // 2}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT)
        self.index.train(vectors_nD)
        self.index.add(vectors_nD)
        self.scan = faiss.downcast_index(self.index.base_index)
        self.ladders = [[(factor, few) for few in steps(lists)] for factor in FACTORS]

    def set(self, effort: tuple[int, int]) -> None:
        self.index.k_factor, self.scan.nprobe = effort


class Usearch:
    """A graph, at the library's own settings."""

    ladders = (tuple(range(64, 400, 16)) + tuple(range(400, 3000, 100)),)

    def build(self, vectors_nD: np.ndarray) -> None:
        from usearch.index import Index

        self.index = Index(ndim=vectors_nD.shape[1], metric="ip", dtype="f32")
        self.index.add(np.arange(len(vectors_nD)), vectors_nD, threads=1)

    def set(self, effort: int) -> None:
        self.index.expansion_search = effort

    def search(self, query_1D: np.ndarray) -> np.ndarray:
        return self.index.search(query_1D[0], K, threads=1).keys

    def save(self, path: Path) -> None:
        self.index.save(str(path))


class Scann:
    """Leaves, anisotropic codes, then the best in float32, as its guidelines say for more than 100,000 vectors."""

    def build(self, vectors_nD: np.ndarray) -> None:
        import scann

        leaves = round(len(vectors_nD) ** 0.5)
        builder = scann.scann_ops_pybind.builder(vectors_nD, K, "dot_product").set_n_training_threads(1)
        builder = builder.tree(num_leaves=leaves, num_leaves_to_search=leaves // 10, training_sample_size=250_000)
        self.index = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(2 * K).build()
        self.ladders = [[(factor * K, few) for few in steps(leaves)] for factor in FACTORS]

    def set(self, effort: tuple[int, int]) -> None:
        self.effort = {"pre_reorder_num_neighbors": effort[0], "leaves_to_search": effort[1]}

    def search(self, query_1D: np.ndarray) -> np.ndarray:
        return self.index.search(query_1D[0], **self.effort)[0]

    def save(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        self.index.serialize(str(path))


PEERS: dict[str, Callable[[], Any]] = {
    "faiss flat": Flat,
    "faiss HNSW": Hnsw,
    "faiss IVF-PQ fast scan": FastScan,
    "USearch HNSW": Usearch,
    "ScaNN": Scann,
}


def steps(most: int) -> list[int]:
    """Returns 1 … most, each about a tenth above the one before."""
    found = [1]
    while found[-1] < most:
        found.append(min(most, max(found[-1] + 1, round(found[-1] * 1.1))))
    return found


class Race:
    """One contestant with what it is asked: `vectors.npy`, `probes.npy`, `asked.npy` and the exact answers to each."""

    def __init__(self, folder: Path, contestant: Any) -> None:
        self.contestant = contestant
        self.probes_QD, self.asked_QD = np.load(folder / "probes.npy"), np.load(folder / "asked.npy")
        self.exact = {name: np.load(folder / f"{name}_exact.npy") for name in ("probes", "asked")}
        self.at = 0

    def recall(self, what: str) -> float:
        queries_QD = {"probes": self.probes_QD, "asked": self.asked_QD}[what]
        pairs = zip(queries_QD, self.exact[what], strict=True)
        shares = [len(np.intersect1d(self.contestant.search(q[np.newaxis]), exact_K)) / K for q, exact_K in pairs]
        return float(np.mean(shares))

    def tune(self, recall: float) -> dict[str, Any]:
        """Sets the quickest of the least efforts, one a ladder, that reach a recall for the probes."""
        reached = [effort for ladder in self.contestant.ladders if (effort := self._least(ladder, recall)) is not None]
        if not reached:
            return {"effort": None, "recall": None}
        rates = []
        for effort in reached:
            self.contestant.set(effort[0])
            rates.append(max(self.search(TRIAL_SECONDS)["rate"] for _ in range(3)))
        best = reached[int(np.argmax(rates))][0]
        self.contestant.set(best)
        return {"effort": best, "recall": self.recall("asked")}

    def _least(self, ladder: Sequence[Any], recall: float) -> tuple[Any] | None:
        low, high = -1, len(ladder)
        while high - low > 1:
            middle = (low + high) // 2
            self.contestant.set(ladder[middle])
            low, high = (low, middle) if self.recall("probes") >= recall else (middle, high)
        return (ladder[high],) if high < len(ladder) else None

    def search(self, seconds: float) -> dict[str, float]:
        count, begun, spent = 0, perf_counter(), 0.0
        while spent < seconds:
            self.contestant.search(self.asked_QD[self.at : self.at + 1])
            self.at, count, spent = (self.at + 1) % len(self.asked_QD), count + 1, perf_counter() - begun
        return {"rate": count / spent}


def serve(folder: Path, name: str, contestant: Any, lines: Iterable[str] = sys.stdin) -> None:
    """Builds, tells what that took, and answers until the input ends."""
    # Libraries print on the output too; answers keep a copy of it for themselves.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    vectors_nD, begun = np.load(folder / "vectors.npy"), perf_counter()
    contestant.build(vectors_nD)
    spent, path = perf_counter() - begun, folder / f"index of {name}"
    contestant.save(path)
    parts = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    told = {"build_seconds": spent, "bytes_per_item": sum(part.stat().st_size for part in parts) / len(vectors_nD)}
    race = Race(folder, contestant)
    print(json.dumps(told), file=answers)
    for line in lines:
        asked = json.loads(line)
        print(json.dumps(race.tune(asked["recall"]) if "recall" in asked else race.search(**asked)), file=answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("name", choices=PEERS)
    given = parser.parse_args()
    serve(given.folder, given.name, PEERS[given.name]())


if __name__ == "__main__":
    main()
