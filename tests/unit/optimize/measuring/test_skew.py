"""This night's tower on the champion's index: measured where the two fit, told where they do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.core.artifacts import MANIFEST, seal
from pipeline.core.run import Layout
from pipeline.model.bundle import open_bundle
from pipeline.model.retriever import Retriever
from pipeline.optimize.judged import Judged
from pipeline.optimize.measuring.skew import skew


@pytest.fixture
def asked(night):
    """A bundle, the queries it was judged on, its recall and k."""
    settings, run, _ = night
    bundle, judged = run.artifact("optimize", "float32").file("bundle"), Judged.load(run.artifact("prepare"), "all")
    own = float(judged.recall(Retriever.load(bundle), settings.shop.k).mean())
    return bundle, judged, own, settings.shop.k


def _crown(layout: Layout, bundle: Path) -> str:
    digest = json.loads((bundle / MANIFEST).read_text())["digest"]
    shutil.copytree(bundle, layout.bundle(digest))
    layout.pointer.parent.mkdir(parents=True)
    layout.pointer.write_text(json.dumps({"sequence": 1, "digest": digest, "version": "1"}))
    return digest


def test_without_a_champion_there_is_nothing_to_hold_the_tower_against(asked, tmp_path: Path) -> None:
    assert skew(Layout(tmp_path), *asked) is None


def test_a_tower_finds_as_much_in_an_index_of_its_own_space(night, asked, tmp_path: Path) -> None:
    # The champion is the same night's int8: its vectors are the float tower's own but for the rounding.
    _, run, _ = night
    digest = _crown(Layout(tmp_path), run.artifact("optimize", "dynamic_int8").file("bundle"))
    told = skew(Layout(tmp_path), *asked)
    assert (told["champion"], told["queries"], told["k"]) == (digest, 120, 5)
    assert told["recall"]["own"] == asked[2]
    assert told["recall"]["mixed"] == pytest.approx(asked[2], abs=0.02)
    assert told["recall"]["champion"] == pytest.approx(asked[2], abs=0.02)
    assert told["sentence"].startswith("this night's tower on the champion's index finds recall@5 0.")


def test_a_catalogue_in_another_order_is_read_and_answered_in_its_own_rows(asked, tmp_path: Path) -> None:
    # Last night's items stand in reverse, its vectors too: rows of one night mean other items in the other.
    from pipeline.model.catalogue import Catalogue
    from pipeline.model.item_index import ItemIndex

    champion = tmp_path / "made"
    shutil.copytree(asked[0], champion)
    facts = json.loads((champion / MANIFEST).read_text())
    (champion / MANIFEST).unlink()
    catalogue, index = Catalogue.load(champion / "items.npz.gz"), ItemIndex.load(champion / "item_index.faiss")
    vectors = index.vectors(list(range(len(index)))[::-1])
    Catalogue({name: list(values)[::-1] for name, values in catalogue.columns.items()}).save(champion / "items.npz.gz")
    (champion / "item_index.faiss").unlink()
    ItemIndex.build(vectors, "float32").save(champion / "item_index.faiss")
    seal(champion, {name: facts[name] for name in ("format_version", "recipe", "data_end", "keys", "index")})
    _crown(Layout(tmp_path), champion)
    assert skew(Layout(tmp_path), *asked)["recall"]["mixed"] == pytest.approx(asked[2], abs=0.005)


def test_the_champion_itself_is_not_measured_against_itself(asked, tmp_path: Path) -> None:
    digest = _crown(Layout(tmp_path), asked[0])
    assert skew(Layout(tmp_path), *asked) == {"champion": digest, "sentence": "it is this night's own bundle"}


def test_other_tables_another_format_and_a_missing_bundle_do_not_fit_and_end_nothing(
    asked, tiny_bundle: Path, tmp_path: Path
) -> None:
    # Towers of the fixture read 256 buckets of words, those of the night 4,096.
    other = Layout(tmp_path / "other")
    _crown(other, tiny_bundle)
    said = "does not fit: this night's tower has buckets of words of 4,096, the champion's index of 256"
    assert skew(other, *asked)["sentence"] == said

    old = tmp_path / "old"
    shutil.copytree(tiny_bundle, old)
    facts = json.loads((old / MANIFEST).read_text())
    (old / MANIFEST).unlink()
    seal(old, {**{name: facts[name] for name in ("recipe", "data_end", "keys", "index")}, "format_version": 3})
    _crown(Layout(tmp_path / "format"), old)
    assert "format version 3 and this program reads 5" in skew(Layout(tmp_path / "format"), *asked)["sentence"]

    shutil.rmtree(other.bundle(open_bundle(tiny_bundle).digest))
    assert skew(other, *asked)["sentence"].startswith("does not fit: ")
