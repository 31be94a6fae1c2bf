"""What a profile's days are asked: questions built with Ibis, compiled once for the engine, asked of every day."""

from __future__ import annotations

from collections.abc import Iterator

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from pipeline.core.errors import UsageError
from pipeline.core.schema import EVENT
from pipeline.core.sections import Ingest
from pipeline.ingest.judging import catalogue
from pipeline.ingest.judging.canonical import canonical, event_id, raw_table
from pipeline.ingest.judging.rules import CANDIDATES, OUTCOMES, PLACE, SAME, Given, Rule, rules_of
from pipeline.ingest.judging.times import begun
from pipeline.ingest.profiles.profile import Profile
from pipeline.ingest.reading import batches
from pipeline.store.engine import Engine
from pipeline.store.words import hash_of, moment_of

PART_ROWS = 1 << 19
MINUTE = 60_000_000
ASKED = {name: "timestamp('UTC')" for name in ("begin", "end", "horizon", "oldest")}


class Questions:
    """The SQL a profile's days are asked, made once.

    A day's rows are typed in one pass, as they are read, which also finds the first rule that takes a row by itself:
    `typed` holds all that is known of a row, and nothing reads it again. Rules that compare
    rows then say, one after the other, which of the rows still free they take (`taken_<rule>`). `judged` shows each
    typed row with its rule and outcome.

    Raises: UsageError: a rule asks for what the profile does not have.
    """

    def __init__(self, profile: Profile, limits: Ingest, engine: Engine, somebody_erased: bool) -> None:
        if limits.unknown_items == "quarantine" and not profile.catalogue.files:
            raise UsageError(
                f"ingest.unknown_items is quarantine, but the profile {limits.profile} names no catalogue files that "
                "would say which items are known; set it to keep, or name them."
            )
        self.rules = rules_of(profile)
        self._profile, self._given, self._compiled = profile, Given(limits, profile, somebody_erased), engine.compiled
        rows = self._typed()
        self._kinds = rows.schema()
        self.kept = [("typed", engine.compiled(rows)), *self._taken()]
        shown = self._judged()
        self._shown = engine.compiled(shown)
        judged = ibis.table(shown.schema(), name="judged")
        self.counts = engine.compiled(judged.group_by("outcome", "rule", "event_type").agg(rows=judged.count()))
        self._judged_rows = judged
        ended = {outcome: judged.filter(self._ended_as(judged, outcome)) for outcome in OUTCOMES}
        self._whole = {outcome: engine.compiled(_events(ended[outcome])) for outcome in ("clean", "routed")}
        self._times = {outcome: engine.compiled(_times(ended[outcome])) for outcome in ("clean", "routed")}
        self._events = engine.compiled(_events(ibis.table(shown.schema(), name="part")))
        self.refused = engine.compiled(_refused(ended["quarantined"], profile))
        items = catalogue.items_of_files if profile.catalogue.files else catalogue.items_of_events
        self.items = engine.compiled(items(profile))

    def judge(self, engine: Engine) -> ir.Table:
        """Judges the rows of `raw` against `asked`; returns `judged`: typed rows with `rule` and `outcome`.

        Every raw column lies beside, as `raw_<name>`.
        """
        for name, question in self.kept:
            engine.keep(name, question)
        return engine.show("judged", self._shown)

    def events(self, engine: Engine, outcome: str, rows: int) -> Iterator[pa.RecordBatch]:
        """Yields the rows of an outcome as `schema.EVENT`, in order; `rows` says how many there are.

        They are put in order part by part, so that no sort is larger than memory, however many rows there are, and
        rows that come about in the order of time are read once.
        """
        if rows <= PART_ROWS:
            yield from engine.ask(self._whole[outcome]) if rows else ()
            return
        judged = self._judged_rows
        for begin, end in _parts(engine.answer(self._times[outcome])):
            moments = (moment_of(ibis.literal(micros, "int64")) for micros in (begin, end))
            inside = judged.event_time >= next(moments), judged.event_time < next(moments)
            engine.show("part", self._compiled(judged.filter(self._ended_as(judged, outcome), *inside)))
            yield from engine.ask(self._events)

    def _ended_as(self, judged: ir.Table, outcome: str) -> ir.BooleanValue:
        """Says it by numbers: a text would be made for every row first."""
        codes = [number for number, rule in enumerate(self.rules) if rule.outcome == outcome]
        return judged.code.isin(codes or [len(self.rules)])

    def _typed(self) -> ir.Table:
        rows = canonical(raw_table(self._profile), self._profile).cross_join(ibis.table(ASKED, name="asked"))
        rows = catalogue.beside_events(rows, self._profile)
        alone = [(number, rule.when) for number, rule in enumerate(self.rules) if rule.when]
        branches = [(when(rows, self._given).fill_null(False), ibis.literal(number)) for number, when in alone]
        reason = ibis.cases(*branches, else_=len(self.rules)).cast("int16")
        trail = hash_of(ibis.coalesce(rows.session_id, rows.user_id))
        rows = rows.mutate(reason=reason, echo=hash_of(*(rows[name] for name in SAME)), trail=trail)
        described = [name for name in rows.columns if name.startswith("item_") and name != "item_id"]
        texts = dict.fromkeys([*batches.raw_columns(self._profile).values(), *batches.replaced(self._profile)])
        whence = (*PLACE, "file_number", "byte_offset", "torn")
        texts = [name for name in texts if name not in SAME]
        return rows.select(*whence, *SAME, "event_time", "context", *described, *texts, "echo", "trail", "reason")

    def _taken(self) -> Iterator[tuple[str, str]]:
        """Yields what finds the rows of each rule that compares rows, then `taken`, the rows of all of them."""
        comparing = [(n, rule) for n, rule in enumerate(self.rules) if rule.among and rule.asked_for(self._given)]
        for name in dict.fromkeys(rule.of for _, rule in comparing if rule.of in CANDIDATES):
            whole = self._table("typed").filter(lambda rows: rows.reason > comparing[0][0])
            hashes = CANDIDATES[name](whole, self._given)
            # In two questions: asked in one, an engine lays all columns of all rows aside to read them twice.
            yield f"hashes_{name}", self._compiled(hashes)
            there = ibis.table(hashes.schema(), name=f"hashes_{name}")
            yield name, self._compiled(whole.semi_join(there, there.columns[0]))
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
        told = {
            "code": rows.code,
            "rule": ibis.cases(*names, else_=ibis.null("string")),
            "outcome": ibis.cases(*outcomes, else_="clean"),
        }
        told["row_number"] = batches.row_number_of(rows.file_number, rows.place)
        people = {f"raw_{name}": rows[at] for name, at in batches.raw_columns(self._profile).items() if at in SAME}
        shown = (name for name in typed.columns if name not in ("echo", "trail", "reason"))
        return rows.select(*shown, **people, **told)


