from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core import artifacts
from pipeline.core.artifacts import Artifact
from pipeline.store.lineage import artifacts_of, drop, made_from


def make(root: Path, stage: str, key: str, inputs: dict[str, str] | None) -> Artifact:
    extra = {"stage": stage, "key": key} | ({} if inputs is None else {"inputs": inputs})
    return artifacts.build(root / "store" / stage / key, lambda folder: (folder / "a").write_text(key), extra)


def test_what_was_made_from_a_key_or_a_digest_is_found_through_every_stage(tmp_path: Path) -> None:
    day, other = make(tmp_path, "ingest", "day", {}), make(tmp_path, "ingest", "other", {})
    make(tmp_path, "validate", "verdict", {"ingest 2026-01-06": "next", "published 2026-01-05": day.digest})
    make(tmp_path, "prepare", "set", {"ingest 2026-01-05": day.key})
    make(tmp_path, "train", "model", {"prepare": "set"})
    make(tmp_path, "optimize", "bundle", {"prepare": "none", "train": "model"})
    make(tmp_path, "prepare", "unrelated", {"ingest 2026-01-07": other.key})
    found = made_from(tmp_path, {day.key, day.digest})
    assert found.by_stage() == {"validate": ["verdict"], "prepare": ["set"], "train": ["model"], "optimize": ["bundle"]}


@pytest.mark.parametrize(("first", "grown"), [("a", "b"), ("b", "a")])
def test_what_grew_from_a_set_is_found_whatever_their_keys(tmp_path: Path, first: str, grown: str) -> None:
    before = make(tmp_path, "prepare", first, {"ingest 2026-01-05": "day"})
    make(tmp_path, "prepare", grown, {"ingest 2026-02-05": "later", "vocabulary 2026-01-05": before.digest})
    make(tmp_path, "train", "model", {"prepare": grown})
    assert made_from(tmp_path, {"day"}).by_stage() == {"prepare": ["a", "b"], "train": ["model"]}


def test_what_records_no_inputs_is_held_for_derived(tmp_path: Path) -> None:
    make(tmp_path, "prepare", "old", None)
    make(tmp_path, "train", "model", {"prepare": "old"})
    assert made_from(tmp_path, {"day"}).by_stage() == {"prepare": ["old"], "train": ["model"]}
    assert made_from(tmp_path, ()).artifacts == ()


def test_what_is_being_made_is_no_artifact_yet(tmp_path: Path) -> None:
    make(tmp_path, "prepare", "whole", {})
    (tmp_path / "store" / "prepare" / ".torn.12.tmp").mkdir()
    (tmp_path / "store" / "prepare" / "empty").mkdir()
    assert [artifact.key for artifact in artifacts_of(tmp_path, "prepare")] == ["whole"]


def test_what_a_killed_drop_left_is_in_nobodys_way(tmp_path: Path) -> None:
    artifact = make(tmp_path, "prepare", "set", {})
    left = artifacts.place_beside(artifact.path, "old")
    left.mkdir()
    (left / "items.parquet").write_text("")
    drop(artifact)
    assert list((tmp_path / "store" / "prepare").iterdir()) == []
