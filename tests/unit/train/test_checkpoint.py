"""`train.checkpoint`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import settings as settings_module
from pipeline.core.errors import CorruptArtifactError
from pipeline.store.leases import LeaseLostError, Leases, leased, while_held
from pipeline.train.checkpoint import STATE, Checkpoints, Position

STATE_ARRAYS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64)]


def test_there_is_nothing_to_go_on_from_at_first(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "c").load() is None


def test_position_and_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    position = Position(2, 5, 25, 1.5, 3.25, 1, 0.1, ({"epoch": 1, "loss": 2.0},))
    Checkpoints(tmp_path).save(position, STATE_ARRAYS)
    found, arrays = Checkpoints(tmp_path).load()
    assert found == position
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(arrays, STATE_ARRAYS, strict=True))


def test_only_the_best_weights_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for epoch in range(3):
        checkpoints.save_best(epoch, [np.full(2, epoch)])
        checkpoints.save(Position(best_epoch=epoch), STATE_ARRAYS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-2.npz", STATE]
    assert checkpoints.load_best(2)[0].tolist() == [2, 2]


def test_best_weights_written_before_a_kill_do_not_replace_those_the_checkpoint_names(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best(0, [np.zeros(2)])
    checkpoints.save(Position(best_epoch=0), STATE_ARRAYS)
    checkpoints.save_best(1, [np.ones(2)])  # killed here: the checkpoint still names epoch 0
    found, _ = checkpoints.load()
    assert checkpoints.load_best(found.best_epoch)[0].tolist() == [0, 0]


def test_a_torn_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(Position(), STATE_ARRAYS)
    path = tmp_path / STATE
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CorruptArtifactError, match=r"state\.npz: this checkpoint cannot be read"):
        checkpoints.load()


def test_a_failed_write_leaves_the_checkpoint_before_it(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(Position(number=1), STATE_ARRAYS)
    with pytest.raises(ValueError, match="inhomogeneous"):
        checkpoints.save(Position(number=2), [[[1, 2], [3]]])  # type: ignore[list-item]
    found, _ = checkpoints.load()
    assert found.number == 1
    assert [p.name for p in tmp_path.iterdir()] == [STATE]


def test_whoever_lost_the_lease_changes_nothing_of_who_took_it(tmp_path: Path) -> None:
    settings = settings_module.load([f"store.root={tmp_path}", "store.shared=s3://bucket"])
    checkpoints = Checkpoints(tmp_path / "c", partial(while_held, settings))
    with leased(settings, "train-abc", "tonight"):
        checkpoints.save_best(0, [np.zeros(2)])
        checkpoints.save(Position(number=1, best_epoch=0), STATE_ARRAYS)
        lease = Leases.open(settings).take("train-abc", "tonight")  # the retry, while this one was thought dead
        for change in (
            lambda: checkpoints.save(Position(number=2, best_epoch=1), STATE_ARRAYS),
            lambda: checkpoints.save_best(0, [np.ones(2)]),
            checkpoints.remove,
        ):
            with pytest.raises(LeaseLostError, match="run tonight took its place"):
                change()
    assert Leases.open(settings).names("train-") == [lease.name]
    found, _ = Checkpoints(tmp_path / "c").load()
    assert found.number == 1
    assert checkpoints.load_best(0)[0].tolist() == [0, 0]
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["best-0.npz", STATE]
