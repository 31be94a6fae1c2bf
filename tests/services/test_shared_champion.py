"""Servers that share no disk with whoever promotes: pointer and bundles through S3."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import httpx
import pytest

from pipeline.core.errors import CorruptArtifactError
from pipeline.core.run import Layout
from pipeline.core.settings import Settings
from pipeline.promote.reconcile import reconcile
from pipeline.serve.server import Service
from pipeline.store.bundles import SharedBundles
from pipeline.store.ledger import Ledger
from pipeline.store.partitions import Partitions, Record
from pipeline.store.retention import LEDGER_ENTRIES, collect
from tests.fixtures.contenders import digest_of
from tests.services.conftest import Bucket
from tests.services.faults import Fault, in_front_of
from tests.unit.serve.conftest import running, until

POLL = "serve.poll_seconds=0.05"


@dataclass(frozen=True)
class Shop:
    """A machine that promotes, and a bucket servers elsewhere read."""

    bucket: Bucket
    folder: Path

    def settings(self, machine: str, *more: str) -> Settings:
        ledger = f"store.ledger_url=sqlite:///{self.folder / 'ledger.sqlite'}"
        shared = f"store.shared={self.bucket.url}/shop"
        return self.bucket.settings(self.folder / machine, shared, ledger, POLL, "serve.port=0", *more)

    def promote(self, bundle: Path) -> None:
        """Publishes a bundle, enters it and projects that, as a promotion does."""
        settings = self.settings("trainer")
        ledger = Ledger.open(settings.store)
        shutil.copytree(bundle, Layout(settings.store.root).bundle(digest_of(bundle)), dirs_exist_ok=True)
        head = ledger.head()
        ledger.append(
            kind="promotion", who="test", expected_head=head, to_digest=digest_of(bundle), version=str(head + 1),
            data_end="2024-05-01T00:00:00+00:00", reason="test",
        )  # fmt: skip
        reconcile(settings, ledger)

    def stored(self) -> set[str]:
        return {name.split("/")[2] for name in self.bucket.names("shop/bundles/")}


@pytest.fixture
def shop(bucket: Bucket, tmp_path: Path) -> Shop:
    return Shop(bucket, tmp_path)


@pytest.fixture
def bundles(contenders: dict[str, Path]) -> list[Path]:
    return [contenders["right"], contenders["wrong"], contenders["old_right"]]


def served(client: httpx.Client) -> tuple[int, str | None]:
    found = client.get("/readyz").json()
    return found["sequence"], found["bundle_digest"]


def problem(client: httpx.Client) -> str:
    return client.get("/readyz").json()["problem"] or ""


def test_a_server_with_a_disk_of_its_own_follows_from_bundle_to_bundle_and_keeps_two(shop, bundles):
    shop.promote(bundles[0])
    with running(Service(shop.settings("server"))) as client:
        assert served(client) == (1, digest_of(bundles[0]))
        for sequence in (2, 3):
            shop.promote(bundles[sequence - 1])
            until(lambda n=sequence: served(client) == (n, digest_of(bundles[n - 1])), f"sequence {sequence}")
        assert client.post("/v1/recommend", json={"k": 3}).status_code == 200
    followed = shop.folder / "server" / "followed"
    assert {path.name for path in followed.iterdir()} == {
        "champion.json", digest_of(bundles[1]), digest_of(bundles[2])
    }  # fmt: skip
    assert not (shop.folder / "server" / "bundles").exists()
    assert shop.stored() == {digest_of(bundle) for bundle in bundles}


def test_it_starts_again_while_the_store_does_not_answer_and_says_so(shop, bundles):
    shop.promote(bundles[0])
    with running(Service(shop.settings("server"))) as client:
        assert served(client) == (1, digest_of(bundles[0]))
    nobody = ("s3.endpoint_url=http://127.0.0.1:9", "s3.max_attempts=1")
    with running(Service(shop.settings("server", *nobody))) as client:
        assert served(client) == (1, digest_of(bundles[0]))
        until(lambda: problem(client) != "", "that the store does not answer")
        assert problem(client).startswith("Still serving bundle")
        assert client.get("/readyz").status_code == 200


def test_without_a_champion_or_with_none_any_more_nothing_is_pointed_to(shop, bundles):
    settings = shop.settings("trainer")
    reconcile(settings, Ledger.open(settings.store))
    with running(Service(shop.settings("server"))) as client:
        assert problem(client).startswith("No champion yet")
        shop.promote(bundles[0])
        until(lambda: served(client) == (1, digest_of(bundles[0])), "the first champion")


def test_a_bundle_changed_in_the_store_is_never_served(shop, bundles):
    shop.promote(bundles[0])
    with running(Service(shop.settings("server"))) as client:
        SharedBundles(shop.settings("trainer")).push(named_copy(shop, bundles[1]))
        shop.bucket.put(f"shop/bundles/{digest_of(bundles[1])}/towers.json", b"{}")
        shop.promote(bundles[1])
        until(lambda: "is not what was sealed; remove it there" in problem(client), "the refusal")
        assert served(client) == (1, digest_of(bundles[0]))


def test_bundles_that_stand_no_more_are_collected_there_too(shop, bundles):
    settings, today = shop.settings("trainer", "store.bundle_days=1", "gate.anchor_days=1"), date(2026, 1, 15)
    for bundle in bundles:
        shop.promote(bundle)
    ledger = Ledger.open(settings.store)
    for _ in range(LEDGER_ENTRIES):
        ledger.append(kind="refusal", who="test", expected_head=ledger.head(), to_digest="9" * 64)
    Partitions.open(settings, "landed").switch(today, Record({"day": str(today), "ingest_key": "key"}), None)
    told = collect(settings).told(False)
    assert [line.split(",")[0] for line in told if "stand no more" in line] == [
        "  1 bundles that stand no more",
        "  1 bundles there that stand no more",
    ]
    kept = {digest_of(bundle) for bundle in bundles[1:]}
    assert shop.stored() == kept == {path.name for path in Layout(settings.store.root).bundles.iterdir()}


def named_copy(shop: Shop, bundle: Path) -> Path:
    """Returns the bundle under the name of its digest."""
    return Path(shutil.copytree(bundle, shop.folder / "copies" / digest_of(bundle)))


def test_a_copy_changed_on_the_servers_disk_is_fetched_again(shop, bundles):
    shop.promote(bundles[0])
    with running(Service(shop.settings("server"))):
        pass
    tower = shop.folder / "server" / "followed" / digest_of(bundles[0]) / "query_tower.tflite.gz"
    right = tower.read_bytes()
    tower.write_bytes(right[:-1] + b"x")
    with running(Service(shop.settings("server"))) as client:
        assert served(client) == (1, digest_of(bundles[0]))
    assert tower.read_bytes() == right


def test_a_pointer_to_a_bundle_that_is_not_there_is_one_sentence(shop, bundles):
    digest = digest_of(bundles[0])
    SharedBundles(shop.settings("trainer")).point(json.dumps({"sequence": 1, "digest": digest, "version": "1"}))
    service = Service(shop.settings("server"))
    service.socket.close()
    assert f"/shop/serving/champion.json: names bundle {digest[:12]}, which is not there" in service.champion.problem


def test_a_bundle_is_there_before_anything_points_to_it(shop, bundles):
    """The upload of its largest file breaks off; nobody is pointed to what is not whole, and the next try ends it."""
    with in_front_of(shop.bucket.endpoint.url) as faults:
        faults.always["PUT *item_index.faiss"] = Fault(status=403)
        broken = Shop(
            Bucket(
                shop.bucket.name,
                shop.bucket.endpoint,
                (*shop.bucket.assignments, f"s3.endpoint_url={faults.url}"),
                shop.bucket.client,
            ),
            shop.folder,
        )
        with pytest.raises(Exception, match="access is denied"):
            broken.promote(bundles[0])
    assert shop.bucket.names("shop/serving/") == []
    settings = shop.settings("trainer")
    assert reconcile(settings, Ledger.open(settings.store)).champion.sequence == 1
    assert shop.bucket.names("shop/serving/") == ["shop/serving/champion.json"]


def test_another_machine_may_reconcile_what_it_never_had(shop, bundles):
    shop.promote(bundles[0])
    shop.bucket.client.delete_object(Bucket=shop.bucket.name, Key="shop/serving/champion.json")
    other = shop.settings("other")
    reconcile(other, Ledger.open(other.store))
    assert Layout(other.store.root).bundle(digest_of(bundles[0])).is_dir()
    assert json.loads(SharedBundles(other).pointer())["sequence"] == 1


def test_a_ledger_that_lost_entries_moves_no_shared_pointer(shop, bundles):
    text = json.dumps({"sequence": 9, "digest": digest_of(bundles[0]), "version": "9"})
    SharedBundles(shop.settings("trainer")).point(text)
    with pytest.raises(CorruptArtifactError, match=r"champion\.json: servers follow ledger entry 9, and the ledger"):
        shop.promote(bundles[0])
    assert SharedBundles(shop.settings("trainer")).pointer() == text


def test_the_server_that_reads_s3_still_imports_nothing_heavy(shop, bundles):
    shop.promote(bundles[0])
    given = [*shop.bucket.assignments, f"store.shared={shop.bucket.url}/shop", f"store.root={shop.folder / 'server'}"]
    code = (
        "import sys, json; from pipeline.core import settings; from pipeline.serve.server import Service\n"
        "service = Service(settings.load(sys.argv[1:]))\n"
        "print(json.dumps([service.champion.current.sequence, sorted(sys.modules)]))"
    )
    words = [sys.executable, "-c", code, *given, "serve.port=0"]
    sequence, loaded = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert sequence == 1
    assert not set(loaded) & {"tensorflow", "pandas", "mlflow", "pyarrow", "sqlalchemy", "great_expectations"}
