from __future__ import annotations

import re
from datetime import date

import pytest

from pipeline.core.errors import DataError, MissingInputError, UsageError
from pipeline.core.sections import Secrets
from pipeline.ingest.profiles.checking import check

GOOD = "2026-01-05T10:{:02}:00Z,{},v{},seen,lamp,,9.50,"


@pytest.fixture
def report(source, monkeypatch: pytest.MonkeyPatch):
    """Writes lines as the day's file and returns the report on it; no secret is set."""
    monkeypatch.delenv("PIPELINE_SECRETS__PSEUDONYM_KEY")
    source.settings = source.settings.model_copy(update={"secrets": Secrets()})

    def make(*lines: str, rows: int = 10_000, day: date | None = None) -> str:
        path = source.write(*lines)
        return check(str(path), str(source.profile), source.settings, rows, day)

    return make


def line_of(report: str, *first: str) -> list[str]:
    """Returns the cells of the one line that begins with these cells."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in report.splitlines()]
    (found,) = [cells for cells in lines if tuple(cells[: len(first)]) == first]
    return found


def test_every_column_says_where_it_comes_from_and_what_it_holds(report) -> None:
    text = report(GOOD.format(1, "anna", 1), GOOD.format(2, "bob", 2).replace("9.50", "12"), GOOD.format(3, "anna", 1))
    assert "the first 3 rows, judged as rows of 2026-01-05" in text
    assert line_of(text, "item_id") == ["item_id", "sku", "100.0%", "0", "1", "lamp"]
    assert line_of(text, "price") == ["price", "cost", "100.0%", "0", "2", "9.50 … 12.00", "9.50, 12.00"]
    assert line_of(text, "event_time")[5] == "2026-01-05 10:01:00 … 2026-01-05 10:03:00"
    assert line_of(text, "query") == ["query", "words", "0.0%", "3"]
    assert line_of(text, "clean") == ["clean", "3", "100.0%"]
    assert line_of(text, "seen") == ["seen", "3", "view"]


def test_people_are_counted_and_never_shown(report) -> None:
    text = report(GOOD.format(1, "Anna-77", 1), GOOD.format(2, "Anna-77", 1), GOOD.format(3, "Ännie-8", 2))
    assert line_of(text, "user_id") == ["user_id", "who", "100.0%", "0", "2", "hidden; most look like aaaa-99"]
    assert not re.search("anna|ännie|v1", text, re.IGNORECASE)


def test_somebodys_address_in_an_undeclared_column_is_hidden_and_told(report) -> None:
    text = report("2026-01-05T10:01:00Z,anna,v1,asked,,red lamp anna@example.org,,")
    assert line_of(text, "query")[-1] == "red lamp (address)"
    assert "words holds 1 values that look like somebody's address; list it under person_columns." in text
    assert "anna@" not in text


def test_what_each_rule_takes_is_told_with_the_first_places(report) -> None:
    good = GOOD.format(1, "anna", 1)
    bad = [GOOD.format(n, "anna", 1).replace("seen", "Seen") for n in (2, 3, 4, 5)]
    text = report(good, good, *bad, "2026-01-05T11:00:00Z,,,seen,lamp,,1.00,", "2026-01-05T11:00:00Z")
    assert line_of(text, "clean")[1:3] == ["1", "12.5%"]
    # The header takes 42 bytes and a row 46: the rows of bad begin at 134, 180, 226, …
    assert line_of(text, "quarantined", "unknown_type")[:5] == [
        "quarantined",
        "unknown_type",
        "4",
        "50.0%",
        "row 3 (byte 134), row 4 (byte 180), row 5 (byte 226)",
    ]
    assert line_of(text, "duplicate", "exact_duplicate")[2] == "1"
    assert line_of(text, "quarantined", "no_person")[2] == "1"
    assert line_of(text, "quarantined", "torn")[2] == "1"
    assert line_of(text, "Seen") == ["Seen", "4", "nothing: not in the profile"]
    assert "what says 'Seen' in 4 rows and the profile does not know it; did you mean seen?" in text


def test_only_the_first_rows_are_read(report) -> None:
    text = report(*[GOOD.format(n, "anna", n) for n in range(50)], rows=20)
    assert "the first 20 rows" in text
    assert line_of(text, "clean")[1] == "20"


@pytest.mark.parametrize(
    ("rows", "hint"),
    [
        (
            [f"2026-01-05T10:0{n}:00{'+02:00' if n < 3 else 'Z'},anna,v1,seen,lamp,,1.00," for n in range(4)],
            "75% of the times in when state +02:00 but the zone says UTC: the stated offset is believed.",
        ),
        (
            [f'2026-01-05T10:0{n}:00Z,anna,v1,seen,lamp,,"1.234,5{n}",' for n in range(3)],
            r"cost holds commas in 3 values, such as '1.234,50': looks like a decimal comma; "
            r"replace: {'\.': '', ',': '.'} makes them numbers.",
        ),
        (
            ["2026-01-05T10:00:00Z,anna,v1,seen,lamp,,€ 12.50,"],
            "cost holds a currency in 1 values, such as '€ 12.50'; take it off with replace.",
        ),
        (
            ["05.01.2026 10:00,anna,v1,seen,lamp,,1.00,"],
            "1 values of when are no times of the format iso, such as '05.01.2026 10:00'; format: \"%d.%m.%Y %H:%M\" "
            "would read '05.01.2026 10:00'.",
        ),
        (
            ["2026-01-05 10:00:00,anna,v1,seen,lamp,,1.00,"],
            "when states no zone and neither does the profile: its times are taken for UTC; say time.zone.",
        ),
        (
            ["2026-01-05T10:00:00Z,anna,v1,seen,NULL,,1.00,"],
            "sku holds 'NULL' 1 times; if that means nothing was there, list it under null_words.",
        ),
        (
            ["2026-01-05T10:00:00Z,anna,17.0,seen,lamp,,1.00,"],
            r"100% of visit are numbers that end in .0, as spreadsheets write them: replace: {'\.0$': ''} makes "
            "17850.0 and 17850 one person.",
        ),
        (
            [f"2026-01-05T10:00:00Z,anna,v{n},seen,lamp,,1.00," for n in range(100)],
            "visit is another on every row: it names rows, not sessions.",
        ),
        (
            ["2026-01-05T10:00:00Z,anna,v1,seen,lamp,,1.00,", "2026-01-06T10:00:00Z,anna,v1,seen,lamp,,1.00,"],
            "50% of the rows belong to another day than 2026-01-05: is time.zone right, is shop.timezone, or does a "
            "file cover more than a day (file_covers)?",
        ),
        (
            ["2026-01-05T10:00:00Z,anna,v1,seen,lamp,,1.00,"],
            "the profile maps asked, back, bought, shown, which what never says in this sample.",
        ),
    ],
)
def test_a_hint_says_what_looks_wrong(report, rows: list[str], hint: str) -> None:
    assert f"- {hint}" in report(*rows).splitlines()


ZONELESS = "when states no zone and neither does the profile"


@pytest.mark.parametrize(
    ("form", "text", "told"),
    [
        ("epoch_seconds", "1767607200", False),
        ("epoch_milliseconds", "1767607200250", False),
        ("%d-%m-%Y %H:%M", "05-01-2026 10:00", True),
        ("%d-%m-%Y %H:%M %z", "05-01-2026 10:00 +0100", False),
    ],
)
def test_only_times_on_a_wall_are_asked_for_their_zone(own_profile, report, form: str, text: str, told: bool) -> None:
    own_profile("  event_type:", f'  time: {{format: "{form}"}}\n  event_type:')
    assert (ZONELESS in report(f"{text},anna,v1,seen,lamp,,1.00,")) == told


def test_a_profile_without_sessions_is_told_so(source, own_profile, report) -> None:
    own_profile("    session_id: visit\n", "")
    assert "- no session_id: sessions are unknown" in report(GOOD.format(1, "anna", 1))


def test_a_file_of_all_days_is_judged_as_all_its_days_or_as_the_one_asked_for(own_profile, report) -> None:
    own_profile('files: "{day}.csv"', 'files: "2026-*.csv"\n  file_covers: all')
    rows = [GOOD.format(1, "anna", 1), GOOD.format(1, "anna", 1).replace("01-05", "01-07")]
    assert line_of(report(*rows), "clean")[1] == "2"
    assert "judged as rows of 2026-01-05..2026-01-07" in report(*rows)
    one = report(*rows, day=date(2026, 1, 7))
    assert "the first 1 rows, judged as rows of 2026-01-07" in one


def test_a_file_that_is_not_what_the_profile_says_is_refused(source, report) -> None:
    with pytest.raises(DataError, match="there is no column what, which the profile names"):
        path = source.write("1,2", name="2026-01-06.csv", header=HEADER_WITHOUT_WHAT)
        check(str(path), str(source.profile), source.settings, 10)
    with pytest.raises(MissingInputError, match=r"There is no file .*nowhere\.csv"):
        check(str(source.folder / "nowhere.csv"), str(source.profile), source.settings, 10)
    with pytest.raises(UsageError, match="is a directory; name one file of logs"):
        check(str(source.folder), str(source.profile), source.settings, 10)


HEADER_WITHOUT_WHAT = "when,who,visit,sku,words,cost,pieces"


def test_checking_leaves_nothing_behind(source, report) -> None:
    report(GOOD.format(1, "anna", 1))
    assert not source.settings.store.root.exists()


def test_the_zone_of_the_shop_and_that_of_the_log_may_part_days_differently(own_profile, report) -> None:
    own_profile("  event_type:", "  time: {zone: Europe/Berlin}\n  event_type:")
    # Half past midnight in Berlin is half past eleven of the day before in UTC.
    text = report("2026-01-05 00:30:00,anna,v1,seen,lamp,,1.00,", "2026-01-05 12:00:00,anna,v1,seen,lamp,,1.00,")
    assert (
        "- 1 rows belong to another day than 2026-01-05: shop.timezone, whose midnight parts days, is UTC, and "
        "time.zone is Europe/Berlin." in text.splitlines()
    )


def test_a_word_that_the_profile_excludes_is_told_as_excluded(own_profile, report) -> None:
    own_profile("  exclude:", "  exclude:\n    - {name: wish_list, column: what, matches: '^wished$'}")
    text = report(GOOD.format(1, "anna", 1).replace("seen", "wished"))
    assert line_of(text, "wished") == ["wished", "1", "excluded: wish_list"]
    assert "'wished'" not in text


def test_a_catalogue_file_is_told_from_a_file_of_events(source, report, own_profile) -> None:
    own_profile("calendar:", "catalogue: {files: 'goods-{day}.csv', columns: {item_id: sku}}\ncalendar:")
    goods = source.write_bytes(b"sku\nlamp\n", "goods-2026-01-05.csv")
    with pytest.raises(UsageError, match=r"goods-2026-01-05\.csv is a catalogue file .* give one like \{day\}\.csv"):
        check(str(goods), str(source.profile), source.settings, 10)
    assert "described in files of their own" in report(GOOD.format(1, "anna", 1))
