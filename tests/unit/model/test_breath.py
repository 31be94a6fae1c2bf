"""Work in pieces: all of it, in order, and with pauses in the thread that gives way alone."""

from __future__ import annotations

import threading
import time

import pytest

from pipeline.model.breath import breathe, breaths, giving_way


@pytest.mark.parametrize(("rows", "size", "pieces"), [(0, 4, 0), (3, 4, 1), (8, 4, 2), (9, 4, 3)])
def test_pieces_are_the_whole_in_order(rows: int, size: int, pieces: int) -> None:
    found = list(breaths(range(rows), size))
    assert len(found) == pieces and [row for piece in found for row in piece] == list(range(rows))


def test_others_get_the_interpreter_between_the_pieces_of_a_thread_that_gives_way() -> None:
    # The other thread can only go on when this one waits, and it alone lets this one end.
    turns, order = threading.Semaphore(0), []

    def other() -> None:
        turns.acquire()
        order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    with giving_way():
        turns.release()
        while not order:
            breathe()
    thread.join()
    assert order == ["other"]


def test_only_the_thread_that_gives_way_pauses_and_only_meanwhile() -> None:
    hour = 3600.0
    with giving_way():
        thread = threading.Thread(target=breathe, args=(hour,), daemon=True)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
        begun = time.monotonic()
        breathe(0.01)
        assert time.monotonic() - begun >= 0.01
    breathe(hour)
