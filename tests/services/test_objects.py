"""The object store: what it keeps, and what its failures look like to a person."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from pipeline.core.errors import (
    BusyError,
    DataError,
    MissingInputError,
    MissingSecretError,
    PipelineError,
    SettingsError,
    UnavailableError,
)
from pipeline.store.files import find
from pipeline.store.objects import Address, Objects
from tests.services.conftest import Bucket
from tests.services.faults import Fault, Faults, in_front_of
from tests.services.servers import free_port

MEGABYTE = 1 << 20
KINDS = ["bucket", "conditional_bucket"]


def _bytes(count: int) -> bytes:
    return random.Random(count).randbytes(count)


def _objects(bucket: Bucket, *more: str) -> Objects:
    return Objects(bucket.settings(Path("unused"), *more).s3)


@pytest.fixture(params=KINDS)
def any_bucket(request: pytest.FixtureRequest) -> Bucket:
    return request.getfixturevalue(request.param)


@pytest.fixture
def faults(bucket: Bucket) -> Iterator[Faults]:
    with in_front_of(bucket.endpoint.url) as faults:
        yield faults


def _through(bucket: Bucket, faults: Faults, *more: str) -> Objects:
    return _objects(bucket, f"s3.endpoint_url={faults.url}", *more)


def test_what_is_put_is_read_listed_found_and_deleted(any_bucket: Bucket) -> None:
    objects, place = _objects(any_bucket), Address(any_bucket.name, "a/ü b.json")
    etag = objects.put(place, b"{}")
    objects.put(Address(any_bucket.name, "b"), b"")
    assert objects.read(place) == (b"{}", etag)
    assert [str(f.address) for f in objects.list(Address(any_bucket.name, "a/"))] == [f"{any_bucket.url}/a/ü b.json"]
    found = objects.find(place)
    assert found is not None
    assert (found.size_bytes, found.etag) == (2, etag)
    assert objects.open(Address(any_bucket.name, "b")).read() == b""
    objects.delete(place)
    objects.delete(place)
    assert (objects.read(place), objects.find(place)) == (None, None)


def test_a_listing_longer_than_one_page_is_whole(conditional_bucket: Bucket) -> None:
    bucket, objects = conditional_bucket, _objects(conditional_bucket)
    names = [f"n/{number:04d}" for number in range(1003)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: objects.put(Address(bucket.name, name), b""), names))
    assert [found.address.key for found in objects.list(Address(bucket.name, "n/"))] == names


def test_a_file_larger_than_a_part_goes_in_parts_and_comes_back_the_same(any_bucket: Bucket, tmp_path: Path) -> None:
    """12 MiB and 5 bytes in parts of 5 MiB: three parts."""
    content, place = _bytes(12 * MEGABYTE + 5), Address(any_bucket.name, "big")
    (tmp_path / "up").write_bytes(content)
    objects = _objects(any_bucket)
    objects.upload(tmp_path / "up", place)
    objects.download(place, tmp_path / "down")
    assert hashlib.sha256((tmp_path / "down").read_bytes()).digest() == hashlib.sha256(content).digest()
    found = objects.find(place)
    assert found is not None
    assert found.etag.strip('"').endswith("-3")


def test_every_upload_asks_for_encryption_at_rest(conditional_bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(_bytes(6 * MEGABYTE))
    objects = _objects(conditional_bucket)
    objects.put(Address(conditional_bucket.name, "small"), b"x")
    objects.upload(tmp_path / "up", Address(conditional_bucket.name, "large"))
    for key in ("small", "large"):
        head = conditional_bucket.client.head_object(Bucket=conditional_bucket.name, Key=key)
        assert head["ServerSideEncryption"] == "AES256"


def test_a_stream_can_be_moved_about_in_as_readers_of_parquet_do(bucket: Bucket, tmp_path: Path) -> None:
    table = pa.table({"n": list(range(300_000)), "text": [f"{n:x}" for n in range(300_000)]})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=50_000)
    objects, place = _objects(bucket), Address(bucket.name, "t.parquet")
    objects.upload(tmp_path / "t.parquet", place)
    with objects.open(place) as stream:
        file = parquet.ParquetFile(stream)
        assert file.read_row_group(4).column("n")[7].as_py() == 200_007
        assert file.read_row_group(1).column("text")[0].as_py() == f"{50_000:x}"


@pytest.mark.parametrize("pattern", ["day/*.csv", "day/a.csv", "*/a.csv", "day/[ab].csv"])
def test_objects_are_found_by_the_patterns_files_are(bucket: Bucket, tmp_path: Path, pattern: str) -> None:
    for name in ("day/a.csv", "day/a.txt", "day/deep/a.csv", "day/", "other", "dayless/x.csv"):
        bucket.put(f"logs/{name}", name.encode())
    settings = bucket.settings(tmp_path, f"ingest.source={bucket.url}/logs/")
    (found,) = find(settings, pattern)
    assert (found.name, found.location) == ("day/a.csv", f"{bucket.url}/logs/day/a.csv")
    with found.open() as stream:
        assert stream.read() == b"day/a.csv"


def test_an_object_replaced_has_another_digest_and_is_not_read_as_the_old_one(bucket: Bucket, tmp_path: Path) -> None:
    settings = bucket.settings(tmp_path, f"ingest.source={bucket.url}")
    bucket.put("a.csv", b"one")
    (before,) = find(settings, "a.csv")
    bucket.put("a.csv", b"two")
    (after,) = find(settings, "a.csv")
    assert before.digest != after.digest
    with pytest.raises(DataError, match=r"a\.csv: this object was replaced while it was being read; run the step"):
        before.open()


def test_a_stream_that_breaks_goes_on_where_it_broke(bucket: Bucket, faults: Faults) -> None:
    """3 MiB, cut after 1 MiB, then after 70,000 bytes, then not."""
    content, place = _bytes(3 * MEGABYTE), Address(bucket.name, "log")
    bucket.put("log", content)
    faults.plan("GET", Fault(cut_after=MEGABYTE), Fault(cut_after=70_000))
    with _through(bucket, faults).open(place) as stream:
        assert stream.read() == content
    assert [asked for _, asked in faults.seen] == ["", f"bytes={MEGABYTE}-", f"bytes={MEGABYTE + 70_000}-"]


def test_a_stream_that_breaks_does_not_go_on_in_another_version(bucket: Bucket, faults: Faults) -> None:
    bucket.put("log", _bytes(3 * MEGABYTE))
    faults.plan("GET", Fault(cut_after=2 * MEGABYTE))
    with _through(bucket, faults).open(Address(bucket.name, "log")) as stream:
        stream.read(MEGABYTE)
        bucket.put("log", _bytes(3 * MEGABYTE + 1))
        with pytest.raises(DataError, match="this object was replaced while it was being read"):
            stream.read()


def test_a_stream_that_never_gets_on_is_given_up(bucket: Bucket, faults: Faults) -> None:
    """Three answers of ten bytes each; the third breaks the last time, with thirty bytes read."""
    bucket.put("log", _bytes(MEGABYTE))
    faults.always["GET"] = Fault(cut_after=10)
    with (
        _through(bucket, faults, "s3.max_attempts=3").open(Address(bucket.name, "log")) as stream,
        pytest.raises(UnavailableError, match=r"log: the connection broke 3 times around byte 30; see that the object"),
    ):
        stream.read()


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_unwell_for_a_moment_is_asked_again(bucket: Bucket, faults: Faults, status: int) -> None:
    faults.plan("PUT", Fault(status=status), Fault(status=status))
    faults.plan("GET", Fault(status=status), Fault(lose_answer=True))
    objects, place = _through(bucket, faults), Address(bucket.name, "k")
    objects.put(place, b"v")
    answer = objects.read(place)
    assert answer is not None
    assert answer[0] == b"v"
    assert [asked.split()[0] for asked, _ in faults.seen] == ["PUT"] * 3 + ["GET"] * 3


def test_a_server_unwell_for_ever_is_named_and_a_retry_may_help(bucket: Bucket, faults: Faults) -> None:
    faults.always["PUT"] = Fault(status=500)
    objects = _through(bucket, faults, "s3.max_attempts=3")
    with pytest.raises(UnavailableError, match=r"still answers 500 .* after 3 tries; see that it is well") as caught:
        objects.put(Address(bucket.name, "k"), b"v")
    assert caught.value.exit_code == 75
    assert len(faults.seen) == 3


def test_a_server_slower_than_the_limit_is_asked_again(bucket: Bucket, faults: Faults) -> None:
    bucket.put("k", b"v")
    faults.plan("GET", Fault(pause_seconds=3))
    objects = _through(bucket, faults, "s3.read_timeout_seconds=0.5")
    assert objects.read(Address(bucket.name, "k")) is not None
    assert len(faults.seen) == 2


def test_parts_that_fail_are_sent_again_and_an_answer_lost_at_the_end_is_no_failure(
    bucket: Bucket, faults: Faults, tmp_path: Path
) -> None:
    content = _bytes(11 * MEGABYTE)
    (tmp_path / "up").write_bytes(content)
    faults.plan("PUT", Fault(status=500), None, Fault(status=503))
    faults.plan("POST", None, Fault(lose_answer=True))
    objects, place = _through(bucket, faults), Address(bucket.name, "big")
    objects.upload(tmp_path / "up", place)
    objects.download(place, tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == content


def test_an_upload_that_fails_for_good_leaves_nothing_behind(bucket: Bucket, faults: Faults, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(_bytes(11 * MEGABYTE))
    faults.always["PUT"] = Fault(status=500)
    with pytest.raises(UnavailableError):
        _through(bucket, faults, "s3.max_attempts=2").upload(tmp_path / "up", Address(bucket.name, "big"))
    assert bucket.names() == []
    assert "Uploads" not in bucket.client.list_multipart_uploads(Bucket=bucket.name)


def test_a_bucket_that_is_not_there_is_named(any_bucket: Bucket) -> None:
    with pytest.raises(MissingInputError, match="s3://no-such-bucket/k: there is no such bucket; make it"):
        _objects(any_bucket).put(Address("no-such-bucket", "k"), b"")
    with pytest.raises(MissingInputError, match="s3://no-such-bucket/p: there is no such bucket; make it"):
        list(_objects(any_bucket).list(Address("no-such-bucket", "p")))


def test_a_wrong_secret_is_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(PipelineError, match="access is denied; see that AWS_ACCESS_KEY_ID") as caught:
        _objects(bucket).put(Address(bucket.name, "k"), b"")
    assert not caught.value.retry_may_help


def test_no_credentials_at_all_are_named(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MissingSecretError, match="no credentials of an object store are set"):
        _objects(bucket).put(Address(bucket.name, "k"), b"")


def test_a_store_that_is_down_is_named(bucket: Bucket) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    objects = _objects(bucket, f"s3.endpoint_url={address}", "s3.max_attempts=2")
    with pytest.raises(UnavailableError, match=rf"the object store at {address} cannot be reached"):
        objects.read(Address(bucket.name, "k"))


def test_one_of_two_conditional_writes_wins(conditional_bucket: Bucket) -> None:
    objects, place = _objects(conditional_bucket), Address(conditional_bucket.name, "k")
    first = objects.replace(place, b"1", None)
    with pytest.raises(BusyError, match="another process replaced this object"):
        objects.replace(place, b"1 too", None)
    objects.replace(place, b"2", first)
    with pytest.raises(BusyError, match="another process replaced this object"):
        objects.replace(place, b"2 too", first)
    answer = objects.read(place)
    assert answer is not None
    assert answer[0] == b"2"


def test_a_store_without_conditional_writes_says_so(bucket: Bucket) -> None:
    with pytest.raises(SettingsError, match=r"the store cannot do this; set s3\.conditional_writes"):
        _objects(bucket).replace(Address(bucket.name, "k"), b"", None)
