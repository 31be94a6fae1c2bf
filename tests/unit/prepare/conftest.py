"""Logs of integers, written as the few rows a test is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.prepare.evidence import Evidence
from pipeline.prepare.log import CODE, Log
from pipeline.prepare.training import Training, build_training, tally
from pipeline.prepare.vocabulary import NOBODY, grow

SECOND = 1_000_000
Line = tuple  # (actor, second, kind, item or text, *session, *quantity, *context)


@pytest.fixture
def log_of() -> Callable[..., Log]:
    """Builds a log from lines `(actor, second, kind, item or text, {"session": …, …})`, any order."""
    return build_log


@pytest.fixture
def evidence_of() -> Callable[..., Evidence]:
    return lambda *lines, answer_minutes=30: Evidence.of(build_log(*lines), answer_minutes)


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Training]:
    """Builds the training set of everything before a second."""
    numbers = count()

    def trained(evidence: Evidence, end: int) -> Training:
        folder = tmp_path / f"training-{next(numbers)}"
        folder.mkdir()
        counted = tally(evidence, end * SECOND, 0)
        listed = pa.array([], pa.large_string())
        vocabulary = grow(evidence.log.items, counted.events, counted.recent, 1, NOBODY, listed)
        return build_training(evidence, end * SECOND, vocabulary, counted, folder)

    return trained


def build_log(*lines: Line) -> Log:
    turn = {"search": 0, "cancel": 2}
    rows = sorted(enumerate(lines), key=lambda r: (r[1][0], r[1][1], turn.get(r[1][2], 1), r[0]))
    lines = [line for _, line in rows]
    more = [line[4] if len(line) > 4 else {} for line in lines]
    texts = [line[3] if line[2] == "search" else None for line in lines]
    items = [None if line[2] == "search" else line[3] for line in lines]
    actors, actor = _coded([line[0] for line in lines])
    item_names, item = _coded(items)
    text_names, text = _coded(texts)
    context_names, context = _coded([each.get("context") for each in more])
    _, session = _coded([each.get("session") for each in more])
    return Log(
        actor=actor,
        session=session,
        item=item,
        query=text,
        context=context,
        kind=np.array([CODE[line[2]] for line in lines], np.uint8),
        time_us=np.array([line[1] * SECOND for line in lines], np.int64),
        quantity=np.array([each.get("quantity", 1) for each in more], np.int32),
        offsets=np.searchsorted(actor, np.arange(len(actors) + 1)),
        actors=pa.array(actors, pa.string()),
        items=pa.array(item_names, pa.string()),
        queries=pa.array(text_names, pa.string()),
        contexts=pa.array(context_names, pa.string()),
    )


def _coded(values: Sequence[str | None]) -> tuple[list[str], np.ndarray]:
    names = sorted({value for value in values if value is not None})
    return names, np.array([names.index(v) if v is not None else -1 for v in values], np.int32)
