"""MLflow, as the night needs it: one run a night with nested runs for its stages, and one registered model.

Everything is found again by tag before it is made, so a step that is retried goes on with the run it had begun.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import httpx

from pipeline.core.errors import MissingInputError, PipelineError, SettingsError, UnavailableError
from pipeline.core.masking import shown

# MLflow reads these when it is imported. Its own defaults retry a silent server for minutes, and report home.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

import sqlalchemy as sql
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from mlflow.utils.time import get_current_time_millis

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from pipeline.core.settings import Settings

ANSWER_SECONDS = 5
RUN_TAG, NAME_TAG, PARENT_TAG = "pipeline.run_id", "pipeline.name", "mlflow.parentRunId"
NIGHT = "night"
LONGEST_TEXT = 5000
LONGEST_DIGEST = 36
AT_ONCE = 100
OUR_MISTAKES = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"}
GONE = {"RESOURCE_DOES_NOT_EXIST"}
NO_ENTRY = {"UNAUTHENTICATED", "PERMISSION_DENIED"}

P, T = ParamSpec("P"), TypeVar("T")

logging.getLogger("alembic").setLevel(logging.WARNING)
logging.getLogger("mlflow").setLevel(logging.WARNING)


def _in_one_sentence(method: Callable[P, T]) -> Callable[P, T]:
    """Turns what MLflow raises when it cannot be had into one sentence naming the URI."""

    @wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except (MlflowException, sql.exc.SQLAlchemyError, ConnectionError, httpx.HTTPError, ImportError) as error:
            if getattr(error, "error_code", "") in OUR_MISTAKES:
                raise
            raise _sentence(args[0].uri, error) from None  # type: ignore[attr-defined]

    return wrapped


def _sentence(uri: str, error: Exception) -> PipelineError:
    cause = " ".join(str(getattr(error, "orig", None) or error).split()).replace(uri, shown(uri))[:300]
    if isinstance(error, httpx.HTTPStatusError):
        cause = f"{error.response.status_code} at /health: this is no MLflow server, or one behind a proxy"
    if getattr(error, "error_code", "") in GONE:
        return MissingInputError(
            f"MLflow at {shown(uri)} has no such thing ({cause}); somebody deleted it, restore it."
        )
    if isinstance(error, ImportError):
        return SettingsError(f"register.tracking_uri is {shown(uri)!r}, but {cause}; install that driver.")
    if getattr(error, "error_code", "") in NO_ENTRY:
        return PipelineError(
            f"MLflow at {shown(uri)} refuses these credentials ({cause}); "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or give that user the right."
        )
    return UnavailableError(
        f"MLflow at {shown(uri)} does not answer ({cause}); start it, or set register.tracking_uri to where it is."
    )


def _named(name: str) -> str:
    """Returns a name MLflow takes: it allows letters, digits, and a few signs."""
    return re.sub(r"[^\w\-. :/]", ".", name)[:250]


def _artifacts_beside(uri: str) -> Path | None:
    """Returns where artefacts lie when no server decides: beside the SQLite file."""
    scheme, _, path = uri.partition(":///")
    return Path(path).resolve().with_suffix("") if scheme == "sqlite" else None


def fitted(markdown: str) -> str:
    """Returns as many whole lines as MLflow keeps of a description, and says so when some are left out."""
    if len(markdown) <= LONGEST_TEXT:
        return markdown
    note = "\n\n… the rest is in `records/card.md` of the run's artifacts."
    return markdown[: LONGEST_TEXT - len(note)].rpartition("\n")[0] + note


def _batches(values: list[T]) -> Iterator[list[T]]:
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))


class TrackedRun:
    """One MLflow run."""

    def __init__(self, client: MlflowClient, uri: str, run_id: str) -> None:
        self._client, self.uri, self.run_id = client, uri, run_id

    @_in_one_sentence
    def params(self, values: Mapping[str, Any]) -> None:
        """Logs parameters; a retry's changed value cannot replace the first, so it is kept as tag `changed.<name>`."""
        known = self._client.get_run(self.run_id).data.params
        texts = {_named(name): str(value)[:LONGEST_TEXT] for name, value in values.items()}
        for some in _batches([Param(n, v) for n, v in texts.items() if n not in known]):
            self._client.log_batch(self.run_id, params=some)
        self.tags({f"changed.{n}": v for n, v in texts.items() if known.get(n, v) != v})

    @_in_one_sentence
    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        now = get_current_time_millis()
        for some in _batches([Metric(_named(n), float(v), now, step or 0) for n, v in values.items()]):
            self._client.log_batch(self.run_id, metrics=some)

    @_in_one_sentence
    def tags(self, values: Mapping[str, Any]) -> None:
        for some in _batches([RunTag(_named(n), str(v)[:LONGEST_TEXT]) for n, v in values.items()]):
            self._client.log_batch(self.run_id, tags=some)

    @_in_one_sentence
    def reads(self, name: str, digest: str, source: Path, use: str, profile: Mapping[str, Any]) -> None:
        """Logs a data set as an input; one that is logged already stays one.

        Args:
            use: what it is read for, such as `training`.
            profile: what is known of it, such as how many rows it has.
        """
        place = json.dumps({"uri": str(source)})
        made = Dataset(name, digest[:LONGEST_DIGEST], "local", place, profile=json.dumps(profile))
        self._client.log_inputs(self.run_id, [DatasetInput(made, [InputTag(MLFLOW_DATASET_CONTEXT, use)])])

    @_in_one_sentence
    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Logs a file, or everything in a folder, under `folder`."""
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        log(self.run_id, str(path), folder)

    @_in_one_sentence
    def end(self, status: str) -> None:
        """Marks the run `FINISHED` or `FAILED`."""
        self._client.set_terminated(self.run_id, status)


class Tracking:
    """The tracking server and model registry of one shop.

    Attributes:
        uri: of both.
        experiment, model_name: from the settings.
    """

    def __init__(self, uri: str, experiment: str, model_name: str, artifacts: Path | None) -> None:
        self.uri, self.experiment, self.model_name = uri, experiment, model_name
        self._artifacts = artifacts

    @classmethod
    def connect(cls, settings: Settings) -> Tracking:
        """Reaches the tracking server, or makes the SQLite store below `store.root` when none is set.

        Raises: UnavailableError: nothing answers within seconds. SettingsError: MLflow knows no such kind of URI.
        """
        root, section = settings.store.root.resolve(), settings.register
        uri = section.tracking_uri or f"sqlite:///{root / 'mlflow.sqlite'}"
        tracking = cls(uri, section.experiment, section.model_name, _artifacts_beside(uri))
        tracking._reach(root)
        return tracking

    @_in_one_sentence
    def _reach(self, root: Path) -> None:
        scheme = self.uri.partition(":")[0].partition("+")[0]
        if scheme in ("http", "https"):
            httpx.get(f"{self.uri.rstrip('/')}/health", timeout=ANSWER_SECONDS).raise_for_status()
        elif scheme == "postgresql":
            sql.create_engine(self.uri, connect_args={"connect_timeout": ANSWER_SECONDS}).connect().close()
        elif scheme == "sqlite":
            root.mkdir(parents=True, exist_ok=True)
            sql.create_engine(self.uri, poolclass=sql.NullPool).connect().close()
        else:
            raise SettingsError(
                f"register.tracking_uri is {shown(self.uri)!r}; write http://host:port of an MLflow server, "
                "or a sqlite:/// or postgresql+psycopg2:// URL."
            )
        self._client = MlflowClient(self.uri, self.uri)
        self._experiment_id = self._find_experiment()

    def _find_experiment(self) -> str:
        known = self._client.get_experiment_by_name(self.experiment)
        if known:
            return known.experiment_id
        location = self._artifacts.as_uri() if self._artifacts else None
        try:
            return self._client.create_experiment(self.experiment, location)
        except MlflowException:  # another process made it meanwhile
            known = self._client.get_experiment_by_name(self.experiment)
            if known is None:
                raise
            return known.experiment_id

    @_in_one_sentence
    def night(self, run_id: str) -> TrackedRun:
        """Returns the parent run of a pipeline run, making it the first time."""
        return self._find_run(run_id, NIGHT) or self._make_run(run_id, NIGHT, run_id, {})

    @contextmanager
    def child(self, run_id: str, name: str, under: str = NIGHT) -> Iterator[TrackedRun]:
        """Opens the nested run of a stage, or the one it had begun before; an exception marks it failed.

        Args:
            name: unique within the night, such as `train` or `optimize/dynamic_int8`.
            under: the child it is nested in, such as `train`.
        """
        child = self.begin(run_id, name, under)
        try:
            yield child
        except BaseException:
            with suppress(PipelineError, MlflowException):  # what failed the stage is told, not this
                child.end("FAILED")
            raise
        child.end("FINISHED")

    @_in_one_sentence
    def has_child(self, run_id: str, name: str) -> bool:
        return self._find_run(run_id, name) is not None

    @_in_one_sentence
    def begin(self, run_id: str, name: str, under: str = NIGHT) -> TrackedRun:
        """Returns the nested run of a stage, running; whoever begins it ends it. Arguments as for `child`."""
        child = self._child(run_id, name, under)
        self._client.update_run(child.run_id, "RUNNING")
        return child

    def _child(self, run_id: str, name: str, under: str) -> TrackedRun:
        known = self._find_run(run_id, name)
        if known:
            return known
        parent = (self._find_run(run_id, under) if under != NIGHT else None) or self.night(run_id)
        return self._make_run(run_id, name, name, {PARENT_TAG: parent.run_id})

    def _find_run(self, run_id: str, name: str) -> TrackedRun | None:
        condition = f"tags.`{RUN_TAG}` = '{run_id}' and tags.`{NAME_TAG}` = '{name}'"
        found = self._client.search_runs([self._experiment_id], condition, max_results=1, order_by=["start_time ASC"])
        return TrackedRun(self._client, self.uri, found[0].info.run_id) if found else None

    def _make_run(self, run_id: str, name: str, label: str, tags: Mapping[str, str]) -> TrackedRun:
        tags = {RUN_TAG: run_id, NAME_TAG: name, **tags}
        made = self._client.create_run(self._experiment_id, tags=dict(tags), run_name=label)
        return TrackedRun(self._client, self.uri, made.info.run_id)

    @_in_one_sentence
    def finish_night(self, run_id: str) -> None:
        """Marks the parent run finished."""
        self.night(run_id).end("FINISHED")

    @_in_one_sentence
    def register(self, source: str, run_id: str, tags: Mapping[str, Any], description: str = "") -> str:
        """Makes a version of the registered model and returns its number.

        Args:
            source: URI of the logged model, such as `runs:/<MLflow run id>/model`.
            run_id: the MLflow run it came from.
        """
        if not self._client.search_registered_models(f"name = '{self.model_name}'"):
            self._create_model()
        texts = {name: str(value)[:LONGEST_TEXT] for name, value in tags.items()}
        made = self._client.create_model_version(
            self.model_name, source, run_id, texts, description=fitted(description)
        )
        return str(made.version)

    def _create_model(self) -> None:
        try:
            self._client.create_registered_model(self.model_name)
        except MlflowException as error:  # another process made it meanwhile
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @_in_one_sentence
    def version_by_digest(self, digest: str, run_id: str | None = None) -> str | None:
        """Returns the newest version of this bundle, made by pipeline run `run_id` where given, or None."""
        condition = f"name = '{self.model_name}' and tags.`digest` = '{digest}'"
        found: list[ModelVersion] = list(self._client.search_model_versions(condition, max_results=100))
        numbers = [int(v.version) for v in found if run_id is None or v.tags.get("run_id") == run_id]
        return str(max(numbers)) if numbers else None

    @_in_one_sentence
    def aliases(self) -> dict[str, str]:
        """Returns the version each alias names."""
        if not self._client.search_registered_models(f"name = '{self.model_name}'"):
            return {}
        return {a: str(v) for a, v in self._client.get_registered_model(self.model_name).aliases.items()}

    def alias(self, name: str) -> str | None:
        """Returns the version an alias names, or None."""
        return self.aliases().get(name)

    @_in_one_sentence
    def set_alias(self, name: str, version: str) -> None:
        self._client.set_registered_model_alias(self.model_name, name, version)

    @_in_one_sentence
    def model_tags(self) -> dict[str, str]:
        """Returns the tags of the registered model itself; none before it has a version."""
        if not self._client.search_registered_models(f"name = '{self.model_name}'"):
            return {}
        return dict(self._client.get_registered_model(self.model_name).tags)

    @_in_one_sentence
    def tag_model(self, name: str, value: str) -> None:
        self._client.set_registered_model_tag(self.model_name, name, value)

    @_in_one_sentence
    def drop_alias(self, name: str) -> None:
        """Takes an alias away; one that is not there is no error."""
        if self.alias(name) is not None:
            self._client.delete_registered_model_alias(self.model_name, name)

    @_in_one_sentence
    def tag_version(self, version: str, tags: Mapping[str, Any]) -> None:
        for name, value in tags.items():
            self._client.set_model_version_tag(self.model_name, version, name, str(value)[:LONGEST_TEXT])

    @_in_one_sentence
    def version_tags(self, version: str) -> dict[str, str]:
        return dict(self._client.get_model_version(self.model_name, version).tags)

    @_in_one_sentence
    def versions(self) -> dict[str, dict[str, str]]:
        """Returns every version's tags, by number."""
        return {str(version.version): dict(version.tags) for version in self._versions()}

    @_in_one_sentence
    def descriptions(self) -> dict[str, str]:
        """Returns every version's description, by number."""
        return {str(version.version): version.description or "" for version in self._versions()}

    def _versions(self) -> Iterator[ModelVersion]:
        token: str | None = ""
        while token is not None:
            page = self._client.search_model_versions(
                f"name = '{self.model_name}'", max_results=AT_ONCE, page_token=token or None
            )
            yield from page
            token = page.token or None

    @_in_one_sentence
    def describe_version(self, version: str, markdown: str) -> None:
        self._client.update_model_version(self.model_name, version, fitted(markdown))

    @_in_one_sentence
    def attach(self, version: str, path: Path, folder: str | None = None) -> None:
        """Logs a file or folder to the run this version came from."""
        self._origin(version).artifact(path, folder)

    @_in_one_sentence
    def measure(self, version: str, values: Mapping[str, float]) -> None:
        """Logs metrics to the run this version came from."""
        self._origin(version).metrics(values)

    def _origin(self, version: str) -> TrackedRun:
        return TrackedRun(self._client, self.uri, self._client.get_model_version(self.model_name, version).run_id)

    def run_page(self, run: TrackedRun) -> str:
        """Returns where a run can be opened in a browser; empty without a server."""
        return f"{shown(self.uri)}/#/experiments/{self._experiment_id}/runs/{run.run_id}" if self._served else ""

    def version_page(self, version: str) -> str:
        """Returns where a version can be opened in a browser; empty without a server."""
        return f"{shown(self.uri)}/#/models/{self.model_name}/versions/{version}" if self._served else ""

    @property
    def _served(self) -> bool:
        return self.uri.startswith("http")
