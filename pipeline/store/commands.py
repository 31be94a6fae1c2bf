"""The tools of this room."""

from __future__ import annotations

from typing import Annotated

import typer

tools = typer.Typer()


@tools.command("collect")
def collect_command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only says what would go.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting.")] = None,
) -> None:
    """Removes what store.retention_days, store.artifact_days and store.bundle_days no longer keep."""
    from pipeline.core import settings as settings_module
    from pipeline.store.retention import collect

    for line in collect(settings_module.load(set_ or []), dry_run).told(dry_run):
        print(line)
