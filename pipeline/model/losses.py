"""Sampled softmax over in-batch and uniform candidates, corrected for how often each was to be expected.

Shapes: B queries, C candidates, D dim.
"""

from __future__ import annotations

from pipeline.model.keras import tf

NEVER = -1e9


def expected_draws(probability_C: tf.Tensor, in_batch: int, uniform: int, items: int) -> tf.Tensor:
    """Returns float32 [C]: how often a candidate is to be expected among the negatives of one query.

    Of a batch of `in_batch` targets all but the query's own are its negatives, each drawn with the item's share of
    targets; `uniform` further ones are drawn evenly from all items: (in_batch - 1) * p + uniform / items.

    Source: Yang et al. 2020 (mixed negative sampling), section 3.2, as expected counts rather than probabilities.
    """
    return (in_batch - 1) * probability_C + uniform / max(items, 1)


def sampled_softmax(
    queries_BD: tf.Tensor,
    candidates_CD: tf.Tensor,
    target_item_B: tf.Tensor,
    candidate_item_C: tf.Tensor,
    target_place_B: tf.Tensor,
    draws_C: tf.Tensor,
    temperature: float,
) -> tf.Tensor:
    """Estimates the softmax cross-entropy over the whole catalogue, one value a query.

    With score s = q.v / temperature, the partition function is estimated without bias by exp(s_target), which is known
    exactly, plus exp(s_j) / draws_j over the negatives j drawn; so log(draws_j) is subtracted from every negative's
    score and nothing from the target's. A negative that is the query's own target (accidental hit) is left out.

    Args:
        queries_BD, candidates_CD: float32 of unit length.
        target_item_B, candidate_item_C: int32 item indices.
        target_place_B: int32, which candidate is each query's target.
        draws_C: float32, from `expected_draws`.

    Returns: float32 [B].
    Source: Bengio & Senecal 2008, section III; Yi et al. 2019, section 3 (logQ correction in batch).
    """
    scores_BC = tf.matmul(queries_BD, candidates_CD, transpose_b=True) / temperature
    target_B = tf.gather(scores_BC, target_place_B, batch_dims=1)
    same_BC = tf.equal(target_item_B[:, tf.newaxis], candidate_item_C[tf.newaxis, :])
    negatives_BC = tf.where(same_BC, NEVER, scores_BC - tf.math.log(tf.maximum(draws_C, 1e-12))[tf.newaxis, :])
    return tf.reduce_logsumexp(tf.concat([target_B[:, tf.newaxis], negatives_BC], 1), 1) - target_B
