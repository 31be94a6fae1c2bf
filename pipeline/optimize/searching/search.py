"""Tries recipe after recipe, one at a time or one process each, until all are known or the time is up."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from pipeline.core import artifacts
from pipeline.core.errors import DataError, PipelineError
from pipeline.core.progress import progress
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.model.recipe_table import YARDSTICK
from pipeline.optimize.making import attempt
from pipeline.optimize.making.inputs import Inputs
from pipeline.optimize.making.recipes import Recipe, chosen_recipes, key_sections
from pipeline.optimize.searching.failures import first_line, passes
from pipeline.optimize.searching.notes import Note, Notes
from pipeline.optimize.searching.order import champions_recipe, in_order

STAGE = "optimize"
NOT_TRIED = "not tried"
MOST_KILLS = 3
"""As often as an orchestrator tries a part: whoever comes after it and tries once more would be killed as well."""


@dataclass(frozen=True)
class Outcome:
    """What became of one recipe.

    Attributes:
        verdict: `made`, `failed` or `not tried`.
        reason: why it is not made.
    """

    verdict: str
    reason: str = ""


MADE = Outcome("made")


class Search:
    """One run's search: what it reads, what it tries, and what is known so far.

    Raises: SettingsError: a recipe's name is unknown.
    """

    def __init__(self, settings: Settings, run: Run) -> None:
        self.settings, self.run = settings, run
        self.recipes = chosen_recipes(settings.optimize.recipes)
        self.inputs = Inputs(run.artifact("prepare"), run.artifact("train"), settings.shop.metric)
        self.read = {"prepare": self.inputs.prepared.digest, "train": self.inputs.trained.digest}

    @cached_property
    def in_order(self) -> list[Recipe]:
        return in_order(self.recipes, champions_recipe(self.run.layout))

    @cached_property
    def notes(self) -> Notes:
        # The time it may take belongs to it: whoever grants more begins to count anew.
        sections = {**self.sections({}), "minutes": self.settings.optimize.max_minutes}
        return Notes(self.run.folder / STAGE, artifacts.input_key(STAGE, self.read, sections), self.run.force)

    def sections(self, outcomes: Mapping[str, Outcome]) -> dict[str, object]:
        """Returns what the choice's key covers: a complete search is never answered by one that was cut."""
        shop = {"k": self.settings.shop.k, "metric": self.settings.shop.metric}
        return {**self.settings.keyed(STAGE), "shop": shop, "outcomes": {n: asdict(o) for n, o in outcomes.items()}}

    def run_part(self, name: str) -> Report:
        """Makes one recipe's artifact, whatever became of it before; says so where the time is up.

        Raises: PipelineError: the recipe failed. A retry would not help where another try fails alike.
        """
        recipe = next(each for each in self.recipes if each.name == name)
        if known := self._known(recipe):
            return known
        if not self._may_begin(recipe):
            return Report(f"{name} is not tried: {self._late}.", verdict=NOT_TRIED)
        try:
            return self._make(recipe)
        except Exception as error:
            if passes(error):
                raise
            # Whoever mends the recipe needs to see where it broke; the row tells one line.
            traceback.print_exc()
            raise _told(recipe, error) from error

    def outcomes(self) -> dict[str, Outcome]:
        """Tries what is neither made nor known to fail, in order, and returns what became of each, as declared."""
        found: dict[str, Outcome] = {}
        with progress(STAGE, len(self.recipes), "recipes") as shown:
            for recipe in self.in_order:
                found[recipe.name] = self._settle(recipe)
                shown.advance(recipe=recipe.name)
        return {recipe.name: found[recipe.name] for recipe in self.recipes}

    def _settle(self, recipe: Recipe) -> Outcome:
        if self._known(recipe):
            return MADE
        if recipe.name != YARDSTICK and (reason := _why_not(self._note(recipe))):
            return Outcome("failed", reason)
        if not self._may_begin(recipe):
            return Outcome(NOT_TRIED, self._late)
        try:
            self._make(recipe)
        except Exception as error:
            if passes(error):
                raise
            if recipe.name == YARDSTICK:
                raise _told(recipe, error) from error
            return Outcome("failed", first_line(error))
        return MADE

    def _known(self, recipe: Recipe) -> Report | None:
        """Returns the report of a recipe that need not be made; forced, only of one that this search made."""
        if (self.run.force and not self._note(recipe).made) or not self.run.has(STAGE, self._key(recipe)):
            return None
        return self._once(replace(self.run, force=False), recipe)

    def _make(self, recipe: Recipe) -> Report:
        with self.notes.trying(recipe.name, self._key(recipe)):
            return self._once(self.run, recipe)

    def _once(self, run: Run, recipe: Recipe) -> Report:
        sections = key_sections(recipe, self.settings.optimize, self.settings.shop)
        return run.once(
            STAGE,
            self.read,
            sections,
            lambda folder: attempt.carry_out(recipe, self.inputs, self.settings, folder),
            part=recipe.name,
        )

    def _may_begin(self, recipe: Recipe) -> bool:
        """Says whether there is time; the first to ask begins to count, and what must be known is never late."""
        in_time = self.notes.minutes() < self.settings.optimize.max_minutes
        return in_time or recipe.name == YARDSTICK

    def _key(self, recipe: Recipe) -> str:
        sections = key_sections(recipe, self.settings.optimize, self.settings.shop)
        return artifacts.input_key(STAGE, self.read, sections)

    def _note(self, recipe: Recipe) -> Note:
        return self.notes.of(recipe.name, self._key(recipe))

    @property
    def _late(self) -> str:
        return f"not begun within {self.settings.optimize.max_minutes:g} minutes (optimize.max_minutes)"


def _why_not(note: Note) -> str:
    if note.failed or note.begun < MOST_KILLS:
        return note.failed
    return f"its process was killed {note.begun} times; it may need more memory or time than it gets"


def _told(recipe: Recipe, error: Exception) -> PipelineError:
    if isinstance(error, PipelineError):
        return error
    if recipe.name == YARDSTICK:
        so = "and every other one is held against it; mend the trained towers and run optimize again."
    else:
        so = f"and the choice is made without it; `--part {recipe.name}` tries it again."
    return DataError(f"The recipe {recipe.name} failed ({first_line(error)}), {so}")
