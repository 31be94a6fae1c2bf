"""What the night writes into a real Redis, and what forgetting takes out of it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis as client_library

from pipeline.core import settings as settings_module
from pipeline.core.days import Days
from pipeline.core.errors import MissingInputError, SettingsError, UnavailableError, UsageError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.ingest import step
from pipeline.ingest.histories import fill_in_force, shown
from pipeline.ingest.people.asking import pseudonyms_of
from pipeline.ingest.people.forget import Forgetting
from pipeline.store.erasures import Erasures
from pipeline.store.histories import ERASED, key
from tests.conftest import PSEUDONYM_KEY
from tests.services.redis import Redis, redis
from tests.unit.ingest.conftest import HEADER, PROFILE

DAY, NEXT = "2026-01-05", "2026-01-06"
ROWS = {
    DAY: (
        "2026-01-05T10:00:00Z,anna.0,v1,seen,lamp,,9.50,",
        "2026-01-05T10:01:00.250Z,anna.0,v1,bought,lamp,,9.50,1",
        "2026-01-05T10:02:00Z,anna.0,v1,shown,mug,,3.00,",
        "2026-01-05T10:03:00Z,anna.0,v1,asked,,mug,,",
        "2026-01-05T11:00:00Z,,v2,seen,mug,,3.00,",
        "2026-01-05T12:00:00Z,bert,v3,seen,mug,,3.00,",
    ),
    NEXT: (
        "2026-01-06T10:00:00Z,anna.0,v4,back,lamp,,9.50,1",
        "2026-01-05T23:00:00Z,bert,v3,seen,cup,,2.00,",
    ),
}
ANNA_ON_DAY = ["2026-01-05 10:00:00 view lamp", "2026-01-05 10:01:00 purchase lamp"]


@dataclass
class Shop:
    folder: Path
    redis: client_library.Redis
    url: str

    def settings(self, *more: str) -> Settings:
        given = (
            f"store.root={self.folder / 'var'}",
            f"ingest.source={self.folder / 'logs'}",
            f"ingest.profile={self.folder / 'profile.yaml'}",
            f"history.redis_url={self.url}",
            # The logs are of one year; what is kept is counted from today.
            "history.days=10000",
        )
        return settings_module.load([*given, *more])

    def night(self, days: str, run_id: str = "", settings: Settings | None = None, backfill: bool = False) -> Report:
        settings = settings or self.settings()
        run = Run.open(settings.store.root, run_id or f"night-{days}", "UTC", Days.parse(days), backfill=backfill)
        return step.run(settings, run)

    def names(self, user: str) -> tuple[str, ...]:
        return pseudonyms_of(user, self.settings())

    def did(self, user: str) -> list[str]:
        return list(shown(self.settings(), self.names(user)))


@pytest.fixture
def shop(tmp_path: Path, redis_server: Redis, raw: client_library.Redis, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", PSEUDONYM_KEY)
    (tmp_path / "logs").mkdir()
    (tmp_path / "profile.yaml").write_text(PROFILE)
    for day, rows in ROWS.items():
        (tmp_path / "logs" / f"{day}.csv").write_text("".join(f"{row}\n" for row in (HEADER, *rows)))
    return Shop(tmp_path, raw, redis_server.url)


def test_a_night_fills_in_what_known_users_did(shop: Shop) -> None:
    assert "Histories: 3 events of 1 days, 3 of them new." in shop.night(DAY).sentence
    assert shop.did("anna") == ANNA_ON_DAY
    # Nobody but Anna and Bert, neither who came without an account nor any id as the logs have it.
    assert set(shop.redis.keys()) == {key(*shop.names("anna")), key(*shop.names("bert"))}


def test_a_day_that_got_late_rows_is_filled_in_anew(shop: Shop) -> None:
    shop.night(DAY)
    # Of the second night's rows one belongs to the first day, which is settled again.
    assert "Histories: 5 events of 2 days, 2 of them new." in shop.night(NEXT).sentence
    assert shop.did("bert") == ["2026-01-05 12:00:00 view mug", "2026-01-05 23:00:00 view cup"]
    assert shop.did("anna") == [*ANNA_ON_DAY, "2026-01-06 10:00:00 cancel lamp"]


def test_a_night_from_the_cache_fills_a_redis_that_lost_everything(shop: Shop) -> None:
    shop.night(DAY)
    before = {name: shop.redis.zrange(name, 0, -1, withscores=True) for name in shop.redis.keys()}  # noqa: SIM118
    assert "3 events of 1 days, 0 of them new" in shop.night(DAY, "again").sentence
    shop.redis.flushall()
    report = shop.night(DAY, "once-more")
    assert report.cached
    assert {name: shop.redis.zrange(name, 0, -1, withscores=True) for name in shop.redis.keys()} == before  # noqa: SIM118


def test_a_night_without_redis_warns_and_the_command_it_names_makes_up_for_it(shop: Shop) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = shop.settings(f"history.redis_url=redis://127.0.0.1:{nobody.getsockname()[1]}")
        said = shop.night(f"{DAY}..{NEXT}", settings=away).sentence
    assert (
        f"WARNING: the histories are not filled; run `python -m pipeline histories fill --days {DAY}..{NEXT}`" in said
    )
    assert "cannot be reached" in said
    assert "4 events of 2 days, 4 of them new" in str(fill_in_force(shop.settings(), Days.parse(f"{DAY}..{NEXT}")))
    assert shop.did("anna") == [*ANNA_ON_DAY, "2026-01-06 10:00:00 cancel lamp"]


def test_a_run_marked_as_of_and_days_long_gone_fill_nothing_in(shop: Shop) -> None:
    assert "Histories" not in shop.night(DAY, backfill=True).sentence
    assert "Histories: 0 events of 0 days" in shop.night(DAY, settings=shop.settings("history.days=1")).sentence
    assert shop.redis.keys() == []


def test_who_is_forgotten_leaves_redis_and_is_not_filled_in_again_even_if_redis_lost_everything(shop: Shop) -> None:
    shop.night(DAY)
    (anna,) = shop.names("anna")
    said = Forgetting(shop.settings(), [anna]).run("ann", "asked")
    assert "2 events of their history in Redis" in said
    assert shop.did("anna") == []
    shop.redis.flushall()
    shop.night(DAY, "again")
    assert set(shop.redis.keys()) == {ERASED, key(*shop.names("bert"))}
    assert shop.redis.smembers(ERASED) == {anna}


def test_forgetting_without_redis_says_what_is_left_and_goes_on_once_it_is_back(shop: Shop) -> None:
    with redis() as mortal:
        mortal_shop = Shop(shop.folder, shop.redis, mortal.url)
        mortal_shop.night(DAY)
        names, settings = mortal_shop.names("anna"), mortal_shop.settings()
        mortal.stop()
        with pytest.raises(
            UnavailableError, match=r"Erasure 1: everything .* but not from the histories; run the same"
        ):
            Forgetting(settings, names).run("ann", "asked")
        assert [erasure.state for erasure in Erasures.open(settings).all()] == ["begun"]
        mortal.start()
        assert "Erasure 1" in Forgetting(settings, names).run("ann", "asked")
        assert [erasure.state for erasure in Erasures.open(settings).all()] == ["done"]
        again = client_library.Redis.from_url(mortal.url, decode_responses=True)
        assert again.keys() == [ERASED]


def test_a_mistake_in_the_settings_is_told_before_anything_is_read(shop: Shop) -> None:
    with pytest.raises(SettingsError, match=r"history\.redis_url is no address of a Redis") as told:
        shop.night(DAY, settings=shop.settings("history.redis_url=http://user:swordfish@host"))
    assert "swordfish" not in str(told.value)
    with pytest.raises(UsageError, match="No histories are kept"):
        fill_in_force(shop.settings("history.redis_url=''"), Days.parse(DAY))
    with pytest.raises(MissingInputError, match="No day of 2026-01-05 has landed"):
        fill_in_force(shop.settings(), Days.parse(DAY))
