"""Puts towers, index, catalogue and goldens together as one release bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import CorruptArtifactError
from pipeline.model import bundle as names
from pipeline.model.bundle import Bundle, seal_bundle
from pipeline.model.catalogue import Catalogue
from pipeline.model.config import TowerConfig
from pipeline.model.goldens import check_goldens, with_answers
from pipeline.model.item_index import ItemIndex
from pipeline.model.lexical import Lexical
from pipeline.model.packed import write_json, write_packed
from pipeline.model.repeats import Repeats
from pipeline.model.retriever import Retriever
from pipeline.model.words import Words


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle.

    Attributes:
        query_tower, item_tower: LiteRT files of towers without tables, as `model.stripping` makes them.
        index, words: the vectors of items, row = item's place in the catalogue, and of words, as stored.
        repeats, lexical: what is added to scores.
        requests: the golden requests, `{"path", "request"}`.
        facts: `recipe`, `data_end`, `keys`.
    """

    config: TowerConfig
    catalogue: Catalogue
    query_tower: bytes
    item_tower: bytes
    index: ItemIndex
    words: Words
    repeats: Repeats
    lexical: Lexical
    requests: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any]


def make_bundle(folder: Path, contents: Contents) -> Bundle:
    """Writes, answers its goldens with the very files written, seals and proves the bundle.

    Raises: CorruptArtifactError: the sealed bundle does not answer its own goldens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents.config.save(folder / names.TOWERS)
    contents.catalogue.save(folder / names.ITEMS)
    contents.repeats.save(folder / names.REPEATS)
    contents.lexical.save(folder / names.LEXICAL)
    write_packed(folder / names.QUERY_TOWER, contents.query_tower)
    write_packed(folder / names.ITEM_TOWER, contents.item_tower)
    contents.index.save(folder / names.INDEX)
    contents.words.save(folder)
    write_json(folder / names.GOLDEN, with_answers(Retriever(folder), contents.requests))
    bundle = seal_bundle(folder, {**contents.facts, "index": asdict(contents.index.facts)})
    wrong = check_goldens(Retriever.load(folder, bundle.digest))
    if wrong:
        raise CorruptArtifactError(f"{folder}: the bundle does not answer its own requests: {wrong[0]}; make it again.")
    return bundle
