"""Names a user writes, and the end of a sentence about one that is misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the end of a sentence about an unknown name: the nearest right one, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}."


def known_as(name: str, known: Iterable[str], what: str) -> str:
    """Returns the name.

    Raises: ValueError: it is none of those known.
    """
    if name not in known:
        raise ValueError(f"{name!r} is no {what}{nearest(name, known)[:200].rstrip('.?')}")
    return name


Zone = Annotated[str, AfterValidator(lambda name: known_as(name, available_timezones(), "time zone"))]
