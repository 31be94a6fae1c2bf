"""Where registry and store say something else than the ledger, and what mends it; the ledger itself never changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.core.run import Layout
from pipeline.core.settings import Settings
from pipeline.model.bundle import open_bundle
from pipeline.promote.fate import OUTCOME, fates, place_in_chain
from pipeline.promote.reconcile import CHALLENGER, CHAMPION, PREVIOUS, reconcile
from pipeline.store.ledger import MOVES, Entry, Ledger, stood

DIGEST = "digest"


@dataclass(frozen=True)
class Drift:
    """One difference.

    Attributes:
        sentence: what differs, and what to do where `--repair` cannot mend it.
        mends: `reconcile` or `tag`, whichever mends it; empty where nothing here does.
        version: whose tag is to be set, with `tags`.
    """

    sentence: str
    mends: str = ""
    version: str = ""
    tags: Mapping[str, str] | None = None


def check(settings: Settings, ledger: Ledger) -> list[Drift]:
    """Compares aliases, versions, tags and bundles with the ledger.

    Raises: CorruptArtifactError: the ledger is broken. UnavailableError: MLflow does not answer.
    """
    from pipeline.store.tracking import Tracking

    entries = ledger.verify()
    tracking = Tracking.connect(settings)
    versions = tracking.versions()
    return [
        *_aliases(tracking.aliases(), versions, stood(entries)),
        *_versions(versions, entries),
        *_bundles(settings, stood(entries)),
    ]


def repair(settings: Settings, ledger: Ledger, found: Sequence[Drift]) -> None:
    """Mends what can be mended from the ledger."""
    from pipeline.store.tracking import Tracking

    tracking: Any = Tracking.connect(settings)
    for drift in found:
        if drift.mends == "tag":
            tracking.tag_version(drift.version, drift.tags)
    if any(drift.mends == "reconcile" for drift in found):
        reconcile(settings, ledger)


def _aliases(
    aliases: Mapping[str, str], versions: Mapping[str, Mapping[str, str]], standing: Sequence[Entry]
) -> Iterator[Drift]:
    wanted = dict(zip((CHAMPION, PREVIOUS), [entry.version for entry in reversed(standing)], strict=False))
    for alias in (CHAMPION, PREVIOUS):
        named, meant = aliases.get(alias), wanted.get(alias) or None
        if named != meant:
            yield Drift(f"The alias {alias} names {_named(named)}, and the ledger {_named(meant)}.", "reconcile")
    challenger = aliases.get(CHALLENGER)
    if challenger and challenger == wanted.get(CHAMPION):
        yield Drift(f"The alias {CHALLENGER} names version {challenger}, which is champion.", "reconcile")
    elif challenger and challenger not in versions:
        yield Drift(f"The alias {CHALLENGER} names version {challenger}, which is gone; delete the alias.")


def _named(version: str | None) -> str:
    return f"version {version}" if version else "none"


def _versions(versions: Mapping[str, Mapping[str, str]], entries: Sequence[Entry]) -> Iterator[Drift]:
    champions = {entry.version: entry for entry in entries if entry.kind in MOVES and entry.version}
    for version, entry in champions.items():
        if version not in versions:
            where = f"Version {version}, champion by ledger entry {entry.sequence},"
            yield Drift(f"{where} is not registered any more; nothing here can bring it back, the bundle is not lost.")
    found = fates(entries)
    named = {version: fate.entry for version, fate in found.items()}
    outcomes = {version: fate.headline.word for version, fate in found.items()}
    for version, tags in sorted(versions.items(), key=lambda each: int(each[0])):
        if entry := named.get(version):
            yield from _tags(version, tags, entry, outcomes[version])
        elif DIGEST not in tags:
            where = f"Version {version} has no tag {DIGEST}, and the ledger does not name it"
            yield Drift(f"{where}: no review can be bound to its bundle; register its run again, as another version.")


def _tags(version: str, tags: Mapping[str, str], entry: Entry, outcome: str) -> Iterator[Drift]:
    where = f"Version {version}, last named by ledger entry {entry.sequence},"
    if tags.get(DIGEST) != entry.to_digest:
        said = tags.get(DIGEST, "none")[:12]
        told = f"{where} is tagged with bundle {said}, and the ledger has {entry.to_digest[:12]}."
        yield Drift(told, "tag", version, {DIGEST: entry.to_digest})
    if (said := tags.get(OUTCOME)) != outcome:
        yield Drift(
            f"{where} is tagged {said or 'with no outcome'}, and was {outcome}.", "tag", version, {OUTCOME: outcome}
        )
    place = place_in_chain(entry)
    if other := [name for name, value in place.items() if tags.get(name) != value]:
        yield Drift(f"{where} does not show its place in the chain by {' and '.join(other)}.", "tag", version, place)


def _bundles(settings: Settings, standing: Sequence[Entry]) -> Iterator[Drift]:
    layout = Layout(settings.store.root.resolve())
    for place, entry in enumerate(reversed(standing[-2:])):
        try:
            open_bundle(layout.bundle(entry.to_digest), entry.to_digest)
        except PipelineError as error:
            who = CHAMPION if place == 0 else PREVIOUS
            yield Drift(f"The bundle of the {who} (entry {entry.sequence}) cannot be read: {error}")
