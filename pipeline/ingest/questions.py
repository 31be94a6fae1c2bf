"""What a profile's days are asked: questions built with Ibis, compiled once for the engine, asked of every day."""

from __future__ import annotations

from collections.abc import Iterator

import ibis
import ibis.expr.types as ir

from pipeline.core.errors import UsageError
from pipeline.core.schema import EVENT, QUARANTINE
from pipeline.core.sections import Ingest
from pipeline.ingest import batches, catalogue
from pipeline.ingest.canonical import canonical, event_id, raw_table
from pipeline.ingest.profile import Profile
from pipeline.ingest.rules import CANDIDATES, PLACE, SAME, Given, Rule, rules_of
from pipeline.store.engine import Engine
from pipeline.store.words import hash_of

ASKED = {name: "timestamp('UTC')" for name in ("begin", "end", "horizon", "oldest")}


class Questions:
    """The SQL a profile's days are asked, made once.

    A day's rows are typed in one pass, which also finds the first rule that takes a row by itself. Rules that compare
    rows then say, one after the other, which of the rows still free they take (`taken_<rule>`). `judged` shows each
    typed row with its rule and outcome.

    Raises: UsageError: a rule asks for what the profile does not have.
    """

    def __init__(self, profile: Profile, limits: Ingest, engine: Engine) -> None:
        if limits.unknown_items == "quarantine" and not profile.catalogue.files:
            raise UsageError(
                f"ingest.unknown_items is quarantine, but the profile {limits.profile} names no catalogue files that "
                "would say which items are known; set it to keep, or name them."
            )
        self.rules = rules_of(profile)
        self._profile, self._given, self._compiled = profile, Given(limits, profile), engine.compiled
        rows = self._typed()
        self._kinds = rows.schema()
        self.kept = [("typed", engine.compiled(rows)), *self._taken()]
        shown = self._judged()
        self._shown = engine.compiled(shown)
        judged = ibis.table(shown.schema(), name="judged")
        self._beside_raw = engine.compiled(_beside_raw(judged, profile))
        self.counts = engine.compiled(judged.group_by("outcome", "rule", "event_type").agg(rows=judged.count()))
        self.events = {outcome: engine.compiled(_events(judged, outcome)) for outcome in ("clean", "routed")}
        self.refused = engine.compiled(_refused(judged, profile))
        items = catalogue.items_of_files if profile.catalogue.files else catalogue.items_of_events
        self.items = engine.compiled(items(profile))

    def judge(self, engine: Engine) -> ir.Table:
        """Judges the rows of `raw` against `asked`; returns `judged`: typed rows with `rule` and `outcome`."""
        for name, question in self.kept:
            engine.keep(name, question)
        return engine.show("judged", self._shown)

    def judge_beside_raw(self, engine: Engine) -> ir.Table:
        """Returns the same with every raw column beside."""
        self.judge(engine)
        return engine.show("judged_raw", self._beside_raw)

    def _typed(self) -> ir.Table:
        rows = canonical(raw_table(self._profile), self._profile).cross_join(ibis.table(ASKED, name="asked"))
        rows = catalogue.beside_events(rows, self._profile)
        alone = [(number, rule.when) for number, rule in enumerate(self.rules) if rule.when]
        branches = [(when(rows, self._given).fill_null(False), ibis.literal(number)) for number, when in alone]
        reason = ibis.cases(*branches, else_=len(self.rules)).cast("int16")
        trail = hash_of(ibis.coalesce(rows.session_id, rows.user_id))
        rows = rows.mutate(reason=reason, echo=hash_of(*(rows[name] for name in SAME)), trail=trail)
        described = [name for name in rows.columns if name.startswith("item_") and name != "item_id"]
        return rows.select(*PLACE, *SAME, "event_time", *described, "echo", "trail", "reason")

    def _taken(self) -> Iterator[tuple[str, str]]:
        """Yields what finds the rows of each rule that compares rows, then `taken`, the rows of all of them."""
        comparing = [(n, rule) for n, rule in enumerate(self.rules) if rule.among and rule.asked_for(self._given)]
        for name in dict.fromkeys(rule.of for _, rule in comparing if rule.of in CANDIDATES):
            whole = self._table("typed").filter(lambda rows: rows.reason > comparing[0][0])
            yield name, self._compiled(CANDIDATES[name](whole, self._given))
        for place, (number, rule) in enumerate(comparing):
            free = self._table(rule.of).filter(lambda rows, n=number: rows.reason > n)
            for _, earlier in comparing[:place]:
                free = free.anti_join(_places(earlier), list(PLACE))
            yield f"taken_{rule.name}", self._compiled(rule.among(free, self._given).select(*PLACE))
        parts = [_places(rule).mutate(code=ibis.literal(number, "int16")) for number, rule in comparing]
        yield "taken", self._compiled(ibis.union(*parts))

    def _table(self, name: str) -> ir.Table:
        return ibis.table(self._kinds, name=name)

    def _judged(self) -> ir.Table:
        typed, taken = self._table("typed"), ibis.table(PLACE | {"code": "int16"}, name="taken")
        rows = typed.left_join(taken, list(PLACE))
        rows = rows.mutate(code=ibis.coalesce(rows.code, rows.reason))
        names = [(rows.code == number, ibis.literal(rule.name)) for number, rule in enumerate(self.rules)]
        outcomes = [(rows.code == number, ibis.literal(rule.outcome)) for number, rule in enumerate(self.rules)]
        told = {"rule": ibis.cases(*names, else_=ibis.null("string")), "outcome": ibis.cases(*outcomes, else_="clean")}
        return rows.select(*(name for name in typed.columns if name not in ("echo", "trail", "reason")), **told)


def _places(rule: Rule) -> ir.Table:
    return ibis.table(PLACE, name=f"taken_{rule.name}")


def _events(judged: ir.Table, outcome: str) -> ir.Table:
    events = judged.filter(judged.outcome == outcome)
    events = events.select(*SAME, "event_time", event_id=event_id(events))
    return events.select(list(EVENT)).order_by(["event_time", "event_id"])


def _refused(judged: ir.Table, profile: Profile) -> ir.Table:
    refused = judged.filter(judged.outcome == "quarantined").select(*PLACE, "rule")
    rows = raw_table(profile).join(refused, list(PLACE))
    raw = {f"raw_{name}": rows[place] for name, place in batches.raw_columns(profile).items()}
    kept = rows.select(*(name for name in QUARANTINE if name != "row"), "torn", **raw)
    return kept.order_by(["source_file", "row_number"])


def _beside_raw(judged: ir.Table, profile: Profile) -> ir.Table:
    raw = raw_table(profile)
    texts = {f"raw_{name}": raw[place] for name, place in batches.raw_columns(profile).items()}
    beside = raw.select(*PLACE, "byte_offset", "torn", *batches.replaced(profile), **texts)
    return judged.join(beside, list(PLACE))
