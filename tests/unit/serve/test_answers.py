"""Filters and explanations as they are asked for over HTTP, in bodies and in query strings."""

from __future__ import annotations

import pytest

from tests.fixtures.bundles import item_id

EVENT = {"item_id": item_id(3), "event_type": "view", "event_time": "2024-05-01T10:00:00Z"}
KNOWN = {"history": [EVENT], "k": 20, "now": "2024-05-02T10:00:00Z"}


def ids(response) -> list[str]:
    assert response.status_code == 200, response.text
    return [item["item_id"] for item in response.json()["items"]]


@pytest.mark.parametrize("body", [KNOWN, {"k": 20}, {**KNOWN, "query": "thing of shelf 3"}])
def test_all_that_a_filter_says_holds_for_every_item(client, body):
    # Prices are 1 more than an item's number; brands go by its rest of three.
    told = {
        "category": ["home/kitchen", "fashion"],
        "brand": ["brand-1", "brand-2"],
        "price_min": 11,
        "price_max": 41.5,
        "in_stock": True,
        "deny": [item_id(n) for n in (11, 16, 20)],
    }
    left = [n for n in range(10, 41) if n % 4 in (0, 2, 3) and n % 3 and n not in (11, 16, 20)]
    found = ids(client.post("/v1/recommend", json={**body, "filter": told}))
    assert sorted(found) == [item_id(n) for n in left]


def test_a_search_and_a_recommendation_take_the_same_filter(client):
    told = {"brand": "brand-1", "price_max": 20}
    found = ids(client.post("/v1/search", json={"query": "thing", "k": 30, "filter": told}))
    assert sorted(found) == [item_id(n) for n in (1, 4, 7, 10, 13, 16, 19)]


def test_similar_items_take_filters_as_parameters(client):
    query = "k=30&category=home%2Fkitchen&category=fashion&brand=brand-1&price_min=5&price_max=30&in_stock=true"
    found = ids(client.get(f"/v1/items/{item_id(4)}/similar?{query}&deny={item_id(7)}&deny={item_id(10)}"))
    assert sorted(found) == [item_id(n) for n in (16, 19, 22, 28)]


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"category": []}, "The field filter.category is wrong: expected array of length >= 1."),
        ({"category": 5}, "The field filter.category is wrong: expected str | array | null, got int."),
        ({"brand": [""]}, "The field filter.brand[0] is wrong: expected str of length >= 1."),
        ({"price_min": -1}, "The field filter.price_min is wrong: expected float >= 0.0."),
        ({"price_min": 5, "price_max": 4.5}, "The price_min is 5, more than the price_max, 4.5; no price is both."),
        ({"in_stock": "yes"}, "The field filter.in_stock is wrong: expected bool, got str."),
        ({"deny": "item-001"}, "The field filter.deny is wrong: expected array, got str."),
        ({"price": 5}, "The field filter.price is not known here."),
    ],
)
def test_a_filter_that_cannot_be_meant_gets_422_and_a_sentence(client, told, sentence):
    answer = client.post("/v1/recommend", json={**KNOWN, "filter": told})
    assert (answer.status_code, answer.json()["error"]) == (422, sentence)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("price_min=cheap", "The parameter price_min is wrong: expected float | null, got str."),
        ("price_min=5&price_max=4", "The price_min is 5, more than the price_max, 4; no price is both."),
        ("price_max=5&price_max=6", "The parameter price_max is given 2 times; give it once."),
        ("k=x", "The parameter k is wrong: expected int | null, got str."),
        ("k=0", "The parameter k is wrong: expected int >= 1."),
        ("brand=", "The parameter brand[0] is wrong: expected str of length >= 1."),
        (
            "colour=red",
            "The parameters of this route are k, category, brand, price_min, price_max, in_stock, deny, such as ?k=20.",
        ),
    ],
)
def test_a_parameter_that_cannot_be_meant_gets_422_and_a_sentence(client, query, sentence):
    answer = client.get(f"/v1/items/{item_id(4)}/similar?{query}")
    assert (answer.status_code, answer.json()["error"]) == (422, sentence)


def test_why_is_told_only_where_it_is_asked_for(client):
    plain = client.post("/v1/recommend", json=KNOWN).json()["items"]
    told = client.post("/v1/recommend", json={**KNOWN, "explain": True}).json()["items"]
    assert all("why" not in item for item in plain)
    assert [{name: value for name, value in item.items() if name != "why"} for item in told] == plain
    assert set(told[0]["why"]) == {
        "popular", "likeness", "words_added", "met_added", "history", "query", "words", "category", "brand", "price",
    }  # fmt: skip
    assert any(item["why"]["history"] == [{"item_id": item_id(3), "share": 1.0}] for item in told)


def test_words_typed_and_popularity_are_reasons(client):
    found = client.post("/v1/search", json={"query": "Shelf 3", "k": 30, "explain": True}).json()["items"]
    assert all(
        item["why"]["words"] == [w for w in ("shelf", "3") if w in item["title"].lower().split()] for item in found
    )
    assert client.post("/v1/recommend", json={"k": 1, "explain": True}).json()["items"][0]["why"]["popular"] is True


def test_a_text_without_a_word_and_nothing_else_is_its_own_fallback(client):
    answer = client.post("/v1/search", json={"query": "!?", "k": 2}).json()
    assert answer["fallback"] == "no_words"
    assert [item["item_id"] for item in answer["items"]] == [item_id(1), item_id(2)]


def test_what_the_parts_of_an_answer_take_is_counted(client):
    def counted() -> dict[str, float]:
        begin = 'serve_stage_seconds_count{stage="'
        lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(begin)]
        return {line.removeprefix(begin).split('"')[0]: float(line.split()[-1]) for line in lines}

    before = counted()
    client.post("/v1/recommend", json={**KNOWN, "explain": True})
    after = counted()
    for stage in ("queue", "decode", "features", "tower", "index", "rank", "explain", "encode"):
        assert after[stage] >= before.get(stage, 0) + 1
