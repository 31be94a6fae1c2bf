"""How small and how fast a release bundle gets and what it still finds: every recipe beside float32.

    python -m benchmarks.optimize              both data sets of BEHAVIOUR_LOGS_DIR and a made catalogue
    python -m benchmarks.optimize --data made --made-items 100000

The model is learnt and every declared recipe carried out, measured and judged by the real commands, at their defaults
but for the list of recipes; a data set whose recipes lie under `--into` is taken as it lies there. A recipe is picked
on validation, as the night does: the smallest bundle whose recall@20 through the index is at least a stated share of
float32's. What it keeps is then told on the test, which no choice saw, with intervals by a paired bootstrap over users.
The float32 bundle is of the same format: vectors once, texts packed. Times are CPU milliseconds of one thread from
features to scored items, call by call in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy_data import KEY, online_retail, sessions
from benchmarks.claims import Claim, judged_queries, publish
from benchmarks.made_training import Made
from pipeline.core import settings as settings_module
from pipeline.core.artifacts import Artifact
from pipeline.core.days import Days
from pipeline.core.run import Run
from pipeline.model.recipe_table import YARDSTICK
from pipeline.model.retriever import Retriever
from pipeline.optimize.judged import Judged
from pipeline.optimize.making.recipes import RECIPES

DATA = ("online_retail", "retailrocket_sessions", "made")
RUN, DAYS = "optimize-benchmark", "2026-01-01"
KEPT = {0.99: ">= 7", 0.998: ">= 4"}
"""Share of float32's recall, and how many times smaller a bundle shall be that keeps it."""
NO_SLOWER = "<= 1.15"
"""Below it nothing is decided on a shared machine."""
K = 20
MEASURED = ("bytes", "times smaller", "recall@20 kept", "interval", "p99 to float32's", "memory MB")
COLUMNS = ("recipe", *MEASURED, "verdict", "reason")


@dataclass(frozen=True)
class Shop:
    """One data set, as a `prepare` artifact."""

    name: str
    prepared: Artifact
    settings: Mapping[str, str]

    def make(self, root: Path, recipes: Sequence[str]) -> Run:
        """Returns the run once its towers are learnt and every recipe is known."""
        run = Run.open(root.resolve(), RUN, "UTC", Days.parse(DAYS))
        final = run.layout.artifact("prepare", self.prepared.key)
        if not final.exists():
            final.parent.mkdir(parents=True, exist_ok=True)
            final.symlink_to(self.prepared.path.resolve(), target_is_directory=True)
        run.refer("prepare", self.prepared.key)
        if {*recipes, ""} <= run.artifacts("optimize").keys():
            return run
        given = {"store.root": str(root), **self.settings}
        for step in ("train", "optimize"):
            tried = {"optimize.recipes": json.dumps(list(recipes)), "optimize.max_minutes": "600"}
            words = [word for name, value in {**given, **tried}.items() for word in ("--set", f"{name}={value}")]
            print(f"{step} of {self.name} …", flush=True)
            command = [sys.executable, "-W", "ignore", "-m", "pipeline", step, "--run", RUN, *words]
            subprocess.run(command, check=True, env={**os.environ, **KEY, "TF_CPP_MIN_LOG_LEVEL": "3"})
        return run


def main() -> None:
    asked = _arguments()
    claims: list[Claim] = []
    tables: list[str] = []
    details: dict[str, Any] = {}
    for name in asked.data:
        shop = _shop(name, asked)
        run = shop.make(asked.into / name, asked.recipes)
        rows = run.artifact("optimize").json("recipes.json")
        claims += claims_of(shop, run, rows)
        tables.append(table(name, rows))
        details[name] = {"rows": rows}
        print(tables[-1], flush=True)
    packages = ("tensorflow", "tensorflow-model-optimization", "ai-edge-litert", "faiss-cpu", "numpy")
    publish("optimize", claims, packages, {"tables": tables, **details})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--recipes", nargs="+", default=[recipe.name for recipe in RECIPES])
    parser.add_argument("--made-items", type=int, default=1_000_000)
    parser.add_argument("--made-targets", type=int, default=200_000)
    parser.add_argument("--into", type=Path, default=Path("var/benchmarks/optimize"))
    return parser.parse_args()


