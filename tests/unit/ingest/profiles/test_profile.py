from __future__ import annotations

from datetime import date

import pytest

from pipeline.core.errors import UsageError
from pipeline.ingest.profiles.profile import SHIPPED, load_profile


def test_an_unknown_profile_is_named_with_the_nearest_one() -> None:
    with pytest.raises(
        UsageError, match=r"The source profile online_retial is not a profile; did you mean online_retail\?"
    ):
        load_profile("online_retial")
    with pytest.raises(UsageError, match=r"nowhere/own.yaml: there is no such file"):
        load_profile("nowhere/own.yaml")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "item_id: sku",
            "itemid: sku",
            r"there is no field events\.columns\.itemid; did you mean item_id\?|item_id is missing",
        ),
        ("exclude:", "exlude:", r"there is no field events\.exlude; did you mean exclude\?"),
        ("seen: view", "seen: veiw", r"'veiw' is no event type; did you mean view"),
        ("[sunday]", "[sundae]", r"'sundae' is no weekday; did you mean sunday"),
        ("'^POST$'", "'^(POST$'", r"'\^\(POST\$' is not a regular expression"),
        (
            "item_id: sku",
            "item_id: {column: sku, replace: {',': '\\.'}}",
            r"events\.columns\.item_id\.replace: '\\\\\.' cannot stand in for ',' .* a backslash means a group",
        ),
        ("item_id: sku", "item_id: {column: sku, replace: {',': '\\1'}}", r"'\\\\1' cannot stand in for ','"),
        ("  event_type:", '  delimiter: "¦"\n  event_type:', r"events\.delimiter: '¦' is no delimiter; one ASCII"),
        ("  event_type:", "  delimiter: '\"'\n  event_type:", r"is no delimiter; one ASCII character that is neither"),
        ("  event_type:", "  delimiter: ';;'\n  event_type:", r"';;' is no delimiter; one ASCII character"),
        ("{day}.csv", "x{day:%Y}.csv", r"'x\{day:%Y\}\.csv' names a file neither for one day, one month nor all days"),
        ("{day}.csv", "q{day:%m}.csv", r"put \* in place of its date and say file_covers: all"),
        ("{day}.csv", "{day:%d}.csv", r"names a file neither for one day"),
        ("{day}.csv", "{day:%G-%V}.csv", r"names a file neither for one day"),
        ("{day}.csv", "{date}.csv", r"events\.files: '\{date\}\.csv' may hold \{day\}"),
        ("closed_weekdays: [sunday]", "closed_days: [2026-02-30]", r"is not YAML: day is out of range for month"),
        (
            "  event_type:",
            "  time: {zone: Europe/Londom}\n  event_type:",
            r"'Europe/Londom' is no time zone; did you mean Europe/London",
        ),
        ("  event_type:", "  context: {Land: land}\n  event_type:", r"events\.context\.Land: .* should match pattern"),
        (
            "  event_type:",
            "  context: {a: land, b: land, c: land, d: land, e: land}\n  event_type:",
            r"events\.context: 5 things are named; at most 4 are read, so leave out what matters least",
        ),
        (
            "  event_type:",
            "  context: {a: who}\n  event_type:",
            r"events\.context\.a takes the column who",
        ),
        (
            "  event_type:",
            "  context: {a: {colum: land}}\n  event_type:",
            r"there is no field events\.context\.a\.colum; did you mean column\?",
        ),
        ("closed_weekdays: [sunday]", "closed_days: [soon]", r"calendar\.closed_days\.0: 'soon' is not a day"),
        ("events:", "events: [", r"is not YAML"),
        (
            "  event_type:",
            "  file_covers: al\n  event_type:",
            r"events\.file_covers: 'al' is unknown; did you mean all\?",
        ),
        (
            'files: "{day}.csv"',
            'files: "all.csv"',
            r"'all\.csv' names a file for all days, but file_covers says day; put \{day\} .* or say file_covers: all",
        ),
        (
            'files: "{day}.csv"',
            'files: "{day}.csv"\n  file_covers: month',
            r"names a file for one day, but file_covers says month",
        ),
        ("  event_type:", "  time: {format: isso}\n  event_type:", r"'isso' is no time format .*; did you mean iso"),
        ("  event_type:", "  time: {format: '%d.%m.%Y %H:%Q'}\n  event_type:", r"holds %Q; known are %Y "),
        (
            "  event_type:",
            "  time: {stated_offset: must}\n  event_type:",
            r"'must' is unknown; did you mean must_match\?",
        ),
        ("session_id: visit", "session_id: yes", r"True is no name of a column; put it in quotes"),
        ("seen: view", "seen: view, no: cart", r"values\.\w+: False is no text; put it in quotes"),
        ("seen: view", "seen: view, seen: cart", r"'seen' stands twice in one place, again in line \d+"),
        ("'^POST$'", "'^(?!POST)'", r"is not a regular expression"),
        ("calendar:", "calendar:\n  opened: soon", r"calendar\.opened: 'soon' is not a day"),
        (
            "  exclude:",
            "  test_accounts: [{colum: who, matches: x}]\n  exclude:",
            r"no field events\.test_accounts\.0\.colum; did you mean column",
        ),
        ("calendar:", "catalogue: {format: properties}\ncalendar:", r"format: properties, .* need files"),
        (
            "calendar:",
            "catalogue: {files: 'x.csv', file_covers: all, format: properties, columns: {item_id: a}}\ncalendar:",
            r"format: properties needs property_column, value_column and columns\.valid_from",
        ),
        (
            "calendar:",
            "catalogue: {files: '{day}.csv', format: properties, property_column: p, value_column: v, "
            "columns: {item_id: a, valid_from: t}}\ncalendar:",
            r"format: properties with file_covers: day would forget at the start of every day what was said before",
        ),
        (
            "calendar:",
            "catalogue: {files: 'x.csv', columns: {item_id: a}}\ncalendar:",
            r"'x\.csv' names a file for all days",
        ),
        (
            "calendar:",
            "catalogue: {columns: {brand: who}}\ncalendar:",
            r"catalogue\.columns\.brand takes the column who, which names people",
        ),
        (
            "query: words",
            "query: SKU",
            r"events reads the columns sku and SKU, which an engine does not tell apart; rename one of them",
        ),
        (
            "calendar:",
            "catalogue: {files: 'x.csv', file_covers: all, columns: {item_id: id, brand: Id}}\ncalendar:",
            r"catalogue reads the columns id and Id, which an engine does not tell apart",
        ),
    ],
)
def test_a_mistake_in_a_profile_is_one_sentence(source, own_profile, old: str, new: str, sentence: str) -> None:
    own_profile(old, new)
    with pytest.raises(UsageError, match=sentence) as refusal:
        load_profile(str(source.profile))
    assert "\n" not in str(refusal.value)


