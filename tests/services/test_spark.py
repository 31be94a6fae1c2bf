"""DuckDB and a real Spark answer alike: the same moments and numbers from texts, the same bytes from the same logs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

from pipeline.core import settings as settings_module
from pipeline.core.days import Days
from pipeline.core.run import Run
from pipeline.core.sections import Simulate
from pipeline.core.settings import Settings
from pipeline.ingest import step
from pipeline.ingest.judging.canonical import catalogue_value, context_of, price_of
from pipeline.ingest.judging.times import moment, number_of
from pipeline.ingest.people.pseudonyms import pseudonymiser
from pipeline.ingest.profiles.profile import Column, Times
from pipeline.model.context import told
from pipeline.simulate.generate import simulate
from pipeline.store.engine import Engine, open_engine
from pipeline.store.erasures import Erasures

KEY = "7a" * 32
ENGINES = ("duckdb", "spark")
ON_SPARK = "{spark.sql.shuffle.partitions: '2'}"


def settings_of(engine: str, root: Path, *more: str) -> Settings:
    chosen = (f"engine.name={engine}", "engine.spark_master=local[2]", f"engine.spark_options={ON_SPARK}")
    return settings_module.load([f"store.root={root}", *chosen, *more])


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Engine]]:
    """Both, open; whatever opens Spark meanwhile gets a session of its own in the one that runs."""
    root = tmp_path_factory.mktemp("engines")
    with open_engine(settings_of("duckdb", root)) as duckdb, open_engine(settings_of("spark", root)) as spark:
        yield {"duckdb": duckdb, "spark": spark}


# The nearest float64 of decimal digits; what only one engine would take is no number.
NUMBERS = {
    "1": 1.0,
    "-1.5": -1.5,
    "+2.": 2.0,
    ".5": 0.5,
    "5e3": 5000.0,
    "1e-99": 1e-99,
    "0.1": 0.1,
    "9007199254740993": 9007199254740992.0,
    "123456789012345678901234567890.5": 1.2345678901234568e29,
} | dict.fromkeys(["", " 1", "nan", "inf", "1e400", "1_0", "1d", "0x1p3", "1e", "--1", "1,5", "\u0661"])


def utc(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)  # type: ignore[arg-type, misc]


# Format, zone, text, moment in UTC. London changes its clocks on 29 March and 25 October 2026 at one in the morning.
MOMENTS = [
    ("iso", "UTC", "2026-01-05T10:00:00Z", utc(2026, 1, 5, 10)),
    ("iso", "UTC", "2026-01-05 10:00:00 UTC", utc(2026, 1, 5, 10)),
    ("iso", "UTC", "2026-01-05 10:00", utc(2026, 1, 5, 10)),
    ("iso", "UTC", "2026-01-05", utc(2026, 1, 5)),
    ("iso", "UTC", "2026-01-05T10:00:00+01:00", utc(2026, 1, 5, 9)),
    ("iso", "UTC", "2026-01-05T10:00:00-0530", utc(2026, 1, 5, 15, 30)),
    ("iso", "UTC", "2026-01-05T10:00+02", utc(2026, 1, 5, 8)),
    ("iso", "UTC", "2026-01-05T10:00:00.5", utc(2026, 1, 5, 10, 0, 0, 500_000)),
    ("iso", "UTC", "2026-01-05T10:00:00.123456789Z", utc(2026, 1, 5, 10, 0, 0, 123_456)),
    ("iso", "UTC", "2026-02-30T10:00:00", None),
    ("iso", "UTC", "2026-01-05T24:00:00", None),
    ("iso", "UTC", "2026-01-05T10:00:60", None),
    ("iso", "UTC", "2026-1-5 10:00", None),
    ("iso", "UTC", "2026-01-05T10", None),
    ("iso", "UTC", "0000-01-05T00:00:00", None),
    ("iso", "Europe/London", "2026-03-29T00:59:59", utc(2026, 3, 29, 0, 59, 59)),
    # Half past one is left out: counted as if the clock had not been changed yet.
    ("iso", "Europe/London", "2026-03-29T01:30:00", utc(2026, 3, 29, 1, 30)),
    ("iso", "Europe/London", "2026-03-29T02:00:00", utc(2026, 3, 29, 1)),
    # Half past one comes twice: the first, in summer time, is meant.
    ("iso", "Europe/London", "2026-10-25T01:30:00", utc(2026, 10, 25, 0, 30)),
    ("iso", "Europe/London", "2026-10-25T02:00:00", utc(2026, 10, 25, 2)),
    ("iso", "Europe/London", "2026-10-25T01:30:00Z", utc(2026, 10, 25, 1, 30)),
    ("%d/%m/%Y %H:%M", "UTC", "5/1/2026 8:26", utc(2026, 1, 5, 8, 26)),
    ("%m/%d/%y %H:%M", "UTC", "12/1/10 8:26", utc(2010, 12, 1, 8, 26)),
    ("%m/%d/%y %H:%M", "UTC", "2/29/72 8:26", utc(1972, 2, 29, 8, 26)),
    ("%m/%d/%y %H:%M", "UTC", "13/1/10 8:26", None),
    ("%d/%b/%Y:%H:%M:%S %z", "UTC", "10/oct/2000:13:55:36 -0700", utc(2000, 10, 10, 20, 55, 36)),
    ("%d/%b/%Y:%H:%M:%S %z", "UTC", "10/oct/2000:13:55:36", None),
    ("%I:%M %p %Y-%m-%d", "UTC", "12:04 am 2020-01-02", utc(2020, 1, 2, 0, 4)),
    ("%Y%m%d%H%M%S.%f", "UTC", "20260105102030.5", utc(2026, 1, 5, 10, 20, 30, 500_000)),
    ("%Y%m%d", "UTC", "20260230", None),
    ("epoch_seconds", "UTC", "1767607200.5", utc(2026, 1, 5, 10, 0, 0, 500_000)),
    ("epoch_seconds", "UTC", "-5", None),
    ("epoch_milliseconds", "UTC", "1767607200123", utc(2026, 1, 5, 10, 0, 0, 123_000)),
]


def table_of(engine: Engine, texts: list[str]) -> ibis.Table:
    schema = pa.schema({"place": pa.int64(), "text": pa.string()})
    return engine.load("texts", [pa.record_batch([pa.array(range(len(texts))), texts], schema=schema)], schema)


@pytest.mark.parametrize("name", ENGINES)
def test_a_text_is_the_same_number_everywhere(engines: dict[str, Engine], name: str) -> None:
    texts = table_of(engines[name], list(NUMBERS))
    found = engines[name].answer(texts.select("place", number=number_of(texts.text)).order_by("place"))
    assert dict(zip(NUMBERS, found["number"].to_pylist(), strict=True)) == NUMBERS


@pytest.mark.parametrize("name", ENGINES)
def test_a_text_is_the_same_moment_everywhere(engines: dict[str, Engine], name: str) -> None:
    texts = table_of(engines[name], [text for _, _, text, _ in MOMENTS])
    read = []
    for form, zone in dict.fromkeys((form, zone) for form, zone, _, _ in MOMENTS):
        mine = texts.filter(texts.place.isin([n for n, row in enumerate(MOMENTS) if row[:2] == (form, zone)]))
        read.append(mine.select("place", moment=moment(mine.text, Times(format=form, zone=zone))))
    found = engines[name].answer(ibis.union(*read).order_by("place"))["moment"].to_pylist()
    assert list(zip([row[:3] for row in MOMENTS], found, strict=True)) == [(row[:3], row[3]) for row in MOMENTS]


PRICES = {
    "1.00001": 1.0,
    "1.00005": 1.0001,
    "19.99": 19.99,
    "-0": 0.0,
    "-1.5": -1.5,
    "1e15": 1e15,
    "99999999999.9999": 99999999999.9999,
    "": None,
}
CATEGORIES = {"a>b": "a/b", " a \t> b  c ": "a/b c", "a\u00a0> b": "a\u00a0/b", "a / b": "a/b", " \x0b": None}


@pytest.mark.parametrize("name", ENGINES)
def test_a_text_is_the_same_price_and_category_everywhere(engines: dict[str, Engine], name: str) -> None:
    prices = table_of(engines[name], list(PRICES))
    found = engines[name].answer(prices.select("place", price=price_of(prices.text)).order_by("place"))
    assert dict(zip(PRICES, found["price"].to_pylist(), strict=True)) == PRICES
    paths = table_of(engines[name], list(CATEGORIES)).rename(raw_path="text")
    path = catalogue_value(paths, "category", Column(column="path", separator=">"))
    found = engines[name].answer(paths.select("place", path=path).order_by("place"))
    assert dict(zip(CATEGORIES, found["path"].to_pylist(), strict=True)) == CATEGORIES


CONTEXTS = {
    " a  b ": "first=a b; last=a b",
    "x; y": "first=x, y; last=x, y",
    "Å\u00a0": "first=Å\u00a0; last=Å\u00a0",
    "Åx" * 49 + "Å \u00e9" * 2: "first=" + "Åx" * 49 + "Å; last=" + "Åx" * 49 + "Å",
    " \x0b": None,
    "": None,
}


@pytest.mark.parametrize("name", ENGINES)
def test_a_context_is_told_alike_everywhere(engines: dict[str, Engine], name: str) -> None:
    texts = table_of(engines[name], list(CONTEXTS)).rename(raw_said="text").mutate(raw_never=ibis.null("string"))
    columns = {"first": Column(column="said"), "none": Column(column="never"), "last": Column(column="said")}
    found = engines[name].answer(texts.select("place", context=context_of(texts, columns)).order_by("place"))
    assert dict(zip(CONTEXTS, found["context"].to_pylist(), strict=True)) == CONTEXTS
    assert [told({"first": text, "none": "", "last": text}) for text in CONTEXTS] == list(CONTEXTS.values())


def ingested(engine: str, root: Path, days: str, *more: str) -> dict[str, dict[str, str]]:
    """Ingests days; returns the digest of every file of every day."""
    chosen = settings_of(engine, root / engine, "ingest.quarantine_fail_share=1.0", *more)
    run = Run.open(root / engine, "run", chosen.shop.timezone, Days.parse(days))
    step.run(chosen, run)
    artifacts = run.artifacts("ingest")
    return {
        day: {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(artifact.path.iterdir())}
        for day, artifact in artifacts.items()
    }


@pytest.fixture(params=["generated", "rees46", "online_retail"])
def logs(request: pytest.FixtureRequest, tmp_path: Path, behaviour_logs: Path | None) -> tuple[str, ...]:
    """Days, and the settings that find their logs."""
    profile = request.param
    if profile == "generated":
        dirty = Simulate(events_per_day=1500, users=100, items=150, dirt_share=0.2, seed=5)
        simulate(dirty, Days.parse("2026-01-04..2026-01-05"), tmp_path / "logs")
        return "2026-01-04..2026-01-05", f"ingest.source={tmp_path / 'logs'}"
    if behaviour_logs is None:
        pytest.skip("BEHAVIOUR_LOGS_DIR names no folder of real logs")
    if profile == "rees46":
        return "2019-10-01", f"ingest.source={behaviour_logs / 'rees46_sample'}", "ingest.profile=rees46"
    return (
        "2010-12-01..2010-12-03",
        f"ingest.source={behaviour_logs / 'online_retail' / 'raw'}",
        f"ingest.profile={profile}",
    )


def test_both_engines_make_the_same_bytes_of_the_same_logs(
    engines: dict[str, Engine], logs: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", KEY)
    on_duckdb, on_spark = (ingested(engine, tmp_path, *logs) for engine in ENGINES)
    files = {"events.parquet", "routed.parquet", "quarantine.parquet", "catalogue.parquet", "counts.json"}
    assert all(files < set(day) for day in on_duckdb.values())
    assert on_spark == on_duckdb


def test_tables_are_replaced_read_and_asked_in_order(engines: dict[str, Engine], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    paths = [str(tmp_path / f"{name} é+%20.parquet") for name in "ab"]
    for n, path in enumerate(paths):
        pq.write_table(pa.table({"n": [n, n + 2]}), path)
    answers = []
    for engine in engines.values():
        read = engine.read(paths, "file")
        engine.keep("kept", read.filter(read.n > 0))
        kept = engine.keep("kept", engine.compiled(engine.table("kept").mutate(twice=lambda t: t.n * 2)))
        engine.show("shown", kept.filter(kept.n > 1))
        shown = engine.table("shown").order_by(ibis.desc("n"))
        rows = [row for batch in engine.ask(engine.compiled(shown)) for row in batch.to_pylist()]
        assert rows == engine.answer(shown).to_pylist()
        answers.append(rows)
    # Two files of two rows; the greatest first, each with the path it was asked for by.
    assert answers == [[{"n": 3, "file": paths[1], "twice": 6}, {"n": 2, "file": paths[0], "twice": 4}]] * 2


def test_what_a_reader_raises_is_raised(engines: dict[str, Engine]) -> None:
    schema = pa.schema({"n": pa.int64()})

    def broken() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([[1]], schema=schema)
        raise ValueError("the file is torn")

    for engine in engines.values():
        with pytest.raises(ValueError, match="the file is torn"):
            engine.load("broken", broken(), schema)


SHOP = """
events:
  files: "{day}.csv"
  columns: {user_id: who, session_id: visit, item_id: item, event_time: when}
  event_type: {column: what, values: {seen: view}}
