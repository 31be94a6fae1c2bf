"""Forgets a person: out of every partition, with everything that was made from theirs, and noted who asked.

The order makes it safe to kill and run again: the erasure is begun, so that no ingest lets the person in any more;
what will be removed is noted before it is; a day's artifact is replaced before the old one goes; the search comes last.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import MANIFEST, Artifact, write_beside
from pipeline.core.errors import DataError, UnavailableError
from pipeline.core.pseudonyms import key_id, previous_keys
from pipeline.core.run import Layout
from pipeline.core.settings import Settings
from pipeline.ingest.people import removal, traces
from pipeline.ingest.people.traces import Person
from pipeline.ingest.profiles.profile import load_profile
from pipeline.store.erasures import DONE, Erasure, Erasures
from pipeline.store.histories import Histories
from pipeline.store.leases import leased, nobody_holds
from pipeline.store.lineage import DERIVED, artifacts_of, drop, made_from, stage_of
from pipeline.store.partitions import STAGE, Partitions, Record
from pipeline.store.shared import open_shared
from pipeline.store.sweep import Found, Swept, any_of, sweep, words_in

LEDGER = "ledger.sqlite"
ERASURES = "erasures"


@dataclass
class Affected:
    """What holds the person or was made from what does.

    Attributes:
        days: ingest key → its day and the person's rows in each file.
        derived: stage → keys.
    """

    days: dict[str, dict[str, Any]] = field(default_factory=dict)
    derived: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def noted(cls, erasure: Erasure) -> Affected:
        whole = cls()
        for note in erasure.removing:
            whole.add(cls(dict(note["days"]), dict(note["derived"])))
        return whole

    def add(self, other: Affected) -> None:
        self.days |= other.days
        for stage, keys in other.derived.items():
            self.derived[stage] = sorted({*self.derived.get(stage, ()), *keys})

    def names(self) -> set[str]:
        """Returns the keys and digests by which later stages call what is in `days`."""
        return {*self.days, *(each["digest"] for each in self.days.values())}

    def keys(self) -> set[str]:
        return {*self.days, *(key for keys in self.derived.values() for key in keys)}

    def rows(self, file: str) -> int:
        return sum(each[file] for each in self.days.values())

    def to_dict(self) -> dict[str, Any]:
        return {"days": self.days, "derived": self.derived}


class Forgetting:
    """One person's erasure from one store."""

    def __init__(self, settings: Settings, names: Sequence[str]) -> None:
        self.settings, self.names = settings, frozenset(names)
        self.shared = open_shared(settings)
        self.root = settings.store.root.resolve()
        self.layout = Layout(self.root)
        self.erasures = Erasures.open(settings)

    def run(self, by: str, reason: str) -> str:
        """Returns what was removed, in words.

        Raises:
            BusyError: a run is at work on one of the days, or trains; what was begun stays begun.
            UnavailableError: MLflow or Redis does not answer; everything else is removed by then.
        """
        with self._nobody_trains():
            self._mirror()
            erasure = self._begun(by, reason)
            person = self._person(erasure.sessions)
            affected = self._planned(erasure, person)
            if erasure.state != DONE:
                self._take_out(affected, person, f"forget-{erasure.seq}")
                self._drop(affected)
            filtered = self._clean_what_is_left(person)
            swept = self._prove(person)
        told = self._out_of_histories(erasure)
        versions = self._marked(erasure, affected)
        counts = _counts(affected, filtered, swept, versions) | told
        self.erasures.done(erasure.seq, counts)
        return _told(erasure, person, counts, self.root)

    def _out_of_histories(self, erasure: Erasure) -> dict[str, int]:
        """Returns how many events went; nothing where no histories are kept."""
        try:
            histories = Histories.open(self.settings)
            return {"history_events": histories.erase(self.names)} if histories else {}
        except UnavailableError as error:
            raise UnavailableError(
                f"Erasure {erasure.seq}: everything of the person is removed from the store, but not from the "
                f"histories; run the same command again once Redis answers. {error}"
            ) from None

    def _marked(self, erasure: Erasure, affected: Affected) -> dict[str, str]:
        try:
            return mark_versions(self.settings, self.root, erasure.seq, affected)
        except UnavailableError as error:
            raise UnavailableError(
                f"Erasure {erasure.seq}: everything of the person is removed, but the models trained on them are not "
                f"marked yet; run the same command again once MLflow answers. {error}"
            ) from None

    @contextmanager
    def _nobody_trains(self) -> Iterator[None]:
        """Holds every training's lock: its checkpoint, and what it is about to leave, may be made from the person."""
        with nobody_holds(self.settings, "train-", "forget"):
            yield

    def _person(self, sessions: Iterable[str]) -> Person:
        column = load_profile(self.settings.ingest.profile).events.columns.user_id
        return Person(self.names, frozenset(sessions), column.column if column else "")

    def _mirror(self) -> None:
        """Brings everything machines share under the root, where it is looked through."""
        for stage in (STAGE, *DERIVED) if self.shared else ():
            for key in self.shared.keys(stage):
                final = self.layout.artifact(stage, key)
                if not (final / MANIFEST).exists():
                    self.shared.fetch(stage, final)

    def _begun(self, by: str, reason: str) -> Erasure:
        stored = artifacts_of(self.root, STAGE)
        sessions = {name for artifact in stored for name in traces.sessions_of(artifact, self.names)}
        same = [e for e in self.erasures.all() if set(e.person) == self.names and sessions <= set(e.sessions)]
        for erasure in reversed(same):
            if erasure.state != DONE or not self._affected(self._person(erasure.sessions)).keys():
                return erasure
        seq = self.erasures.begin(self.names, sessions | {s for e in same for s in e.sessions}, by, reason)
        return next(erasure for erasure in self.erasures.all() if erasure.seq == seq)

    def _affected(self, person: Person) -> Affected:
        days = {}
        for artifact in artifacts_of(self.root, STAGE):
            if rows := traces.count(artifact, person):
                days[artifact.key] = {"day": artifact.json("counts.json")["day"], "digest": artifact.digest, **rows}
        # What a run in flight made from partitions that are gone by now is found by what was noted of them.
        notes = [Affected.noted(erasure) for erasure in self.erasures.all() if set(erasure.person) == self.names]
        names = {name for each in (Affected(days), *notes) for name in each.names()}
        pattern = any_of(person.names)
        for stage_folder in sorted(p for p in (self.root / "store").glob("*") if p.is_dir() and p.name != STAGE):
            names |= {_key_of(found.path, stage_folder) for found in sweep(stage_folder, pattern).found}
        return Affected(days, made_from(self.root, names).by_stage())

    def _planned(self, erasure: Erasure, person: Person) -> Affected:
        """Returns everything affected, that of an earlier attempt included, noted before any of it goes."""
        affected, found = Affected.noted(erasure), self._affected(person)
        if found.keys() - affected.keys():
            self.erasures.removing(erasure.seq, found.to_dict())
        affected.add(found)
        return affected

    def _take_out(self, affected: Affected, person: Person, holder: str) -> None:
        held = [artifact for artifact in artifacts_of(self.root, STAGE) if artifact.key in affected.days]
        routed = removal.late_events(held, person)
        for day in sorted({each["day"] for each in affected.days.values()}):
            self._replace(date.fromisoformat(day), person, routed, holder)

    def _replace(self, day: date, person: Person, routed: Mapping[str, str], holder: str) -> None:
        """Puts artifacts without the person in force for one day, then drops the old ones."""
        with leased(self.settings, f"{STAGE} {day}", holder):
            # Looked for again under the lease: a run may have landed the day meanwhile, begun before the erasure was.
            self._mirror_day(day)
            held = [a for a in artifacts_of(self.root, STAGE) if a.json("counts.json")["day"] == str(day)]
            held = [artifact for artifact in held if traces.count(artifact, person)]
            # Landed ones first, so that a settled one can name the one that took the place of its own.
            held.sort(key=lambda artifact: "own" in artifact.manifest.get("inputs", {}))
            own = self._own_events(day, person)
            fresh = {}
            for artifact in held:
                sources = artifact.json("counts.json")["late"]["from"]
                late = {event: source for event, source in routed.items() if source in sources and event not in own}
                fresh[artifact.key] = removal.without(artifact, person, self.settings.shop.timezone, late, fresh)
                if self.shared:
                    self.shared.push(STAGE, fresh[artifact.key].path)
            for kind in ("landed", "published"):
                self._switch(Partitions.open(self.settings, kind), day, fresh, holder)
            self._refer(fresh)
            for artifact in held:
                self._remove(artifact)

    def _mirror_day(self, day: date) -> None:
        for kind in ("landed", "published"):
            records = Partitions.open(self.settings, kind)
            if record := records.read(day):
                records.artifact(record)

    def _own_events(self, day: date, person: Person) -> set[str]:
        landed = Partitions.open(self.settings, "landed")
        record = landed.read(day)
        return removal.own_events(landed.artifact(record), person) if record else set()

    def _switch(self, records: Partitions, day: date, fresh: Mapping[str, Artifact], holder: str) -> None:
        before = records.read(day)
        if before and before.ingest_key in fresh:
            old = Artifact(self.layout.artifact(STAGE, before.ingest_key)).json("counts.json")
            artifact = fresh[before.ingest_key]
            after = _renewed(before, artifact, old, artifact.json("counts.json"), holder)
            records.switch(day, Record(after), expected=before)

    def _refer(self, fresh: Mapping[str, Artifact]) -> None:
        """Lets the runs that refer to an old artifact refer to the one that took its place."""
        for path in sorted(self.layout.runs.glob("*/refs/*.json")):
            refs = json.loads(path.read_text())
            if not fresh.keys().isdisjoint(refs.values()):
                renewed = {part: fresh[key].key if key in fresh else key for part, key in refs.items()}
                write_beside(path, json.dumps(renewed, indent=1, sort_keys=True))

    def _drop(self, affected: Affected) -> None:
        for stage, keys in affected.derived.items():
            for key in keys:
                self._remove(Artifact(self.layout.artifact(stage, key)))
        if affected.derived.get("prepare"):
            for folder in (self.root / "checkpoints").glob("*/"):
                shutil.rmtree(folder, ignore_errors=True)

    def _remove(self, artifact: Artifact) -> None:
        if self.shared:
            self.shared.remove(stage_of(artifact), artifact.key)
        drop(artifact)

    def _clean_what_is_left(self, person: Person) -> int:
        """Drops what a killed step left beside its place, and the person's rows of tables; returns how many files.

        What is sealed stays as it is: an artifact changes as a whole, under another key.
        """
        cleaned, sealed = 0, (self.root / "store", self.root / "bundles")
        for found in self._trace(person).found:
            beside = next(
                (p for p in found.path.parents if p.name.startswith(".") and p.suffix in (".tmp", ".old")), None
            )
            if beside:
                shutil.rmtree(beside, ignore_errors=True)
            elif found.path.suffix == ".parquet" and not any(map(found.path.is_relative_to, sealed)):
                _drop_rows(found.path, found.words)
            else:
                continue
            cleaned += 1
        return cleaned

    def _trace(self, person: Person) -> Swept:
        pattern = any_of(person.names)
        swept = sweep(self.root, pattern, spare=lambda path: path.name.startswith(LEDGER) and path.parent == self.root)
        ledger = self.root / LEDGER
        words = words_in(ledger, pattern, without_tables=[ERASURES]) if ledger.exists() else set()
        return Swept(swept.files, swept.bytes, (*swept.found, *([Found(ledger, tuple(words))] if words else [])))

    def _prove(self, person: Person) -> Swept:
        """Raises: DataError: something still names the person."""
        swept = self._trace(person)
        if swept.found:
            places = ", ".join(str(found.path) for found in swept.found[:3])
            raise DataError(
                f"{len(swept.found)} files under {self.root} still name the person, first {places}; a run may have "
                "been at work meanwhile. Remove them, or let it end, and run the same command again."
            )
        return swept


