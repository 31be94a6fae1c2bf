"""The tools of this room."""

from __future__ import annotations

from typing import Annotated

import typer

tools = typer.Typer()


@tools.command("counts")
def counts_command(
    run: Annotated[str, typer.Option("--run", help="Run id whose ingested days are added up.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting.")] = None,
) -> None:
    """Prints, as a Markdown table, what became of every row a run ingested and which rules decided."""
    from pipeline.core import settings as settings_module
    from pipeline.ingest.accounts import account_of_run, as_markdown

    settings = settings_module.load(set_ or [])
    print(as_markdown(account_of_run(settings.store.root.resolve(), run)))
