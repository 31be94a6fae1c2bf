"""What is derived from the log's size where the settings leave it open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.settings import Settings
from pipeline.train.prepared import Prepared
from pipeline.train.sizes import sized
from tests.fixtures.nights import with_section
from tests.unit.train.test_examples import PREPARED

SIZES = ("dim", "hidden_units", "history_length", "batch_size", "uniform_negatives")


def log_of(targets: int, lengths: list[int]) -> Prepared:
    return replace(PREPARED, targets_T=np.zeros(targets, np.int64), offsets_S1=np.cumsum([0, *lengths]))


@pytest.mark.parametrize(
    ("targets", "lengths", "sizes"),
    [
        # 5 * 10,000^(1/4) = 50, nearest power 64; 10,000 / 128 = 78, but never below 512; sequences of up to 4 events.
        (10_000, [1, 2, 4], (64, 128, 10, 512, 512)),
        # 5 * 400,000^(1/4) = 126, nearest 128; 400,000 / 128 = 3,125, nearest 4,096; 19 of 20 within 31.
        (400_000, [31] * 19 + [900], (128, 256, 40, 4096, 4096)),
        # 5 * 100,000,000^(1/4) = 500, never above 256.
        (100_000_000, [300] * 10, (256, 512, 100, 4096, 4096)),
    ],
)
def test_sizes_grow_with_the_log(targets: int, lengths: list[int], sizes: tuple[int, ...]) -> None:
    train = sized(Settings(), log_of(targets, lengths)).train
    assert tuple(getattr(train, name) for name in SIZES) == sizes


def test_what_is_set_stays_and_only_the_rest_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    settings = with_section(Settings(), "train", dim=48, batch_size=2048)
    train = sized(settings, log_of(10_000, [4])).train
    assert tuple(getattr(train, name) for name in SIZES) == (48, 96, 10, 2048, 2048)
    assert capsys.readouterr().out == (
        "train: hidden_units 96, history_length 10, uniform_negatives 2048, derived from 10,000 targets on 7 items.\n"
    )


def test_a_width_set_by_hand_and_its_sizes_are_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    given = dict.fromkeys(SIZES, 8)
    assert sized(with_section(Settings(), "train", **given), log_of(100, [4])).train.dim == 8
    assert capsys.readouterr().out == ""
