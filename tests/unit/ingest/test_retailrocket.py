"""The shipped profile on a log of the published shape, small enough to work out by hand: two days of June 2015."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.core.errors import DataError, MissingInputError

FIRST, SECOND = "2015-06-02", "2015-06-03"


def ms(day: int, clock: str = "00:00", month: int = 6) -> int:
    hour, minute = map(int, clock.split(":"))
    return int(datetime(2015, month, day, hour, minute, tzinfo=UTC).timestamp()) * 1000


# Not in order of time, as published. Visitor 20 buys item 7 on the first day; 31 May is no day of the run.
EVENTS = [
    (ms(2, "09:00") + 123, 20, "view", 7, ""),
    (ms(2, "09:30"), 20, "addtocart", 7, ""),
    (ms(2, "10:30"), 20, "transaction", 7, 4001),
    (ms(3, "08:00"), 21, "view", 5, ""),
    (ms(2, "23:59"), 21, "view", 5, ""),
    (ms(2, "12:00"), 22, "view", 6, ""),
    (ms(31, "12:00", month=5), 22, "view", 4, ""),
    (ms(2, "13:00"), 22, "view", 4, ""),
    ("soon", 22, "view", 4, ""),
]
PROPERTIES = {
    "item_properties_part1.csv": [
        (ms(31, month=5), 7, "categoryid", 100),
        (ms(31, month=5), 7, "available", 1),
        (ms(31, month=5), 7, "790", "n12.000"),
        (ms(31, month=5), 7, "888", "1116713 960601 n277.200"),
        (ms(31, month=5), 5, "available", 0),
        (ms(31, month=5), 8, "available", 1),
        (ms(2), 5, "available", 1),
        (ms(31, month=5), 4, "categoryid", 999),
    ],
    "item_properties_part2.csv": [
        (ms(2, "15:00"), 7, "available", 0),
        (ms(2, "10:00"), 7, "790", "n9.500"),
        (ms(2, "12:00"), 9, "categoryid", 20),
        (ms(3, "00:00"), 6, "available", 1),
        (ms(3, "07:00"), 7, "888", "hashed words change nothing that is asked for"),
    ],
}
TREE = [(100, 10), (10, 1), (20, 1), (1, "")]


def as_csv(header: str, rows: list[tuple]) -> bytes:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]).encode()


@pytest.fixture
def shop(source):
    source.set(profile="retailrocket", quarantine_fail_share=1.0)
    source.write_bytes(as_csv("timestamp,visitorid,event,itemid,transactionid", EVENTS), "events.csv")
    for name, rows in PROPERTIES.items():
        source.write_bytes(as_csv("timestamp,itemid,property,value", rows), name)
    source.write_bytes(as_csv("categoryid,parentid", TREE), "category_tree.csv")
    return source


def test_events_of_all_days_lie_in_one_file_and_each_day_takes_its_own(shop) -> None:
    first, second = shop.ingest(FIRST), shop.ingest(SECOND)
    # The row without a readable time is counted with the file's first day, 31 May, which nobody asked for here.
    assert (first.counts["rows"], first.counts["event_types"]) == (6, {"cart": 1, "purchase": 1, "view": 4})
    assert (second.counts["rows"], second.counts["event_types"]) == (1, {"view": 1})
    events = first.rows("events")
    assert events[0]["event_time"] == datetime(2015, 6, 2, 9, 0, 0, 123_000, tzinfo=UTC)
    assert {event["session_id"] for event in events} == {None}
    assert len({event["user_id"] for event in events}) == 3
    assert [event["quantity"] for event in events if event["event_type"] == "purchase"] == [1]


def test_the_report_says_where_all_rows_of_the_file_are(shop) -> None:
    report = shop.ingest(f"{FIRST}..{SECOND}", run_id="both").report
    assert report.sentence.endswith(
        " events.csv: 9 rows = 7 of 2015-06-02..2015-06-03 + 1 of other days + 1 without a readable time."
    )
    assert report.counts["rows"] == 7


def test_a_day_holds_what_was_known_when_it_began_and_every_change_within_it(shop) -> None:
    found = [
        (row["item_id"], row["valid_from"].strftime("%m-%d %H:%M"), row["category"], row["price"], row["in_stock"])
        for row in shop.ingest(FIRST).rows("catalogue")
    ]
    assert found == [
        ("4", "05-31 00:00", "999", None, None),  # a category the tree does not know stays as it is
        ("5", "06-02 00:00", None, None, True),  # changed at midnight: what held before held at no time of the day
        ("7", "05-31 00:00", "1/10/100", 12.0, True),
        ("7", "06-02 10:00", "1/10/100", 9.5, True),
        ("7", "06-02 15:00", "1/10/100", 9.5, False),
        ("9", "06-02 12:00", "1/20", None, None),  # met by nobody, but described anew
        # 6 was met, but nothing was said of it before the next day; 8 was neither met nor changed.
    ]


def test_the_next_day_begins_with_what_the_day_before_ended_with(shop) -> None:
    # Of the items met (5) or changed (6); nothing asked for changed about 7.
    rows = shop.ingest(SECOND).rows("catalogue")
    assert [(row["item_id"], row["valid_from"].day, row["in_stock"]) for row in rows] == [
        ("5", 2, True),
        ("6", 3, True),
    ]


def test_a_change_after_the_as_of_time_is_not_known_yet(shop) -> None:
    rows = shop.ingest(FIRST, as_of=datetime(2015, 6, 2, 14, tzinfo=UTC)).rows("catalogue")
    assert [row["valid_from"].hour for row in rows if row["item_id"] == "7"] == [0, 10]


def test_a_category_that_lies_below_itself_is_refused(shop) -> None:
    shop.write_bytes(as_csv("categoryid,parentid", [(100, 10), (10, 100)]), "category_tree.csv")
    with pytest.raises(DataError, match=r"lies below 100?, which lies below itself"):
        shop.ingest(FIRST)


@pytest.mark.parametrize(
    ("gone", "what"), [("category_tree.csv", "category tree"), ("item_properties_part*", "catalogue")]
)
def test_a_missing_file_of_items_is_named(shop, gone: str, what: str) -> None:
    for path in shop.folder.glob(gone):
        path.unlink()
    with pytest.raises(MissingInputError, match=f"No {what} for 2015-06-02: expected .*{gone[:14]}"):
        shop.ingest(FIRST)


def test_a_change_of_the_tree_or_of_the_properties_makes_the_day_anew(shop) -> None:
    first = shop.ingest(FIRST, run_id="a")
    shop.write_bytes(as_csv("categoryid,parentid", [*TREE, (999, 1)]), "category_tree.csv")
    (item,) = [row for row in shop.ingest(FIRST, run_id="b").rows("catalogue") if row["item_id"] == "4"]
    assert item["category"] == "1/999"
    assert first.artifact.key != shop.ingest(FIRST, run_id="c").artifact.key
