"""The tools of this room."""

from __future__ import annotations

from typing import Annotated

import typer

tools = typer.Typer()
profiles = typer.Typer(no_args_is_help=True)
tools.add_typer(profiles, name="profile", help="Tools for writing a source profile.")
histories = typer.Typer(no_args_is_help=True)
tools.add_typer(histories, name="histories", help="Tools for what Redis holds of users for the server.")


@tools.command("counts")
def counts_command(
    run: Annotated[str, typer.Option("--run", help="Run id whose ingested days are added up.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting.")] = None,
) -> None:
    """Prints, as a Markdown table, what became of every row a run ingested and which rules decided."""
    from pipeline.core import settings as settings_module
    from pipeline.ingest.accounts import account_of_run, as_markdown
    from pipeline.store.shared import open_shared

    settings = settings_module.load(set_ or [])
    print(as_markdown(account_of_run(settings.store.root.resolve(), run, open_shared(settings))))


@tools.command("replay")
def replay_command(
    run: Annotated[str, typer.Option("--run", help="Run id of the replay; later steps follow under the same one.")],
    days: Annotated[str | None, typer.Option("--days", help="DAY or FIRST..LAST, unless the run id says it.")] = None,
    rule: Annotated[str, typer.Option("--rule", help="Only days that hold rows refused by this rule.")] = "all",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting.")] = None,
) -> None:
    """Reads days that hold quarantined rows from the source again, after a fix, and leaves the others as they are."""
    from pipeline.core import settings as settings_module
    from pipeline.core.days import Days
    from pipeline.core.run import Run
    from pipeline.ingest import step
    from pipeline.store.shared import open_shared

    settings = settings_module.load([*(set_ or []), f"ingest.replay='{rule}'"])
    asked, shared = Days.parse(days) if days else None, open_shared(settings)
    opened = Run.open(settings.store.root.resolve(), run, settings.shop.timezone, asked, shared=shared)
    print(f"replay: {step.run(settings, opened).sentence}")


@tools.command("quarantine")
def quarantine_command(
    run: Annotated[str, typer.Option("--run", help="Run id whose ingested days are looked at.")] = "",
    day: Annotated[str | None, typer.Option("--day", help="Only this day; without --run, as it is in force.")] = None,
    rule: Annotated[str, typer.Option("--rule", help="Only rows refused by this rule.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="Most rows shown.")] = 20,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting.")] = None,
) -> None:
    """Prints which rows were refused, by which rule and where they lie; persons stay pseudonyms."""
    from pipeline.core import settings as settings_module
    from pipeline.core.days import parse_day
    from pipeline.ingest.quarantine import refused_days, told

    settings = settings_module.load(set_ or [])
    for line in told(refused_days(settings, run, parse_day(day) if day else None), rule, limit):
        print(line)


@tools.command("forget")
def forget_command(
    user: Annotated[str, typer.Argument(help="Id of the person as in the logs; `-` reads it from standard input.")],
    by: Annotated[str, typer.Option("--by", help="Who erases; goes into the ledger of erasures.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; goes into the ledger of erasures.")] = "",
    pseudonym: Annotated[bool, typer.Option("--pseudonym", help="USER is a pseudonym, not an id.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting.")] = None,
) -> None:
    """Removes a person from partitions, sequences, figures and caches, and marks the models trained on them."""
    from pipeline.core import settings as settings_module
    from pipeline.ingest.people.asking import pseudonyms_of
    from pipeline.ingest.people.forget import Forgetting

    settings = settings_module.load(set_ or [])
    print(Forgetting(settings, pseudonyms_of(user, settings, pseudonym)).run(by, reason))


@histories.command("fill")
def fill_command(
    days: Annotated[str, typer.Option("--days", help="DAY or FIRST..LAST.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting.")] = None,
) -> None:
    """Writes users' events of days in force into their histories in Redis, as each night does with its own."""
    from pipeline.core import settings as settings_module
    from pipeline.core.days import Days
    from pipeline.ingest.histories import fill_in_force

    print(f"histories: {fill_in_force(settings_module.load(set_ or []), Days.parse(days))}.")


@histories.command("show")
def show_command(
    user: Annotated[str, typer.Argument(help="Id of the user as in the logs; `-` reads it from standard input.")],
    pseudonym: Annotated[bool, typer.Option("--pseudonym", help="USER is a pseudonym, not an id.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting.")] = None,
) -> None:
    """Prints what Redis holds of one user, oldest first, each event once."""
    from pipeline.core import settings as settings_module
    from pipeline.ingest.histories import shown
    from pipeline.ingest.people.asking import pseudonyms_of

    settings = settings_module.load(set_ or [])
    for line in shown(settings, pseudonyms_of(user, settings, pseudonym)):
        print(line)


@profiles.command("check")
def check_command(
    file: Annotated[str, typer.Argument(help="One file of logs, or an s3:// address.")],
    profile: Annotated[str, typer.Option("--profile", help="Name of a shipped source profile, or path of one's own.")],
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many of the file's first rows are read.")] = 10_000,
    day: Annotated[str | None, typer.Option("--day", help="Judge the rows as this day's; else the name tells.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting.")] = None,
) -> None:
    """Shows what a profile makes of a file: columns, event types, what each rule takes and why; needs no secret."""
    from pipeline.core import settings as settings_module
    from pipeline.core.days import parse_day
    from pipeline.ingest.profiles.checking import check

    settings = settings_module.load(set_ or [])
    print(check(file, profile, settings, rows, parse_day(day) if day else None))


@profiles.command("draft")
def draft_command(
    file: Annotated[str, typer.Argument(help="One file of logs, or an s3:// address.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting.")] = None,
) -> None:
    """Prints a first profile for a file, every guess marked; `profile check` then shows what is wrong with it."""
    from pipeline.core import settings as settings_module
    from pipeline.ingest.profiles.drafting import draft

    print(draft(file, settings_module.load(set_ or [])), end="")
