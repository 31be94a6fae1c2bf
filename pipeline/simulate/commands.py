"""The tools of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

tools = typer.Typer()


@tools.command("simulate")
def simulate_command(
    days: Annotated[str, typer.Option("--days", help="DAY or FIRST..LAST.")],
    to: Annotated[Path, typer.Option("--to", help="Folder that gets the files; made if need be.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting.")] = None,
) -> None:
    """Writes a generated shop's behaviour logs, a day a file, and the truth about their dirt."""
    from pipeline.core import settings as settings_module
    from pipeline.core.days import Days
    from pipeline.core.errors import UsageError
    from pipeline.simulate.generate import simulate

    if to.exists() and not to.is_dir():
        raise UsageError(f"--to {to} is a file; name a folder.")
    truths = simulate(settings_module.load(set_ or []).simulate, Days.parse(days), to)
    outcomes = {name: sum(t["outcomes"].get(name, 0) for t in truths) for name in truths[0]["outcomes"]}
    told = ", ".join(f"{count:,} {name}" for name, count in outcomes.items())
    print(f"simulate: {len(truths)} days of logs in {to}: {sum(t['rows'] for t in truths):,} rows: {told}.")
