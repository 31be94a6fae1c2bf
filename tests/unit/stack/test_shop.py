from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import MissingInputError, UsageError
from stack.places import CODE, Places, write_state
from stack.shop import HISTORY, Shop, days_of, shop_of


def _publish(root: Path, *days: str) -> None:
    (root / "published").mkdir()
    for day in days:
        (root / "published" / f"{day}.json").write_text("{}")


@pytest.fixture
def generated(tmp_path: Path) -> Shop:
    return shop_of(None, None, tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Shop:
    (tmp_path / "logs").mkdir()
    return shop_of(str(tmp_path / "logs"), "online_retail", tmp_path / "state")


def test_without_a_source_logs_are_generated_below_the_root(generated: Shop, tmp_path: Path) -> None:
    assert generated == Shop(tmp_path.resolve(), str(tmp_path.resolve() / "source"), "generated")
    assert generated.is_generated


def test_logs_of_ones_own_are_not_generated(own: Shop) -> None:
    assert not own.is_generated


def test_each_shop_has_its_own_state_unless_a_root_is_given(tmp_path: Path) -> None:
    assert shop_of(None, None, None).root == CODE / "var"
    assert shop_of(str(tmp_path), "online_retail", None).root == CODE / "var/shops/online_retail"
    assert shop_of(str(tmp_path), "profiles/mine.yaml", None).root == CODE / "var/shops/mine"
    assert shop_of("s3://logs/shop", "mine", None).source == "s3://logs/shop"


def test_a_missing_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="there is no such folder"):
        shop_of(str(tmp_path / "nowhere"), "online_retail", tmp_path)


def test_a_profile_without_a_source_is_refused() -> None:
    with pytest.raises(UsageError, match="PROFILE=rees46 without SOURCE"):
        shop_of(None, "rees46", None)


def test_the_shop_of_the_last_time_is_remembered(own: Shop) -> None:
    write_state(Places(own.root), shop=own.named)
    assert shop_of(None, None, own.root) == own


def test_the_generated_shop_begins_with_its_history_and_goes_on_day_by_day(generated: Shop) -> None:
    assert days_of(generated, None) == HISTORY
    _publish(generated.root, "2026-01-29", "2026-01-30")
    assert str(days_of(generated, None)) == "2026-01-31"


def test_the_first_night_of_ones_own_logs_must_say_its_days(own: Shop) -> None:
    with pytest.raises(UsageError, match=r"DAYS must say which to begin with: DAYS=FIRST\.\.LAST"):
        days_of(own, None)


def test_the_days_asked_for_win(own: Shop) -> None:
    own.root.mkdir()
    _publish(own.root, "2011-12-08")
    assert str(days_of(own, "2010-12-01..2011-12-08")) == "2010-12-01..2011-12-08"
    assert str(days_of(own, None)) == "2011-12-09"
