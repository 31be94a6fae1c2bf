"""Back to a champion that stood before, once it is proven to load."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.errors import MissingInputError, PipelineError, UnavailableError, UsageError
from pipeline.core.run import Layout
from pipeline.core.settings import Settings
from pipeline.model.bundle import open_bundle
from pipeline.promote.move import Move, alone, commit
from pipeline.promote.people import named
from pipeline.promote.reconcile import reconcile, unconfirmed
from pipeline.store.bundles import SharedBundles, fetch_missing
from pipeline.store.ledger import MOVES, Entry, Ledger, stood

SHORTEST_DIGEST = 6


def roll_back(settings: Settings, by: str, reason: str, to: str = "") -> str:
    """Makes an earlier champion the champion again and returns what happened.

    The same words said twice are one rollback: an orchestrator that retries must not go back two champions.

    Args:
        to: a digest, the beginning of one, or a ledger sequence number; empty is the one that stood before.

    Raises:
        PipelineError: there is nothing to go back to, or no such entry.
        MissingInputError, CorruptArtifactError: the target's bundle is gone, or cannot be served.
        UnavailableError: rolled back, but a configured server does not follow.
    """
    who, why = named(by, "--by"), named(reason, "--reason")
    with alone(settings):
        ledger = Ledger.open(settings.store)
        head = ledger.head()
        entry = _said_before(ledger, who, why, to) or _insert(settings, ledger, who, why, to)
        projection, objections = reconcile(settings, ledger), unconfirmed(settings, entry)
    if objections:
        raise UnavailableError(
            f"Ledger entry {entry.sequence} stands, but a server does not follow: {'; '.join(objections)}; "
            "see to that server, the ledger need not be touched again."
        )
    return f"{_done(entry, head)} {projection.sentence}"


def _done(entry: Entry, head_before: int) -> str:
    if entry.sequence > head_before:
        return f"Rolled back from version {entry.details['left_version']} by ledger entry {entry.sequence}."
    if entry.kind == "rollback":
        return "Nothing was done: these very words rolled back before; to go further back give --to or another reason."
    return "Nothing was done: that is the champion already."


def _said_before(ledger: Ledger, who: str, why: str, to: str) -> Entry | None:
    champion = ledger.champion()
    if champion and (champion.kind, champion.who, champion.reason) == ("rollback", who, why):
        return champion if champion.details.get("asked_for") == to else None
    return None


def _insert(settings: Settings, ledger: Ledger, who: str, why: str, to: str) -> Entry:
    entries = ledger.verify()
    target, champion = _target(entries, to), stood(entries)[-1]
    if target.to_digest == champion.to_digest:
        return champion
    bundle = Layout(settings.store.root.resolve()).bundle(target.to_digest)
    fetch_missing(SharedBundles.open(settings), bundle)
    _check_kept(bundle, target)
    return commit(settings, ledger, _move(champion, target, who, why, to), bundle, entries[-1].sequence)


def _target(entries: list[Entry], to: str) -> Entry:
    standing = stood(entries)
    if not standing:
        raise PipelineError("There is no champion yet, so there is nothing to roll back.")
    if to:
        return _named_target(entries, to.strip().lower())
    if len(standing) < 2:
        first = standing[-1]
        raise PipelineError(
            f"There is no previous champion: none stood before version {first.version} ({first.to_digest[:12]})."
        )
    return standing[-2]


def _named_target(entries: list[Entry], to: str) -> Entry:
    moves = [e for e in entries if e.kind in MOVES and e.to_digest]
    if to.isdecimal() and len(to) < SHORTEST_DIGEST:
        found = [e for e in moves if e.sequence == int(to)]
    else:
        found = [e for e in moves if len(to) >= SHORTEST_DIGEST and e.to_digest.startswith(to)]
    if len({e.to_digest for e in found}) == 1:
        return found[-1]
    known = ", ".join(f"{e.sequence} ({e.to_digest[:12]})" for e in moves)
    what = "names more than one bundle" if found else "names no bundle that was ever champion"
    raise UsageError(f"--to {to!r} {what}; known are {known}.")


def _check_kept(bundle: Path, target: Entry) -> None:
    try:
        open_bundle(bundle, target.to_digest)
    except MissingInputError:
        raise MissingInputError(
            f"{bundle}: the bundle of ledger entry {target.sequence} is not kept any more; choose another with --to."
        ) from None


def _move(champion: Entry, target: Entry, who: str, why: str, to: str) -> Move:
    return Move(
        kind="rollback",
        who=who,
        digest=target.to_digest,
        version=target.version,
        data_end=target.data_end,
        reason=why,
        run_id=target.run_id,
        details={
            "back_to": target.sequence,
            "left": champion.sequence,
            "left_version": champion.version,
            "asked_for": to,
        },
    )
