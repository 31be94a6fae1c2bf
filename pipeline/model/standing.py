"""How a model stands to the baselines, in the words that come first wherever it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """Recall of the model beside that of one baseline, on the same queries.

    Attributes:
        baseline: what people call it.
        where: on which queries, such as `recommendations`; empty is all.
        low, high: the interval of the paired difference, model minus baseline, by a bootstrap over users.
    """

    baseline: str
    where: str
    model: float
    other: float
    low: float
    high: float

    @property
    def beaten(self) -> bool:
        """Whether the model is clearly better: the whole interval lies above zero."""
        return self.low > 0

    def told(self) -> str:
        where = f" on {self.where}" if self.where else ""
        difference = f"difference {self.model - self.other:+.4f}, interval {self.low:+.4f} to {self.high:+.4f}"
        return f"{self.baseline}{where}, {self.model:.4f} against {self.other:.4f} ({difference})"


def told(standings: Sequence[Standing], k: int) -> str:
    """Returns one sentence: which baselines the model does not clearly beat, or that it beats them all."""
    if not standings:
        return "NOT COMPARED with any baseline."
    unbeaten = [standing for standing in standings if not standing.beaten]
    if unbeaten:
        return f"NOT CLEARLY BETTER in recall@{k} than {'; '.join(standing.told() for standing in unbeaten)}."
    nearest = min(standings, key=lambda standing: standing.model - standing.other)
    return f"Clearly better in recall@{k} than every baseline, of which the nearest is {nearest.told()}."