catalogue:
  files: "items-{day}.csv"
  columns: {item_id: item, title: title}
calendar:
  opened: 2026-01-04
"""
# Of seven rows two stay. Anna is forgotten, with what nobody signed in her sessions: her known one, and the one she is
# seen in here. A row of a day before the shop opened, and one of an item no catalogue file knows, are refused.
ROWS = """when,who,visit,what,item
2026-01-05T10:00:00Z,bert,v1,seen,lamp
2026-01-05T10:01:00Z,anna,v2,seen,lamp
2026-01-05T10:02:00Z,,v2,seen,mug
2026-01-05T10:03:00Z,,v9,seen,mug
2026-01-05T10:04:00Z,,v3,seen,mug
2026-01-03T10:00:00Z,bert,v1,seen,lamp
2026-01-05T10:05:00Z,bert,v1,seen,vase
"""


def test_both_engines_agree_on_the_forgotten_on_rows_before_the_shop_and_on_unknown_items(
    engines: dict[str, Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", KEY)
    for name, text in (("2026-01-05.csv", ROWS), ("items-2026-01-05.csv", "item,title\nlamp,Lamp\nmug,Mug\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "profile.yaml").write_text(SHOP)
    chosen = (f"ingest.source={tmp_path}", f"ingest.profile={tmp_path / 'profile.yaml'}")
    for engine in ENGINES:
        settings = settings_of(engine, tmp_path / engine)
        named = pseudonymiser(KEY)
        (anna, session), erasures = named(pa.array(["anna", "v9"])).to_pylist(), Erasures.open(settings)
        erasures.begin([anna], [session], by="ada")
    on_duckdb, on_spark = (
        ingested(e, tmp_path, "2026-01-05", *chosen, "ingest.unknown_items=quarantine") for e in ENGINES
    )
    assert on_spark == on_duckdb
    run = Run.open(tmp_path / "spark", "run", "UTC")
    counts = run.artifact("ingest", "2026-01-05").json("counts.json")
    taken = {rule: rows for rule, rows in counts["rules"].items() if rows}
    assert (counts["clean"], taken) == (2, {"erased": 3, "before_shop": 1, "unknown_item": 1})
