"""Adam as the step runs it: one pass over each weight, and of a large table only over the rows that were met.

Keras composes it of a dozen operations a weight, each a pass over memory; for a table of a million items that is most
of a step. Of a table whose gradient names rows, moments and weights of the other rows stay as they are: they neither
decay nor move until a row is met again.

Source: Kingma & Ba 2015, algorithm 1, in the order of its section 2; rows alone as in TensorFlow Addons' LazyAdam.

Shapes: R rows met, D dim.
"""

from __future__ import annotations

from typing import Any

from pipeline.model.keras import keras, tf


class FusedAdam(keras.optimizers.Adam):
    """Adam whose update of a weight is one operation."""

    def update_step(self, gradient: Any, variable: Any) -> None:
        """Args: gradient: dense, or tf.IndexedSlices that name each row once."""
        at = self._index_dict[self._var_key(variable)]
        first, second = self._momentums[at], self._velocities[at]
        steps = tf.cast(self.iterations + 1, tf.float32)
        powers = tf.pow(self.beta_1, steps), tf.pow(self.beta_2, steps)
        if isinstance(gradient, tf.IndexedSlices):
            self._move_rows(gradient, variable, (first, second), powers)
            return
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=tf.cast(self.learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def _move_rows(self, gradient: tf.IndexedSlices, variable: Any, moments: tuple[Any, Any], powers: Any) -> None:
        rows_R, gradient_RD = gradient.indices, gradient.values
        read, write = tf.raw_ops.ResourceGather, tf.raw_ops.ResourceScatterUpdate
        first_RD, second_RD = (read(resource=m.handle, indices=rows_R, dtype=tf.float32) for m in moments)
        first_RD += (gradient_RD - first_RD) * (1 - self.beta_1)
        second_RD += (tf.square(gradient_RD) - second_RD) * (1 - self.beta_2)
        rate = tf.cast(self.learning_rate, tf.float32) * tf.sqrt(1 - powers[1]) / (1 - powers[0])
        step_RD = -rate * first_RD / (tf.sqrt(second_RD) + self.epsilon)
        for moment, values_RD in zip(moments, (first_RD, second_RD), strict=True):
            write(resource=moment.handle, indices=rows_R, updates=values_RD)
        tf.raw_ops.ResourceScatterAdd(resource=variable.handle, indices=rows_R, updates=step_RD)