def _places(rule: Rule) -> ir.Table:
    return ibis.table(PLACE, name=f"taken_{rule.name}")


def _times(rows: ir.Table) -> ir.Table:
    minutes = rows.select(minute=begun(rows.event_time, MINUTE))
    return minutes.group_by("minute").agg(rows=minutes.count()).order_by("minute")


def _parts(times: pa.Table) -> Iterator[tuple[int, int]]:
    """Yields from when to when there are about `PART_ROWS` rows, given the rows of each minute."""
    begin, rows = None, 0
    for minute, count in zip(*(column.to_pylist() for column in times.columns), strict=True):
        if rows and rows + count > PART_ROWS:
            yield begin, minute
            begin, rows = None, 0
        begin, rows, last = minute if begin is None else begin, rows + count, minute
    if rows:
        yield begin, last + MINUTE


def _events(part: ir.Table) -> ir.Table:
    events = part.select(*SAME, "event_time", "context", event_id=event_id(part))
    # What one event was told in twice may differ in its context, where the day it belongs to is to choose.
    order = ["event_time", "event_id", ibis.asc(events.context, nulls_first=True)]
    return events.select(list(EVENT)).order_by(order)


def _refused(refused: ir.Table, profile: Profile) -> ir.Table:
    raw = [f"raw_{name}" for name in batches.raw_columns(profile)]
    return refused.order_by("place").select("rule", "file_number", "byte_offset", "row_number", "torn", *raw)
