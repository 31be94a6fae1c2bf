"""Sampled softmax over certain and drawn candidates, corrected for how often each was to be expected.

Shapes: B queries, C candidates they share, K candidates (C shared ones, or [B, K] each query's own), n items, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

from pipeline.model.keras import tf

LEAST = 1e-30
"""At temperatures of hundredths a candidate that does not count may lie so far above all that do."""


class Candidates(NamedTuple):
    """Items and their vectors: int32 [C], float32 [C, D], or int32 [B, K], float32 [B, K, D] with 0 for no item."""

    items: tf.Tensor
    vectors: tf.Tensor

    def scores(self, queries_BD: tf.Tensor) -> tf.Tensor:
        """Returns float32 [B, K]."""
        own = len(self.items.shape) == 2
        return tf.einsum("bd,bkd->bk" if own else "bd,kd->bk", queries_BD, self.vectors)

    def among(self, items_BX: tf.Tensor) -> tf.Tensor:
        """Returns bool [B, K], which of them are one of the query's."""
        return reduce(
            tf.logical_or, (tf.equal(self.items, items_B1) for items_B1 in tf.split(items_BX, items_BX.shape[1], 1))
        )


@dataclass(frozen=True)
class SampledSoftmax:
    """Estimates the softmax cross-entropy over the whole catalogue.

    With score s = q.v / temperature, the partition function is estimated without bias by exp(s_i) of every item i that
    is a candidate with certainty, and exp(s_j) / draws_j of every candidate j drawn that is none of those: the log of
    the expected draws is subtracted from its score. Three kinds are drawn, and a candidate of whichever kind is
    weighed by all the ways it could have come:

        draws_j = others * p_j + uniform * u_j + hard * p_j / P(c) [j in c]

    of `others` targets in the batch, each drawn with the item's share p of targets; of `uniform` items drawn evenly
    from those that may be negatives, each with chance u; and of `hard` ones drawn from the category c of the query's
    target by their share.

    Attributes:
        probability_n1: float32, p by item index; even_n1: u; share_n1: p_j / P(c_j), 0 for an item without category.
        category_n1: int32, 0 for none.

    Source: Bengio & Senecal 2008, section III; Yi et al. 2019, section 3 (logQ correction in batch); Yang et al. 2020,
        section 3.2 (mixed negatives), as expected counts, which are the weights of Veach & Guibas 1995 (the balance
        heuristic).
    """

    probability_n1: tf.Tensor
    even_n1: tf.Tensor
    share_n1: tf.Tensor
    category_n1: tf.Tensor
    uniform: int
    hard: int
    temperature: float

    def losses(
        self,
        queries_BD: tf.Tensor,
        targets: Candidates,
        exposed: Candidates,
        shared: Candidates,
        hard: Candidates,
        in_step_BC: tf.Tensor,
    ) -> tf.Tensor:
        """Returns float32 [B].

        Args:
            queries_BD: of unit length, as the candidates' vectors are.
            targets: each query's own, [B, 1]. exposed: further certain ones of each. shared: the batch's targets and
                the uniform ones. hard: of each query's own.
            in_step_BC: bool, shared ones that came into the batch because the query did, itself among them: no draws.
        """
        certain_BX = tf.concat([targets.items, exposed.items], 1)
        category_B1 = tf.gather(self.category_n1, targets.items)
        others_B1 = tf.reduce_sum(tf.cast(~in_step_BC, tf.float32), 1, keepdims=True) - self.uniform
        queries_BD = queries_BD / self.temperature

        def drawn(candidates: Candidates, out_BK: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            draws_BK = tf.maximum(self._expected(candidates.items, others_B1, category_B1), 1e-12)
            out_BK = tf.logical_or(out_BK, candidates.among(certain_BX))
            return candidates.scores(queries_BD), tf.where(out_BK, 0.0, 1.0 / draws_BK)

        target_B1 = targets.scores(queries_BD)
        summands = [(target_B1, 1.0), drawn(shared, in_step_BC)]
        if exposed.items.shape[1]:
            summands.append((exposed.scores(queries_BD), tf.cast(tf.not_equal(exposed.items, 0), tf.float32)))
        if self.hard:
            summands.append(drawn(hard, tf.equal(hard.items, 0)))
        greatest = (tf.reduce_max(scores_BK, 1, keepdims=True) for scores_BK, _ in summands)
        high_B1 = tf.stop_gradient(reduce(tf.maximum, greatest))
        # Weights beside exp, not logs within it: fewer passes over the largest array there is.
        whole_B = sum(tf.reduce_sum(tf.exp(scores_BK - high_B1) * weights, 1) for scores_BK, weights in summands)
        return tf.math.log(tf.maximum(whole_B, LEAST)) + (high_B1 - target_B1)[:, 0]

    def _expected(self, items_K: tf.Tensor, others_B1: tf.Tensor, category_B1: tf.Tensor) -> tf.Tensor:
        """Returns float32 [B, K]: how often each is to be drawn among the candidates of a query."""
        even_K = self.uniform * tf.gather(self.even_n1, items_K)
        draws_BK = others_B1 * tf.gather(self.probability_n1, items_K) + even_K
        if not self.hard:
            return draws_BK
        in_category_BK = tf.equal(tf.gather(self.category_n1, items_K), category_B1)
        return draws_BK + tf.where(in_category_BK, self.hard * tf.gather(self.share_n1, items_K), 0.0)
