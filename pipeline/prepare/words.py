"""Hashes of names, equal on every machine and engine, for millions of them at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

NAMES_AT_ONCE = 1 << 16
_PRIME = np.uint64(0x100000001B3)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def mixed(values: np.ndarray) -> np.ndarray:
    """Returns uint64 that differ in half of their bits wherever the values differ in one: SplitMix64's last step.

    Source: Steele, Lea, Flood 2014, figure 15 (Stafford's mix 13).
    """
    bits = values.astype(np.uint64)
    bits = (bits ^ (bits >> np.uint64(30))) * _MULTIPLIERS[0]
    bits = (bits ^ (bits >> np.uint64(27))) * _MULTIPLIERS[1]
    return bits ^ (bits >> np.uint64(31))


def hashed(names: Any) -> np.ndarray:
    """Returns uint64 [names]: their UTF-8 bytes as digits of a number to a prime base, modulo 2^64, and mixed."""
    parts = [_hashed(names.slice(begin, NAMES_AT_ONCE)) for begin in range(0, len(names), NAMES_AT_ONCE)]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def _hashed(names: Any) -> np.ndarray:
    # A copy of its own, so that buffers begin with the first name.
    strings = pa.concat_arrays([names.cast(pa.large_string())])
    _, ends_buffer, bytes_buffer = strings.buffers()
    ends = np.frombuffer(ends_buffer, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    digits = np.frombuffer(bytes_buffer or b"", np.uint8)[ends[0] : ends[-1]].astype(np.uint64) + np.uint64(1)
    lengths = np.diff(ends)
    place = np.arange(len(digits)) - np.repeat(ends[:-1] - ends[0], lengths)
    powers = np.cumprod(np.full(int(lengths.max(initial=0)) + 1, _PRIME))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(digits * powers[place])])
    return mixed(sums[ends[1:] - ends[0]] - sums[ends[:-1] - ends[0]])
