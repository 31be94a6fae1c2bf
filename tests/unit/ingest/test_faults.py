"""Files as they should not be, a full disk, a process that dies: one clear sentence or a counted row each."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.core.artifacts import verify_folder
from pipeline.core.errors import RETRY_MAY_HELP, DataError
from pipeline.ingest.reading import records

REPOSITORY = Path(__file__).parents[3]
DAY = "2026-01-05"
HEADER = b"when,who,visit,what,sku,words,cost,pieces\n"
ROW = b"2026-01-05T10:00:00Z,anna,v1,seen,lamp,,9.50,\n"
OTHER = ROW.replace(b"lamp", b"mug")
KEY = "7a" * 32


def test_names_that_lie_about_gzip_do_no_harm(source) -> None:
    source.write_bytes(HEADER + ROW, gzipped=True)
    assert source.ingest(run_id="packed").counts["clean"] == 1
    source.profile.write_text(source.profile.read_text().replace("{day}.csv", "{day}.csv.gz"))
    source.write_bytes(HEADER + ROW + OTHER, f"{DAY}.csv.gz")
    assert source.ingest(run_id="plain").counts["clean"] == 2


def test_members_of_a_gzip_file_are_read_as_one_text(source) -> None:
    source.write_bytes(gzip.compress(HEADER + ROW[:20]) + gzip.compress(ROW[20:] + OTHER))
    assert source.ingest().counts["clean"] == 2


def test_a_gzip_file_with_a_wrong_byte_is_refused(source) -> None:
    packed = bytearray(gzip.compress(HEADER + ROW * 100))
    packed[-6] ^= 1  # of the checksum
    source.write_bytes(bytes(packed))
    with pytest.raises(DataError, match=rf"{DAY}.csv: the gzip stream is torn \(CRC check failed.*deliver the file"):
        source.ingest()


def test_nul_bytes_spoil_their_row_only(source) -> None:
    source.write_bytes(HEADER + ROW + ROW.replace(b"lamp", b"la\0mp") + OTHER + b"\0" * 5000)
    day = source.ingest()
    assert (day.counts["clean"], day.rules) == (2, {"torn": 2})
    assert {row["row"] for row in day.rows("quarantine")} == {'{"torn": "a NUL byte"}'}


@pytest.mark.parametrize("quote", [b"", b'"'])
def test_a_field_of_300_kb_is_a_field(source, quote: bytes) -> None:
    long = b"x" * 300_000
    source.write_bytes(HEADER + ROW.replace(b"lamp", quote + long + quote) + OTHER)
    assert {len(event["item_id"]) for event in source.ingest().rows("events")} == {300_000, 3}


def test_a_quoted_field_of_300_kb_of_lines_is_taken_for_a_quote_that_never_closes(source) -> None:
    lines = b"2026-01-05,x\n" * 24_000
    source.write_bytes(HEADER + ROW.replace(b"lamp", b'"' + lines + b'"') + OTHER)
    day = source.ingest()
    # Its first line, its 23,999 others, and the line that begins with its last quote.
    assert (day.counts["clean"], day.rules) == (1, {"torn": 24_001})


def test_mixed_types_in_a_column_are_counted_by_rule(source) -> None:
    source.write_bytes(
        HEADER
        + ROW
        + OTHER.replace(b"9.50", b"cheap")
        + b"2026-01-05T10:00:00Z,anna,v1,bought,lamp,,9.50,two\n"
        + b"17,anna,v1,seen,lamp,,9.50,\n"
        + b"2026-01-05T11:00:00Z,17,v1,seen,42,,9,\n"
    )
    day = source.ingest()
    assert (day.counts["clean"], day.rules) == (2, {"bad_price": 1, "bad_quantity": 1, "bad_time": 1})


def test_a_file_delivered_twice_under_two_names_counts_once(source, own_profile) -> None:
    own_profile('files: "{day}.csv"', 'files: "{day}*.csv"')
    for name in (f"{DAY}.csv", f"{DAY}-copy.csv"):
        source.write_bytes(HEADER + ROW + OTHER, name)
    day = source.ingest()
    assert (day.counts["rows"], day.counts["clean"], day.rules) == (4, 2, {"exact_duplicate": 2})


def test_a_name_given_to_two_columns_is_refused_only_where_the_profile_asks_for_it(source) -> None:
    source.write_bytes(HEADER.replace(b"\n", b",note,note\n") + ROW.replace(b"\n", b",1,2\n"))
    assert source.ingest(run_id="unasked").counts["clean"] == 1
    source.write_bytes(HEADER.replace(b"\n", b",cost\n") + ROW.replace(b"\n", b",1\n"))
    with pytest.raises(DataError, match=rf"{DAY}.csv: 2 columns are called cost, which the profile names; give each"):
        source.ingest(run_id="asked")


@pytest.mark.parametrize("name", ["utf-16", "utf-16-be"])
def test_a_file_in_utf_16_is_refused(source, name: str) -> None:
    mark = b"\xfe\xff" if name == "utf-16-be" else b""
    source.write_bytes(mark + (HEADER + ROW).decode().encode(name))
    with pytest.raises(DataError, match=rf"{DAY}.csv: the file is written in UTF-16; deliver it in UTF-8"):
        source.ingest()


def test_a_file_whose_lines_end_in_carriage_returns_is_refused_and_not_taken_for_a_quiet_day(source) -> None:
    source.write_bytes((HEADER + ROW).replace(b"\n", b"\r"))
    with pytest.raises(DataError, match=rf"{DAY}.csv: its lines end in carriage returns; deliver it with line feeds"):
        source.ingest()


def test_a_carriage_return_within_a_line_spoils_its_row_only(source) -> None:
    source.write_bytes(HEADER + ROW.replace(b"lamp", b"la\rmp") + ROW.replace(b"lamp", b'"la\rmp"') + OTHER)
    day = source.ingest()
    assert (day.counts["clean"], day.rules) == (2, {"torn": 1})


def test_a_file_without_lines_is_refused_before_it_fills_the_memory(source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_LINE_BYTES", 1 << 20)
    monkeypatch.setattr(records, "BLOCK_BYTES", 1 << 18)
    source.write_bytes(HEADER + b"x" * (3 << 20))
    with pytest.raises(
        DataError, match=rf"{DAY}.csv: no line ends within 1 MB after byte 42; this is no file of lines"
    ):
        source.ingest()


def test_a_parquet_file_cut_short_or_of_another_kind_of_column_is_refused(source, own_profile) -> None:
    own_profile('files: "{day}.csv"', 'files: "{day}.csv"\n  format: parquet')
    source.write_bytes(b"PAR1" + b"\0" * 100 + b"PAR1")
    with pytest.raises(DataError, match=rf"{DAY}.csv: this is not Parquet"):
        source.ingest()


def test_json_that_only_some_readers_take_is_counted(source, own_profile) -> None:
    own_profile('files: "{day}.csv"', 'files: "{day}.jsonl"\n  format: jsonl')
    row = {"when": "2026-01-05T10:00:00Z", "who": "anna", "visit": "v1", "what": "seen", "sku": "lamp"}
    rest = '"words": null, "pieces": null'
    lines = [json.dumps(row)[:-1] + f', "cost": {cost}, {rest}}}' for cost in ("1e2", "NaN", "-0", "9.50", '"\\ud800"')]
    lines.append("[" * 100_000)
    source.write_bytes("\n".join(lines).encode(), f"{DAY}.jsonl")
    day = source.ingest()
    # A lone surrogate is no text, brackets without end no object; NaN is no price.
    assert (day.counts["clean"], day.rules) == (3, {"torn": 2, "bad_price": 1})


def rows_of_a_day(count: int) -> bytes:
    times = (f"2026-01-05T{n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02}Z" for n in range(count))
    rows = (f"{time},person{n % 997},visit{n % 4999},seen,sku{n},,1.00," for n, time in enumerate(times))
    return HEADER + "\n".join(rows).encode() + b"\ntorn\n"


def command(source, root: Path) -> list[str]:
    given = {"ingest.source": source.folder, "ingest.profile": source.profile, "store.root": root}
    given |= {"ingest.quarantine_fail_share": source.settings.ingest.quarantine_fail_share}
    options = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    return [sys.executable, "-m", "pipeline", "ingest", "--run", DAY, *options]


def environment(scratch: Path) -> dict[str, str]:
    return {**os.environ, "PIPELINE_SECRETS__PSEUDONYM_KEY": KEY, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(scratch)}


def require_nothing_half_visible(root: Path) -> None:
    """A folder under its final name is sealed and whole; a record names one that is there."""
    for folder in root.glob("store/*/[!.]*"):
        verify_folder(folder)
    for record in root.glob("landed/*.json"):
        assert (root / "store" / "ingest" / json.loads(record.read_text())["ingest_key"]).is_dir()


def files_of(root: Path) -> list[tuple[str, str]]:
    """Returns digests of everything a day's artifact holds but for its manifest and report, which tell the time."""
    told = ("manifest.json", "report.json")
    paths = [p for p in root.glob("store/ingest/[!.]*/*") if p.name not in told]
    return sorted((p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in paths)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("a disk of its own needs root and the right to mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_sentence_a_retry_and_nothing_half_visible(source, small_disk: Path, tmp_path: Path) -> None:
    source.write_bytes(rows_of_a_day(30_000))
    root = small_disk / "root"
    ended = subprocess.run(
        command(source, root), capture_output=True, text=True, env=environment(tmp_path), check=False
    )
    assert ended.returncode == RETRY_MAY_HELP, ended.stderr
    (sentence,) = ended.stderr.strip().splitlines()
    assert "no space is left on the device; free some and run the step again." in sentence
    require_nothing_half_visible(root)
    assert not list(root.glob("landed/*.json"))


def test_a_disk_too_small_to_spill_to_is_one_sentence_and_a_retry(source, small_disk: Path, tmp_path: Path) -> None:
    source.write_bytes(rows_of_a_day(400_000))
    words = [
        *command(source, tmp_path / "root"),
        "--set",
        f"engine.scratch={small_disk}",
        "--set",
        "engine.memory_mb=128",
    ]
    ended = subprocess.run(words, capture_output=True, text=True, env=environment(tmp_path), check=False)
    assert ended.returncode == RETRY_MAY_HELP, ended.stderr
    (sentence,) = ended.stderr.strip().splitlines()
    assert "set engine.scratch to a larger disk or raise engine.memory_mb" in sentence
    require_nothing_half_visible(tmp_path / "root")


@pytest.fixture
def in_a_fork(tmp_path: Path) -> Iterator[Callable[..., float]]:
    """Carries out a command, killed after so many seconds if any are given; returns how many it lived."""
    started = [sys.executable, str(Path(__file__).with_name("forks.py"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(started, env=environment(tmp_path), text=True, **pipes) as forks:

        def carried_out(words: list[str], seconds: float | None = None) -> float:
            forks.stdin.write(json.dumps({"words": words, "seconds": seconds}) + "\n")
            forks.stdin.flush()
            return float(forks.stdout.readline())

        yield carried_out


def test_ingest_killed_at_ten_moments_leaves_nothing_half_visible_and_ends_as_if_unbroken(
    source, in_a_fork, tmp_path: Path
) -> None:
    source.write_bytes(rows_of_a_day(30_000))
    seconds = in_a_fork(command(source, tmp_path / "whole")[3:])
    expected = files_of(tmp_path / "whole")
    assert len(expected) == 5
    dice = random.Random(11)
    for moment in sorted(dice.random() for _ in range(10)):
        root = tmp_path / f"killed at {moment:.3f}"
        in_a_fork(command(source, root)[3:], moment * seconds)
        require_nothing_half_visible(root)
        again = source.settings.store.model_copy(update={"root": root})
        source.settings = source.settings.model_copy(update={"store": again})
        source.ingest(run_id=DAY)
        require_nothing_half_visible(root)
        assert files_of(root) == expected
