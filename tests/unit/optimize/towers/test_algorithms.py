"""Each algorithm on a tower of some hundred weights, where what it promises can be counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pipeline.core.sections import Optimize
from pipeline.model.keras import keras, tf
from pipeline.model.towers import dense_layers
from pipeline.optimize.towers.algorithms import ALGORITHMS, Plan, apply
from pipeline.optimize.towers.algorithms.quantize_aware import KernelQuantizer
from pipeline.optimize.towers.distil import Lessons
from pipeline.optimize.towers.rebuild import copy_of
from tests.fixtures.small_tower import CONFIG, cosine, real_inputs, small_tower

CLUSTERS = 8
Apply = Callable[..., keras.Model]


@pytest.fixture(scope="module")
def tower() -> keras.Model:
    return small_tower()


@pytest.fixture(scope="module")
def plan(tower: keras.Model) -> Plan:
    features = real_inputs()
    lessons = Lessons(features, tower(features).numpy())
    return Plan(lambda: lessons, 20, 3, Optimize(clusters=CLUSTERS), CONFIG)


@pytest.fixture(scope="module")
def made(tower: keras.Model, plan: Plan) -> Apply:
    """Applies algorithms one after another, each chain once."""

    @cache
    def chain(*names: str) -> keras.Model:
        return apply(names[-1], chain(*names[:-1]), plan) if names else tower

    return chain


def _kernels(tower: keras.Model) -> dict[str, np.ndarray]:
    return {name: tower.get_layer(name).kernel.numpy() for name in dense_layers(tower)}


def _answers(tower: keras.Model, plan: Plan) -> np.ndarray:
    return tower(plan.lessons().features).numpy()


KEEPING = ("prune", "cluster", "preserve_quantize_aware")
LEAST = {
    ("prune",): 0.9,
    ("prune_neurons",): 0.9,
    ("prune", "cluster"): 0.9,
    KEEPING: 0.9,
    ("quantize_aware",): 0.9999,
    ("factorise",): 0.8,
    ("student",): 0.7,
}
"""Cosines of drawn weights after twenty steps: nothing in them is superfluous, as in trained towers much is."""


@pytest.mark.parametrize("names", LEAST, ids="-".join)
def test_algorithms_answer_nearly_as_the_tower_they_were_given_and_leave_it_alone(tower, plan, made, names) -> None:
    assert cosine(_answers(made(*names), plan), plan.lessons().vectors) > LEAST[names]
    assert all(np.array_equal(a, b) for a, b in zip(tower.get_weights(), small_tower().get_weights(), strict=True))


def test_the_same_plan_makes_the_same_tower(plan, made) -> None:
    # Clusters start from drawn weights and learn from shuffled lessons, so whatever is drawn is drawn here.
    again, first = apply("cluster", made("prune"), plan), made("prune", "cluster")
    assert all(np.array_equal(a, b) for a, b in zip(again.get_weights(), first.get_weights(), strict=True))


def test_without_steps_only_who_judges_by_answers_asks_for_lessons(tower, plan) -> None:
    refusing = replace(plan, steps=0, lessons=lambda: pytest.fail("asked for lessons"))
    for name in ALGORITHMS.keys() - {"prune_neurons", "preserve_quantize_aware"}:
        assert apply(name, tower, refusing).output_shape == (None, CONFIG.dim)


def test_every_kernel_has_the_asked_for_share_of_zeros(plan, made) -> None:
    for kernel in _kernels(made("prune")).values():
        assert (kernel == 0).sum() == np.ceil(kernel.size * 0.5)


def test_without_steps_the_smallest_weights_are_cut_at_once(tower, plan) -> None:
    third = replace(plan, steps=0, settings=Optimize(sparsity=1 / 3))
    before, after = _kernels(tower)["hidden"], _kernels(apply("prune", tower, third))["hidden"]
    kept = after != 0
    assert (~kept).sum() == np.ceil(before.size / 3) and np.array_equal(after[kept], before[kept])
    assert np.abs(before[~kept]).max() <= np.abs(before[kept]).min()


def test_a_clustered_kernel_holds_so_many_values_and_keeps_its_zeros(made) -> None:
    both = made("prune", "cluster")
    for name, kernel in _kernels(both).items():
        assert len(np.unique(kernel)) <= CLUSTERS
        assert (kernel[_kernels(made("prune"))[name] == 0] == 0).all()


def test_rounding_in_training_keeps_zeros_and_shared_values(made) -> None:
    before, after = (_kernels(tower) for tower in (made(*KEEPING[:2]), made(*KEEPING)))
    moved = 0.0
    for name, kernel in after.items():
        assert np.array_equal(kernel == 0, before[name] == 0)
        for value in np.unique(before[name]):
            assert np.ptp(kernel[before[name] == value]) < 1e-6
        moved = max(moved, np.abs(kernel - before[name]).max())
    assert moved > 1e-4  # it learnt all the same


@pytest.mark.parametrize("sharing", [None, np.array([[0, 1], [1, 2], [0, 3]], np.int32)])
def test_a_kernel_is_rounded_to_the_grid_of_a_byte(sharing) -> None:
    kernel = np.array([[0.5, 0.013], [0.013, -0.3], [0.5, 0.0]], np.float32)
    quantizer, layer = KernelQuantizer(sharing), keras.layers.Layer()
    rounded = quantizer(tf.constant(kernel), True, quantizer.build(kernel.shape, "kernel", layer)).numpy()
    # A scale a channel, 0.5 / 127 and 0.3 / 127, or one for a kernel of shared values.
    scale = np.array([0.5, 0.3]) / 127 if sharing is None else 0.5 / 127
    assert rounded == pytest.approx(np.round(kernel / scale) * scale, abs=1e-6)


def test_matrices_get_smaller_by_the_neurons_cut_out(made) -> None:
    kernels = _kernels(made("prune_neurons"))
    shapes = {name: kernels[name].shape for name in ("hidden", "output", "block_0_hidden", "block_0_output")}
    assert shapes == {
        "hidden": (24, 8),
        "output": (8, 8),
        "block_0_hidden": (8, 8),
        "block_0_output": (8, 8),
    }


def test_neurons_nobody_misses_are_the_ones_cut_out(tower, plan) -> None:
    # Of sixteen units every second one says the same to every query (no incoming weights, bias 1), or nothing further
    # on: without them, their word in the next bias, the answers are the same.
    idle = copy_of(tower)
    for name in ("hidden", "block_0_hidden"):
        kernel, bias = idle.get_layer(name).get_weights()
        kernel[:, ::2], bias[::2] = 0.0, 1.0
        idle.get_layer(name).set_weights([kernel, bias])
    cut = apply("prune_neurons", idle, replace(plan, steps=0))
    assert _answers(cut, plan) == pytest.approx(_answers(idle, plan), abs=1e-5)


def test_a_kernel_of_low_rank_is_factorised_without_loss_and_only_where_smaller(tower, plan) -> None:
    low, draw = copy_of(tower), np.random.default_rng(1)
    for name, kernel in _kernels(tower).items():
        # A quarter of the full rank: two for all but the gate.
        rank = max(1, round(0.25 * min(kernel.shape)))
        product = draw.normal(size=(kernel.shape[0], rank)) @ draw.normal(size=(rank, kernel.shape[1])) / 8
        low.get_layer(name).set_weights([product, *low.get_layer(name).get_weights()[1:]])
    thin = apply("factorise", low, replace(plan, steps=0))
    assert _answers(thin, plan) == pytest.approx(_answers(low, plan), abs=1e-5)
    kernels = _kernels(thin)
    assert kernels["hidden_thin"].shape == (24, 4) and kernels["hidden"].shape == (4, 16)
    assert "history_gate_thin" not in kernels  # 24 weights already, and 25 as a product


def test_a_student_is_smaller_reads_the_same_tables_and_learns_the_rest(tower, made) -> None:
    student = made("student")
    assert not [layer.name for layer in student.layers if layer.name.startswith("block_")]
    assert student.get_layer("hidden").kernel.shape == (24, 8)
    same = {
        name: np.array_equal(student.get_layer(name).get_weights()[0], tower.get_layer(name).get_weights()[0])
        for name in ("item_table", "text_table", "text_weight_table", "type_table", "history_norm")
    }
    assert [name for name, unchanged in same.items() if not unchanged] == ["type_table", "history_norm"]


def test_a_tower_whose_table_was_rounded_heals(tower, plan) -> None:
    rough = copy_of(tower)
    (table,) = rough.get_layer("item_table").get_weights()
    rough.get_layer("item_table").set_weights([np.round(2 * table) / 2])
    healed = apply("heal", rough, replace(plan, steps=40))
    before, after = (cosine(_answers(each, plan), plan.lessons().vectors) for each in (rough, healed))
    assert after > before + 0.005
    assert np.array_equal(healed.get_layer("item_table").get_weights()[0], np.round(2 * table) / 2)
