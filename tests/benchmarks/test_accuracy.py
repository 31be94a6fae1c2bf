import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import ratio_claim
from benchmarks.accuracy_data import Asked, sessions, write_for_models
from benchmarks.peers.search import ALL_ITEMS, NEW_ITEMS, Histories, Scores, Settings, Task, drawn, rank
from pipeline.train.prepared import Prepared


def histories(*rows: list[int], times: list[int] | None = None) -> Histories:
    items = np.array([item for row in rows for item in row], np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    moments = np.array(times if times is not None else range(len(items)), np.int64)
    return Histories(items, np.zeros(len(items), np.uint8), moments, offsets)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Twenty sessions, so that the last one is validation; item 9 is met there alone."""
    lines = [[1, 2, 3]] * 19 + [[1, 2, 9, 2]]
    tests = [{"session": 7, "prefix": [1, 2], "target": 3}, {"session": 7, "prefix": [1, 2, 3], "target": 1}]
    for name, rows in (("train_sessions", lines), ("test_prefixes", tests)):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as file:
            file.write("\n".join(json.dumps(row) for row in rows))
    return tmp_path


def test_sessions_become_a_training_set_that_train_can_read(shop: Path) -> None:
    data = sessions("shop", shop, shop / "out")
    prepared = Prepared.load(data.artifact)
    # Items 1, 2 and 3 were each met 19 times: equal counts go by name.
    assert [item.item_id for item in prepared.items] == ["1", "2", "3"]
    assert prepared.items_N.tolist() == [1, 2, 3] * 19
    # 180 days over 20 sessions are nine days from one start to the next, and a second from event to event.
    assert np.diff(prepared.times_N[:4]).tolist() == [1, 1, 9 * 86_400 - 2]


def test_validation_asks_every_prefix_no_shorter_than_the_tests_shortest(shop: Path) -> None:
    asked = Asked.load(sessions("shop", shop, shop / "out").artifact, "validation")
    assert [row["history_item_ids"] for row in asked.rows] == [["1", "2"], ["1", "2", "9"]]
    assert asked.targets(ALL_ITEMS) == [["9"], ["2"]]
    assert asked.targets(NEW_ITEMS) == [["9"], []]


def test_models_are_given_no_target_of_the_test_and_no_item_training_never_saw(shop: Path) -> None:
    write_for_models(sessions("shop", shop, shop / "out"), shop / "models")
    with np.load(shop / "models" / "data.npz") as file:
        assert not [name for name in file.files if "test" in name and "target" in name]
        # [1, 2] and [1, 2, 9] without the 9; its target is one nobody can find.
        assert file["validation_items"].tolist() == [0, 1, 0, 1]
        assert file["all_items_targets"].tolist() == [-2, 1]


def test_new_items_leaves_the_history_out_of_the_answer() -> None:
    def scores(asked: Histories) -> np.ndarray:
        return np.tile([3.0, 2.0, 1.0], (len(asked), 1))

    answers = rank(scores, histories([0], [1, 2]), 3, (NEW_ITEMS, ALL_ITEMS))
    assert answers[ALL_ITEMS][:, :3].tolist() == [[0, 1, 2], [0, 1, 2]]
    assert answers[NEW_ITEMS][:, :3].tolist() == [[1, 2, -1], [0, -1, -1]]


def test_the_last_items_of_each_history_are_kept() -> None:
    kept = histories([0, 1, 2], [], [3]).last(2)
    assert [row.tolist() for row in kept.rows] == [[1, 2], [], [3]]


def test_a_pause_parts_two_visits() -> None:
    # Half an hour is no pause yet, a second more is.
    parted = histories([0, 1, 2], [3], times=[0, 1800, 3601, 3602]).visits()
    assert [row.tolist() for row in parted.rows] == [[0, 1], [2], [3]]


def test_each_sense_keeps_the_answers_of_what_found_most_on_validation(shop: Path) -> None:
    write_for_models(sessions("shop", shop, shop / "out"), shop / "models")
    task = Task(shop / "models", shop / "answers", minutes=1, seed=1)

    def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Scores]]:
        for epoch, best in enumerate((0, settings["item"], 2)):
            yield {"epoch": epoch}, lambda asked, best=best: np.tile(np.arange(3) == best, (len(asked), 1))

    task.search(fit, iter([{"item": 1}]))
    told = json.loads((shop / "answers" / "trials.json").read_text())
    # Three items are all within the first twenty, so all three epochs find the same: the first is kept.
    assert told["best"][ALL_ITEMS]["settings"] == {"item": 1, "epoch": 0}
    assert len(told["trials"]) == 3
    with np.load(shop / "answers" / "answers.npz") as file:
        assert file["test_all_items"][0, 0] == 0


def test_settings_are_never_drawn_twice() -> None:
    settings = list(drawn({"k": 1}, {"k": [1, 2, 3]}, np.random.default_rng(1)))
    assert settings[0] == {"k": 1}
    assert sorted(each["k"] for each in settings) == [1, 2, 3]


def test_a_claim_holds_only_where_the_whole_interval_of_the_ratio_does() -> None:
    users = [str(user) for user in range(100)]
    peer = np.tile([0.0, 1.0], 50)
    assert ratio_claim("half as much again", users, peer * 1.5, peer).low == 1.5
    assert ratio_claim("half as much again", users, peer * 1.5, peer).holds
    # The same mean on other queries is no more, however it is drawn.
    assert not ratio_claim("other queries", users, 1 - peer, peer).holds
