"""Projects what the ledger says onto servers and MLflow. May run at any time, as often as one likes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from pipeline.core.artifacts import write_beside
from pipeline.core.errors import CorruptArtifactError, PipelineError
from pipeline.core.run import Layout
from pipeline.core.settings import Settings
from pipeline.model.bundle import open_bundle
from pipeline.promote.fate import place_in_chain, tell
from pipeline.store.bundles import SharedBundles, fetch_missing
from pipeline.store.ledger import Entry, Ledger, stood

POLL_SECONDS = 0.2
CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
SET_TAG, INTENT_TAG, NOTED_TAG = "champion_set", "champion_to_be_set", "alias_moved_set_back"
"""Of the registered model: the version last set, the one about to be, and the entry that tells what was set back."""
ATTEMPTS = 5
"""Of the registered model: the version the alias was last set to from the ledger, or `none`."""
NONE = "none"


@dataclass(frozen=True)
class Projection:
    """What servers and MLflow were told.

    Attributes:
        champion: the entry that stands, or None.
        mlflow_behind: why MLflow could not be told, in one sentence; empty when it was.
        moved: what somebody had done to MLflow's alias behind the ledger's back; empty where nobody had.
    """

    champion: Entry | None
    mlflow_behind: str = ""
    moved: str = ""

    @property
    def sentence(self) -> str:
        if self.champion is None:
            told = "No champion stands, so nothing is pointed to"
        else:
            version, digest = self.champion.version or "-", self.champion.to_digest[:12]
            told = f"Champion is version {version}, bundle {digest}, by ledger entry {self.champion.sequence}"
        return f"{told}.{self.warning}"

    @property
    def warning(self) -> str:
        if self.moved:
            return f" {self.moved}"
        if not self.mlflow_behind:
            return ""
        return f" MLflow's aliases were not moved; `python -m pipeline reconcile` catches them up: {self.mlflow_behind}"


def reconcile(settings: Settings, ledger: Ledger) -> Projection:
    """Points servers and MLflow to the champion of the ledger.

    Raises: CorruptArtifactError: the ledger lost entries servers already follow, or the champion's bundle is not whole.
    """
    for _ in range(ATTEMPTS):
        projection = _project(settings, ledger)
        # Another machine may have moved it meanwhile, and whoever comes last must leave the newest.
        if ledger.champion() == projection.champion:
            break
    return projection


def _project(settings: Settings, ledger: Ledger) -> Projection:
    entries = ledger.verify()
    standing = stood(entries)
    champion = standing[-1] if standing else None
    _point(settings, champion, ledger.head())
    try:
        moved = set_aliases_back(settings, ledger, standing)
        tell(settings, entries)
    except PipelineError as error:
        return Projection(champion, str(error))
    return Projection(champion, moved=moved)


def _point(settings: Settings, champion: Entry | None, head: int) -> None:
    layout, shared = Layout(settings.store.root.resolve()), SharedBundles.open(settings)
    places = [(layout.pointer, pointed_sequence(layout))]
    if shared:
        places.append((shared.pointer_address, _sequence_of(shared.pointer())))
    for place, pointed in places:
        if pointed > head:
            raise CorruptArtifactError(
                f"{place}: servers follow ledger entry {pointed}, and the ledger ends at {head}: it lost entries; "
                "restore it from a backup before anything is promoted."
            )
    text = _text(layout, shared, champion) if champion else None
    if shared:
        shared.point(text)
    if text is None:
        layout.pointer.unlink(missing_ok=True)
    elif not (layout.pointer.exists() and layout.pointer.read_text() == text):
        write_beside(layout.pointer, text)


def _text(layout: Layout, shared: SharedBundles | None, champion: Entry) -> str:
    """Returns what points to a champion, once its bundle is whole wherever servers may look for it."""
    bundle = layout.bundle(champion.to_digest)
    fetch_missing(shared, bundle)
    open_bundle(bundle, champion.to_digest)
    if shared:
        shared.push(bundle)
    fields = {"sequence": champion.sequence, "digest": champion.to_digest, "version": champion.version}
    return json.dumps(fields, indent=1)


def pointed_sequence(layout: Layout) -> int:
    """Returns the ledger entry servers are pointed to; 0 when to none, or when the pointer is torn."""
    try:
        return _sequence_of(layout.pointer.read_text())
    except OSError:
        return 0


def _sequence_of(text: str | None) -> int:
    try:
        return int(json.loads(text or "")["sequence"])
    except (ValueError, KeyError, TypeError):
        return 0


def set_aliases_back(settings: Settings, ledger: Ledger, standing: list[Entry]) -> str:
    """Moves `champion` and `previous`; `challenger` is taken off a version that became champion, else left alone.

    Args:
        standing: the champions a rollback could go back to, the last of which stands.

    Returns: what somebody else had done to `champion`, which is noted in the ledger before it is set back.

    Raises: UnavailableError: MLflow does not answer.
    """
    from pipeline.store.tracking import Tracking

    wanted = dict(zip((CHAMPION, PREVIOUS), [e.version for e in reversed(standing)], strict=False))
    if not (standing or settings.register.tracking_uri):
        return ""
    tracking = Tracking.connect(settings)
    known = tracking.aliases()
    tags, meant, found = tracking.model_tags(), wanted.get(CHAMPION) or NONE, known.get(CHAMPION) or NONE
    moved = "" if found == tags.get(INTENT_TAG) else _moved_behind(tags.get(SET_TAG), found, meant)
    noted = _noted(ledger, standing[-1], moved, tags.get(NOTED_TAG)) if moved and standing else None
    if tags.get(INTENT_TAG) != meant:
        tracking.tag_model(INTENT_TAG, meant)
    _set_aliases(tracking, known, wanted)
    done = {SET_TAG: meant, **({NOTED_TAG: str(noted)} if noted else {})}
    for name, value in done.items():
        if tags.get(name, NONE) != value:
            tracking.tag_model(name, value)
    if standing and standing[-1].version:
        entry = standing[-1]
        facts = {"promoted_at": entry.at, "promoted_by": entry.who}
        tracking.tag_version(entry.version, {**place_in_chain(entry), **facts})
    return moved


def _set_aliases(tracking: Any, known: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    for alias in (CHAMPION, PREVIOUS):
        version = wanted.get(alias)
        if not version:
            tracking.drop_alias(alias)
        elif known.get(alias) != version:
            tracking.set_alias(alias, version)
    if wanted.get(CHAMPION) and known.get(CHALLENGER) == wanted[CHAMPION]:
        tracking.drop_alias(CHALLENGER)


def _moved_behind(last_set: str | None, found: str, wanted: str) -> str:
    """Returns what was done to the alias since it was last set from the ledger; nothing where it only lags behind."""
    if last_set is None or found in (last_set, wanted):
        return ""
    where = f"to version {found}" if found != NONE else "away"
    back = f"set back to version {wanted}" if wanted != NONE else "taken away"
    told = f"The alias {CHAMPION} was moved in MLflow from version {last_set} {where}, which no server follows"
    return f"{told}; it was {back}."


def _noted(ledger: Ledger, champion: Entry, moved: str, set_back: str | None) -> int:
    """Returns the ledger entry that says so; one whose alias could not be set back yet is not written again."""
    told = [entry for entry in ledger.entries() if entry.kind == "alias_moved"]
    if told and told[-1].reason == moved and str(told[-1].sequence) != set_back:
        return told[-1].sequence
    entry = ledger.append(
        kind="alias_moved",
        who="reconcile",
        expected_head=ledger.head(),
        from_digest=champion.to_digest,
        to_digest=champion.to_digest,
        version=champion.version,
        run_id=champion.run_id,
        data_end=champion.data_end,
        reason=moved,
    )
    return entry.sequence


def unconfirmed(settings: Settings, champion: Entry) -> list[str]:
    """Waits until every configured server serves the champion; returns what the others say, one sentence a server."""
    ends = time.monotonic() + settings.promote.confirm_timeout_seconds
    waiting = {base: "did not answer" for base in settings.promote.servers}
    while waiting:
        waiting = {base: said for base in waiting if (said := _objection(base, champion))}
        if time.monotonic() >= ends:
            break
        if waiting:
            time.sleep(POLL_SECONDS)
    return [f"{base} {said}" for base, said in waiting.items()]


def _objection(base: str, champion: Entry) -> str:
    """Returns what keeps this server from being on the champion, or nothing when it serves it."""
    try:
        answer = httpx.get(f"{base.rstrip('/')}/readyz", timeout=5)
        found = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return f"does not answer ({' '.join(str(error).split()) or type(error).__name__})"
    if answer.status_code != 200:
        return f"answers {answer.status_code}"
    digest = found.get("bundle_digest") if isinstance(found, dict) else None
    return "" if digest == champion.to_digest else f"serves bundle {str(digest)[:12]}"
