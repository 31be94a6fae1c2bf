"""The load on servers under test: open loop at a stated rate for latency, many at once for throughput.

Open loop: when each request is due is settled beforehand, and its latency counts from then, so a stall is felt by all
that wait behind it. Requests wait for the one connection, as they would for a server of one worker. What the client
itself oversleeps is not the server's and is kept apart.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from pipeline.gate.trial import Client

BLOCK = 20
"""Requests to one server before it is the other's turn."""
AT_ONCE = 8
"""Connections that ask at the same time where throughput is measured."""
AWAKE_SECONDS = 0.0003
"""A sleep may end so much too late; the rest is waited out awake."""


def arrivals(requests: int, rate: float, seed: int) -> np.ndarray:
    """Returns float64 [requests]: seconds after a block's begin when each is due, as a Poisson process."""
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, requests))


def time_blocks(
    clients: Sequence[Client], requests: Sequence[bytes], blocks: int, rate: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Times blocks of the same requests at the same moments, by turns; who begins changes from block to block.

    Returns: float64 [servers, blocks * BLOCK], milliseconds from when a request was due to its answer; and float64
    [any], milliseconds the client was late by itself.
    Raises: TrialError: an answer is not 200.
    """
    times, late = np.empty((len(clients), blocks, BLOCK)), []
    for block in range(blocks):
        due = arrivals(BLOCK, rate, seed + block)
        asked = [requests[(block * BLOCK + place) % len(requests)] for place in range(BLOCK)]
        turns = range(len(clients)) if block % 2 == 0 else reversed(range(len(clients)))
        for server in turns:
            times[server, block], overslept = _timed(clients[server], asked, due)
            late += overslept
    return times.reshape(len(clients), -1), np.array(late)


def _timed(client: Client, requests: Sequence[bytes], due: np.ndarray) -> tuple[list[float], list[float]]:
    times, late, origin = [], [], time.perf_counter()
    for request, seconds in zip(requests, due.tolist(), strict=True):
        begin = origin + seconds
        if time.perf_counter() < begin:
            sent = _wait(begin)
            late.append(1e3 * (sent - begin))
            begin = sent
        client.send(request)
        client.receive_answer()
        times.append(1e3 * (time.perf_counter() - begin))
    return times, late


def _wait(until: float) -> float:
    """Returns the moment it woke."""
    if (nap := until - time.perf_counter() - AWAKE_SECONDS) > 0:
        time.sleep(nap)
    while (now := time.perf_counter()) < until:
        pass
    return now


def requests_per_second(clients: Sequence[Client], requests: Sequence[bytes], waves: int) -> float:
    """Returns how many requests a second one server answers when all clients ask at once and wait for each other.

    Raises: TrialError: an answer is not 200.
    """
    began = time.perf_counter()
    for wave in range(waves):
        for place, client in enumerate(clients):
            client.send(requests[(wave * len(clients) + place) % len(requests)])
        for client in clients:
            client.receive_answer()
    return waves * len(clients) / (time.perf_counter() - began)
