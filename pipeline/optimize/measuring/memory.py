"""Resident memory of a fresh process that answers from one bundle, beside what the interpreter needs without it.

`python -m pipeline.optimize.measuring.memory PARENT`, the request on standard input. The server adds its own: the gate
measures that.
"""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.process import die_with_parent
from pipeline.model.features import Query
from pipeline.model.retriever import Retriever
from pipeline.optimize.measuring.apart import ask

ANSWERS = 32
TIMEOUT_SECONDS = 300
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Memory:
    """MB of 10^6 bytes; None where the system does not tell.

    Attributes:
        settled: after it has answered; what a replica needs.
        peak: the most it ever held, while loading.
        plain: before it loaded anything: interpreter and imports.
    """

    settled: float | None
    peak: float | None
    plain: float | None


def measure(bundle: Path, k: int) -> Memory:
    """Raises: UnavailableError: the measuring process ended without an answer."""
    request = {"bundle": str(bundle), "k": k}
    hint = "free the machine"
    return Memory(**ask("pipeline.optimize.measuring.memory", request, "measurement of memory", TIMEOUT_SECONDS, hint))


def _answer(bundle: Path, k: int) -> dict[str, float | None]:
    plain = _resident("VmRSS")
    retriever = Retriever.load(bundle)
    ids, titles = retriever.catalogue.ids, retriever.catalogue.columns["title"]
    for call in range(ANSWERS):
        at = call * len(ids) // ANSWERS
        retriever.recommend(Query([ids[at]], ["view"]), k)
        retriever.recommend(Query([], [], titles[at]), k)
    gc.collect()
    return {"settled": _resident("VmRSS"), "peak": _resident("VmHWM"), "plain": plain}


def _resident(name: str) -> float | None:
    """Reads the process's own record: `getrusage` would tell the peak of the process this one was forked from."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    found = (int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{name}:"))
    return next(found, None)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    asked = json.load(sys.stdin)
    print(json.dumps(_answer(Path(asked["bundle"]), asked["k"])))
