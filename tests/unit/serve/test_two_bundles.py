"""Two bundles in one process: each answers as if it were alone, whoever is asked first and from whichever thread."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import settings as settings_module
from pipeline.model.live_items import LiveItem
from pipeline.serve import answers, champion, messages
from pipeline.serve.champion import Served
from pipeline.serve.messages import Limits
from tests.fixtures.bundles import item_id

SETTINGS = settings_module.load([])
LIMITS = Limits.of(SETTINGS.serve, SETTINGS.shop)


def _loaded(bundle: Path) -> Served:
    return champion.load(bundle, answers.rehearsal(LIMITS))


@pytest.fixture(scope="module")
def requests() -> list[tuple[str, dict]]:
    draw = np.random.default_rng(11)
    made: list[tuple[str, dict]] = [("/v1/search", {"query": "thing of shelf 3"}), ("/v1/recommend", {})]
    for length in draw.integers(1, 9, 30):
        history = [{"item_id": item_id(int(n))} for n in draw.integers(1, 51, length)]
        made.append(("/v1/recommend", {"history": history, "k": 20, "now": "2024-05-09T00:00:00Z"}))
    return made


def _answered(served: Served, requests: Sequence[tuple[str, dict]]) -> list[bytes]:
    return [messages.encode(answers.answer_path(served, LIMITS, path, body).body) for path, body in requests]


def test_two_bundles_asked_by_turns_answer_as_each_does_alone(bundles, requests):
    alone = [_answered(_loaded(bundle), requests) for bundle in bundles[:2]]
    assert alone[0] != alone[1]
    both = [_loaded(bundle) for bundle in bundles[:2]]
    by_turns = [[_answered(served, [asked])[0] for served in both] for asked in requests]
    assert [list(found) for found in zip(*by_turns, strict=True)] == alone


def test_two_bundles_asked_at_once_by_a_thread_each_answer_as_each_does_alone(bundles, requests):
    alone = [_answered(_loaded(bundle), requests) for bundle in bundles[:2]]
    both = [_loaded(bundle) for bundle in bundles[:2]]
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(_answered, served, requests * 5) for served in both]
        assert [found.result() for found in asked] == [answered * 5 for answered in alone]


def test_a_bundle_that_nobody_holds_is_gone_at_once(bundles, requests):
    served = _loaded(bundles[0])
    items = [LiveItem("new-1", 1.0, "Zeppelin", "home/attic")]
    served.live.put(items, served.live.vectors_of(items))
    _answered(served, requests)
    held = served.retriever
    parts = [weakref.ref(each) for each in (served, held, held.catalogue, held.index, held.index.sealed, held.lexical)]
    # What only the collector would find, it finds late: and never, of the bundle a server began with.
    gc.disable()
    try:
        del served, held
        assert [part() for part in parts] == [None] * len(parts)
    finally:
        gc.enable()


def test_what_is_put_into_one_is_not_in_the_other_even_of_the_same_bundle(bundles, requests):
    one, other = _loaded(bundles[0]), _loaded(bundles[0])
    before = _answered(other, requests)
    items = [LiveItem("new-1", 1.0, "Zeppelin", "home/attic"), LiveItem(item_id(3), 1.0, "Retold")]
    one.live.put(items, one.live.vectors_of(items))
    in_attic = ("/v1/recommend", {"history": [{"item_id": item_id(4)}], "filter": {"category": "home/attic"}})
    found = [json.loads(_answered(served, [in_attic])[0])["items"] for served in (one, other)]
    assert [len(items) for items in found] == [1, 0]
    assert _answered(other, requests) == before
    one.live.drop(["new-1", item_id(3)])
    assert _answered(one, requests) == before
