"""Which model finds most: ours beside six peers, each tuned on validation within the same budget, judged on the test.

    python -m benchmarks.accuracy --minutes 10                        both data sets of BEHAVIOUR_LOGS_DIR
    python -m benchmarks.accuracy --data --sessions DIR --prepared DIR       sets of one's own, and no other

`--sessions` takes a folder with `train_sessions.jsonl.gz` (a list of items a line, in the order of time) and
`test_prefixes.jsonl.gz` (`{"session", "prefix", "target"}` a line); `--prepared` an artifact of `prepare`. Every model
runs in a process of its own, on as many threads, sees the same arrays and no target of the test, tries settings until
its minutes are spent, and hands on its best answers; nobody is trained again on validation. A model that has no answer
when its minutes are spent may finish its first epoch, and the table tells the seconds it took. What a model made is
kept under `--into`, so that a run that was cut goes on where it was.

Ratios are of means over queries, with 95 % intervals by a bootstrap over users or sessions, the same draws for both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from benchmarks.accuracy_data import SEEN, Asked, DataSet, online_retail, prepared, sessions, write_for_models
from benchmarks.claims import Claim, publish
from benchmarks.peers.environments import HERE as PEERS_FOLDER
from benchmarks.peers.environments import PEERS, python_of
from benchmarks.peers.search import K
from pipeline.core.artifacts import code_digest, digest_of, digest_of_file
from pipeline.model.metrics import METRICS
from pipeline.model.statistics import interval, paired_interval, resampled_means

OURS = "two_tower"
MODELS = (OURS, *PEERS)
OWN_SETS = ("online_retail", "retailrocket_sessions")
CLAIMED = ("recall", "mrr")
GOAL = ">= 1"
SAMPLES = 2000
THREADS = {
    name: "2"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS",
                 "TF_NUM_INTEROP_THREADS", "NUMBA_NUM_THREADS")
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What one model found on one data set in one sense.

    Attributes:
        values: float64 [queries] by metric, means over seeds; queries without a target left out.
        told: what it was chosen by and what it took, one for each seed.
    """

    model: str
    values: Mapping[str, np.ndarray]
    told: Sequence[Mapping[str, Any]]


def main() -> None:
    asked = _arguments()
    rows: list[dict[str, Any]] = []
    claims: list[Claim] = []
    tables: list[str] = []
    for data in _data_sets(asked):
        folder = asked.into / data.name
        write_for_models(data, folder)
        made = {
            model: [_answers(data, model, folder, asked.minutes, seed) for seed in asked.seeds]
            for model in asked.models
        }
        for sense in data.senses:
            users, results = judged(data, sense, made)
            rows += ranked_rows(data.name, sense, users, results)
            claims += claims_of(data.name, sense, users, results)
            tables.append(table(rows, data.name, sense))
            print(tables[-1], flush=True)
    details = {"minutes": asked.minutes, "pins": _pins(), "tables": tables, "rows": rows}
    publish("accuracy", claims, ("tensorflow", "numpy"), details)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="budget of a model on a data set")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--data", nargs="*", choices=OWN_SETS, default=list(OWN_SETS))
    parser.add_argument("--sessions", type=Path, nargs="*", default=[])
    parser.add_argument("--prepared", type=Path, nargs="*", default=[])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--into", type=Path, default=Path("var/benchmarks/accuracy"))
    return parser.parse_args()


def _data_sets(asked: argparse.Namespace) -> list[DataSet]:
    """Raises: SystemExit: a shipped set is asked for and nobody said where it lies."""
    logs = os.environ.get("BEHAVIOUR_LOGS_DIR")
    if asked.data and not logs:
        raise SystemExit("BEHAVIOUR_LOGS_DIR names no folder; set it to where the logs lie, or give --data no name.")
    found = []
    if "online_retail" in asked.data:
        found.append(online_retail(Path(logs), asked.into / "pipeline"))
    named = [Path(logs) / "retailrocket_sessions"] if "retailrocket_sessions" in asked.data else []
    found += [sessions(each.resolve().name, each, asked.into) for each in (*named, *asked.sessions)]
    return found + [prepared(f"prepared-{each.resolve().name[:8]}", each) for each in asked.prepared]


def _answers(data: DataSet, model: str, folder: Path, minutes: float, seed: int) -> Path:
    """Returns the folder of what a model answered; made now unless the same code did so within the same budget."""
    seen = data.artifact.digest if model == OURS else digest_of_file(folder / SEEN)
    key = digest_of({"data": seen, "senses": data.senses, "code": _code(model)})[:12]
    final = folder / f"{model}-{minutes:g}m-{seed}-{key}"
    if final.exists():
        return final
    out = folder / f"{final.name}.unfinished"
    python = Path(sys.executable) if model == OURS else python_of(PEERS[model])
    module = "benchmarks.accuracy_ours" if model == OURS else f"benchmarks.peers.{model}"
    command = [str(python), "-W", "ignore", "-m", module, str(folder), str(out)]
    command += ["--minutes", str(minutes), "--seed", str(seed)]
    print(f"{data.name}: {model}, {minutes:g} minutes, seed {seed}", flush=True)
    root = PEERS_FOLDER.parents[1]
    log = folder / f"{final.name}.log"
    with log.open("w") as file:
        ended = subprocess.run(command, cwd=root, env={**os.environ, **THREADS}, stdout=file, stderr=subprocess.STDOUT)
    if ended.returncode:
        raise SystemExit(f"{model} on {data.name} ended with {ended.returncode}; what it said is in {log}.")
    out.rename(final)
    return final


