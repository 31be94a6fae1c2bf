"""A Step becomes an Airflow task here; the only code that knows both."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator, BaseOperatorLink, TriggerRule
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from step_process import StepFailed, StepProcess

from pipeline.core.days import Days, end_of_day
from pipeline.core.errors import PipelineError, UsageError
from pipeline.core.masking import masked
from pipeline.core.run import Layout, run_id_from
from pipeline.core.step import Step

if TYPE_CHECKING:
    from pipeline.core.settings import Settings

POOL = "training"
SETTING_OF_PARAM = {
    "source": "ingest.source",
    "profile": "ingest.profile",
    "replay": "ingest.replay",
    "window_days": "prepare.window_days",
    "epochs": "train.epochs",
    "recipes": "optimize.recipes",
}
FLAGS = {"dry_run": "--dry-run", "force": "--force"}
STEPS_WITH_A_PAGE = ("validate", "train", "optimize", "gate")
PAGES = "/nightshift/runs"

validated_events = Asset(name="validated_events", uri="nightshift://published/validated_events")
lines = logging.getLogger("pipeline.step")


class ReportLink(BaseOperatorLink):
    """From a task to the page its step made."""

    name = "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        return f"{PAGES}/{run_id_from(ti_key.run_id)}/{operator.task_id}"


@contextmanager
def in_one_sentence() -> Iterator[None]:
    """Ends the task with the sentence of what went wrong in the block; tried again only where that may help."""
    try:
        yield
    except (StepFailed, PipelineError) as error:
        lines.error(str(error))
        kind = AirflowException if error.retry_may_help else AirflowFailException
        raise kind(str(error)) from None


class _Subprocess(BaseOperator):
    """Runs a command of the pipeline; what will not help is not tried again."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._process: StepProcess | None = None

    def on_kill(self) -> None:
        if self._process:
            self._process.kill()

    def execute(self, context: Any) -> Any:
        with in_one_sentence():
            self._process = StepProcess(lines.info)
            return self._command(self._process, context)

    def _command(self, process: StepProcess, context: Any) -> Any:
        raise NotImplementedError


def limits_of(step: Step) -> dict[str, Any]:
    """Returns how long a task of this step may take and how often it is tried."""
    return {
        "execution_timeout": timedelta(minutes=step.timeout_minutes),
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": 2.0,
    }


def pool_of(step: Step) -> dict[str, str]:
    return {"pool": POOL} if step.heavy else {}


class StepOperator(_Subprocess):
    """One step of the night."""

    def __init__(self, *, step: Step, **kwargs: Any) -> None:
        how = (
            "Cached by the key of its input."
            if step.kind == "pure"
            else "Always runs; running it twice changes nothing."
        )
        doc = f"**{step.does}**\n\n{how} The same by hand: `python -m pipeline {step.name} --run RUN`."
        super().__init__(task_id=step.name, doc_md=doc, **pool_of(step), **limits_of(step), **kwargs)
        self.step_name = step.name
        self.operator_extra_links = (ReportLink(),) if step.name in STEPS_WITH_A_PAGE else ()

    def _command(self, process: StepProcess, context: Any) -> dict[str, Any]:
        request = Request.of(context)
        report = process.step(self.step_name, request.arguments())
        for asset in self.outlets:
            event = context["outlet_events"][asset]
            event.extra = {"days": request.days, "keys": dict(report["digests"]), **request.handed_on()}
            event.add_partitions(str(Days.parse(request.days).last))
        return report


class PartsOperator(_Subprocess):
    """Says which parts a mapped step has tonight."""

    def __init__(self, *, step: Step, **kwargs: Any) -> None:
        doc = f"Lists the {step.tasks[0]} of `{step.name}`, in the order in which they run."
        super().__init__(task_id=step.tasks[0], doc_md=doc, **limits_of(step), **kwargs)
        self.step_name = step.name

    def _command(self, process: StepProcess, context: Any) -> list[str]:
        return process.step(self.step_name, [*Request.of(context).arguments(), "--parts"])["parts"]


