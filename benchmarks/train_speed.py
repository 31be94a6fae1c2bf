"""How fast the model learns, against a two-tower model of TensorFlow Recommenders, and how that grows.

    python -m benchmarks.train_speed [--shop generated] [--items 2000] [--epochs 5] [--peer-epochs 20] [--rounds 5]
        [--sizes 10000 100000 1000000] [--lengths 10 30 100] [--targets 200000] [--scratch FOLDER]

Both learn the same prepared events of the same shop on two cores, in batches of 1,024, with vectors 64 wide, each fed
as it is meant to be: ours by batches of indices gathered ahead, the peer by `shuffle(100_000).batch(1024).cache()`. The
peer is built as its documentation builds one, its history read by a GRU or averaged, whichever finds more, at the best
of three learning rates; both readings are tuned and measured. After every epoch both are asked for validation's
recommendations over the whole catalogue, what was met before left out.

Targets a second are those of the epochs after the first, so without compiling. The time to the peer's best recall
counts everything from the arrays to the end of that epoch: start vectors, building, compiling; not validation. Where
ours does not reach that recall, its ratio is 0. `compiled step` is the share of ours' time, after the first epoch, that
the step itself took; gathering and bookkeeping are the rest.

Growth is ours alone, on made training sets with as many targets in each: time a target, after the first epoch, and the
greatest memory of the process, catalogue and start vectors included.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from benchmarks.claims import Claim, Usage, interleaved, judged_values, measured, publish
from benchmarks.made_training import Made
from benchmarks.nights import SHOPS, TO_PREPARE, Night
from benchmarks.peers.environments import python_of
from benchmarks.train_questions import Questions
from pipeline.core.artifacts import Artifact
from pipeline.core.settings import Settings

CORES = 2
LENGTH = 30
EQUAL = {
    "train.dim": 64, "train.hidden_units": 128, "train.batch_size": 1024, "train.uniform_negatives": 1024,
}  # fmt: skip
"""Sizes that ours and the peer share."""
READINGS = ("mean", "gru")
LEARNING_RATES = (0.001, 0.003, 0.01)
LEAST_LENGTH_OF_SEQUENCES = 60
MEMORY_MB = 8000
PACKAGES = ("tensorflow", "tf-keras", "numpy")


@dataclass(frozen=True)
class Race:
    """Ours and the peer on one training set, in a folder that holds what is asked of both."""

    prepared: Artifact
    folder: Path
    epochs: int
    peer_epochs: int

    def ours(self, out: Path) -> list[str]:
        return _run(self.prepared, out, {"train.epochs": self.epochs, "train.patience_epochs": self.epochs}, LENGTH)

    def peer(self, reading: str, rate: float, out: Path) -> list[str]:
        command = [str(python_of("tfrs")), "-W", "ignore", "-m", "benchmarks.peers.tfrs_speed"]
        command += [str(self.folder), str(out), "--reading", reading, "--learning-rate", str(rate)]
        return [*command, "--epochs", str(self.peer_epochs)]

    def told(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / f"{name}.json").read_text())

    def tuned(self) -> dict[str, float]:
        """Returns the learning rate at which each reading finds most."""
        for reading in READINGS:
            for rate in LEARNING_RATES:
                measured(self.peer(reading, rate, self.folder / f"{reading}-{rate}.json"))
                best = _best(self.told(f"{reading}-{rate}"))
                print(f"tuning {reading} {rate}: recall {best['recall']:.4f} after {best['seconds']:.1f} s", flush=True)
        return {
            reading: max(LEARNING_RATES, key=lambda rate: _best(self.told(f"{reading}-{rate}"))["recall"])
            for reading in READINGS
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.train_speed", description=__doc__.splitlines()[0])
    parser.add_argument("--shop", choices=SHOPS, default="generated")
    parser.add_argument("--items", type=int, default=2000, help="of the generated shop")
    parser.add_argument("--epochs", type=int, default=5, help="of ours")
    parser.add_argument("--peer-epochs", type=int, default=20, help="at most; three without a better one end it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--lengths", type=int, nargs="*", default=[10, 30, 100])
    parser.add_argument("--targets", type=int, default=200_000, help="of the made training sets")
    parser.add_argument("--scratch", type=Path, default=Path("var/benchmarks/nights"))
    given = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    night = Night.of(given.shop, given.scratch, given.items)
    race = Race(
        night.steps(TO_PREPARE, "night").artifact("prepare"), night.root / "race", given.epochs, given.peer_epochs
    )
    _write_asked(race)
    claims, details = _race(race, given.rounds)
    for made, told in (_by_size(given), _by_length(given)):
        claims += made
        details |= told
    publish("train_speed", claims, PACKAGES, details)


def _write_asked(race: Race) -> None:
    """Hands the peer what ours reads: the arrays, and validation's questions as item indices."""
    prepared, folder = race.prepared, race.folder
    k, table = Settings().shop.k, parquet.read_table(prepared.file("items.parquet"), columns=["index", "item_id"])
    index = dict(zip(table["item_id"].to_pylist(), table["index"].to_pylist(), strict=True))
    questions = Questions.load(prepared, k)
    seen = [[index[item] for item in query.item_ids if item in index] for query in questions.queries]
    histories = np.zeros((len(seen), LENGTH), np.int32)
    for row, items in zip(histories, seen, strict=True):
        row[LENGTH - len(items[-LENGTH:]) :] = items[-LENGTH:]
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.load(prepared.file(f"sequence_{name}.npy")) for name in ("items", "offsets")}
    np.savez(folder / "arrays.npz", targets=np.load(prepared.file("targets.npy")), asked_histories=histories, **arrays)
    asked = {"k": questions.k, "items": len(table), "history_length": LENGTH, "seen": seen}
    asked |= {"dim": EQUAL["train.dim"], "batch_size": EQUAL["train.batch_size"]}
    wanted = [[index.get(item, -1) for item in items] for items in questions.targets]
    (folder / "asked.json").write_text(json.dumps({**asked, "wanted": wanted}))