def _code(model: str) -> list[str]:
    """Returns digests of all that a model's answers hang on beside the data."""
    shared = [PEERS_FOLDER / "search.py", PEERS_FOLDER / "matrices.py"]
    if model == OURS:
        return [digest_of_file(p) for p in (*shared, PEERS_FOLDER.parent / "accuracy_ours.py")] + [code_digest("train")]
    own = [PEERS_FOLDER / f"{model}.py", PEERS_FOLDER / f"{PEERS[model]}.txt"]
    return [digest_of_file(p) for p in (*shared, *own)]


def _pins() -> dict[str, list[str]]:
    lines = {name: (PEERS_FOLDER / f"{name}.txt").read_text().splitlines() for name in sorted(set(PEERS.values()))}
    return {name: [line for line in each if line and line[0].isalnum()] for name, each in lines.items()}


def judged(data: DataSet, sense: str, made: Mapping[str, Sequence[Path]]) -> tuple[list[str], list[Result]]:
    """Returns whose query each value is of, and every model's values, those that find most first."""
    asked = Asked.load(data.artifact, "test")
    targets = asked.targets(sense)
    kept = [place for place, wanted in enumerate(targets) if wanted]
    ids = parquet.read_table(data.artifact.file("items.parquet")).sort_by("index")["item_id"].to_pylist()
    results = []
    for model, folders in made.items():
        values = {name: [] for name in METRICS}
        for folder in folders:
            with np.load(folder / "answers.npz") as file:
                rows_QK = file[f"test_{sense}"]
            ranked = [[ids[row] for row in rows_QK[place] if row >= 0] for place in kept]
            for name, metric in METRICS.items():
                values[name].append(metric(ranked, [targets[place] for place in kept], K))
        told = [_told(folder, sense) for folder in folders]
        results.append(Result(model, {name: np.mean(each, axis=0) for name, each in values.items()}, told))
    users = asked.users
    return [users[place] for place in kept], sorted(results, key=lambda each: -each.values["recall"].mean())


def _told(folder: Path, sense: str) -> dict[str, Any]:
    told = json.loads((folder / "trials.json").read_text())
    best = told["best"][sense]
    trials = {json.dumps(trial["settings"], sort_keys=True) for trial in told["trials"]}
    return {
        "settings": best["settings"],
        "validation_recall": round(best["recall"], 4),
        "judged": len(trials),
        "seconds": told["seconds"],
    }


def ranked_rows(name: str, sense: str, users: Sequence[str], results: Sequence[Result]) -> list[dict[str, Any]]:
    """Returns a row a model: every metric with its interval, and by how much ours is above it."""
    ours = next((each for each in results if each.model == OURS), None)
    rows = []
    for result in results:
        row: dict[str, Any] = {"data": name, "sense": sense, "model": result.model, "users": len(set(users))}
        for metric, values_Q in result.values.items():
            row[f"{metric}@{K}"] = asdict(interval(values_Q, users, SAMPLES))
            if ours and result is not ours:
                above = paired_interval(ours.values[metric], values_Q, users, SAMPLES)
                row[f"ours above in {metric}@{K}"] = asdict(above)
        rows.append({**row, "chosen": list(result.told)})
    return rows


def claims_of(name: str, sense: str, users: Sequence[str], results: Sequence[Result]) -> list[Claim]:
    """Holds ours against every peer: the whole interval of the ratio must be at least 1."""
    ours = next((each for each in results if each.model == OURS), None)
    if ours is None:
        return []
    return [
        ratio_claim(f"{name}, {sense}: {metric}@{K} of {peer.model}", users, ours.values[metric], peer.values[metric])
        for peer in results
        if peer is not ours
        for metric in CLAIMED
    ]


def ratio_claim(claim: str, users: Sequence[str], ours_Q: np.ndarray, peer_Q: np.ndarray) -> Claim:
    """Returns ours / peer with its interval: both means of one draw of users are divided, which pairs them."""
    _, owner_Q = np.unique(np.array(users), return_inverse=True)
    counts_U = np.bincount(owner_Q).astype(np.float64)
    means = [resampled_means(np.bincount(owner_Q, values), counts_U, SAMPLES, 0) for values in (ours_Q, peer_Q)]
    low, high = np.quantile(means[0] / np.maximum(means[1], 1e-12), [0.025, 0.975])
    mine, theirs = float(ours_Q.mean()), float(peer_Q.mean())
    figures = [round(value, 4) for value in (mine / max(theirs, 1e-12), float(low), float(high))]
    return Claim(claim, round(mine, 4), round(theirs, 4), f"mean of {len(ours_Q):,}", *figures, GOAL, bool(low >= 1))


def table(rows: Sequence[Mapping[str, Any]], name: str, sense: str) -> str:
    """Returns the rows of one data set and sense as Markdown."""
    measured = ("recall@20", "interval", "MRR@20", "NDCG@20", "hit rate@20", "ours above in recall@20")
    columns = ("model", *measured, "judged", "seconds")
    lines = [f"\n{name}, {sense}", "", f"| {' | '.join(columns)} |", "|---|---:|---|---:|---:|---:|---|---:|---:|"]
    for row in rows:
        if (row["data"], row["sense"]) != (name, sense):
            continue
        recall, above = row[f"recall@{K}"], row.get(f"ours above in recall@{K}")
        gap = f"{above['mean']:+.4f} ({above['low']:+.4f} … {above['high']:+.4f})" if above else ""
        others = " | ".join(f"{row[f'{metric}@{K}']['mean']:.4f}" for metric in ("mrr", "ndcg", "hit_rate"))
        told = row["chosen"][0]
        lines.append(
            f"| {row['model']} | {recall['mean']:.4f} | {recall['low']:.4f} … {recall['high']:.4f} | {others} "
            f"| {gap} | {told['judged']} | {told['seconds']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
