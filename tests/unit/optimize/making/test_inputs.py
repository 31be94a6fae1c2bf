"""What recipes learn from, read from what prepare made."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.core.run import Run
from pipeline.model.context import encode_contexts
from pipeline.optimize.making.inputs import Inputs


def _inputs(world: Path, metric: str = "new_items") -> Inputs:
    run = Run.open(world, "2024-05-08", "UTC")
    return Inputs(run.artifact("prepare"), run.artifact("train"), metric)


def test_a_lesson_carries_the_history_that_led_to_its_target_and_no_other(world: Path) -> None:
    inputs = _inputs(world)
    features = inputs.lesson_features()
    flat = np.load(inputs.prepared.file("sequence_items.npy")).reshape(60, 12)
    # Lessons are in order of targets: eleven a person, the first after one event, the eleventh after eleven.
    first, last = features["history_items"][0], features["history_items"][10]
    assert first.tolist() in ([0] * 7 + [flat[0, 0]], [0] * 8)
    assert last.tolist() in (flat[0, 3:11].tolist(), [0] * 8)
    assert (features["history_types"] == 2 * (features["history_items"] > 0)).all()
    # Each event follows the one before by a minute, which has six binary digits; so does the question.
    assert features["history_pauses"][10].tolist() in ([7] * 8, [0] * 8)
    assert features["history_pauses"][0].tolist() == [0] * 8
    assert features["now_pause"][10].tolist() in ([7], [0])
    second_person = features["history_items"][11]
    assert second_person.tolist() in ([0] * 7 + [flat[1, 0]], [0] * 8)


def test_a_lesson_of_a_search_carries_what_came_before_the_search(world: Path, tmp_path: Path) -> None:
    prepared = _inputs(shutil.copytree(world, tmp_path / "var")).prepared
    # Everybody's last target, at place 11 of 12, answers a search made before place 5.
    last, begins = np.arange(10, 660, 11), np.arange(0, 720, 12)
    for name, values in (("target_queries", 0), ("target_searched", begins + 5)):
        changed = np.load(prepared.file(f"{name}.npy"))
        changed[last] = values
        np.save(prepared.path / f"{name}.npy", changed)
    features = _inputs(tmp_path / "var").lesson_features()
    told = features["history_items"][last]
    before = np.load(prepared.file("sequence_items.npy")).reshape(60, 12)[:, :5]
    assert features["query_text"][last].any(axis=1).all()
    shown = told.any(axis=1)
    assert 15 < shown.sum() < 45  # about half of them without history
    assert np.array_equal(told[shown][:, 3:], before[shown]) and not told[:, :3].any()


def test_a_lesson_carries_the_context_of_its_target_most_of_the_time(world: Path, tmp_path: Path) -> None:
    var = shutil.copytree(world, tmp_path / "var")
    assert "query_context" not in _inputs(var).lesson_features()
    inputs = _inputs(var)
    inputs.__dict__["config"] = replace(inputs.config, context_buckets=16)
    (inputs.prepared.path / "contexts.json").write_text('["in=a", "in=b"]')
    # Everybody's first six events were in a, the others in b; targets are all but the first of twelve.
    np.save(inputs.prepared.path / "sequence_contexts.npy", np.tile(np.repeat([0, 1], 6), 60).astype(np.int32))
    told = inputs.lesson_features()["query_context"].reshape(60, 11, 4)
    a, b = encode_contexts(["in=a", "in=b"], 16)
    shown = told.any(axis=2)
    assert shown.mean() == 1 - 83 / 660  # 0, 8, 16 … 656 are hidden
    assert (told[:, :5][shown[:, :5]] == a).all() and (told[:, 5:][shown[:, 5:]] == b).all()


def test_some_lessons_ask_by_title_alone(world: Path) -> None:
    features = _inputs(world).lesson_features()
    asks, remembers = features["query_text"].any(axis=1), features["history_items"].any(axis=1)
    assert not (asks & remembers).any() and (asks | remembers).all()
    assert 0.05 < asks.mean() < 0.15
