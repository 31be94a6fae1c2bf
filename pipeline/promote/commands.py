"""The tools of this room."""

from __future__ import annotations

import json
import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.store.ledger import Entry

tools = typer.Typer()
registry = typer.Typer(no_args_is_help=True)
tools.add_typer(registry, name="registry", help="Whether MLflow says what the ledger says.")

LONGEST_REASON = 100
DIFFERS = 65

SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting; may be repeated.")
]
ByOption = Annotated[str, typer.Option("--by", help="Who decides; goes into the ledger.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; goes into the ledger.")]
ToOption = Annotated[
    str, typer.Option("--to", metavar="DIGEST|SEQUENCE", help="Which champion; by default the previous one.")
]
RunOption = Annotated[str, typer.Option("--run", help="The run whose decision it is.")]
VerdictOption = Annotated[str, typer.Option("--verdict", help="approve or refuse.")]
SeenOption = Annotated[
    str, typer.Option("--decision", help="Fingerprint of the decision that was shown; another is not decided on.")
]
OnOption = Annotated[
    str, typer.Option("--on", metavar="DAY|MOMENT", help="Who was champion then; by the shop's time zone.")
]
RepairOption = Annotated[bool, typer.Option("--repair", help="Mend what the ledger tells how to mend.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Entries as JSON, all fields.")]


@tools.command("ledger")
def show_ledger(as_json: JsonOption = False, on: OnOption = "", set_: SetOption = None) -> None:
    """Shows every promotion, refusal, review and rollback, and verifies the chain of hashes."""
    from pipeline.promote.reigns import told
    from pipeline.store.ledger import Ledger, stood

    settings = _settings(set_)
    entries = Ledger.open(settings.store).verify()
    if on:
        lines = told(entries, on, settings.shop.timezone, datetime.now(UTC))
    elif as_json:
        lines = [json.dumps([entry.to_dict() for entry in entries], indent=1)]
    else:
        standing = stood(entries)
        lines = _table(entries, standing[-1].sequence if standing else 0)
    print("\n".join(lines))


@tools.command("reconcile")
def reconcile_champion(set_: SetOption = None) -> None:
    """Points servers and MLflow to the ledger's champion; may run at any time."""
    from pipeline.promote.move import alone
    from pipeline.promote.reconcile import reconcile
    from pipeline.store.ledger import Ledger

    settings = _settings(set_)
    with alone(settings):
        print(reconcile(settings, Ledger.open(settings.store)).sentence)


@registry.command("check")
def check_registry(repair: RepairOption = False, set_: SetOption = None) -> None:
    """Compares MLflow's aliases, versions and tags, and the bundles, with the ledger; ends with 65 if they differ."""
    from pipeline.promote import drift
    from pipeline.promote.move import alone
    from pipeline.store.ledger import Ledger

    settings = _settings(set_)
    ledger = Ledger.open(settings.store)
    with alone(settings):
        found = drift.check(settings, ledger)
        if repair and found:
            drift.repair(settings, ledger, found)
            left = drift.check(settings, ledger)
            print("\n".join(f"mended: {each.sentence}" for each in found if each not in left))
            found = left
    print("\n".join(each.sentence for each in found) or "The registry says what the ledger says.")
    if found:
        raise typer.Exit(DIFFERS)


@registry.command("reviews")
def take_reviews(set_: SetOption = None) -> None:
    """Carries out what reviewers wrote into MLflow, where promote.review_in_mlflow allows it."""
    from pipeline.promote.from_registry import take_reviews as take

    print("\n".join(take(_settings(set_))) or "No version bears a review that was not taken yet.")


@tools.command("rollback")
def rollback_champion(by: ByOption, reason: ReasonOption, to: ToOption = "", set_: SetOption = None) -> None:
    """Makes an earlier champion the champion again, after a fresh server has proven that it loads."""
    from pipeline.promote.rollback import roll_back

    print(roll_back(_settings(set_), by, reason, to))


@tools.command("review")
def review_promotion(
    run: RunOption,
    verdict: VerdictOption,
    by: ByOption,
    reason: ReasonOption,
    decision: SeenOption = "",
    set_: SetOption = None,
) -> None:
    """Approves or refuses a waiting challenger, bound to its digest; an approval is carried out at once."""
    from pipeline.promote.review import review

    print(review(_settings(set_), run, verdict, by, reason, decision).sentence)


def _settings(assignments: list[str] | None) -> Settings:
    from pipeline.core import settings as settings_module

    return settings_module.load(assignments or [])


def _table(entries: list[Entry], champion: int) -> list[str]:
    if not entries:
        return ["The ledger is empty: nothing was promoted, refused or rolled back so far."]
    head = ("", "no", "at (UTC)", "what", "version", "from", "to", "run", "who", "reason")
    rows = [head, *(_row(entry, champion) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
    lines = ["  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]).rstrip() for row in rows]
    stands = f"* entry {champion} is the champion" if champion else "no champion stands"
    return [*lines, f"{stands}; the chain of {len(entries)} entries is whole."]


def _row(entry: Entry, champion: int) -> tuple[str, ...]:
    mark, number = "*" if entry.sequence == champion else "", str(entry.sequence)
    digests = (entry.from_digest[:12] or "-", entry.to_digest[:12] or "-")
    reason = textwrap.shorten(entry.reason, LONGEST_REASON, placeholder=" …")
    return (mark, number, entry.at[:19], entry.kind, entry.version or "-", *digests, entry.run_id, entry.who, reason)
