"""What is seen when each fault befalls a promotion, and the page made of it.

`make faults` lets everything happen and writes `docs/reference/faults.md`.
"""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.store.tracking import Tracking
from tests.fixtures.nights import bundle_of
from tests.unit.promote.faults import FAULTS, Fault
from tests.unit.promote.shop import REPOSITORY, Ended, Server, Shop, opened, wait_for

PAGE = REPOSITORY / "docs" / "reference" / "faults.md"


@dataclass(frozen=True)
class Seen:
    """Who stands, as everybody sees it: `before`, `new`, or `silent`."""

    ledger: str
    pointer: str
    servers: tuple[str, ...]
    mlflow: str

    def agree(self) -> bool:
        return {self.pointer, *self.servers, self.mlflow} == {self.ledger}


def look(shop: Shop, known: dict[str, str], versions: dict[str, str]) -> Seen:
    """Looks at all four once every server that answers is where the pointer leads, if that can be read."""
    pointed = shop.pointed()
    answers = [server.ready() for server in shop.servers]
    if pointed:
        wait_for(lambda: all(_follows(server, pointed) for server in shop.servers))
        answers = [server.ready() for server in shop.servers]
    champion = shop.ledger.champion()
    return Seen(
        known[champion.to_digest],
        known[pointed["digest"]] if pointed else "torn",
        tuple(known[answer["bundle_digest"]] if answer else "silent" for answer in answers),
        versions[Tracking.connect(shop.settings).alias("champion")],
    )


def _follows(server: Server, pointed: dict[str, Any]) -> bool:
    answer = server.ready()
    # One that was told to go back stays at the higher number.
    return answer is None or answer["sequence"] >= pointed["sequence"]


@dataclass(frozen=True)
class Endured:
    """One row of the table.

    Attributes:
        under: what was seen under the fault; `after` that once `reconcile` has run; `last` after the same run again.
    """

    fault: Fault
    ended: Ended
    added: tuple[str, ...]
    under: Seen
    after: Seen
    again: Ended
    last: Seen

    def row(self, shop: Shop) -> str:
        servers = " and ".join(dict.fromkeys(self.under.servers))
        cells = (
            self.fault.what,
            self.fault.when,
            f"{_code(self.ended)}{told(shop, self.ended.said)}",
            ", ".join(self.added) or "nothing",
            self.under.ledger,
            servers,
            self.under.mlflow,
            self.after.ledger,
            f"{_code(self.again)}{told(shop, self.again.said)}",
        )
        return f"| {' | '.join(cells)} |"


def _code(ended: Ended) -> str:
    if ended.code is None:
        return ""
    return "killed" if ended.code == -signal.SIGKILL else f"{ended.code}: "


def told(shop: Shop, said: str) -> str:
    """Returns a message without what differs from run to run: places, numbers, digests."""
    said = said.replace(str(shop.root), "var")
    for number, server in enumerate(shop.servers, start=1):
        said = said.replace(server.base, f"server {number}")
    rules = (
        (r"night-\d{4}-\d\d-\d\d", "RUN"),
        (r"\b[0-9a-f]{12,64}\b", "DIGEST"),
        (r"\d{4}-\d\d-\d\dT[0-9:.+]+", "TIME"),
        (r"\b(entry|[Vv]ersion|sequence|process) \d+", r"\1 N"),
        (r"\b(head is entry N, not) \d+", r"\1 N"),
        (r"while \d+ \(", "while N ("),
        (r"(\.json|DIGEST)\.[\w.-]+\.tmp", r"\1.tmp"),
    )
    for pattern, word in rules:
        said = re.sub(pattern, word, said)
    return said.replace("|", "\\|")


def endure(shop: Shop, fault: Fault) -> Endured:
    """Lets a fault befall the promotion of a new night, mends it, reconciles, and tries the same run again."""
    run, champion, previous = shop.night(), shop.ledger.champion(), shop.ledger.previous()
    bundle, version = bundle_of(run).digest, json.loads((run.folder / "register.json").read_text())["version"]
    ended = fault.befall(shop, run)
    added = [entry for entry in shop.ledger.entries() if entry.sequence > champion.sequence]
    known = {previous.to_digest: "previous", champion.to_digest: "before", bundle: "new"}
    versions = {previous.version: "previous", champion.version: "before", version: "new"}
    for entry in added:
        known.setdefault(entry.to_digest, "the other run's")
        versions.setdefault(entry.version, "the other run's")
    under = look(shop, known, versions)
    fault.mend(shop)
    mended = shop.carry_out("reconcile")
    assert mended.code == 0, mended.said
    after = look(shop, known, versions)
    again = fault.again(shop, run)
    return Endured(fault, ended, tuple(e.kind for e in added), under, after, again, look(shop, known, versions))


HEAD = """\
# What may befall a promotion

<!-- Made by `make faults`; a test holds every row against what it sees. -->

Each row is one promotion of a *new* bundle while the one *before* is champion, or a rollback to the *previous* one: a
real ledger, MLflow and two servers that must confirm. Under the fault: exit code and last line (75: a retry may help),
what the ledger got, who is champion by the ledger, whom the servers answer from, and whom MLflow's alias `champion`
names. Then the cause is mended where there is one, `python -m pipeline reconcile` runs, and ledger, pointer, both
servers and MLflow name one champion. Then the same command is tried again. No server that runs is ever without a
champion, and none serves anything but the ledger's or the one before it.

| fault | when | it ends with | ledger gets | champion | servers | MLflow | after `reconcile` | the same again |
| -- | -- | -- | -- | -- | -- | -- | -- | -- |
"""


def main() -> None:
    from tests.fixtures.bundles import make_bundle

    with TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        bundle = make_bundle(folder / "tiny")
        with opened(folder, bundle, f"sqlite:///{folder / 'mlflow.sqlite'}") as made:
            if not made.disk:
                raise SystemExit("Some faults need a disk of their own; run this as root, with the right to mount.")
            rows = [endure(made, fault).row(made) for fault in FAULTS]
    PAGE.write_text(HEAD + "\n".join(rows) + "\n")
    print(f"wrote {PAGE.relative_to(REPOSITORY)}, {len(rows)} rows")


if __name__ == "__main__":
    main()
