"""The release bundle: equal contents have equal digests, and nothing but what was sealed is opened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.core.artifacts import seal
from pipeline.core.errors import CorruptArtifactError, MissingInputError
from pipeline.model.bundle import FILES, open_bundle, seal_bundle

FACTS = {
    "recipe": "float32",
    "data_end": "2024-05-01T00:00:00+00:00",
    "keys": {"train": "ab"},
    "index": {"kind": "flat"},
}


def _filled(folder: Path, text: str = "contents") -> Path:
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text(f"[] {text} of {name}")
    return folder


def test_equal_contents_have_equal_digests_wherever_they_lie(tmp_path: Path) -> None:
    first = seal_bundle(_filled(tmp_path / "a"), FACTS)
    second = seal_bundle(_filled(tmp_path / "b"), FACTS)
    assert first.digest == second.digest
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()


def test_another_fact_or_another_byte_gives_another_digest(tmp_path: Path) -> None:
    plain = seal_bundle(_filled(tmp_path / "a"), FACTS).digest
    other_fact = seal_bundle(_filled(tmp_path / "b"), {**FACTS, "data_end": "2024-05-02T00:00:00+00:00"}).digest
    other_byte = seal_bundle(_filled(tmp_path / "c", "Contents"), FACTS).digest
    assert len({plain, other_fact, other_byte}) == 3


def test_opening_returns_what_was_sealed(tmp_path: Path) -> None:
    sealed = seal_bundle(_filled(tmp_path / "a"), FACTS)
    opened = open_bundle(tmp_path / "a", sealed.digest)
    assert (opened.digest, opened.recipe, opened.data_end) == (sealed.digest, "float32", FACTS["data_end"])
    assert opened.bytes == sum((tmp_path / "a" / name).stat().st_size for name in FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    seal_bundle(_filled(tmp_path / "a"), FACTS)
    raw = bytearray((tmp_path / "a" / name).read_bytes())
    raw[-1] ^= 1
    (tmp_path / "a" / name).write_bytes(raw)
    with pytest.raises(CorruptArtifactError, match=f"{name}: this file was changed"):
        open_bundle(tmp_path / "a")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    seal_bundle(_filled(tmp_path / "a"), FACTS)
    (tmp_path / "a/item_index.faiss").write_text("[] c")
    with pytest.raises(CorruptArtifactError, match=r"item_index\.faiss: this file was changed"):
        open_bundle(tmp_path / "a")


def test_a_tower_of_another_bundle_is_refused(tmp_path: Path) -> None:
    seal_bundle(_filled(tmp_path / "a"), FACTS)
    seal_bundle(_filled(tmp_path / "b", "others"), FACTS)
    shutil.copy(tmp_path / "b/query_tower.tflite.gz", tmp_path / "a/query_tower.tflite.gz")
    with pytest.raises(CorruptArtifactError, match=r"query_tower\.tflite\.gz"):
        open_bundle(tmp_path / "a")


def test_a_manifest_of_another_bundle_is_refused(tmp_path: Path) -> None:
    seal_bundle(_filled(tmp_path / "a"), FACTS)
    seal_bundle(_filled(tmp_path / "b", "others"), FACTS)
    shutil.copy(tmp_path / "b/manifest.json", tmp_path / "a/manifest.json")
    with pytest.raises(CorruptArtifactError):
        open_bundle(tmp_path / "a")


def test_a_fact_edited_in_the_manifest_is_refused(tmp_path: Path) -> None:
    seal_bundle(_filled(tmp_path / "a"), FACTS)
    path = tmp_path / "a/manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data_end": "2030-01-01T00:00:00+00:00"}))
    with pytest.raises(CorruptArtifactError, match="does not have the digest it states"):
        open_bundle(tmp_path / "a")


def test_an_added_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    for name in ("added", "missing"):
        seal_bundle(_filled(tmp_path / name), FACTS)
    (tmp_path / "added/extra.bin").write_text("x")
    (tmp_path / "missing/golden.json.gz").unlink()
    with pytest.raises(CorruptArtifactError, match=r"extra\.bin: this file is not in the manifest"):
        open_bundle(tmp_path / "added")
    with pytest.raises(CorruptArtifactError, match=r"golden\.json\.gz: this file is missing"):
        open_bundle(tmp_path / "missing")


@pytest.mark.parametrize("version", [4, 6, "5", None])
def test_an_unknown_format_version_is_refused_with_both_versions(tmp_path: Path, version: object) -> None:
    seal(_filled(tmp_path / "a"), {"format_version": version, **FACTS})
    with pytest.raises(CorruptArtifactError, match=f"format version {version!r} and this program reads 5"):
        open_bundle(tmp_path / "a")


def test_another_bundle_than_the_one_promised_is_refused(tmp_path: Path) -> None:
    sealed = seal_bundle(_filled(tmp_path / "a"), FACTS)
    with pytest.raises(CorruptArtifactError, match=f"digest is {sealed.digest[:12]}, expected 000000000000"):
        open_bundle(tmp_path / "a", "0" * 64)


def test_no_bundle_and_a_torn_manifest_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="there is no release bundle here"):
        open_bundle(tmp_path)
    _filled(tmp_path / "a")
    (tmp_path / "a/manifest.json").write_text('{"files": {"a"')
    with pytest.raises(CorruptArtifactError, match="cannot be read"):
        open_bundle(tmp_path / "a")


def test_sealing_an_unfinished_bundle_names_what_it_lacks(tmp_path: Path) -> None:
    _filled(tmp_path / "a")
    (tmp_path / "a/golden.json.gz").unlink()
    with pytest.raises(MissingInputError, match=r"needs golden\.json\.gz, recipe"):
        seal_bundle(tmp_path / "a", {name: FACTS[name] for name in ("data_end", "keys", "index")})
