"""The page to try the server on, in a real browser: what a person sees and may press."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.serve import tokens
from tests.fixtures.bundles import item_id
from tests.services.servers import free_port, listens, running


@pytest.fixture(scope="module")
def served(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server that asks for a token: its address, and the token."""
    folder, port = tmp_path_factory.mktemp("page"), free_port()
    token = tokens.add(folder / "serve" / "tokens.json", "person", "read")
    command = [sys.executable, "-m", "pipeline", "serve", f"--bundle={tiny_bundle}", f"--port={port}"]
    root = {"PYTHONPATH": str(Path(__file__).parents[2])}
    with running([*command, f"--set=store.root={folder}"], folder, listens(port), **root):
        yield f"http://127.0.0.1:{port}", token


@pytest.fixture
def page(browser: Any, served: tuple[str, str]) -> Iterator[Any]:
    """The page, opened with a token given; what went wrong in it, or was fetched from elsewhere, fails the test."""
    url, token = served
    page, wrong = browser.new_page(viewport={"width": 1280, "height": 860}), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: request.url.startswith(url) or wrong.append(request.url))
    page.goto(url + "/")
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem").startswith("This asks for a token")
    assert page.get_attribute("#token", "aria-invalid") == "true"
    page.fill("#token", token)
    press(page, "#ask")
    yield page
    assert wrong == []
    page.close()


def press(page: Any, what: str) -> dict:
    """Presses something that asks the server; returns the body of what was asked, once it is answered."""
    with page.expect_response(lambda response: "/v1/" in response.url) as found:
        page.click(what)
    found.value.finished()
    page.wait_for_selector("#ask:not([disabled])")
    return json.loads(found.value.request.post_data or "{}")


def titles(page: Any) -> list[str]:
    return page.locator("#items .title").all_inner_texts()


def test_it_shows_items_with_what_a_shop_shows_and_how_long_it_took(page: Any) -> None:
    assert len(titles(page)) == 10 and titles(page)[0] == "Thing 1 of shelf 1"
    assert page.inner_text("#items li >> nth=0").split("\n")[:3] == [
        "1",
        "Thing 1 of shelf 1",
        "item-001 · home/garden · brand-1",
    ]
    assert page.inner_text("#items .price >> nth=0") == "2.00"
    assert page.inner_text("#fallback") == "answered by popularity: empty history"
    assert page.inner_text("#took").endswith(" ms") and page.inner_text("#said").startswith("200 · request ")
    assert page.inner_text("#model").startswith("serves bundle ")


def test_what_is_met_becomes_the_history_and_changes_the_answer(page: Any) -> None:
    before = titles(page)
    asked = press(page, "#items li:nth-child(3) >> text=+ met")
    assert [event["item_id"] for event in asked["history"]] == [item_id(3)]
    assert page.locator("#history li").count() == 1 and titles(page) != before
    assert "Thing 3 of shelf 3" not in titles(page) and not page.is_visible("#fallback")
    page.select_option("#history select", "purchase")
    assert press(page, "#ask")["history"][0]["event_type"] == "purchase"
    page.click("#history button")
    assert press(page, "#ask")["history"] == []


def test_every_field_reaches_the_server(page: Any) -> None:
    page.click("[data-asks=search]")
    page.fill("#query", "thing of shelf 3")
    page.fill("#met", item_id(9))
    page.press("#met", "Enter")
    page.fill("#k", "4")
    page.fill("#category", "home")
    page.fill("#more", '{"context": {"device": "tv"}}')
    asked = press(page, "#ask")
    assert asked.pop("history")[0]["item_id"] == item_id(9)
    assert asked == {
        "query": "thing of shelf 3", "k": 4, "exclude_seen": False, "filter": {"category": "home"},
        "context": {"device": "tv"},
    }  # fmt: skip
    assert len(titles(page)) == 4
    assert all("· home/" in about for about in page.locator("#items .about").all_inner_texts())


def test_similar_items_are_one_press_away(page: Any) -> None:
    press(page, "#items li:nth-child(2) >> text=similar")
    assert page.input_value("#item") == item_id(2)
    assert len(titles(page)) == 10 and "Thing 2 of shelf 2" not in titles(page)
    page.fill("#item", "no/such item")
    press(page, "#ask")
    assert "'no/such item' is not among the 50 items" in page.inner_text("#problem")
    assert titles(page) == []


def test_the_answer_is_shown_as_json_and_the_question_as_curl(page: Any, served: tuple[str, str]) -> None:
    page.click("[data-shows=raw]")
    assert json.loads(page.inner_text("#raw"))["fallback"] == "empty_history"
    page.click("[data-shows=curl]")
    shown = page.inner_text("#curl")
    # The token itself stands nowhere that may be copied.
    assert "/v1/recommend" in shown and "Bearer $TOKEN" in shown and served[1] not in page.content()


def test_every_other_route_is_offered_with_its_example(page: Any) -> None:
    page.click("[data-asks=other]")
    offered = page.locator("#route option").all_inner_texts()
    assert {"POST /v1/recommend", "GET /v1/model", "GET /metrics", "GET /readyz"} <= set(offered)
    assert press(page, "#ask")["history"][0]["item_id"] == "85123A"
    page.select_option("#route", label="GET /v1/model")
    press(page, "#ask")
    page.click("[data-shows=raw]")
    assert json.loads(page.inner_text("#raw"))["items"] == 50


def test_what_is_not_json_is_said_where_it_stands(page: Any) -> None:
    page.fill("#more", "{oh")
    page.click("#ask")
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem").startswith("More fields are not JSON")
    assert page.get_attribute("#more", "aria-invalid") == "true"


def test_it_fits_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
