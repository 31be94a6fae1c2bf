"""Nights for benchmarks: the real commands, from raw logs to a release bundle, on a store of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.ingest_peers import KEY, THREADS
from pipeline.core.days import Days
from pipeline.core.run import Run

if TYPE_CHECKING:
    from pipeline.model.retriever import Retriever

GENERATED_DAYS = Days.parse("2026-01-01..2026-02-06")
RETAIL_DAYS = Days.parse("2010-12-01..2011-12-09")
LONG_TEST = {"prepare.min_test_queries": "100000"}
TO_PREPARE = ("ingest", "validate", "prepare")
TO_BUNDLE = ("train", "optimize")


@dataclass(frozen=True)
class Night:
    """One run; steps that were done on an earlier day of benchmarking are taken from its store.

    Attributes:
        profile: of the logs; those of `generated` are made, by the settings given.
    """

    root: Path
    source: Path
    profile: str
    days: Days
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, shop: str, scratch: Path, items: int) -> Night:
        """Returns a night with a long test, once its logs are there.

        Args:
            scratch: holds a store for every shop, which all benchmarks share.
            items: of the generated shop.

        Raises: SystemExit: there are no such logs.
        """
        night = NIGHTS[shop](scratch, items)
        if shop == "generated":
            night.command("simulate", "--to", str(night.source))
        if not night.source.is_dir():
            raise SystemExit(f"{night.source} is no folder; BEHAVIOUR_LOGS_DIR names the one that holds online_retail.")
        return night

    def steps(self, names: tuple[str, ...], run: str) -> Run:
        """Returns the run after these steps of it."""
        for name in names:
            self.command(name, "--run", run)
        return self.run(run)

    def run(self, name: str) -> Run:
        return Run.open(self.root.resolve(), name, "UTC", self.days)

    def command(self, name: str, *words: str) -> None:
        """Raises: CalledProcessError: it failed."""
        given = {"store.root": str(self.root), "engine.threads": str(THREADS), **self.settings}
        given |= {} if name == "simulate" else {"ingest.source": str(self.source), "ingest.profile": self.profile}
        options = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
        command = [sys.executable, "-W", "ignore", "-m", "pipeline", name, "--days", str(self.days), *words, *options]
        environment = {**os.environ, "PIPELINE_SECRETS__PSEUDONYM_KEY": KEY, "TF_CPP_MIN_LOG_LEVEL": "3"}
        print(f"{name} of {self.root.name} …", flush=True)
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def _generated(scratch: Path, items: int) -> Night:
    root = scratch / f"generated-{items}"
    return Night(root, root / "source", "generated", GENERATED_DAYS, {**LONG_TEST, "simulate.items": str(items)})


def _online_retail(scratch: Path, _: int) -> Night:
    logs = Path(os.environ.get("BEHAVIOUR_LOGS_DIR", "")) / "online_retail" / "raw"
    return Night(
        scratch / "online_retail", logs, "online_retail", RETAIL_DAYS, {**LONG_TEST, "prepare.max_test_days": "28"}
    )


NIGHTS = {"generated": _generated, "online_retail": _online_retail}
SHOPS = tuple(NIGHTS)


def retriever_of(run: Run) -> Retriever:
    """Returns what would be served: the run's release bundle."""
    from pipeline.model.retriever import Retriever

    return Retriever.load(run.artifact("optimize").path / "bundle")
