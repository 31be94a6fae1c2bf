"""Pseudonyms of whole columns, made before a row reaches the engine, so that raw ids reach no disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import pyarrow as pa

from pipeline.core.pseudonyms import Hashed, hasher, key_id

Pseudonymise = Callable[[pa.StringArray], pa.StringArray]


def pseudonymiser(key: str, previous: Iterable[str] = (), erased: Collection[str] = ()) -> Pseudonymise:
    """Returns a function from raw ids to pseudonyms; nulls stay null.

    Each distinct id of a batch is hashed once and joined back by its place in the dictionary. Remembering the ids of
    earlier batches as well costs more than it saves.

    Args:
        previous: keys in force before.
        erased: pseudonyms of who was forgotten. Somebody forgotten under a previous key is called by that pseudonym,
            which is the one thing known of them, so that the rule `erased` finds their rows.
    """
    named = _named(key, previous, erased)

    def pseudonymise(ids: pa.StringArray) -> pa.StringArray:
        coded = ids.dictionary_encode()
        return pa.array([named(raw) for raw in coded.dictionary.to_pylist()], pa.string()).take(coded.indices)

    return pseudonymise


def _named(key: str, previous: Iterable[str], erased: Collection[str]) -> Hashed:
    present = hasher(key)
    gone = frozenset(erased)
    under = {name.rpartition(".")[2] for name in gone}
    older = [hasher(each) for each in previous if key_id(each) in under and each != key]
    if not older:
        return present

    def named(raw: str) -> str:
        return next((name for hashed in older if (name := hashed(raw)) in gone), None) or present(raw)

    return named
