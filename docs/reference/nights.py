"""Writes `online-retail-nights.md` from the runs themselves: `python docs/reference/nights.py ROOT RUN RUN RUN`.

The three runs are the nights the page tells how to make; ROOT is the store they lie in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from pipeline.core import settings as settings_module  # noqa: E402
from pipeline.core.run import Run  # noqa: E402
from pipeline.model import recipe_table  # noqa: E402
from pipeline.store.ledger import Ledger  # noqa: E402

PAGE = "online-retail-nights.md"
HEAD = """# Three nights of Online Retail

<!-- Made by docs/reference/nights.py from the runs; make them again as told below. -->

The history of a UK gift shop (305 daily files, 541,909 rows of purchases and cancellations) as one night, the day after
as a second, and the day after that as a third, with a model made worse on purpose: one that was not trained.

```
make nightly SOURCE=<folder>/online_retail/raw PROFILE=online_retail DAYS=2010-12-01..2011-12-07
make nightly SOURCE=<folder>/online_retail/raw PROFILE=online_retail
make nightly SOURCE=<folder>/online_retail/raw PROFILE=online_retail SET="train.epochs=0 train.start_moments=0"
```

## The protocol

Training holds events before the validation week, the test is the newest days (at most seven with sales), and nobody
but the gate opens it. One query a customer: everything bought before the test began is the history, every item bought
in the test that the history does not hold is a target. All items of the catalogue are ranked through the compressed
index, those of the history left out. Recall@20 = targets among the first twenty / number of targets; intervals by a
bootstrap over customers. Popularity (by how many customers met an item) and item-KNN (20 neighbours, cosine) rank the
same queries under the same rules.
"""
TITLES = ("First night", "Second night", "Third night, made worse on purpose")


def page(root: Path, runs: list[str]) -> str:
    """Returns the page. Raises: PipelineError: a run or a part of one is not there."""
    nights = [Run.open(root.resolve(), name, "UTC") for name in runs]
    lines = [HEAD]
    for title, run in zip(TITLES, nights, strict=True):
        lines += [f"## {title}: {run.days}", "", *_gate(run), *_recipes(run)]
    entries = Ledger.open(settings_module.load([f"store.root={root}"]).store).verify()
    lines += ["## The ledger", "", "| entry | what | version | why |", "| -- | -- | -- | -- |"]
    lines += [f"| {e.sequence} | {e.kind} | {e.version} | {e.reason} |" for e in entries]
    return "\n".join([*lines, "", *_times(nights)])


def _gate(run: Run) -> Iterator[str]:
    text = (run.folder / "decision" / "decision.md").read_text()
    # Who met whom is told by version and digest, which say nothing here; the reasons are in the run's own record.
    kept = [line for line in text.splitlines() if not line.startswith("- ")]
    yield from "\n".join(kept).strip().splitlines()
    yield ""


def _recipes(run: Run) -> Iterator[str]:
    columns, rows = recipe_table.cells(run.artifact("optimize").json("recipes.json"))
    yield "Recipes, on validation:"
    yield ""
    yield f"| {' | '.join(column.name for column in columns)} |"
    yield f"|{' -- |' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"
    yield ""


def _times(nights: list[Run]) -> Iterator[str]:
    spent = [{each.step: each.wall_seconds for each in run.times()} for run in nights]
    yield "## Time"
    yield ""
    yield "Seconds a step, on two cores without a GPU (colour, not a claim):"
    yield ""
    yield f"| step | {' | '.join(title.lower() for title in TITLES)} |"
    yield f"| -- |{' -- |' * len(TITLES)}"
    for step in dict.fromkeys(step for night in spent for step in night):
        yield f"| {step} | {' | '.join(f'{night[step]:.1f}' if step in night else '-' for night in spent)} |"
    yield ""


if __name__ == "__main__":
    (HERE / PAGE).write_text(page(Path(sys.argv[1]), sys.argv[2:]))
