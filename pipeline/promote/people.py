"""Who may say yes, and to what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.errors import PipelineError, UsageError
from pipeline.core.run import SCHEDULE


def named(text: str, option: str) -> str:
    """Raises: UsageError: the text is empty, or is the name the schedule goes by."""
    text = _one_spaced(text)
    if not text or text == SCHEDULE:
        raise UsageError(f"{option} is {text!r}; it goes into the ledger for good, write a person's own words.")
    return text


def check_may_approve(by: str, requested_by: str) -> None:
    """Raises: PipelineError: the approver is who asked for the run."""
    if _same(by, requested_by) and requested_by != SCHEDULE:
        raise PipelineError(f"{by} asked for this run and may not approve it; somebody else must.")


def _same(one: str, other: str) -> bool:
    return _one_spaced(one).casefold() == _one_spaced(other).casefold()


def _one_spaced(text: str) -> str:
    return " ".join(text.split())


def check_overridable(rows: Sequence[Mapping[str, Any]]) -> None:
    """Fails closed: only what the gate itself marked `overridable` may be overruled, and there must be something to.

    Args:
        rows: the gates of a decision that did not pass.

    Raises: PipelineError: one of them cannot be overruled.
    """
    closed = sorted({row["gate"] for row in rows if row.get("overridable") is not True})
    if closed or not rows:
        what = ", ".join(closed) or "no gate it names"
        raise PipelineError(
            f"The decision rests on {what}, which nobody may overrule: the bundle is not fit to serve; "
            "mend the cause and run the night again."
        )
