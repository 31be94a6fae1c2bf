"""Requests for recommendations a second and core, how long they take, what they cost: ours beside three servers.

    python -m benchmarks.serve                                   all of it, written down at the end; some hours
    python -m benchmarks.serve --part load --items 10000 --peers fastapi --minutes 9     a piece of it, only shown

What is measured is kept under `--into`, a round at a time, and not measured again: pieces can be had one by one, ended
at any time, and the command without `--part` writes down all of them.

Everybody serves one model over the same catalogue and faiss index: `mlflow models serve` the tower as a float
SavedModel, BentoML at its defaults and FastAPI on uvicorn (uvloop, httptools, orjson) the tower in ONNX Runtime, each
in an environment of its own, with one worker and one thread; they use this project's features and catalogue, and answer
the same fields. Ours serves the float32 bundle; where it says so, the compressed one. The towers are not trained, for
that changes no time (`benchmarks/serve_models.py`); items lie like those of a trained catalogue. Before anything is
timed, 500 answers are held to ours: the same items up to ties, the same fields; under load their bytes are looked at
again.

The server has one core, the load client (`benchmarks/load.py`) the other. A round starts a fresh server, warms it up,
asks it in a closed loop for what it can do at most, and then in an open loop, requests arriving independently of each
other, at shares of that; latency counts from when a request was meant to be sent. Ours and a peer take turns, round by
round. Intervals are of the median of the rounds' ratios; those of quantiles, 95 %, of a bootstrap over rounds and
blocks of 25 requests within them. CPU and memory are those of all of a server's processes, memory that several share
counted once; CPU a request says what a core can do even where somebody else had a part of it. Money is core-seconds at
the default prices of the section `cost`. `>= 1` and `<= 1` stand where no goal was set.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import serve_report as report
from benchmarks.claims import Claim, publish, table
from benchmarks.serve_contestants import OURS, OURS_COMPRESSED, PEERS
from benchmarks.serve_followed import soak_round, swap_round
from benchmarks.serve_kept import CODE, Kept, Round
from benchmarks.serve_models import Model
from benchmarks.serve_rounds import OVERLOAD, SHARES, client_round, load_round
from pipeline.core import settings as settings_module

PARTS = ("client", "load", "cost", "swap", "soak")
ITEMS = (10_000, 100_000, 1_000_000)
PACKAGES = ("ai-edge-litert", "faiss-cpu", "httptools", "msgspec", "numpy", "uvloop")
PINS = ("bentoml==", "fastapi==", "mlflow==", "onnxruntime==", "tensorflow==", "uvicorn==")


@dataclass(frozen=True)
class Piece:
    """What is measured in one go, round after round."""

    part: str
    items: int
    peer: str
    kept: Kept
    rounds: int

    @property
    def title(self) -> str:
        return " ".join(filter(None, (self.part, f"{self.items:,} items" if self.items else "", self.peer)))

    def measure(self, given: argparse.Namespace) -> Round:
        if self.part == "client":
            return client_round(given.seconds)
        model = Model.made(given.into, self.items)
        if self.part == "swap":
            return swap_round(model, given.seconds)
        if self.part == "soak":
            return soak_round(model, given.soak_minutes)
        if self.part == "cost":
            return load_round([OURS_COMPRESSED, PEERS["mlflow"]], model, given.seconds, ())
        return load_round([OURS, PEERS[self.peer]], model, given.seconds, (*SHARES, OVERLOAD))


def main() -> None:
    given = _arguments()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("This benchmark needs two cores: one for the server, one for the load client.")
    # Told to end, it ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Told to end; what was measured is kept."))
    pieces = list(_pieces(given))
    if given.again:
        for piece in pieces:
            piece.kept.forget()
    until = time.monotonic() + given.minutes * 60
    for piece in pieces:
        for number in range(len(piece.kept), piece.rounds):
            if time.monotonic() > until:
                print(f"{given.minutes:g} minutes are over; the same command goes on at {piece.title}.")
                return
            print(f"{piece.title}, round {number + 1}/{piece.rounds}", flush=True)
            piece.kept.add(piece.measure(given))
    claims, tables = told(pieces)
    codes = sorted({made.facts[CODE] for piece in pieces for made in piece.kept.rounds})
    if len(codes) > 1:
        print(f"The rounds kept are of {len(codes)} states of the code; --again measures them anew.")
    if given.part == list(PARTS):
        publish("serve", claims, PACKAGES, {"tables": tables, "peers": _pinned(), "code": codes})
    else:
        print("\n\n".join([*tables, table(claims)]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.serve", description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), help="a piece is not written down")
    parser.add_argument("--items", type=int, nargs="+", default=list(ITEMS))
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load")
    parser.add_argument("--soak-minutes", type=float, default=10.0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no round begins after so many")
    parser.add_argument("--again", action="store_true", help="measure what is kept anew")
    parser.add_argument("--into", type=Path, default=Path("var/benchmarks/serve"))
    return parser.parse_args()


def _pieces(given: argparse.Namespace) -> Iterator[Piece]:
    # A soak is of the smallest: there the most requests are answered.
    sizes = {"client": [0], "soak": [min(given.items)]}
    for part in given.part:
        for items in sizes.get(part, given.items):
            for peer in given.peers if part == "load" else [""]:
                soaked = f"{given.soak_minutes:g}-minutes" if part == "soak" else ""
                name = "-".join(filter(None, (part, str(items or ""), peer, soaked)))
                rounds = 1 if part == "soak" else given.rounds
                yield Piece(part, items, peer, Kept(given.into / "measured" / name), rounds)


def told(pieces: list[Piece]) -> tuple[list[Claim], list[str]]:
    """Returns claims and tables of what was measured."""
    found: dict[str, dict[int, dict[str, list[Round]]]] = {}
    for piece in pieces:
        found.setdefault(piece.part, {}).setdefault(piece.items, {})[piece.peer] = piece.kept.rounds
    claims, tables = _load(found.get("load", {}))
    alone = {
        part: {items: by_peer[""] for items, by_peer in found.get(part, {}).items()} for part in PARTS if part != "load"
    }
    prices = settings_module.load([]).cost
    if alone["cost"]:
        claims += [report.cost_claim(items, rounds, prices) for items, rounds in alone["cost"].items()]
        tables.append(report.cost_table(alone["cost"], prices))
    if alone["swap"]:
        claims += [claim for items, rounds in alone["swap"].items() for claim in report.swap_claims(items, rounds)]
        tables.append(report.swap_table(alone["swap"]))
    if alone["soak"]:
        soaks = {items: rounds[0] for items, rounds in alone["soak"].items()}
        claims += [report.soak_claim(items, made) for items, made in soaks.items()]
        tables.append(report.soak_table(soaks))
    if alone["client"]:
        claims.append(report.client_claim(alone["client"][0]))
        tables.append(report.client_table(alone["client"][0]))
    return claims, tables


def _load(sizes: dict[int, dict[str, list[Round]]]) -> tuple[list[Claim], list[str]]:
    claims = [claim for items, by_peer in sizes.items() for claim in report.load_claims(items, by_peer)]
    tables = [each for items, by_peer in sizes.items() for each in report.load_tables(items, by_peer)]
    return claims, [*tables, *filter(None, [report.memory_table(sizes)])]


def _pinned() -> list[str]:
    """Returns the peers' packages as they are pinned."""
    pins = sorted((Path(__file__).parent / "peers").glob("serve_*.txt"))
    return [f"{path.stem}: {line}" for path in pins for line in path.read_text().splitlines() if line.startswith(PINS)]


if __name__ == "__main__":
    main()
