from __future__ import annotations

import numpy as np

from benchmarks.made_training import Made
from benchmarks.train_questions import Questions
from benchmarks.train_speed import sooner
from pipeline.train.prepared import Prepared


def _run(*epochs: tuple[float, float]) -> dict:
    return {"epochs": [{"seconds": seconds, "recall": recall} for seconds, recall in epochs]}


def test_the_time_to_a_recall_is_that_of_the_first_epoch_that_reached_it() -> None:
    # The peer is best in its second epoch, after 40 s; ours finds as much after 8 s, a fifth of the time.
    claim = sooner("x", [_run((4, 0.1), (8, 0.3), (12, 0.4))], [_run((20, 0.2), (40, 0.3), (60, 0.25))])
    assert (claim.ours, claim.peer, claim.ratio, claim.holds) == (8, 40, 5, True)


def test_a_recall_never_reached_is_a_claim_that_does_not_hold() -> None:
    claim = sooner("x", [_run((4, 0.1), (8, 0.2))], [_run((20, 0.3))])
    assert (claim.claim, claim.ratio, claim.holds) == ("x: not reached", 0, False)


def test_a_made_training_set_reads_like_a_prepared_one(tmp_path) -> None:
    artifact = Made(items=60, targets=50, length=5).write(tmp_path / "made")
    prepared = Prepared.load(artifact)
    assert (len(prepared.items), len(prepared.targets_T)) == (60, 50)
    # Two events an item at least, none of an item outside the table, and every sequence within one cluster of twenty.
    assert len(prepared.items_N) >= 120
    assert prepared.items_N.min() >= 1
    first, second = prepared.offsets_S1[:2]
    assert len(np.unique((prepared.items_N[first:second] - 1) // 20)) == 1
    assert np.isclose(prepared.probability_n1.sum(), 1)
    assert Questions.load(artifact, 20).queries == []
