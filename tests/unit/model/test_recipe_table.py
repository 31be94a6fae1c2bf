"""The table of recipes: order, figures and dashes."""

from __future__ import annotations

from pipeline.model import recipe_table

SPAN = {"mean": -0.01, "low": -0.02, "high": 0.0, "se": 0.005, "n": 100}
ROWS = [
    {"recipe": "float32", "verdict": "rejected", "recall": {"mean": 0.5}, "bytes": 8_000_000},
    {"recipe": "late", "verdict": "not tried", "reason": "the time was used up"},
    {"recipe": "broken", "verdict": "failed"},
    {"recipe": "small", "verdict": "chosen", "difference": SPAN, "bytes": 2_000_000, "p99_ms": 0.25},
    {"recipe": "middle", "verdict": "rejected", "bytes": 4_000_000},
]


def test_what_ships_comes_first_then_by_verdict_and_size() -> None:
    names = [row["recipe"] for row in recipe_table.ordered(ROWS)]
    assert names == ["small", "middle", "float32", "broken", "late"]


def test_recall_kept_is_told_in_percent_with_the_interval_of_the_difference() -> None:
    # .01 of .5 lost is 2 %; the interval .02 to nothing is 96 to 100 %.
    columns, cells = recipe_table.cells(ROWS)
    small = dict(zip((column.name for column in columns), map(str, cells[0]), strict=True))
    assert small["kept, %"] == "98.0 (96.0 to 100.0)"
    assert (small[""], small["MB"], small["p99, ms"], small["memory, MB"]) == ("1", "2.00", "0.250", "-")


def test_what_was_not_measured_is_a_dash_with_its_reason() -> None:
    assert [str(cell) for cell in recipe_table.cells(ROWS)[1][4]] == [
        "5",
        "late",
        "not tried",
        *["-"] * 6,
        "the time was used up",
    ]
