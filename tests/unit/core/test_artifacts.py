"""Artifacts are whole or not there, and say when they are not what was sealed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pipeline.core import artifacts
from pipeline.core.errors import CorruptArtifactError, MissingInputError


def _fill(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "a.txt").write_text("a")
    (folder / "b.txt").write_text("b")


def test_build_seals_every_file_and_leaves_nothing_beside(tmp_path: Path) -> None:
    artifact = artifacts.build(tmp_path / "key", _fill)
    assert sorted(artifact.manifest["files"]) == ["b.txt", "deep/a.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["key"]
    artifact.verify()


def test_a_failure_while_filling_leaves_nothing_visible(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        _fill(folder)
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        artifacts.build(tmp_path / "key", fill)
    assert list(tmp_path.iterdir()) == []


def test_equal_bytes_have_equal_digests_whatever_key_made_them(tmp_path: Path) -> None:
    first = artifacts.build(tmp_path / "one", _fill)
    second = artifacts.build(tmp_path / "two", _fill)
    assert first.digest == second.digest


def test_the_artifact_already_there_wins_over_a_second_builder(tmp_path: Path) -> None:
    artifacts.build(tmp_path / "key", _fill)
    kept = artifacts.build(tmp_path / "key", lambda folder: (folder / "other.txt").write_text("x") and None)
    assert (kept.path / "b.txt").exists()
    assert not (kept.path / "other.txt").exists()


def test_force_replaces_the_artifact_already_there(tmp_path: Path) -> None:
    artifacts.build(tmp_path / "key", _fill)
    fresh = artifacts.build(
        tmp_path / "key", lambda folder: (folder / "other.txt").write_text("x") and None, replace=True
    )
    assert sorted(fresh.manifest["files"]) == ["other.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_force_replaces_the_artifact_though_a_killed_one_left_its_folder(tmp_path: Path) -> None:
    artifacts.build(tmp_path / "key", _fill)
    left = artifacts.place_beside(tmp_path / "key", "old")
    left.mkdir()
    _fill(left)
    artifacts.build(tmp_path / "key", _fill, replace=True).verify()
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda folder: (folder / "b.txt").write_text("B"), "b.txt: this file was changed"),
        (lambda folder: (folder / "b.txt").unlink(), "b.txt: this file is missing"),
        (lambda folder: (folder / "c.txt").write_text("c"), "c.txt: this file is not in the manifest"),
        (lambda folder: (folder / "manifest.json").write_text('{"files": '), "manifest.json cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "manifest.json cannot be read"),
        (
            lambda folder: (folder / "manifest.json").write_text('{"files": {}, "digest": "0"}'),
            "does not have the digest",
        ),
    ],
)
def test_verify_names_what_is_not_as_sealed(tmp_path: Path, harm, sentence: str) -> None:
    artifact = artifacts.build(tmp_path / "key", _fill)
    harm(artifact.path)
    with pytest.raises(CorruptArtifactError, match=sentence):
        artifact.verify()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    artifact = artifacts.build(tmp_path / "key", _fill)
    with pytest.raises(MissingInputError, match=r"holds no c\.json"):
        artifact.json("c.json")


def test_the_input_key_changes_with_inputs_settings_and_stage() -> None:
    keys = {
        artifacts.input_key("ingest", {"raw": "1"}, {"ingest": {"a": 1}}),
        artifacts.input_key("ingest", {"raw": "2"}, {"ingest": {"a": 1}}),
        artifacts.input_key("ingest", {"raw": "1"}, {"ingest": {"a": 2}}),
        artifacts.input_key("prepare", {"raw": "1"}, {"ingest": {"a": 1}}),
    }
    assert len(keys) == 4


def test_write_beside_replaces_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "pointer.json"
    artifacts.write_beside(path, "old")
    artifacts.write_beside(path, "new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["pointer.json"]


def test_write_beside_names_the_file_a_full_disk_has_no_room_for(tmp_path: Path) -> None:
    path = tmp_path / "pointer.json"
    (tmp_path / f".pointer.json.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as refusal:
        artifacts.write_beside(path, "new")
    assert refusal.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_sealed_elsewhere_is_taken_in_whole_or_not_at_all(tmp_path: Path) -> None:
    made = artifacts.build(tmp_path / "made", _fill)

    def copy(folder: Path) -> None:
        shutil.copytree(made.path, folder, dirs_exist_ok=True)

    def spoil(folder: Path) -> None:
        copy(folder)
        (folder / "b.txt").write_text("c")

    with pytest.raises(CorruptArtifactError, match="was changed"):
        artifacts.receive(tmp_path / "taken", spoil)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert artifacts.receive(tmp_path / "taken", copy).digest == made.digest
