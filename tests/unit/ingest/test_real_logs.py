"""Real logs where there are some (see their README for the figures); generated ones in the same shapes elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.core.artifacts import Artifact
from pipeline.ingest.accounts import account_of_run, as_markdown
from pipeline.ingest.profiles.checking import check

INVOICES = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,WHITE  HANGING HEART ,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
536365,85123A,WHITE  HANGING HEART ,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
536365,85123A,WHITE  HANGING HEART ,2,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
536366,71053,WHITE METAL LANTERN,1,2010-12-01 08:30:00,3.39,,United Kingdom
C536379,71053,WHITE METAL LANTERN,-1,2010-12-01 09:41:00,3.39,14527.0,United Kingdom
536370,POST,POSTAGE,3,2010-12-01 08:45:00,18.0,12583.0,France
536589,21777,,-10,2010-12-01 16:50:00,0.0,,United Kingdom
"""


DOCS = Path(__file__).parents[3] / "docs" / "reference"


def tables_of(page: str) -> dict[str, int]:
    """Returns the figures of a page's tables of two or three columns, whose second is a number, by their first."""
    found = re.findall(r"^\| ([a-z_ ]+) \| ([\d,]+) \|(?: [^|]* \|)?$", (DOCS / page).read_text(), re.MULTILINE)
    return {name: int(figure.replace(",", "")) for name, figure in found}


def figures_of(source, run_id: str) -> dict[str, int]:
    account = account_of_run(source.settings.store.root, run_id)
    rules = {name: rows for name, rows in account.rules.items() if rows}
    return {**account.outcomes, "rows in all": account.rows, **rules, **account.event_types}


@pytest.fixture
def invoices(source, behaviour_logs: Path | None):
    source.set(profile="online_retail")
    source.write_bytes(INVOICES.encode(), "2010-12-01.csv.gz", gzipped=True)
    return source


def test_an_invoice_is_a_session_a_cancel_an_event_and_postage_no_goods(invoices) -> None:
    day = invoices.ingest("2010-12-01")
    # Seven rows: one repeated, postage, and a stock movement; the other four are events.
    assert (day.counts["rows"], day.counts["clean"]) == (7, 4)
    assert day.rules == {"exact_duplicate": 1, "no_goods": 1, "stock_movement": 1}
    events = day.rows("events")
    assert sorted((e["event_type"], e["item_id"], e["quantity"]) for e in events) == [
        ("cancel", "71053", 1),
        ("purchase", "71053", 1),
        ("purchase", "85123A", 2),
        ("purchase", "85123A", 6),
    ]
    assert len({e["session_id"] for e in events}) == 3
    assert [e["user_id"] is None for e in events if e["quantity"] == 1 and e["event_type"] == "purchase"] == [True]
    assert {row["item_id"]: row["title"] for row in day.rows("catalogue")} == {
        "85123A": "WHITE HANGING HEART",
        "71053": "WHITE METAL LANTERN",
    }


def test_three_days_of_online_retail_hold_what_their_files_hold(invoices, behaviour_logs: Path | None) -> None:
    days = "2010-12-01"
    if behaviour_logs:
        invoices.set(source=str(behaviour_logs / "online_retail" / "raw"))
        days = "2010-12-01..2010-12-04"
    invoices.ingest(days, run_id="real")
    account = account_of_run(invoices.settings.store.root, "real")
    # Lines of 2010-12-01 to -03 by `zcat | wc -l` less a header each; the 4th is a Saturday, when the shop is closed.
    assert account.rows == (3108 + 2109 + 2202 if behaviour_logs else 7)
    assert account.closed == (1 if behaviour_logs else 0)
    assert account.outcomes["quarantined"] == 0
    assert f"| rows in all | {account.rows:,} |" in as_markdown(account)


@pytest.fixture
def month(source, behaviour_logs: Path | None):
    """REES46's month, or two rows in its shape, the last one torn."""
    source.set(profile="rees46")
    if behaviour_logs:
        source.set(source=str(behaviour_logs / "rees46_sample"))
    else:
        header = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
        row = "2019-10-01 00:00:00 UTC,view,44600062,2103,a.b.c,aqua,35.79,541312140,72d76fde\n"
        source.write_bytes((header + row + row[:60]).encode(), "2019-Oct.csv.gz", gzipped=True)
    return source


def test_the_torn_last_line_of_a_shops_month_is_quarantined(month, behaviour_logs: Path | None) -> None:
    day = month.ingest("2019-10-01")
    (torn,) = day.rows("quarantine")
    assert (torn["rule"], torn["row_number"]) == ("torn", day.counts["rows"])
    assert json.loads(torn["row"])["torn"].endswith("columns instead of 9")
    assert day.counts["rows"] == (17_435 if behaviour_logs else 2)
    assert any(row["category"] and row["category"].count("/") > 0 for row in day.rows("catalogue"))
    assert isinstance(day.artifact, Artifact)


def test_every_row_of_online_retail_ends_where_the_docs_say(invoices, behaviour_logs: Path | None) -> None:
    if not behaviour_logs:
        invoices.ingest("2010-12-01", run_id="history")
        # Of the seven rows one repeats another, one is postage and one a stock movement.
        assert figures_of(invoices, "history").items() >= {"clean": 4, "duplicate": 1, "excluded": 2}.items()
        return
    invoices.set(source=str(behaviour_logs / "online_retail" / "raw"))
    invoices.ingest("2010-12-01..2011-12-09", run_id="history")
    assert figures_of(invoices, "history") == tables_of("online-retail-rows.md")


def test_every_row_of_the_rees46_sample_ends_where_the_docs_say(month, behaviour_logs: Path | None) -> None:
    month.ingest("2019-10-01", run_id="rees46")
    figures = figures_of(month, "rees46")
    if behaviour_logs:
        assert figures == tables_of("rees46-rows.md")
    else:
        assert figures.items() >= {"rows in all": 2, "clean": 1, "torn": 1, "view": 1}.items()


def test_what_is_known_of_the_rees46_sample_is_what_checking_says(month, behaviour_logs: Path | None) -> None:
    file = Path(month.settings.ingest.source) / "2019-Oct.csv.gz"
    cells = [
        re.split(r"\s{2,}", line.strip()) for line in check(str(file), "rees46", month.settings, 20_000).splitlines()
    ]
    empty = {row[0]: row[3] for row in cells if row[0].startswith("item's")}
    # Of the made file's whole row nothing is empty.
    known = ("5,746", "2,477") if behaviour_logs else ("0", "0")
    assert (empty["item's category"], empty["item's brand"]) == known
