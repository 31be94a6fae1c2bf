from __future__ import annotations

import pytest

from pipeline.model.context import told


def test_replacements_are_made_in_events_and_in_catalogue_files_alike(source, own_profile) -> None:
    sku = "{column: sku, replace: {'^SKU-0*(\\d+)$': 'item \\1'}}"
    own_profile("item_id: sku", f"item_id: {sku}")
    own_profile("calendar:", f'catalogue:\n  files: "items-{{day}}.csv"\n  columns: {{item_id: {sku}}}\ncalendar:')
    source.write("SKU-007", "lamp", name="items-2026-01-05.csv", header="sku")
    source.write("2026-01-05T10:00:00Z,anna,v1,seen,SKU-7,,1.00,", "2026-01-05T10:00:00Z,anna,v1,seen,lamp,,1.00,")
    source.set(unknown_items="quarantine")
    day = source.ingest()
    # `SKU-7` and `SKU-007` are one item, written twice.
    assert {row["item_id"] for row in day.rows("catalogue")} == {"item 7", "lamp"}
    assert {row["item_id"] for row in day.rows("events")} == {"item 7", "lamp"}


def test_an_unknown_price_and_none_are_not_the_same_event(source) -> None:
    source.write("2026-01-05T10:00:00Z,anna,v1,seen,lamp,,0,", "2026-01-05T10:00:05Z,anna,v1,seen,lamp,,,")
    free, unknown = source.ingest().rows("events")
    assert (free["price"], unknown["price"]) == (0.0, None)
    assert free["event_id"] != unknown["event_id"]


def test_prices_that_an_id_cannot_tell_apart_are_one_price(source) -> None:
    when = "2026-01-05T10:00:00Z,anna,v1,seen,lamp,,"
    source.write(*(f"{when}{price}," for price in ("1.00001", "1.00002", "1.0001", "-0", "0.00001")))
    day = source.ingest()
    assert sorted(row["price"] for row in day.rows("events")) == [0.0, 1.0, 1.0001]
    assert day.rules == {"near_duplicate": 2}
    assert len({row["event_id"] for row in day.rows("events")}) == 3


@pytest.mark.parametrize("text", ["19.99", "0.1", "0.2999", "1234567.8901", "99999999999.9999", "2500000000000.5"])
def test_a_price_of_four_places_stays_as_it_is(source, text: str) -> None:
    source.write(f"2026-01-05T10:00:00Z,anna,v1,seen,lamp,,{text},")
    source.set(max_price=1e13)
    assert [row["price"] for row in source.ingest().rows("events")] == [float(text)]


@pytest.mark.parametrize("separator", [">", "/", " > ", "::"])
def test_blanks_around_the_separators_of_a_category_are_no_part_of_it(source, own_profile, separator: str) -> None:
    column = f'{{column: path, separator: "{separator}"}}'
    own_profile("calendar:", f"catalogue:\n  columns: {{category: {column}}}\ncalendar:")
    spaced = separator if " " in separator else f" {separator} "
    paths = [f"Home{separator}Garden lamps", f" Home{spaced}Garden  lamps", f"Home {spaced}\tGarden lamps "]
    rows = [f"2026-01-05T10:00:00Z,anna,v{n},seen,lamp{n},,9.50,,{path}" for n, path in enumerate(paths)]
    source.write(*rows, header="when,who,visit,what,sku,words,cost,pieces,path")
    assert {row["category"] for row in source.ingest().rows("catalogue")} == {"Home/Garden lamps"}


def test_a_category_is_found_in_the_tree_under_its_name_without_blanks_around_slashes(source, own_profile) -> None:
    tree = '{files: "tree.csv", child: name, parent: above}'
    columns = "{item_id: sku, category: kind}"
    own_profile(
        "calendar:", f'catalogue: {{files: "i-{{day}}.csv", columns: {columns}, category_tree: {tree}}}\ncalendar:'
    )
    source.write("lamp,TV / Audio", name="i-2026-01-05.csv", header="sku,kind")
    source.write("TV / Audio,Home", "Home,", name="tree.csv", header="name,above")
    source.write("2026-01-05T10:00:00Z,anna,v1,seen,lamp,,1.00,")
    assert [row["category"] for row in source.ingest().rows("catalogue")] == ["Home/TV / Audio"]


CONTEXT = "  context: {country: land, device: {column: client, replace: {'^.*Phone.*$': phone}}}\n  event_type:"
SEEN = "2026-01-05T10:0{}:00Z,anna,v1,seen,lamp{},,1.00,,{}"
LINED = "when,who,visit,what,sku,words,cost,pieces,land,client"


def test_a_context_names_what_is_there_in_the_profiles_order(source, own_profile) -> None:
    own_profile("  event_type:", CONTEXT)
    said = [(" United \t Kingdom ", "tv"), ("", "Windows Phone 8"), ("Bonaire; Saba", ""), ("", "  "), ("Ísland", "")]
    source.write(*(SEEN.format(n, n, ",".join(pair)) for n, pair in enumerate(said)), header=LINED)
    found = [row["context"] for row in source.ingest().rows("events")]
    assert found == [
        "country=United Kingdom; device=tv", "device=phone", "country=Bonaire, Saba", None, "country=Ísland"
    ]  # fmt: skip
    # A request says the same of the same values.
    plain = ((country, "phone" if "Phone" in device else device) for country, device in said)
    assert [told({"country": country, "device": device}) for country, device in plain] == found


def test_a_profile_without_contexts_gives_none(source) -> None:
    source.write("2026-01-05T10:00:00Z,anna,v1,seen,lamp,,1.00,")
    assert [row["context"] for row in source.ingest().rows("events")] == [None]


def test_an_event_told_twice_is_one_event_whatever_its_context(source, own_profile) -> None:
    own_profile("  event_type:", CONTEXT)
    source.write(SEEN.format(0, 0, "France,tv"), SEEN.format(0, 0, "Spain,tv"), header=LINED)
    day = source.ingest()
    assert [row["context"] for row in day.rows("events")] == ["country=France; device=tv"]
    assert day.rules == {"near_duplicate": 1}
