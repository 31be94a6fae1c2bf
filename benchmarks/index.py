"""Finding a hundred items among many, at equal recall, against faiss, USearch and ScaNN.

    python -m benchmarks.index [--items 100000 1000000] [--recall 0.95] [--rounds 7] [--scratch FOLDER]

Ours is the item index as a bundle holds it, a byte a number (`int8`). Everybody is asked one query at a time from
Python, as the server asks, on one thread, for 100 answers. Every contestant is built as its documentation says, then
set to the least effort that reaches the recall for 500 probe queries; recall is of the exact float32 answers, told for
1,000 other queries, and those are what is timed. Contestants take turns of a second; a peer that cannot reach the
recall is left out, and the table says so.

Vectors are made (`benchmarks/made_vectors.py`): unit vectors of 64 numbers in clusters of departments, the variance
falling slowly along the principal axes, as near to each other as those of a catalogue that was trained.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.claims import Claim, judged_values, publish
from benchmarks.made_vectors import exact, made_queries, made_vectors
from benchmarks.peers.environments import python_of
from benchmarks.peers.nearest import PEERS, K

KIND, DIM = "int8", 64
PROBES, ASKED = 500, 1000
ROUND_SECONDS = 1.0
PACKAGES = ("faiss-cpu", "numpy")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Contestant:
    """A process that has built its index and waits to be asked."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        with log.open("w") as said:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env={**os.environ, **ONE_THREAD},
            )
        self.log = log
        self.built = self._answer()

    def ask(self, **asked: float) -> dict[str, Any]:
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}: {self.log.read_text()[-2000:]}")
        return json.loads(line)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.index", description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--recall", type=float, default=0.95, help="of the exact 100, that everybody must reach")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scratch", type=Path, default=Path("var/benchmarks/index"))
    given = parser.parse_args()
    claims, tables = [], []
    for items in given.items:
        made, told = _at(items, given)
        claims += made
        tables.append(told)
        print(told, flush=True)
    publish("index", claims, PACKAGES, {"tables": tables, "peers": _pinned()})


def _at(items: int, given: argparse.Namespace) -> tuple[list[Claim], str]:
    """Measures one size of catalogue."""
    folder = given.scratch / str(items)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _write_asked(folder, items)
    contestants = _built(folder)
    try:
        tuned = {name: each.ask(recall=given.recall) for name, each in contestants.items()}
        racing = [name for name, found in tuned.items() if found["recall"]]
        rates: dict[str, list[float]] = {name: [] for name in racing}
        for number in range(given.rounds):
            for name in racing:
                rates[name].append(contestants[name].ask(seconds=ROUND_SECONDS)["rate"])
            said = ", ".join(f"{name} {each[-1]:,.0f}" for name, each in rates.items())
            print(f"round {number + 1}/{given.rounds}: {said} queries/s", flush=True)
    finally:
        for each in contestants.values():
            each.end()
    table = _table(items, {name: each.built for name, each in contestants.items()}, tuned, rates)
    shutil.rmtree(folder)
    claims = [
        judged_values(f"{items:,} items: queries, beside {peer}", rates["ours"], rates[peer], "queries/s", ">= 1")
        for peer in racing
        if peer != "ours"
    ]
    return claims, table


def _write_asked(folder: Path, items: int) -> None:
    vectors_nD = made_vectors(items, DIM)
    np.save(folder / "vectors.npy", vectors_nD)
    for seed, (name, count) in enumerate({"probes": PROBES, "asked": ASKED}.items()):
        queries_QD = made_queries(vectors_nD, count, seed)
        np.save(folder / f"{name}.npy", queries_QD)
        np.save(folder / f"{name}_exact.npy", exact(vectors_nD, queries_QD, K))


def _built(folder: Path) -> dict[str, Contestant]:
    """Starts everybody, one after the other, so that nobody's building is in another's way."""
    peers = {name: [str(python_of("index")), "-m", "benchmarks.peers.nearest", str(folder), name] for name in PEERS}
    commands = {"ours": [sys.executable, "-m", "benchmarks.index_ours", str(folder), KIND], **peers}
    contestants = {}
    for name, command in commands.items():
        contestants[name] = Contestant(command, folder / f"{name}.log")
        print(f"{name}: built in {contestants[name].built['build_seconds']:.1f} s", flush=True)
    return contestants


def _table(items: int, built: dict[str, Any], tuned: dict[str, Any], rates: dict[str, list[float]]) -> str:
    lines = [f"{items:,} items", "", f"| | queries/s | least … most | recall@{K} | effort | bytes an item | built, s |"]
    lines += ["|---|---:|---|---:|---|---:|---:|"]
    for name, made in built.items():
        seen, found = rates.get(name), tuned[name]
        speed = f"{statistics.median(seen):,.0f} | {min(seen):,.0f} … {max(seen):,.0f}" if seen else "not reached |"
        recall = f"{found['recall']:.4f}" if seen else ""
        figures = f"{made['bytes_per_item']:.1f} | {made['build_seconds']:.1f}"
        lines.append(f"| {name} | {speed} | {recall} | {_said(found['effort'])} | {figures} |")
    return "\n".join(lines)


def _said(effort: Any) -> str:
    if isinstance(effort, list):
        return ", ".join(str(part) for part in effort)
    return "" if effort is None else str(effort)


def _pinned() -> list[str]:
    """Returns the peers' packages as they are pinned."""
    pins = Path(__file__).parent / "peers" / "index.txt"
    return [line for line in pins.read_text().splitlines() if "==" in line]


if __name__ == "__main__":
    main()
