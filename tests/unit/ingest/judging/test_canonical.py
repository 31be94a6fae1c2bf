from __future__ import annotations


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
