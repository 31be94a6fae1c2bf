"""Makes what is needed next in a thread of its own, so that reading, computing and writing overlap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
DEPTH = 2
WAIT_SECONDS = 0.1


def ahead(items: Iterable[T], depth: int = DEPTH) -> Iterator[T]:
    """Yields the items in order, at most `depth` of them made before they are asked for.

    What making them raises is raised here, after the items made before; who stops asking stops the making.
    """
    made: Queue[tuple[T | None, BaseException | None, bool]] = Queue(depth)
    stopped = Event()
    maker = Thread(target=_make, args=(items, made, stopped), daemon=True)
    maker.start()
    try:
        while True:
            item, failure, more = made.get()
            if failure is not None:
                raise failure
            if not more:
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        maker.join()


def _make(items: Iterable[T], made: Queue[tuple[T | None, BaseException | None, bool]], stopped: Event) -> None:
    try:
        for item in items:
            if not _put(made, (item, None, True), stopped):
                return
        _put(made, (None, None, False), stopped)
    except BaseException as failure:
        _put(made, (None, failure, False), stopped)
    finally:
        close = getattr(items, "close", None)
        if close:
            close()


def _put(made: Queue[T], item: T, stopped: Event) -> bool:
    """Waits for room; False once nobody asks any more."""
    while not stopped.is_set():
        try:
            made.put(item, timeout=WAIT_SECONDS)
            return True
        except Full:
            continue
    return False
