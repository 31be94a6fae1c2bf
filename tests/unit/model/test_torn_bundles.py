"""Bundles that were sealed torn: digests fit, contents do not. Every reader ends in one sentence, none in a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import CorruptArtifactError
from pipeline.model.bundle import FILES, GOLDEN, ITEM_TOWER, open_bundle
from pipeline.model.goldens import check_goldens
from pipeline.model.packed import read_packed, write_packed
from pipeline.model.retriever import Retriever
from pipeline.model.served import NewItemTower
from tests.fixtures.nights import resealed

PACKED = [name for name in FILES if name.endswith(".gz")]


def _read(folder: Path, name: str) -> None:
    """Reads a file of a bundle as whoever needs it does: the item tower and the goldens are not for answering."""
    if name == ITEM_TOWER:
        NewItemTower.load(folder)
    elif name == GOLDEN:
        check_goldens(Retriever.load(folder))
    else:
        Retriever.load(folder)


def _refused(bundle: Path, folder: Path, name: str, change: Callable[[Path], None]) -> None:
    resealed(bundle, folder, "2024-05-02", lambda torn: change(torn / name))
    assert open_bundle(folder)
    with pytest.raises(CorruptArtifactError) as refusal:
        _read(folder, name)
    assert name in str(refusal.value) and "\n" not in str(refusal.value) and str(refusal.value).endswith(".")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_before_it_was_sealed_is_named(
    tiny_bundle: Path, tmp_path: Path, name: str, share: float
) -> None:
    def cut(path: Path) -> None:
        whole = path.read_bytes()
        path.unlink()
        path.write_bytes(whole[: int(share * len(whole))])

    _refused(tiny_bundle, tmp_path / "torn", name, cut)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("name", PACKED)
def test_what_was_cut_off_before_it_was_packed_is_named(
    tiny_bundle: Path, tmp_path: Path, name: str, share: float
) -> None:
    def cut(path: Path) -> None:
        whole = read_packed(path)
        write_packed(path, whole[: int(share * len(whole))])

    _refused(tiny_bundle, tmp_path / "torn", name, cut)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_something_else_is_named(tiny_bundle: Path, tmp_path: Path, name: str) -> None:
    def other(path: Path) -> None:
        path.unlink()
        path.write_bytes(b"[1, 2, 3]")

    _refused(tiny_bundle, tmp_path / "torn", name, other)
