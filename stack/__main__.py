"""`python -m stack nightly | up | down | status`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.core.errors import PipelineError, from_os_error
from stack.embedded import Stack
from stack.places import CODE, Places
from stack.secrets import ADMIN, REVIEWER
from stack.shop import days_of, shop_of

INTERRUPTED = 130

app = typer.Typer(
    help="The embedded stack: Airflow, MLflow and the recommendation server, all state under one folder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

SourceOption = Annotated[
    str | None, typer.Option("--source", help="Folder or s3:// prefix of raw logs; unset generates some.")
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="Source profile: a shipped one's name, or a path.")
]
RootOption = Annotated[
    Path | None, typer.Option("--root", help="Folder of all state; var, or var/shops/PROFILE with a source.")
]
DaysOption = Annotated[
    str | None, typer.Option("--days", help="DAY or FIRST..LAST; unset takes the day after the last one.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting for this night.")
]


@app.command()
def nightly(
    source: SourceOption = None,
    profile: ProfileOption = None,
    days: DaysOption = None,
    root: RootOption = None,
    set_: SetOption = None,
) -> None:
    """Runs one night whole, shows it, and leaves no process behind."""
    from stack.nightly import Night, parse_settings

    shop = shop_of(source, profile, root)
    settings = parse_settings(set_ or [])
    try:
        code = Night(shop, days_of(shop, days), settings).run()
    except KeyboardInterrupt:
        print("Interrupted; nothing that this command started is left running.", file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)


@app.command()
def up(source: SourceOption = None, profile: ProfileOption = None, root: RootOption = None) -> None:
    """Starts the stack and leaves it running, nightly schedule included."""
    shop = shop_of(source, profile, root)
    stack = Stack(shop.root, shop=shop.named)
    stack.start(stay=True)
    _describe(stack)
    print(f"Passwords of {ADMIN} and {REVIEWER}: {stack.places.secrets}.")


@app.command()
def down(root: RootOption = None) -> None:
    """Stops every stack of this checkout, or the one on ROOT."""
    stopped = 0
    for stack in _stacks(root):
        if stack.is_running:
            stack.stop()
            stopped += 1
            print(f"Stopped the stack on {stack.places.root}.")
    if not stopped:
        print("No stack is running.")


@app.command()
def status(root: RootOption = None) -> None:
    """Says which stacks of this checkout run, and where."""
    running = [stack for stack in _stacks(root) if stack.is_running]
    for stack in running:
        _describe(stack)
    if not running:
        print("No stack is running; `make up` starts one.")


def _stacks(root: Path | None) -> list[Stack]:
    if root:
        return [Stack(root)]
    roots = [CODE / "var", *sorted((CODE / "var" / "shops").glob("*"))]
    return [Stack(folder) for folder in roots if Places(folder).state.exists()]


def _describe(stack: Stack) -> None:
    state, urls = stack.state, stack.urls
    shop = state.get("shop", {})
    logs = f"{shop.get('source', 'nowhere yet')} ({shop.get('profile', 'no profile')})"
    print(f"{stack.places.root}: {state['phase']}; logs from {logs}.")
    print(f"  Airflow {urls['airflow']} (user {ADMIN}), MLflow {urls['mlflow']}, server {urls['serve']}.")


def main() -> None:
    """Every refusal ends as one sentence on stderr and an exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        app(standalone_mode=True)
    except PipelineError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        known = from_os_error(error)
        if known is None:
            raise
        print(known, file=sys.stderr)
        sys.exit(known.exit_code)


if __name__ == "__main__":
    main()
