"""One day's files become one artifact: every row judged, accounted for and written, whatever day it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core.artifacts import digest_of
from pipeline.core.pseudonyms import fingerprint, previous_keys
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.ingest import writing
from pipeline.ingest.accounts import report_of, require_equation
from pipeline.ingest.asked import Asked, Found, find
from pipeline.ingest.elsewhere import Elsewhere
from pipeline.ingest.judging.budget import Budget
from pipeline.ingest.judging.questions import Questions
from pipeline.ingest.judging.rules import OUTCOMES, rules_of
from pipeline.ingest.people.pseudonyms import Pseudonymise, pseudonymiser
from pipeline.ingest.profiles.profile import load_profile
from pipeline.ingest.reading import batches
from pipeline.ingest.reading.spanning import Spanning
from pipeline.store.engine import Engine
from pipeline.store.erasures import Erasures


class Ingestion:
    """What is the same for all days of a run."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings, self.limits, self.engine = settings, settings.ingest, engine
        self.profile = load_profile(self.limits.profile)
        self.key = settings.secrets.require("pseudonym_key")
        self.budget = Budget(settings, self.profile, rules_of(self.profile))
        self.spanning = Spanning(engine, self.profile, self._pseudonymiser(), settings.shop.timezone)

    @cached_property
    def erased(self) -> tuple[str, pa.Table]:
        """Returns whose rows are left out, and a digest of them and of the keys they may be called by."""
        erasures, older = Erasures.open(self.settings), previous_keys(self.settings.secrets)
        digest = erasures.digest()
        return digest and digest_of([digest, *map(fingerprint, older)]), erasures.table()

    def _pseudonymiser(self) -> Pseudonymise:
        names = {name for column in self.erased[1].columns for name in column.to_pylist()}
        return pseudonymiser(self.key, previous_keys(self.settings.secrets), names - {None})

    @cached_property
    def questions(self) -> Questions:
        _, erased = self.erased
        if erased.num_rows:
            self.engine.load("erased", erased.to_batches(), erased.schema)
        return Questions(self.profile, self.limits, self.engine, somebody_erased=erased.num_rows > 0)

    def asked(self, day: date, as_of: datetime) -> Asked:
        zone = self.settings.shop.timezone
        return Asked.of(day, zone, self.profile.events.time.zone, as_of, self.limits.max_late_days)

    def find(self, asked: Asked) -> Found:
        """Raises: MissingInputError: the day has no file and the calendar does not call it closed."""
        return find(self.settings, self.profile, asked)

    def inputs(self, asked: Asked, found: Found) -> dict[str, str]:
        """Returns what decides the day's artifact, the settings aside."""
        inputs = found.digests() | {
            "day": str(asked.day),
            "horizon": asked.horizon.isoformat(),
            "shop zone": self.settings.shop.timezone,
            "profile": self.profile.digest,
            "pseudonym key": fingerprint(self.key),
        }
        erased, _ = self.erased
        return inputs | {"erasures": erased} if erased else inputs

    def fill(self, folder: Path, asked: Asked, found: Found) -> Report:
        """Writes one day's files; a day over its budget gets them too, and `over_budget` in its counts says why."""
        self._judge(asked, found)
        names = [file.name for file in batches.in_order(found.events)]
        counts = self._counts(asked, closed=not found.events)
        counts["routed_days"] = self._write(folder, asked, names, counts)
        counts["late"] = {"rows": 0, "duplicate": 0, "from": {}}
        counts["catalogue_rows"] = self.spanning.item_rows
        counts |= self.budget.judge(counts, partial(self._first_taken_by, names))
        (folder / "counts.json").write_text(json.dumps(counts, indent=1))
        return report_of(counts)

    def _judge(self, asked: Asked, found: Found) -> None:
        self.engine.load("asked", asked.table().to_batches(), asked.table().schema)
        questions = self.questions
        self.spanning.load_items(found.items, found.tree)
        self.spanning.load_events(found.events, asked)
        questions.judge(self.engine)

    def _counts(self, asked: Asked, closed: bool) -> dict[str, Any]:
        """Accounts for every row: each in exactly one outcome, and none lost between the file and here."""
        outcomes, rules, types = dict.fromkeys(OUTCOMES, 0), {r.name: 0 for r in self.questions.rules}, {}
        for row in (row for batch in self.engine.ask(self.questions.counts) for row in batch.to_pylist()):
            outcomes[row["outcome"]] += row["rows"]
            if row["rule"]:
                rules[row["rule"]] += row["rows"]
            else:
                types[row["event_type"]] = types.get(row["event_type"], 0) + row["rows"]
        rows = self.spanning.rows
        require_equation(asked.day, rows, outcomes, rules)
        types = dict(sorted(types.items()))
        return {"day": str(asked.day), "closed": closed, "rows": rows, **outcomes, "rules": rules, "event_types": types}

    def _first_taken_by(self, files: Sequence[str], rule: str) -> str:
        """Returns file and row of the first row of the day a rule took."""
        judged = self.engine.table("judged")
        taken = judged.filter(judged.rule == rule).order_by("place").limit(1)
        first = self.engine.answer(taken.select("file_number", "row_number")).to_pylist()[0]
        return f"{files[first['file_number']]} row {first['row_number']}"

    def _write(self, folder: Path, asked: Asked, files: Sequence[str], counts: Mapping[str, Any]) -> dict[str, int]:
        """Returns how many rows were routed to which day; an outcome without rows is not asked for."""
        ask, questions = self.engine.ask, self.questions
        clean = questions.events(self.engine, "clean", counts["clean"])
        elsewhere = Elsewhere(asked, self.settings.shop.timezone)
        writing.write_rows(folder / "events.parquet", clean, writing.EVENT_SCHEMA)
        routed = elsewhere.counted(questions.events(self.engine, "routed", counts["routed"]))
        writing.write_rows(folder / "routed.parquet", routed, writing.EVENT_SCHEMA)
        refused = ask(questions.refused) if counts["quarantined"] else ()
        refused = writing.quarantined(refused, self.profile.event_columns, files)
        writing.write_rows(folder / "quarantine.parquet", refused, writing.QUARANTINE_SCHEMA)
        writing.write_rows(folder / "catalogue.parquet", ask(questions.items), writing.CATALOGUE_SCHEMA)
        return elsewhere.days()
