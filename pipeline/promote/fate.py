"""What became of every version the ledger speaks of, told where people look: decision page and registered version."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.core.artifacts import write_beside
from pipeline.core.run import Layout
from pipeline.core.settings import Settings
from pipeline.model.headline import Headline, Word, in_text, on_page
from pipeline.store.ledger import MOVES, Entry

REVIEWS = ("approval", "override", "refusal")
OUTCOME, SENTENCE = "outcome", "outcome.sentence"
_ADVICE = re.compile(r"\A(?:Promote|Do not promote|Not decided)[^:]*: ")


@dataclass(frozen=True)
class Fate:
    """What became of the version a run made.

    Attributes:
        entry: the last of the ledger that names the version; None where none does.
    """

    run_id: str
    headline: Headline
    entry: Entry | None = None


def fates(entries: Iterable[Entry]) -> dict[str, Fate]:
    """Returns what became of each version, by its number; of a bundle that was not registered nothing."""
    found: dict[str, Fate] = {}
    champion: Entry | None = None
    for entry in entries:
        if entry.kind in REVIEWS:
            _say(found, entry, _reviewed(entry))
        if entry.kind not in MOVES:
            continue
        if champion and champion.version != entry.version:
            _say(found, champion, _left(entry))
        champion = entry if entry.to_digest else None
        if champion:
            _say(found, entry, _arrived(entry))
    return found


def _say(found: dict[str, Fate], entry: Entry, headline: Headline) -> None:
    if entry.version:
        # An entry that takes a promotion back names the version that stands again, and the run it takes back.
        its_own = entry.run_id if entry.kind != "rolled_back" else ""
        known = found.get(entry.version)
        found[entry.version] = Fate(known.run_id if known and known.run_id else its_own, headline, entry)


def place_in_chain(entry: Entry | None) -> dict[str, str]:
    """Returns the tags by which a version shows, outside the ledger, what the ledger said of it last."""
    return {"ledger_sequence": str(entry.sequence), "ledger_hash": entry.hash} if entry else {}


def _reviewed(entry: Entry) -> Headline:
    said = without_advice(entry.reason)
    if entry.kind != "refusal":
        return Headline("approved", f"{_against(entry)}{_when(entry)} by {entry.who}", said)
    if entry.details.get("by_hand"):
        return Headline("refused", f"{_when(entry)} by {entry.who}", said)
    if entry.details.get("verdict") == "inconclusive":
        return Headline("waiting", f"since {_when(entry)} for a person to decide", said)
    return Headline("refused", f"{_when(entry)} by the gate", said)


def _arrived(entry: Entry) -> Headline:
    stamp, said = f"ledger entry {entry.sequence}", without_advice(entry.reason)
    if entry.kind == "promotion":
        return Headline("promoted", f"{_against(entry)}{_when(entry)} by {entry.who}, {stamp}", said)
    back = f"{entry.who} rolled back to it, " if entry.kind == "rollback" else "what followed it was "
    return Headline("promoted", f"again {_when(entry)}, {stamp}", f"{back}{said}")


def _left(entry: Entry) -> Headline:
    """Returns what the champion before comes to by an entry that puts another one, or none, in its place."""
    stamp = f"ledger entry {entry.sequence}"
    if entry.kind == "promotion":
        return Headline("superseded", f"{_when(entry)} by version {entry.version or '-'}, {stamp}")
    word: Word = "rolled back" if entry.kind == "rollback" else "taken back"
    return Headline(word, f"{_when(entry)} by {entry.who}, {stamp}", without_advice(entry.reason))


def _against(entry: Entry) -> str:
    return "against the gate " if entry.details.get("verdict") == "fail" else ""


def _when(entry: Entry) -> str:
    return f"{datetime.fromisoformat(entry.at):%Y-%m-%d %H:%M} UTC"


def without_advice(reason: str) -> str:
    """Returns a reason in one line, without the gate's advice in front of it."""
    return " ".join(_ADVICE.sub("", reason).split()) or "no reason was given"


def tell(settings: Settings, entries: Iterable[Entry], waiting: Mapping[str, Fate] | None = None) -> None:
    """Puts what became of each version first on its decision's page and on its page in MLflow.

    Args:
        waiting: versions whose decision waits for a person, which the ledger does not know.

    Raises: UnavailableError: MLflow does not answer; pages below the store's root are told all the same.
    """
    found = {**fates(entries), **(waiting or {})}
    layout = Layout(settings.store.root.resolve())
    for fate in found.values():
        _tell_pages(layout, fate)
    if found:
        _tell_versions(settings, layout, found)


PAGES: Mapping[str, Callable[[str, Headline], str]] = {"decision.html": on_page, "decision.md": in_text}


def _pages(layout: Layout, fate: Fate) -> list[Path]:
    folder = layout.runs / fate.run_id / "decision"
    return [folder / name for name in PAGES if fate.run_id and (folder / name).is_file()]


def _tell_pages(layout: Layout, fate: Fate) -> None:
    for path in _pages(layout, fate):
        text = path.read_text()
        if (changed := PAGES[path.name](text, fate.headline)) != text:
            write_beside(path, changed)


def _tell_versions(settings: Settings, layout: Layout, found: Mapping[str, Fate]) -> None:
    from pipeline.store.tracking import Tracking

    tracking = Tracking.connect(settings)
    for version, description in tracking.descriptions().items():
        fate = found.get(version)
        if fate is None or (changed := in_text(description, fate.headline)) == description:
            continue
        for path in _pages(layout, fate):
            tracking.attach(version, path, "decision")
        tags = {OUTCOME: fate.headline.word, SENTENCE: fate.headline.told}
        tracking.tag_version(version, {**tags, **place_in_chain(fate.entry)})
        # Last, so that a version is told again when this was cut short.
        tracking.describe_version(version, changed)
