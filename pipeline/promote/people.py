"""Who may say yes, and to what."""

from __future__ import annotations

from pipeline.core.errors import PipelineError, UsageError

SCHEDULE = "schedule"

OVERRIDABLE = ("accuracy", "anchor", "slice", "latency")
"""Gates, by the beginning of their names, a person may overrule with a reason. Whatever is not here fails closed:
a bundle that does not load, answers its goldens wrongly or needs too much memory is nobody's to wave through."""


def named(text: str, option: str) -> str:
    """Raises: UsageError: the text is empty, or is the name the schedule goes by."""
    text = " ".join(text.split())
    if not text or text == SCHEDULE:
        raise UsageError(f"{option} is {text!r}; it goes into the ledger for good, write a person's own words.")
    return text


def check_may_approve(by: str, requested_by: str) -> None:
    """Raises: PipelineError: the approver is who asked for the run."""
    if by.casefold() == requested_by.casefold() and requested_by != SCHEDULE:
        raise PipelineError(f"{by} asked for this run and may not approve it; somebody else must.")


def check_overridable(gates: list[str]) -> None:
    """Raises: PipelineError: one of these gates cannot be overruled."""
    closed = [gate for gate in gates if not gate.startswith(OVERRIDABLE)]
    if closed or not gates:
        what = ", ".join(closed) or "no gate by name"
        raise PipelineError(
            f"The decision stands on {what}, which nobody may overrule (only {', '.join(OVERRIDABLE)}); "
            "mend the cause and run the night again."
        )
