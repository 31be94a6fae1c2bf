"""What tests against real services may ask for; `make test-services` installs what they need and runs them.

Every server here is a process of this test session, on a free port of the loopback, with its state in a scratch
folder; it ends with the tests. Nothing of the machine's own services is touched.

    s3              OpenStack Swift with s3api: no conditional writes, encryption at rest
    conditional_s3  the moto server: honours If-Match and If-None-Match
    bucket          a fresh bucket of `s3` and the settings that reach it
    postgres_url    a fresh database each test
    redis_server    a Redis for the tests of one file
    raw             a client of it, emptied
    prometheus      a Prometheus; `.scrape("host:port")`, `.await_series("up == 1")`
    browser         headless Chromium, driven by Playwright
    spark_settings  settings whose engine is Spark on two threads of this machine
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis as client_library
import sqlalchemy as sql

from pipeline.core import settings as settings_module
from pipeline.core.settings import Settings
from tests.services import postgres as postgres_module
from tests.services import prometheus as prometheus_module
from tests.services import redis as redis_module
from tests.services.prometheus import Prometheus
from tests.services.redis import Redis
from tests.services.servers import free_port, listens, running, scratch
from tests.services.swift import Endpoint, swift

KEY = "7a" * 32


@dataclass(frozen=True)
class Bucket:
    """A fresh bucket.

    Attributes:
        assignments: the settings that reach it, as `--set` takes them; credentials are in the environment.
    """

    name: str
    endpoint: Endpoint
    assignments: tuple[str, ...]
    client: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def settings(self, root: Path, *more: str) -> Settings:
        """Returns settings with a store of their own at `root`."""
        return settings_module.load([f"store.root={root}", *self.assignments, *more])

    def names(self, prefix: str = "") -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix)
        return sorted(entry["Key"] for entry in found.get("Contents", []))

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)


def make_bucket(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, *more: str) -> Bucket:
    """Makes a bucket, and lets the product's settings and environment reach it."""
    import boto3
    from botocore.config import Config

    for name, value in (("ACCESS_KEY_ID", endpoint.key_id), ("SECRET_ACCESS_KEY", endpoint.secret)):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", KEY)
    config = Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required")
    client = boto3.client("s3", endpoint_url=endpoint.url, region_name=endpoint.region, config=config)
    name = f"test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    reach = (f"s3.endpoint_url={endpoint.url}", f"s3.region={endpoint.region}", "s3.path_style=true", *more)
    return Bucket(name, endpoint, reach, client)


@pytest.fixture(scope="session")
def s3() -> Iterator[Endpoint]:
    with swift() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return make_bucket(
        s3, monkeypatch, "s3.checksums=md5", "s3.conditional_writes=false", "s3.encryption=AES256", "s3.part_mb=5"
    )


@pytest.fixture(scope="session")
def conditional_s3() -> Iterator[Endpoint]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with scratch("moto") as folder, running(command, folder, listens(port)):
        yield Endpoint(f"http://127.0.0.1:{port}")


@pytest.fixture
def conditional_bucket(conditional_s3: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return make_bucket(conditional_s3, monkeypatch, "s3.encryption=AES256", "s3.part_mb=5")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with postgres_module.postgres() as url:
        yield url


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    engine = sql.create_engine(f"{postgres}/postgres", isolation_level="AUTOCOMMIT", poolclass=sql.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield f"{postgres}/{name}"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def redis_server() -> Iterator[Redis]:
    with redis_module.redis() as found:
        yield found


@pytest.fixture
def raw(redis_server: Redis) -> Iterator[client_library.Redis]:
    with client_library.Redis.from_url(redis_server.url, decode_responses=True) as found:
        found.flushall()
        yield found


@pytest.fixture(scope="session")
def prometheus() -> Iterator[Prometheus]:
    with prometheus_module.prometheus() as server:
        yield server


@pytest.fixture
def spark_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", KEY)
    options = "{spark.ui.enabled: 'false', spark.sql.shuffle.partitions: '2', spark.driver.bindAddress: 127.0.0.1}"
    words = ("engine.name=spark", "engine.spark_master=local[2]", f"engine.spark_options={options}")
    return settings_module.load([f"store.root={tmp_path / 'var'}", *words])


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", chromium_sandbox=False, args=quiet)
        yield chromium
        chromium.close()
