"""The servers themselves: each answers, and nothing of one test is seen by the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from tests.services.conftest import Bucket
from tests.services.prometheus import Prometheus


@pytest.mark.parametrize("which", ["bucket", "conditional_bucket"])
def test_a_bucket_is_fresh_and_keeps_what_is_put(which: str, request: pytest.FixtureRequest) -> None:
    bucket: Bucket = request.getfixturevalue(which)
    assert bucket.names() == []
    bucket.put("a/b", b"c")
    assert bucket.names() == ["a/b"]


def test_a_database_is_fresh(postgres_url: str) -> None:
    with sql.create_engine(postgres_url).connect() as connection:
        assert sql.inspect(connection).get_table_names() == []
        assert connection.exec_driver_sql("SELECT 6 * 7").scalar() == 42


def test_prometheus_scrapes_what_it_is_told(prometheus: Prometheus) -> None:
    itself = prometheus.url.removeprefix("http://")
    prometheus.scrape(itself)
    (series,) = prometheus.await_series(f'up{{instance="{itself}"}} == 1')
    assert series["metric"]["job"] == "tests"


def test_the_browser_renders_a_page_from_disk(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<title>Day</title><p id=n></p><script>n.textContent = 6 * 7</script>")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert (page.title(), page.inner_text("#n")) == ("Day", "42")
    page.close()
