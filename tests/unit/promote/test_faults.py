"""Each fault befalls a promotion; the table in the reference says what is seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.promote.fault_page import HEAD, PAGE, endure
from tests.unit.promote.faults import FAULTS, Fault
from tests.unit.promote.shop import Shop, opened


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, mlflow_uri: str) -> Iterator[Shop]:
    with opened(tmp_path_factory.mktemp("faults"), tiny_bundle, mlflow_uri) as made:
        yield made


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.what}, {fault.when}")
def test_one_champion_stands_whatever_befalls_and_the_table_says_so(shop: Shop, fault: Fault) -> None:
    if fault.disk and not shop.disk:
        pytest.skip("a disk of its own needs root and the right to mount")
    endured = endure(shop, fault)
    answering = set(endured.under.servers) - {"silent"}
    assert answering <= {endured.under.ledger, "before"} and len(answering) <= 1
    assert endured.after.agree() and endured.last.agree(), endured
    assert endured.after.ledger == endured.under.ledger
    assert endured.row(shop) in PAGE.read_text().splitlines(), "run `make faults` and read what it changed"


def test_the_table_has_a_row_for_each_fault_and_no_other() -> None:
    text = PAGE.read_text()
    assert text.startswith(HEAD)
    rows = [line.split(" | ")[:2] for line in text.removeprefix(HEAD).splitlines()]
    assert rows == [[f"| {fault.what}", fault.when] for fault in FAULTS]
