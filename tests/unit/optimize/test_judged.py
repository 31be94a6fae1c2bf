"""Which queries recipes are judged on, and which of them become goldens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.core.run import Run
from pipeline.model.features import Query
from pipeline.optimize.judged import Judged
from pipeline.optimize.making.inputs import Inputs


def _inputs(world: Path, metric: str = "new_items") -> Inputs:
    run = Run.open(world, "2024-05-08", "UTC")
    return Inputs(run.artifact("prepare"), run.artifact("train"), metric)


def test_new_items_leave_out_what_the_user_had_but_never_for_a_search(world: Path) -> None:
    new, every = (Judged.load(_inputs(world).prepared, metric) for metric in ("new_items", "all_items"))
    assert [len(targets) for targets in new.targets[:6]] == [4, 4, 4, 4, 4, 5]
    assert new.exclude_seen[:6] == [True] * 5 + [False]
    assert {len(targets) for targets in every.targets} == {5} and not any(every.exclude_seen)


def test_goldens_are_real_requests_filters_searches_and_both_fallbacks(world: Path) -> None:
    inputs = _inputs(world)
    requests = inputs.judged.requests(5, inputs.catalogue.top_categories())
    bodies = [request["request"] for request in requests]
    assert len(requests) == 24 + 4 + 1 + 8 + 2
    assert sum(body.get("exclude_seen") is False for body in bodies) == 4
    assert [body["filter"] for body in bodies if body.get("filter")] == [{"category": "home"}]
    assert sum(request["path"] == "/v1/search" for request in requests) == 8
    assert bodies[0]["history"][0]["event_time"] == "2024-04-30T23:51:00+00:00"


def test_a_search_no_server_would_read_is_no_golden(world: Path) -> None:
    judged = _inputs(world).judged
    texts = ["", "  ", "x" * 201, None, "tea"]
    queries = [Query([], [], text) for text in texts]
    odd = replace(judged, queries=queries, kinds=["search"] * 5)
    searches = [r["request"]["query"] for r in odd.requests(5, []) if r["path"] == "/v1/search"]
    assert searches == ["tea"]
