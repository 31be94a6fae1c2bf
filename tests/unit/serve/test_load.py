"""How busy a thread is, whoever else wants the cores."""

from __future__ import annotations

import threading
import time

from pipeline.serve.load import Load


def spin(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def test_a_thread_that_computes_is_busy_however_little_of_the_core_it_gets():
    load = Load()
    spin(0.3)
    assert load.busy() > 0.9


def test_a_thread_that_waits_is_idle_whatever_others_do():
    other = threading.Thread(target=spin, args=(0.3,))
    load = Load()
    other.start()
    other.join()
    assert load.busy() < 0.5


def test_each_asking_begins_anew():
    load = Load()
    spin(0.2)
    load.busy()
    time.sleep(0.2)
    assert load.busy() < 0.5
