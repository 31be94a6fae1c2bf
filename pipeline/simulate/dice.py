"""Draws that need no memory: the same question always gets the same answer, whatever was asked before."""

from __future__ import annotations

from datetime import date

import numpy as np

# Constants of the splitmix64 finaliser: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def hashed(seed: int, purpose: str, *numbers: np.ndarray | int) -> np.ndarray:
    """Returns uint64 of the broadcast shape of `numbers`."""
    name = int.from_bytes(purpose.encode()[:8].ljust(8, b"\0"), "little")
    state = _mixed(np.array([seed & (2**64 - 1)], np.uint64) ^ np.uint64(name))
    for number in numbers:
        state = _mixed(state ^ np.asarray(number).astype(np.uint64))
    return state


def _mixed(state: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = state + np.uint64(_STEP)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(_FIRST)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(_SECOND)
        return state ^ (state >> np.uint64(31))


def uniform(seed: int, purpose: str, *numbers: np.ndarray | int) -> np.ndarray:
    """Returns float64 in [0, 1)."""
    return (hashed(seed, purpose, *numbers) >> np.uint64(11)).astype(np.float64) / 2.0**53


def choice(count: int, seed: int, purpose: str, *numbers: np.ndarray | int) -> np.ndarray:
    """Returns int64 in [0, count)."""
    return (uniform(seed, purpose, *numbers) * count).astype(np.int64)


def stream(seed: int, day: date, part: int) -> np.random.Generator:
    """Returns the random stream of one part of one day, the same whichever days are generated."""
    return np.random.default_rng([seed & (2**63 - 1), day.toordinal(), part])