def require_known_keys(settings: Settings) -> None:
    """Raises: DataError: a partition's people are called by a key that is not given, so nobody can be found there."""
    secrets = settings.secrets
    known = {key_id(key) for key in (secrets.require("pseudonym_key"), *previous_keys(secrets))}
    for artifact in artifacts_of(settings.store.root.resolve(), STAGE):
        found = traces.key_id_of(artifact)
        if found is not None and found not in known:
            raise DataError(
                f"{artifact.path}: its people are called by the key {found}, and only {', '.join(sorted(known))} are "
                "given; add that key to secrets.previous_pseudonym_keys, else the person cannot be found there."
            )


def _key_of(path: Path, stage_folder: Path) -> str:
    return path.relative_to(stage_folder).parts[0]


def _renewed(
    before: Record, artifact: Artifact, old: Mapping[str, Any], new: Mapping[str, Any], holder: str
) -> dict[str, Any]:
    """Returns a record that names the new artifact, its numbers those of the new counts."""
    fields = before.content | {"ingest_key": artifact.key, "digest": artifact.digest, "run_id": holder}
    if "quarantined" in fields:
        fields["quarantined"] = {name: new["rules"][name] for name in fields["quarantined"] if new["rules"][name]}
    if "routed_days" in fields:
        # A day that held rows stays named, with none, so that it is settled without them.
        fields["routed_days"] = {day: new["routed_days"].get(day, 0) for day in fields["routed_days"]}
    if "late_rows" in fields:
        fields["late_rows"] = new["late"]["rows"]
    if "validated_by" in fields:
        gone = (old["clean"] + old["late"]["rows"]) - (new["clean"] + new["late"]["rows"])
        own = old["clean"] - new["clean"]
        fields["rows"] -= own if fields["rows"] == old["clean"] else gone
    return fields


