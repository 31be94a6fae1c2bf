"""Each algorithm on a tower of a few hundred weights, where what it promises can be counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.sections import Optimize
from pipeline.model.config import TowerConfig
from pipeline.model.keras import keras
from pipeline.model.towers import build_query_tower, dense_layers
from pipeline.optimize.algorithms import Plan, apply
from pipeline.optimize.distil import Lessons

CONFIG = TowerConfig(
    40,
    dim=8,
    hidden_units=16,
    history_length=5,
    blocks=1,
    heads=2,
    text_length=4,
    text_buckets=64,
    brand_buckets=4,
    category_buckets=4,
    context_buckets=4,
)
LESSONS = 300


def _tower() -> keras.Model:
    """A tower in which every layer has its say: those that start at zero are drawn as the others."""
    keras.utils.set_random_seed(5)
    tower = build_query_tower(CONFIG)
    draw = np.random.default_rng(5)
    for layer in tower.layers:
        if isinstance(layer, keras.layers.Dense):
            kernel, bias = layer.get_weights()
            layer.set_weights([draw.normal(0, kernel.shape[0] ** -0.5, kernel.shape), draw.normal(0, 0.1, bias.shape)])
    return tower


def _features() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(7)
    length = {"history_items": 5, "history_types": 5, "history_pauses": 5, "now_pause": 1, "query_text": 4}
    most = {"history_items": 41, "history_types": 7, "history_pauses": 9, "now_pause": 9, "query_text": 65}
    features = {
        name: draw.integers(1, most[name], (LESSONS, length[name])).astype(np.int32) for name in length
    }
    return {**features, "query_context": draw.integers(0, 5, (LESSONS, 4)).astype(np.int32)}


@pytest.fixture(scope="module")
def tower() -> keras.Model:
    return _tower()


@pytest.fixture(scope="module")
def lessons(tower: keras.Model) -> Lessons:
    features = _features()
    return Lessons(features, tower.predict(features, batch_size=LESSONS, verbose=0))


@pytest.fixture
def plan(lessons: Lessons) -> Plan:
    return Plan(lambda: lessons, 20, 3, Optimize(clusters=8), CONFIG)


def _kernels(tower: keras.Model) -> dict[str, np.ndarray]:
    return {name: tower.get_layer(name).kernel.numpy() for name in dense_layers(tower)}


def _cosine(tower: keras.Model, lessons: Lessons) -> float:
    found = tower.predict(lessons.features, batch_size=LESSONS, verbose=0)
    return float((found * lessons.vectors).sum(axis=1).mean())


def _values(tower: keras.Model) -> list[int]:
    return [len(np.unique(kernel)) for kernel in _kernels(tower).values()]


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("prune", 0.9),
        ("prune_neurons", 0.9),
        ("cluster", 0.95),
        ("quantize_aware", 0.999),
        ("preserve_quantize_aware", 0.999),
        ("factorise", 0.9),
        ("student", 0.8),
        ("heal", 0.999),
    ],
)
def test_an_algorithm_leaves_the_tower_it_was_given_and_answers_as_it_does(tower, lessons, plan, name, least) -> None:
    before = [weights.copy() for weights in tower.get_weights()]
    changed = apply(name, tower, plan)
    print(name, _cosine(changed, lessons))
    assert all(np.array_equal(a, b) for a, b in zip(before, tower.get_weights(), strict=True))
    assert _cosine(changed, lessons) > least
    again = apply(name, tower, plan)
    assert all(np.array_equal(a, b) for a, b in zip(changed.get_weights(), again.get_weights(), strict=True))
    assert apply(name, tower, replace(plan, steps=0)).output_shape == tower.output_shape