def test_a_profile_without_anybody_is_refused(source, own_profile) -> None:
    own_profile("    session_id: visit\n", "")
    own_profile("    user_id: {column: who, replace: {'\\.0$': \"\"}}\n", "")
    with pytest.raises(UsageError, match="needs user_id, session_id or both"):
        load_profile(str(source.profile))


def test_a_column_may_be_called_by_a_number(source, own_profile) -> None:
    own_profile("session_id: visit", "session_id: 790")
    assert load_profile(str(source.profile)).events.columns.session_id.column == "790"


def test_columns_that_tell_test_accounts_are_never_written_down(source, own_profile) -> None:
    own_profile("  exclude:", "  test_accounts: [{column: mail, matches: '^qa'}]\n  exclude:")
    assert load_profile(str(source.profile)).person_columns == ("who", "visit", "mail")


def test_shipped_profiles_load_and_say_what_they_are() -> None:
    assert all(load_profile(path.stem).about for path in SHIPPED.glob("*.yaml"))


def test_the_calendar_knows_weekdays_days_and_ranges() -> None:
    calendar = load_profile("online_retail").calendar
    assert calendar.closed(date(2011, 1, 8))  # a Saturday
    assert calendar.closed(date(2011, 1, 1))  # within a range
    assert calendar.closed(date(2011, 4, 29))  # a single day
    assert not calendar.closed(date(2011, 12, 9))


def test_an_exclusion_may_not_be_called_like_a_rule(source, own_profile) -> None:
    own_profile("name: no_goods", "name: torn")
    source.write()
    with pytest.raises(UsageError, match="exclusion torn has the name of another rule"):
        source.ingest()
