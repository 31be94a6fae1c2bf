"""The context of an event or a request, where and on what it happened, as one text and as hash buckets of its pairs.

Told as `country=France; device=phone`. No TensorFlow: the server uses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.core.schema import CONTEXT_LETTERS, MOST_CONTEXT
from pipeline.model.text import bucket

BETWEEN = "; "
_SPACES = re.compile(r"[ \t\n\r\f\x0b]+")


def told(pairs: Mapping[str, str]) -> str | None:
    """Returns names and values as one text, as `ingest` writes it: without what is empty; None if nothing is left."""
    if not pairs:
        return None
    spaced = {name: _SPACES.sub(" ", value.replace(";", ",")).strip(" ") for name, value in pairs.items()}
    values = ((name, text[:CONTEXT_LETTERS].strip(" ")) for name, text in spaced.items())
    return BETWEEN.join(f"{name}={value}" for name, value in values if value) or None


def pairs_of(context: str | None) -> dict[str, str]:
    """Returns the names and values of a text made by `told`."""
    parted = (pair.partition("=") for pair in (context or "").split(BETWEEN) if pair)
    return {name: value for name, _, value in parted}


def encode_contexts(contexts: Sequence[str | None], buckets: int) -> np.ndarray:
    """Returns int32 [B, MOST_CONTEXT]: the bucket of each pair, whatever its case, 0 behind the last."""
    ids_BC = np.zeros((len(contexts), MOST_CONTEXT), np.int32)
    for row, context in enumerate(contexts):
        if context:
            ids = [bucket(pair, buckets) for pair in context.casefold().split(BETWEEN)[:MOST_CONTEXT]]
            ids_BC[row, : len(ids)] = ids
    return ids_BC
