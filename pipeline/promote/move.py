"""The one way a champion changes: bundle published, proven, entry inserted, projected, confirmed, or taken back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import BusyError
from pipeline.core.locks import CHAMPION_HELD, only_one
from pipeline.core.run import Layout
from pipeline.core.settings import Settings
from pipeline.promote.publish import prove, publish
from pipeline.promote.reconcile import Projection, reconcile, unconfirmed
from pipeline.store.bundles import SharedBundles
from pipeline.store.ledger import Entry, Ledger

ATTEMPTS = 5


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Keeps promotions, reviews, rollbacks and reconciles of one machine apart; the ledger's head does so for many."""
    with only_one(Layout(settings.store.root.resolve()).champion_lock, CHAMPION_HELD):
        yield


@dataclass(frozen=True)
class Move:
    """A change of champion that is wanted."""

    kind: str
    who: str
    digest: str
    version: str
    data_end: str
    reason: str
    run_id: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of it.

    Attributes:
        entry: the entry that moved the champion.
        projection: what servers and MLflow were told last.
        objections: what servers said that did not confirm.
        undone: the `rolled_back` entry, where they made it be taken back.
    """

    entry: Entry
    projection: Projection
    objections: tuple[str, ...] = ()
    undone: Entry | None = None


def commit(settings: Settings, ledger: Ledger, move: Move, source: Path, expected_head: int) -> Entry:
    """Publishes and proves a bundle, then inserts the entry that makes it champion.

    Raises: BusyError: the ledger's head moved since it was read. CorruptArtifactError: the bundle may not be served.
    """
    layout = Layout(settings.store.root.resolve())
    bundle = publish(source, move.digest, layout)
    prove(bundle, settings)
    if shared := SharedBundles.open(settings):
        shared.push(bundle.path)
    champion = ledger.champion()
    return ledger.append(
        kind=move.kind,
        who=move.who,
        expected_head=expected_head,
        from_digest=champion.to_digest if champion else "",
        to_digest=move.digest,
        version=move.version,
        run_id=move.run_id,
        data_end=move.data_end,
        reason=move.reason,
        details={**move.details, "recipe": bundle.recipe, "bytes": bundle.bytes},
    )


def settle(settings: Settings, ledger: Ledger, entry: Entry) -> Outcome:
    """Projects an inserted promotion and waits for the servers; what they do not confirm is taken back."""
    projection = reconcile(settings, ledger)
    objections = tuple(unconfirmed(settings, entry))
    if not objections:
        return Outcome(entry, projection)
    undone = _take_back(ledger, entry, objections)
    return Outcome(entry, reconcile(settings, ledger), objections, undone)


def _take_back(ledger: Ledger, entry: Entry, objections: tuple[str, ...]) -> Entry | None:
    """Appends `rolled_back`, unless the champion changed meanwhile and nothing is left to take back."""
    for _ in range(ATTEMPTS):
        head, champion, before = ledger.head(), ledger.champion(), ledger.previous()
        if champion is None or champion.sequence != entry.sequence:
            return None
        try:
            return ledger.append(
                kind="rolled_back",
                who="promote",
                expected_head=head,
                from_digest=entry.to_digest,
                to_digest=before.to_digest if before else "",
                version=before.version if before else "",
                data_end=before.data_end if before else "",
                run_id=entry.run_id,
                reason=f"not confirmed: {'; '.join(objections)}",
                details={"undoes": entry.sequence},
            )
        except BusyError:
            continue
    raise BusyError(
        f"Ledger entry {entry.sequence} could not be taken back: others keep appending; run reconcile and rollback."
    )
