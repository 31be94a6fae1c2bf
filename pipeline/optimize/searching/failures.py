"""Which errors are a recipe's own, and how they are told in one line."""

from __future__ import annotations

from pipeline.core.errors import PipelineError, UnavailableError


def passes(error: Exception) -> bool:
    """Says whether the error is the machine's: the same recipe may succeed when it is tried again."""
    return isinstance(error, OSError | UnavailableError)


def first_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0][:300]
    return text if isinstance(error, PipelineError) else f"{type(error).__name__}: {text}"
