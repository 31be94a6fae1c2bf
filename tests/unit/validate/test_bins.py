"""Values fall into the bins their names say, the same on every engine."""

from __future__ import annotations

import ibis

from pipeline.validate.bins import PRICE_EDGES, QUANTITY_EDGES, band, band_name, in_order


def test_a_value_falls_into_the_band_of_the_edges_it_has_reached() -> None:
    values = [0.0, 0.0099, 0.01, 1.99, 2.0, 9999.99, 10_000.0, None]
    table = ibis.memtable({"n": range(8), "price": values}, schema={"n": "int64", "price": "float64"})
    found = table.mutate(band=band(table.price, PRICE_EDGES)).order_by("n").to_pyarrow()["band"].to_pylist()
    told = [None if number is None else band_name(number, PRICE_EDGES, whole=False) for number in found]
    assert told == [
        "below 0.01",
        "below 0.01",
        "0.01 to 0.02",
        "1 to 2",
        "2 to 5",
        "5000 to 10000",
        "from 10000",
        None,
    ]


def test_bands_of_whole_numbers_are_named_by_what_they_hold() -> None:
    names = [band_name(number, QUANTITY_EDGES, whole=True) for number in range(len(QUANTITY_EDGES) + 1)]
    assert names[:6] == ["below 1", "1", "2", "3 to 4", "5 to 9", "10 to 19"]
    assert names[-1] == "from 1000"


def test_bins_come_in_the_order_people_read_them() -> None:
    assert in_order("quantity", {"3 to 4": 1, "1": 1, "from 1000": 1}) == ["1", "3 to 4", "from 1000"]
    assert in_order("event_type", {"cart": 1, "view": 1}) == ["view", "cart"]
    assert in_order("category", {"small": 1, "large": 2}) == ["large", "small"]
