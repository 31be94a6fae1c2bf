from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

import pytest

from pipeline.core.days import Days
from pipeline.core.sections import Simulate
from pipeline.simulate.generate import simulate
from pipeline.simulate.rendering import COLUMNS, file_names

SMALL = Simulate(events_per_day=1500, users=300, items=200, dirt_share=0.1, seed=3)


def rows_of(folder: Path, day: str) -> list[list[str]]:
    with gzip.open(folder / f"events-{day}.csv.gz", "rt", newline="") as file:
        return list(csv.reader(file))


def bytes_of(folder: Path, day: str) -> dict[str, str]:
    names = file_names(date.fromisoformat(day)).values()
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    simulate(SMALL, Days.parse("2026-01-01..2026-01-14"), folder)
    return folder


def test_a_seed_and_day_give_the_same_bytes_whatever_range_is_generated(shop: Path, tmp_path: Path) -> None:
    simulate(SMALL, Days.parse("2026-01-05"), tmp_path)
    assert bytes_of(tmp_path, "2026-01-05") == bytes_of(shop, "2026-01-05")


def test_another_seed_is_another_shop(shop: Path, tmp_path: Path) -> None:
    simulate(SMALL.model_copy(update={"seed": 4}), Days.parse("2026-01-05"), tmp_path)
    assert bytes_of(tmp_path, "2026-01-05") != bytes_of(shop, "2026-01-05")


def test_the_truth_adds_up_to_the_rows_in_the_file(shop: Path) -> None:
    for path in sorted(shop.glob("truth-*.json")):
        truth = json.loads(path.read_text())
        rows = rows_of(shop, truth["day"])
        assert len(rows) - 1 == truth["rows"] == sum(truth["outcomes"].values())
        assert sum(truth["dirt"].values()) == truth["rows"] - truth["outcomes"]["clean"]
        assert sum(len(row) != len(COLUMNS) for row in rows) == truth["dirt"]["torn"]


def test_dirt_can_be_switched_off_and_clean_events_stay_the_same(shop: Path, tmp_path: Path) -> None:
    clean = SMALL.model_copy(update={"dirt_share": 0.0})
    (truth,) = simulate(clean, Days.parse("2026-01-05"), tmp_path)
    dirty = json.loads((shop / "truth-2026-01-05.json").read_text())
    assert truth["rows"] == truth["outcomes"]["clean"] == dirty["outcomes"]["clean"]
    assert sum(truth["dirt"].values()) == 0
    # Every clean row is in the dirty file too.
    assert not Counter(map(tuple, rows_of(tmp_path, "2026-01-05"))) - Counter(map(tuple, rows_of(shop, "2026-01-05")))


def test_a_year_holds_about_as_many_events_a_day_as_the_setting_says(tmp_path: Path) -> None:
    clean = SMALL.model_copy(update={"dirt_share": 0.0, "events_per_day": 2000})
    days = [f"2026-{month:02}-{day:02}" for month in range(1, 13) for day in (month, month + 14)]
    rows = sum(simulate(clean, Days.parse(day), tmp_path)[0]["rows"] for day in days)
    assert rows / len(days) == pytest.approx(2000, rel=0.07)


def test_every_kind_of_event_occurs_and_most_sessions_are_anonymous(shop: Path) -> None:
    people: dict[str, bool] = {}
    for row in rows_of(shop, "2026-01-03")[1:]:
        if len(row) == len(COLUMNS) and "late" not in row[2] and "robot" not in row[2] and row[2]:
            people[row[2]] = bool(row[1])
    anonymous = 1 - sum(people.values()) / len(people)
    assert 0.5 < anonymous < 0.7
    truths = [json.loads(p.read_text())["event_types"] for p in shop.glob("truth-*.json")]
    assert set().union(*truths) == {"impression", "view", "cart", "remove", "purchase", "cancel", "search"}


def test_a_search_is_made_of_words_of_the_title_looked_at_next(shop: Path) -> None:
    with gzip.open(shop / "catalogue-2026-01-03.csv.gz", "rt", newline="") as file:
        titles = {row["item"]: row["title"].lower() for row in csv.DictReader(file)}
    looked_for: dict[str, str] = {}
    fitting = total = 0
    for row in rows_of(shop, "2026-01-03")[1:]:
        if len(row) != len(COLUMNS):
            continue
        session, action, item, query = row[2:6]
        if action == "search":
            looked_for[session] = query
        elif action == "view" and session in looked_for and item:
            total += 1
            fitting += set(looked_for.pop(session).split()) <= set(titles[item].split())
    # A copy spoilt on purpose may stand before what it copies, so a few answers are not the first view.
    assert total > 20
    assert fitting / total > 0.9


def test_goods_appear_and_prices_change_in_time(tmp_path: Path) -> None:
    catalogues = []
    for day in ("2026-01-01", "2026-03-01"):
        simulate(SMALL, Days.parse(day), tmp_path)
        with gzip.open(tmp_path / f"catalogue-{day}.csv.gz", "rt", newline="") as file:
            catalogues.append({row["item"]: row for row in csv.DictReader(file)})
    before, after = catalogues
    assert len(before) == len(after) == SMALL.items
    kept = before.keys() & after.keys()
    # Items live 250 to 500 days, so in 59 days between 59/500 and 59/250 of them are replaced: 24 to 47 of 200.
    assert 10 < len(after.keys() - before.keys()) < 60
    assert any(before[item]["price"] != after[item]["price"] for item in kept)
    assert all(before[item]["title"] == after[item]["title"] for item in kept)
    assert all(row["category"].count("/") == 2 and len(row["title"].split()) >= 5 for row in after.values())


def test_what_was_looked_at_last_foretells_the_next_item_far_better_than_popularity(shop: Path) -> None:
    popularity: Counter[str] = Counter()
    after: dict[str, Counter[str]] = defaultdict(Counter)
    hits = Counter()
    for day in Days.parse("2026-01-01..2026-01-14"):
        last: dict[str, str] = {}
        for row in rows_of(shop, str(day))[1:]:
            if len(row) != len(COLUMNS) or row[3] != "view" or not row[4] or "robot" in row[2]:
                continue
            session, item = row[2], row[4]
            previous = last.get(session)
            if previous and day >= date(2026, 1, 13):
                hits["all"] += 1
                hits["popular"] += item in {i for i, _ in popularity.most_common(5)}
                hits["next"] += item in {i for i, _ in after[previous].most_common(5)}
            if day < date(2026, 1, 13):
                popularity[item] += 1
                if previous:
                    after[previous][item] += 1
            last[session] = item
    assert hits["all"] > 500
    assert hits["next"] > 3 * hits["popular"]


def test_the_smallest_shop_there_is_works(tmp_path: Path) -> None:
    tiny = Simulate(events_per_day=10, users=10, items=10, dirt_share=0.5)
    truths = simulate(tiny, Days.parse("2026-01-01..2026-01-03"), tmp_path)
    assert all(truth["outcomes"]["clean"] > 0 for truth in truths)


def test_an_interrupted_day_leaves_nothing_half_written(tmp_path: Path) -> None:
    target = tmp_path / "events-2026-01-01.csv.gz"
    target.mkdir()
    with pytest.raises(OSError):
        simulate(SMALL, Days.parse("2026-01-01"), tmp_path)
    assert not list(tmp_path.glob(".*"))
