"""The command line: one command a step, made from the catalogue, and the tools each room brings."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.core.days import Days
from pipeline.core.errors import PipelineError, UsageError, from_os_error
from pipeline.core.process import die_with_parent
from pipeline.core.run import Run
from pipeline.core.spent import stopwatch
from pipeline.core.step import Report, Step, write_result
from pipeline.steps import STEPS

if TYPE_CHECKING:
    from pipeline.core.settings import Settings

UNEXPECTED = 70
ROOMS_WITH_TOOLS = ("ingest", "optimize", "promote", "serve", "simulate", "store")

app = typer.Typer(
    help="Retrains a shop's search and recommendation while it sleeps. Steps of the night, in order, then tools.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting; may be repeated.")
]
RunOption = Annotated[str, typer.Option("--run", help="Run id, unique for every attempt; a day is one too.")]
DaysOption = Annotated[
    str | None, typer.Option("--days", help="DAY or FIRST..LAST; taken from the run id when that is a day.")
]
AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", help="ISO time the run pretends to be at; it then moves no alias and no day in force."),
]
DryOption = Annotated[
    bool | None, typer.Option("--dry-run", help="Everything up to and with the gate; nothing registered or moved.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Ignore the cache, never the gates.")]
WhoOption = Annotated[str | None, typer.Option("--requested-by", help="Who asked for this run.")]
PartOption = Annotated[
    str | None, typer.Option("--part", metavar="NAME", help="Only this part; without it all that are not there yet.")
]
PartsOption = Annotated[bool, typer.Option("--parts", help="Only says which parts there are, in the order they run.")]
ResultOption = Annotated[Path | None, typer.Option("--result", help="File that gets the step's report as JSON.")]
ParentOption = Annotated[int | None, typer.Option("--parent", help="Process this one dies with.", hidden=True)]


def _command(step: Step) -> Callable[..., None]:
    def command(
        run: RunOption,
        days: DaysOption = None,
        as_of: AsOfOption = None,
        dry_run: DryOption = None,
        force: ForceOption = False,
        requested_by: WhoOption = None,
        set_: SetOption = None,
        part: PartOption = None,
        parts: PartsOption = False,
        result: ResultOption = None,
        parent: ParentOption = None,
    ) -> None:
        if parent is not None:
            die_with_parent(parent)
        if parts and part:
            raise UsageError("--parts lists them all and --part runs one; give one of the two.")
        given = {"as_of": _moment(as_of), "backfill": bool(as_of) or None, "dry_run": dry_run, "force": force}
        work = partial(_work, step, part, parts)
        _execute(step, work, set_ or [], run, days, {**given, "requested_by": requested_by}, result)

    if not step.part:
        _leave_out(command, "part", "parts")
    command.__doc__ = f"{step.does} [{step.kind} step]"
    return command


def _leave_out(command: Callable[..., None], *options: str) -> None:
    """Hides options from the reader of a command's signature, where they mean nothing to its step."""
    whole = inspect.signature(command, eval_str=True)
    kept = [each for name, each in whole.parameters.items() if name not in options]
    command.__signature__ = whole.replace(parameters=kept)  # type: ignore[attr-defined]


def _work(step: Step, part: str | None, parts: bool, settings: Settings, run: Run) -> Report:
    if parts:
        return step.list_parts(settings, run)
    return step.run_part(settings, run, part) if part else step.load()(settings, run)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--as-of {text!r} is not a time; write it as 2011-12-09T00:00:00+00:00.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _execute(
    step: Step,
    work: Callable[[Settings, Run], Report],
    assignments: list[str],
    run_id: str,
    days: str | None,
    given: dict[str, object],
    result: Path | None,
) -> None:
    from pipeline.core import settings as settings_module
    from pipeline.store.shared import open_shared

    try:
        settings = settings_module.load(assignments)
        parsed = Days.parse(days) if days else None
        given["shared"] = open_shared(settings)
        run = Run.open(settings.store.root.resolve(), run_id, settings.shop.timezone, parsed, **given)
        with stopwatch(step.name, run.note_time) as watch:
            report = work(settings, run)
            watch.end = "cached" if report.cached else "done"
    except BaseException as error:
        if result:
            known = error if isinstance(error, PipelineError) else isinstance(error, OSError) and from_os_error(error)
            may_help = known.retry_may_help if isinstance(known, PipelineError) else True
            write_result(result, step.name, None, str(known or error), may_help)
        raise
    if result:
        write_result(result, step.name, report)
    _say(step, report)


def _say(step: Step, report: Report) -> None:
    print(f"{step.name}: {'(unchanged since it was made) ' if report.cached else ''}{report.sentence}", flush=True)


for _step in STEPS:
    app.command(_step.name)(_command(_step))
for _room in ROOMS_WITH_TOOLS:
    _tools = import_module(f"pipeline.{_room}.commands").tools
    app.registered_commands += _tools.registered_commands
    app.registered_groups += _tools.registered_groups


def main() -> None:
    """Runs the command line; every refusal ends as one sentence on stderr and an exit code."""
    try:
        app(standalone_mode=True)
    except PipelineError as error:
        _end(str(error), error.exit_code)
    except OSError as error:
        known = from_os_error(error)
        if known is None:
            traceback.print_exc()
        _end(str(known or error), known.exit_code if known else UNEXPECTED)
    except Exception as error:
        traceback.print_exc()
        _end(f"{type(error).__name__}: {error}", UNEXPECTED)


def _end(sentence: str, code: int) -> None:
    print(sentence, file=sys.stderr, flush=True)
    sys.stdout.flush()
    # Interpreters with TensorFlow or Arrow threads may hang or crash in their exit handlers; nothing is left to do.
    os._exit(code)
