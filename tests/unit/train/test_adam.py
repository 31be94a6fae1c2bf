"""The fused optimizer beside the one Keras composes, and by hand where it differs."""

from __future__ import annotations

import numpy as np

from pipeline.model.keras import keras, tf
from pipeline.train.adam import FusedAdam

GRADIENTS = [[[1.0, -2.0], [0.0, 0.5]], [[0.5, 0.5], [-1.0, 3.0]], [[-4.0, 0.0], [0.0, 0.0]]]


def _after(optimizer: type[keras.optimizers.Adam], gradients: list) -> np.ndarray:
    """Returns the weight after these steps, each a function compiled for a replica as the trainer's is."""
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        weight, adam = tf.Variable([[1.0, 2.0], [3.0, 4.0]]), optimizer(0.1)
        adam.build([weight])
    for gradient in gradients:
        moved = lambda gradient=gradient: adam.apply_gradients(  # noqa: E731
            [(gradient, weight)], skip_gradients_aggregation=True
        )
        tf.function(lambda moved=moved: strategy.run(moved))()
    return weight.numpy()


def test_a_weight_moves_as_the_one_of_keras_moves_it() -> None:
    dense = [tf.constant(gradient) for gradient in GRADIENTS]
    assert np.allclose(_after(FusedAdam, dense), _after(keras.optimizers.Adam, dense), atol=1e-6)


def test_rows_that_are_named_move_as_if_the_others_were_not_there() -> None:
    named = [tf.IndexedSlices(tf.constant([gradient[1]]), tf.constant([1]), [2, 2]) for gradient in GRADIENTS]
    alone = [tf.constant([[0.0, 0.0], gradient[1]]) for gradient in GRADIENTS]
    found = _after(FusedAdam, named)
    assert found[0].tolist() == [1, 2]
    assert np.allclose(found[1], _after(keras.optimizers.Adam, alone)[1], atol=1e-6)


def test_a_row_named_again_has_not_moved_and_not_forgotten_meanwhile() -> None:
    # Row 0 in steps 1 and 3 alone, gradient 1 each: first moments 1 - .9 = .1, then .1 * .9 + .1 = .19; second ones
    # .001, then .001999. Step 3 divides them by 1 - .9^3 = .271 and 1 - .999^3 = .002997001.
    rows = [[0], [1], [0]]
    named = [tf.IndexedSlices(tf.ones([1, 2]), tf.constant(row), [2, 2]) for row in rows]
    after_one, after_three = _after(FusedAdam, named[:1]), _after(FusedAdam, named)
    moved = 0.1 * (0.19 / 0.271) / np.sqrt(0.001999 / 0.002997001)
    assert np.allclose(after_one[0], [0.9, 1.9], atol=1e-5)
    assert np.allclose(after_three[0], after_one[0] - moved, atol=1e-5)
