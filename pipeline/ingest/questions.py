"""What a profile's days are asked: questions built with Ibis, compiled once for the engine, asked of every day."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from pipeline.core.schema import EVENT, QUARANTINE
from pipeline.core.settings import Ingest
from pipeline.ingest import catalogue
from pipeline.ingest.canonical import canonical, raw_table
from pipeline.ingest.profile import Profile
from pipeline.ingest.rules import judge, rules_of
from pipeline.store.engine import Engine

_ASKED = {n: "timestamp('UTC')" for n in ("begin", "end", "horizon", "oldest")}


class Questions:
    """The SQL a profile's days are asked, made once."""

    def __init__(self, profile: Profile, limits: Ingest, engine: Engine) -> None:
        compiled = engine.compiled
        self.rules = rules_of(profile)
        rows = canonical(raw_table(profile), profile).cross_join(ibis.table(_ASKED, name="asked"))
        rows = judge(catalogue.beside_events(rows, profile), self.rules, limits)
        self.judged = compiled(rows.drop("taken", "begin", "end", "horizon", "oldest"))
        judged = ibis.table(rows.schema(), name="judged")
        self.counts = compiled(judged.group_by("outcome", "rule", "event_type").agg(rows=judged.count()))
        self.events = {o: compiled(_events(judged, o)) for o in ("clean", "routed")}
        self.refused = compiled(_refused(judged, profile))
        items = catalogue.items_of_files if profile.catalogue.files else catalogue.items_of_events
        self.items = compiled(items(profile))


def _events(judged: ir.Table, outcome: str) -> ir.Table:
    return judged.filter(judged.outcome == outcome).select(list(EVENT)).order_by(["event_time", "event_id"])


def _refused(judged: ir.Table, profile: Profile) -> ir.Table:
    place = [name for name in QUARANTINE if name != "row"]
    raw = [f"raw_{name}" for name in profile.event_columns]
    refused = judged.filter(judged.outcome == "quarantined")
    return refused.select([*place, "torn", *raw]).order_by(["source_file", "row_number"])