def _drop_rows(path: Path, names: Sequence[str]) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    texts = (column for column in table.columns if pa.types.is_string(column.type))
    gone = pa.array([False] * table.num_rows)
    for column in texts:
        gone = pc.or_(gone, pc.is_in(column, pa.array(names)))
    beside = path.with_name(f".{path.name}.tmp")
    pq.write_table(table.filter(pc.invert(gone)), beside)
    beside.replace(path)


def mark_versions(settings: Settings, root: Path, seq: int, affected: Affected) -> dict[str, str]:
    """Tags every registered version trained on what was removed; returns version → digest.

    A version whose training set is no longer in the store, and whose data end after the person was first seen, is held
    for trained on them.
    """
    if not affected.days and not affected.derived:
        return {}
    if not settings.register.tracking_uri and not (root / "mlflow.sqlite").exists():
        return {}
    from pipeline.store.tracking import Tracking

    tracking, keys = Tracking.connect(settings), affected.keys()
    first = min((each["day"] for each in affected.days.values()), default="9999")
    marked = {}
    for version, tags in sorted(tracking.versions().items(), key=lambda each: int(each[0])):
        made_with = json.loads(tags.get("keys", "{}"))
        prepared = Layout(root).artifact("prepare", made_with.get("prepare", "none"))
        lost = not prepared.exists() and tags.get("data_end", "") > first
        if keys.intersection(made_with.values()) or lost:
            tracking.tag_version(version, {"trained_on_erased": seq})
            marked[version] = tags.get("digest", "")
    return marked