def _shop(name: str, asked: argparse.Namespace) -> Shop:
    """Raises: SystemExit: a shipped set is asked for and nobody said where it lies."""
    if name == "made":
        made = Made(asked.made_items, asked.made_targets, 10, queries=2000)
        folder = asked.into / f"made-{made.items}-{made.targets}"
        prepared = Artifact(folder) if folder.exists() else made.write(folder)
        # Start vectors of fifty thousand clusters that are all alike would take longer than all the rest.
        return Shop(
            f"made, {made.items:,} items",
            prepared,
            {"train.epochs": "2", "train.dim": "64", "train.start_moments": "0"},
        )
    logs = os.environ.get("BEHAVIOUR_LOGS_DIR")
    if not logs:
        raise SystemExit("BEHAVIOUR_LOGS_DIR names no folder; set it to where the logs lie, or give --data made.")
    if name == "online_retail":
        return Shop(name, online_retail(Path(logs), asked.into / "pipeline").artifact, {})
    return Shop(name, sessions(name, Path(logs) / name, asked.into).artifact, {"shop.metric": "all_items"})


def claims_of(shop: Shop, run: Run, rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Returns, for each share of recall, how much smaller the smallest bundle is that keeps it, and what it costs."""
    measured = [row for row in rows if row["recall"]]
    yardstick = next(row for row in measured if row["recipe"] == YARDSTICK)
    metric = settings_module.load([f"{name}={value}" for name, value in shop.settings.items()]).shop.metric
    test = Judged.load(shop.prepared, metric, "test")
    found = {YARDSTICK: _recall(run, yardstick, test)}
    claims = []
    for share, goal in KEPT.items():
        small = min((row for row in measured if row["relative_loss"] <= 1 - share), key=lambda row: row["bytes"])
        what = f"{shop.name}: smallest bundle that keeps {share:.1%} on validation, {small['recipe']}"
        ratio = yardstick["bytes"] / small["bytes"]
        holds = ratio >= float(goal.removeprefix(">= "))
        sizes = (round(size["bytes"] / 1e6, 4) for size in (small, yardstick))
        ratio = round(ratio, 2)
        claims.append(Claim(f"{what}: times smaller than float32", *sizes, "MB", ratio, ratio, ratio, goal, holds))
        values = found.setdefault(small["recipe"], _recall(run, small, test))
        claims.append(judged_queries(f"{what}: recall@20 on the test", values, found[YARDSTICK], test.users, "share",
                                     f">= {share:g}"))  # fmt: skip
        claims.append(_p99(f"{what}: p99", small, yardstick))
    return claims


def _p99(claim: str, row: Mapping[str, Any], yardstick: Mapping[str, Any]) -> Claim:
    span = row["p99_ratio"]
    figures = [round(span[name], 4) for name in ("mean", "low", "high")]
    holds = span["high"] <= float(NO_SLOWER.removeprefix("<= "))
    times = (round(each["p99_ms"], 4) for each in (row, yardstick))
    return Claim(claim, *times, "ms", *figures, NO_SLOWER, holds)


def _recall(run: Run, row: Mapping[str, Any], test: Judged) -> np.ndarray:
    return test.recall(Retriever.load(run.artifact("optimize", row["recipe"]).file("bundle"), row["digest"]), K)


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the recipes of one data set as Markdown, smallest first; recall is validation's."""
    lines = [f"\n{name}, validation", "", f"| {' | '.join(COLUMNS)} |", "|---|---:|---:|---:|---|---:|---:|---|---|"]
    whole = next(row for row in rows if row["recipe"] == YARDSTICK)
    for row in sorted(rows, key=lambda each: each["bytes"] or 0):
        if not row["recall"]:
            lines.append(f"| {row['recipe']} | | | | | | | {row['verdict']} | {row['reason']} |")
            continue
        mean = max(whole["recall"]["mean"], 1e-9)
        low, high = (1 + row["difference"][end] / mean for end in ("low", "high"))
        smaller, kept = whole["bytes"] / row["bytes"], 1 - row["relative_loss"]
        lines.append(
            f"| {row['recipe']} | {row['bytes']:,} | {smaller:.2f} | {kept:.4f} | {low:.4f} … {high:.4f} "
            f"| {row['p99_ratio']['mean']:.2f} | {row['memory_mb'] or 0:.0f} "
            f"| {row['verdict']} | {row['reason']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