class PartOperator(_Subprocess):
    """One part of a mapped step. It may fail: the step itself tells of it and goes on with the others.

    Args:
        step_name: in the catalogue; a mapped task's arguments are stored, so they are words.
    """

    def __init__(self, *, step_name: str, part: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step_name, self.part = step_name, part

    def _command(self, process: StepProcess, context: Any) -> dict[str, Any]:
        return process.step(self.step_name, [*Request.of(context).arguments(), "--part", self.part])


class ToolOperator(_Subprocess):
    """A tool of the command line, called by a person.

    Args:
        options: command line option → DAG param; a param left empty is left out.
    """

    def __init__(self, *, tool: str, options: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(task_id=tool, retries=1, retry_delay=timedelta(seconds=10), **kwargs)
        self.tool, self.options = tool, dict(options)

    def _command(self, process: StepProcess, context: Any) -> str:
        refuse_unknown_params(context)
        who = context["dag_run"].triggering_user_name
        if not who:
            raise UsageError(
                f"{self.tool} takes the word of a person; start it from the page or the API while logged in."
            )
        given = {option: context["params"].get(param) for option, param in self.options.items()}
        arguments = [word for option, value in given.items() if value for word in (option, str(value))]
        return process.tool(self.tool, [*arguments, "--by", who])


class PollOperator(_Subprocess):
    """A command that looks for work by itself, such as `registry reviews`; the next run looks again."""

    def __init__(self, *, words: Sequence[str], **kwargs: Any) -> None:
        super().__init__(retries=0, **kwargs)
        self.words = tuple(words)

    def _command(self, process: StepProcess, context: Any) -> str:
        name, *arguments = self.words
        return process.tool(name, arguments)


class Request:
    """What one DAG run asks of every step in it.

    Attributes:
        run_id: names the run's folder.
        days: `DAY` or `FIRST..LAST`.
        by: the person who asked, or `schedule`.
        settings: `section.field` → value.
    """

    def __init__(self, run_id: str, days: str, by: str, params: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        self.run_id, self.days, self.by, self.params, self.settings = run_id, days, by, params, settings

    @classmethod
    def of(cls, context: Any) -> Request:
        refuse_unknown_params(context)
        dag_run, params = context["dag_run"], context["params"]
        cause = _cause(dag_run)
        settings = {**(cause.get("settings") or {}), **settings_of(params)}
        by = dag_run.triggering_user_name or cause.get("requested_by") or "schedule"
        run_id = run_id_from(dag_run.run_id)
        return cls(run_id, _days(run_id, dag_run.partition_key, params, settings), by, params, settings)

    def handed_on(self) -> dict[str, Any]:
        """Returns what the DAG run that follows on this one's asset shall know of it."""
        own = {name: value for name, value in self.settings.items() if not name.startswith("ingest.")}
        return {"requested_by": self.by, "settings": own}

    def arguments(self) -> list[str]:
        words = ["--run", self.run_id, "--days", self.days, "--requested-by", self.by]
        if self.params.get("as_of"):
            words += ["--as-of", self.params["as_of"]]
        words += [option for param, option in FLAGS.items() if self.params.get(param)]
        return [*words, *self.set_words()]

    def set_words(self) -> list[str]:
        """Returns the settings asked for, as the command line takes them."""
        return [word for assignment in assignments_of(self.settings) for word in ("--set", assignment)]


def settings_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings a form asks for; fields left empty stay as they are set elsewhere.

    Raises: UsageError: a secret was put into the form, where everybody could read it.
    """
    asked = {
        setting: params[name] for name, setting in SETTING_OF_PARAM.items() if params.get(name) not in (None, "", [])
    }
    advanced = dict(params.get("settings") or {})
    if any(name.startswith("secrets.") for name in advanced) or masked(advanced) != advanced:
        raise UsageError(
            "Secrets do not belong into a form: everybody may read it; put them into Airflow's environment."
        )
    return {**advanced, **asked}


def assignments_of(settings: Mapping[str, Any]) -> list[str]:
    """Returns `section.field=value` for each, values as JSON, which is YAML too."""
    return [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()]


def refuse_unknown_params(context: Any) -> None:
    """Raises: UsageError: the run's conf names a parameter its DAG has not."""
    known = sorted(context["dag"].params)
    for name in context["dag_run"].conf or {}:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
            raise UsageError(f"{context['dag'].dag_id} has no parameter {name}; {hint}")


def _cause(dag_run: Any) -> Mapping[str, Any]:
    events = dag_run.consumed_asset_events or []
    return events[-1].extra if events else {}


def _days(run_id: str, partition_key: str | None, params: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    # Settings are read only while a task runs: parsing a DAG must stay light and independent of the machine.
    from pipeline.core import settings as settings_module

    loaded = settings_module.load(assignments_of(settings))
    layout = Layout(loaded.store.root.resolve())
    record = layout.runs / run_id / "run.json"
    if record.exists():
        return json.loads(record.read_text())["days"]
    asked = params.get("days")
    if asked and partition_key and str(Days.parse(asked).last) != partition_key:
        raise UsageError(f"The partition key {partition_key} is not the last of the days {asked}; give one of the two.")
    if asked or partition_key:
        return asked or partition_key
    if "days" in params:
        raise UsageError("No day was given; fill in `days` as DAY or FIRST..LAST.")
    return newest_published(loaded, params.get("as_of"))


def newest_published(settings: Settings, as_of: str | None = None) -> str:
    """Returns the newest published day that had ended by as-of.

    Raises: UsageError: there is none.
    """
    from pipeline.store.partitions import Partitions

    published = Partitions.open(settings, "published")
    moment = _moment(as_of) if as_of else None
    ended = [day for day in published.days() if moment is None or end_of_day(day, settings.shop.timezone) <= moment]
    if not ended:
        until = f" that had ended by {as_of}" if as_of else ""
        where = settings.store.shared or settings.store.root.resolve()
        raise UsageError(f"{where}/published holds no published day{until}; run ingest_behaviour_logs first.")
    return str(ended[-1])


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def step_tasks(steps: Sequence[Step], outlets: Mapping[str, list[Asset]] | None = None) -> dict[str, StepOperator]:
    """Makes the tasks of these steps, in the DAG around the call, with the catalogue's edges."""
    tasks: dict[str, StepOperator] = {}
    for step in steps:
        # Whoever waits for parts must not wait for anything else: a failure there would count as one of theirs.
        rule = {"trigger_rule": TriggerRule.ALL_DONE_MIN_ONE_SUCCESS} if step.part else {}
        tasks[step.name] = StepOperator(step=step, outlets=(outlets or {}).get(step.name, []), **rule)
        first = _parts_before(tasks[step.name], step) if step.part else tasks[step.name]
        for earlier in step.after:
            if earlier in tasks:
                tasks[earlier] >> first
    return tasks


def _parts_before(whole: StepOperator, step: Step) -> PartsOperator:
    """Puts the tasks of a mapped step's parts before it and returns the one that lists them."""
    listing = PartsOperator(step=step)
    doc = f"One {step.part} of `{step.name}`. The same by hand: `python -m pipeline {step.name} --run RUN --part NAME`."
    limits = {**pool_of(step), **limits_of(step), "execution_timeout": timedelta(minutes=step.part_timeout_minutes)}
    each = PartOperator.partial(
        task_id=step.part, step_name=step.name, doc_md=doc, map_index_template="{{ task.part }}", **limits
    ).expand(part=listing.output)
    each >> whole
    return listing
