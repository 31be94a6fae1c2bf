"""Baselines that compare nobody with anybody."""

from __future__ import annotations

from typing import Any

from pipeline.model.baselines.interactions import Interactions
from pipeline.model.baselines.ranking import Baseline, Histories


class Popularity(Baseline):
    """The same answer for everybody: what most people met."""

    title = "popularity"

    def __init__(self, log: Interactions) -> None:
        super().__init__(log, log.people_n)


class RecentlyPopular(Baseline):
    """What most people met lately."""

    title = "recent popularity"

    def __init__(self, log: Interactions) -> None:
        super().__init__(log, log.recent_people_n)


class OwnItems(Baseline):
    """The user's own items again, those met most often first.

    Source: Li et al. 2023, GP-TopFreq.
    """

    title = "own items again"

    def __init__(self, log: Interactions) -> None:
        super().__init__(log, log.people_n)

    def scores(self, histories: Histories) -> Any:
        return histories.matrix(histories.times_met_H)