def _race(race: Race, rounds: int) -> tuple[list[Claim], dict[str, Any]]:
    """Measures speed and the time to the peer's best recall."""
    rates = race.tuned()
    peers = {
        reading: lambda n, reading=reading: race.peer(reading, rates[reading], race.folder / f"{reading}-{n}.json")
        for reading in READINGS
    }
    runs = interleaved(lambda n: race.ours(race.folder / f"ours-{n}.json"), peers, rounds)
    told = {name: [race.told(f"{name}-{n}") for n in range(rounds)] for name in runs}
    claims = []
    for reading in READINGS:
        speeds = [[_after_first(each, "targets_per_second") for each in told[name]] for name in ("ours", reading)]
        claims.append(judged_values(f"targets a second, beside TFRS ({reading})", *speeds, "targets/s", ">= 2"))
    best = max(READINGS, key=lambda reading: statistics.median(_best(each)["recall"] for each in told[reading]))
    claims.append(sooner(f"time to the best recall@20 of TFRS ({best})", told["ours"], told[best]))
    shares = [_after_first(each, "step_share") for each in told["ours"]]
    claims.append(judged_values("compiled step, share of the wall time", shares, [1.0] * rounds, "share", ">= 0.9"))
    return claims, {"the peer's learning rates": rates, "runs": told}


def sooner(claim: str, ours: Sequence[Mapping[str, Any]], peer: Sequence[Mapping[str, Any]]) -> Claim:
    """Holds the peer's seconds to its best recall beside ours to the same; ours never there counts as for ever."""
    bests = [_best(each) for each in peer]
    reached = [
        next((epoch["seconds"] for epoch in each["epochs"] if epoch["recall"] >= best["recall"]), None)
        for each, best in zip(ours, bests, strict=True)
    ]
    if None in reached:
        spent = statistics.median(each["epochs"][-1]["seconds"] for each in ours)
        return Claim(f"{claim}: not reached", spent, bests[0]["seconds"], "s", 0.0, 0.0, 0.0, ">= 5", holds=False)
    return judged_values(claim, reached, [best["seconds"] for best in bests], "s", ">= 5", inverted=True)


def _best(told: Mapping[str, Any]) -> Mapping[str, float]:
    return max(told["epochs"], key=lambda epoch: epoch["recall"])


def _after_first(told: Mapping[str, Any], what: str) -> float:
    """Returns the median over the epochs after the first, in which much is compiled."""
    return statistics.median(epoch[what] for epoch in told["epochs"][1:] or told["epochs"])


def _by_size(given: argparse.Namespace) -> tuple[list[Claim], dict[str, Any]]:
    runs = {items: _grown(given, items, LENGTH) for items in given.sizes}
    claims = [
        _growth(f"time a target, {more:,} beside {fewer:,} items", runs[more], runs[fewer], "<= 2")
        for fewer, more in zip(given.sizes, given.sizes[1:], strict=False)
    ]
    if given.sizes:
        most = [runs[given.sizes[-1]]["peak MB"]]
        claim = f"peak memory at {given.sizes[-1]:,} items, beside {MEMORY_MB:,} MB"
        claims.append(judged_values(claim, most, [MEMORY_MB], "MB", "<= 1"))
    return claims, {f"{items:,} items": told for items, told in runs.items()}


def _by_length(given: argparse.Namespace) -> tuple[list[Claim], dict[str, Any]]:
    items = min(given.sizes, default=10_000)
    runs = {length: _grown(given, items, length) for length in given.lengths}
    claims = [
        _growth(
            f"time a target, histories of {more} beside {fewer} events",
            runs[more],
            runs[fewer],
            f"<= {more / fewer:.4g}",
        )
        for fewer, more in zip(given.lengths, given.lengths[1:], strict=False)
    ]
    return claims, {f"histories of {length} events": told for length, told in runs.items()}


def _grown(given: argparse.Namespace, items: int, length: int) -> dict[str, Any]:
    """Returns what learning two epochs of a made training set took."""
    folder, out = given.scratch / "made", given.scratch / "made.json"
    shutil.rmtree(folder, ignore_errors=True)
    made = Made(items, given.targets, max(LEAST_LENGTH_OF_SEQUENCES, 2 * length)).write(folder)
    used: Usage = measured(_run(made, out, {"train.epochs": 2}, length))
    shutil.rmtree(folder)
    told = json.loads(out.read_text())
    rate = _after_first(told, "targets_per_second")
    print(f"{items:,} items, histories of {length}: {rate:,.0f} targets/s, {used.peak_mb:,.0f} MB", flush=True)
    seconds = {"before the first step, s": round(told["before_seconds"], 1)}
    return {"targets/s": round(rate), "peak MB": round(used.peak_mb), **seconds}


def _growth(claim: str, more: Mapping[str, float], fewer: Mapping[str, float], goal: str) -> Claim:
    times = [[1e6 / each["targets/s"]] for each in (more, fewer)]
    return judged_values(claim, *times, "µs", goal)


def _run(artifact: Artifact, out: Path, settings: Mapping[str, Any], length: int) -> list[str]:
    settings = EQUAL | {"train.history_length": length} | settings
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.train_speed_run", str(artifact.path), str(out)]
    return [*command, *(word for name, value in settings.items() for word in ("--set", f"{name}={value}"))]


if __name__ == "__main__":
    main()