def _counts(affected: Affected, filtered: int, swept: Swept, versions: Mapping[str, str]) -> dict[str, Any]:
    return {
        "rows": {name: affected.rows(name) for name in ("events", "routed", "quarantine")},
        "partitions": len(affected.days),
        "days": len({each["day"] for each in affected.days.values()}),
        "dropped": {stage: len(keys) for stage, keys in affected.derived.items()},
        "files_cleaned": filtered,
        "files_searched": swept.files,
        "versions": dict(versions),
    }


def _told(erasure: Erasure, person: Person, counts: Mapping[str, Any], root: Path) -> str:
    rows, dropped = counts["rows"], counts["dropped"]
    taken = (
        _some(rows["events"], "event"),
        _some(rows["routed"], "routed row"),
        _some(rows["quarantine"], "refused row"),
    )
    made = ", ".join(f"{number} {stage}" for stage, number in dropped.items()) or "nothing"
    partitions, days = _some(counts["partitions"], "artifact"), _some(counts["days"], "day")
    if "history_events" in counts:
        made += f"; {_some(counts['history_events'], 'event')} of their history in Redis"
    names, sessions = _some(len(person.names), "pseudonym"), _some(len(person.sessions), "session")
    return "\n".join(
        [
            f"Erasure {erasure.seq}: one person, {names}, {sessions}.",
            f"Taken out of {partitions} of {days} (a row may have lain in two): {', '.join(taken)}.",
            f"Removed because made from them: {made}; {_some(counts['files_cleaned'], 'further file')} cleaned.",
            f"Model versions marked `trained_on_erased`: {', '.join(counts['versions']) or 'none'}.",
            f"Searched {_some(counts['files_searched'], 'file')} under {root}: only the ledger of erasures names the "
            "person.",
        ]
    )


def _some(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
