"""A week of nights that go on from the night before, beside the same nights from scratch.

    python -m benchmarks.warm_start --into FOLDER --events-per-day 4000

It writes the generated shop's logs into FOLDER (kept, and taken again next time), ingests and validates them, and
prepares the last nights with their growing vocabulary. Each night is then trained both ways in turn, in processes of
their own, interpreter's start included; the warm one from the warm one of the night before, the first from a night from
scratch. Recall is that of the kept weights on the night's own validation, through exact retrieval; both are judged on
the same queries.

    python -m benchmarks.warm_start night ROOT DAY OUT [START]      one training alone
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from benchmarks.claims import Usage, judged, judged_values, measured, publish
from benchmarks.nights import GENERATED_DAYS, Night
from benchmarks.untracked import Untracked
from pipeline.core.artifacts import MANIFEST, Artifact, build
from pipeline.core.days import Days
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.train.warm import Start

WEEK = 7


def nights_of(into: Path, events_per_day: int) -> tuple[Path, list[str]]:
    """Returns the store's root, and the days of the last nights, oldest first, all prepared."""
    shop = {"simulate.events_per_day": str(events_per_day)}
    night = Night(into, into / "source", "generated", GENERATED_DAYS, shop)
    last = GENERATED_DAYS.last
    days = [str(last - timedelta(days=back)) for back in range(WEEK, -1, -1)]
    if not (into / "prepared").exists():
        night.command("simulate", "--to", str(night.source))
        night.steps(("ingest", "validate"), "all")
        for day in days:
            replace(night, days=Days.parse(day)).steps(("prepare",), f"night-{day}")
        (into / "prepared").touch()
    return into, days


def train(root: Path, day: str, out: Path, start: Path | None) -> None:
    """Trains one night's towers, with everything the step `train` writes."""
    from pipeline.train.checkpoint import Checkpoints
    from pipeline.train.learn import learn

    prepared = Run.open(root.resolve(), f"night-{day}", "UTC").artifact("prepare")
    begun = Start("the night before", Artifact(start), 1) if start else Start("from scratch")
    checkpoints = Checkpoints(out.with_suffix(".checkpoints"))
    build(out, lambda folder: learn(Settings(), prepared, begun, checkpoints, folder, Untracked()))
    checkpoints.remove()


def trained(root: Path, day: str, way: str, start: Path | None) -> tuple[Path, Usage]:
    """Trains one night in a process of its own, or takes what it left the last time."""
    out = root / "trained" / way / day
    note = out.with_suffix(".json")
    if not (note.exists() and (out / MANIFEST).exists()):
        words = ["-W", "ignore", "-m", "benchmarks.warm_start", "night", str(root), day, str(out)]
        used = measured([sys.executable, *words, *([str(start)] if start else [])], {"TF_CPP_MIN_LOG_LEVEL": "3"})
        note.write_text(json.dumps(vars(used)))
    return out, Usage(**json.loads(note.read_text()))


def recall_of(out: Path) -> float:
    history = json.loads((out / "history.json").read_text())
    return float(history["epochs"][history["best_epoch"] - 1]["recall"])


def week(root: Path, days: list[str]) -> dict[str, list[tuple[float, Usage]]]:
    """Returns recall and usage of every night but the first, both ways."""
    before, _ = trained(root, days[0], "scratch", None)
    found: dict[str, list[tuple[float, Usage]]] = {"warm": [], "scratch": []}
    for day in days[1:]:
        for way, start in (("warm", before), ("scratch", None)):
            out, used = trained(root, day, way, start)
            found[way].append((recall_of(out), used))
            print(f"{day} {way}: recall {recall_of(out):.4f}, {used.wall_seconds:.0f} s", flush=True)
            before = out if start else before
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=Path("var/benchmarks/warm_start"))
    parser.add_argument("--events-per-day", type=int, default=4000)
    given = parser.parse_args()
    root, days = nights_of(given.into, given.events_per_day)
    found = week(root, days)
    warm, scratch = ([used for _, used in found[way]] for way in ("warm", "scratch"))
    recalls = {way: [recall for recall, _ in nights] for way, nights in found.items()}
    claims = [
        judged("processor time of a night that goes on from the night before", warm, scratch, "cpu_seconds", "<= 0.8"),
        judged("its wall time, on a machine others use too", warm, scratch, "wall_seconds", "<= 0.8"),
        judged_values(
            "its recall@20 on validation, against from scratch", recalls["warm"], recalls["scratch"], "", ">= 0.98"
        ),
    ]
    publish("warm_start", claims, ("tensorflow", "tf-keras", "numpy"), {"recall": recalls, "nights": days[1:]})


if __name__ == "__main__":
    if sys.argv[1:2] == ["night"]:
        train(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5]) if len(sys.argv) > 5 else None)
    else:
        main()
