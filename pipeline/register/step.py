"""Registers a run's release bundle in MLflow as the challenger, with everything a reviewer asks for."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import write_beside
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.model import account
from pipeline.model.bundle import Bundle, open_bundle
from pipeline.model.cost import markdown
from pipeline.register.card import write_card
from pipeline.register.lineage import Lineage, numbers, tags_of, trace
from pipeline.store.ledger import Entry, Ledger

CHALLENGER = "challenger"
SETTINGS_FILE = "settings.json"
CARD = "card.md"


def run(settings: Settings, run: Run) -> Report:
    """Makes a version of this run's bundle, or finds the one an earlier attempt made.

    Raises:
        MissingInputError, CorruptArtifactError: the bundle is not there, or not what was sealed.
        UnavailableError: MLflow does not answer.
    """
    chosen = run.artifact("optimize")
    bundle = open_bundle(chosen.path / "bundle", chosen.json("choice.json").get("digest"))
    if run.dry_run:
        _note(run, None, bundle, None)
        return Report(f"Nothing was registered: run {run.run_id} is a dry run.", digests={"bundle": bundle.digest})
    from pipeline.store.tracking import Tracking

    lineage = trace(run)
    tracking = Tracking.connect(settings)
    night = tracking.night(run.run_id)
    version = tracking.version_by_digest(bundle.digest, run.run_id)
    card, tables = write_card(lineage, bundle), account.of_run(run, settings.cost)
    write_beside(run.folder / CARD, card)
    account.leave(run, tables)
    if version is None:
        _log(tracking, settings, run, lineage, bundle)
        source = _log_model(tracking, night, bundle)
        version = tracking.register(source, night.run_id, tags_of(lineage, bundle), card + markdown(tables))
    tracking.finish_night(run.run_id)
    backfill = run.backfill or _ends_no_later(bundle, Ledger.open(settings.store).champion())
    _call_challenger(tracking, version, backfill)
    _note(run, version, bundle, night.run_id)
    uris = {"version": tracking.version_page(version), "run": tracking.run_page(night)}
    return Report(
        f"Version {version} of {settings.register.model_name} is bundle {bundle.digest[:12]}"
        + (", registered as a backfill." if backfill else ", the challenger."),
        digests={"bundle": bundle.digest},
        uris={name: uri for name, uri in uris.items() if uri},
    )


def _ends_no_later(bundle: Bundle, champion: Entry | None) -> bool:
    """Tells whether a bundle's data ends no later than another champion's, which no promotion may replace by it."""
    if champion is None or champion.to_digest == bundle.digest or not champion.data_end:
        return False
    return datetime.fromisoformat(bundle.data_end) <= datetime.fromisoformat(champion.data_end)


def _call_challenger(tracking: Any, version: str, backfill: bool) -> None:
    """Moves the alias, but never on a backfill, nor back: a step that is repeated is not the newest."""
    aliases = tracking.aliases()
    newest = max(int(aliases.get(alias, 0)) for alias in ("champion", CHALLENGER))
    if not backfill and int(version) > newest:
        tracking.set_alias(CHALLENGER, version)


def _log(tracking: Any, settings: Settings, run: Run, lineage: Lineage, bundle: Bundle) -> None:
    """Fills the night's run and its nested runs: night, train, one for each recipe."""
    night = tracking.night(run.run_id)
    night.params(dict(_parameters(settings.masked())))
    night.tags({**tags_of(lineage, bundle), "requested_by": run.requested_by, "backfill": run.backfill})
    night.metrics(dict(numbers(lineage.split["counts"], "split")))
    if not tracking.has_child(run.run_id, "train"):
        _log_train(tracking, run, lineage)
    for row in lineage.recipes:
        _log_recipe(tracking, run, row)
        if row["recipe"] == bundle.recipe:
            night.metrics(dict(numbers(row)))
    for data in lineage.data_sets:
        night.reads(data.name, data.digest, data.source, data.use, data.profile)
    for path in lineage.plots:
        night.artifact(path, "plots")
    for path in [*lineage.records, run.folder / CARD, run.folder / account.JSON]:
        night.artifact(path, "records")
    with tempfile.TemporaryDirectory() as folder:
        for name, value in ((SETTINGS_FILE, settings.masked()), ("keys.json", lineage.keys)):
            path = Path(folder) / name
            path.write_text(json.dumps(value, indent=1, sort_keys=True))
            night.artifact(path, "records")


def _log_train(tracking: Any, run: Run, lineage: Lineage) -> None:
    """Fills the nested run of a training that was not run again, because its artifact existed."""
    with tracking.child(run.run_id, "train") as train:
        train.tags({"cached": True, "key": lineage.keys["train"]})
        known = [row for row in lineage.figures if row["value"] is not None]
        train.metrics({f"{row['model']}.{row['metric']}.{row['slice']}": row["value"] for row in known})
        for epoch, values in enumerate(lineage.epochs, start=1):
            train.metrics(dict(numbers(values)), step=epoch)


def _log_recipe(tracking: Any, run: Run, row: Mapping[str, Any]) -> None:
    with tracking.child(run.run_id, f"recipe {row['recipe']}", under="train") as child:
        child.metrics(dict(numbers(row)))
        child.tags({key: value for key, value in row.items() if isinstance(value, str | bool)})


def _log_model(tracking: Any, night: Any, bundle: Bundle) -> str:
    from pipeline.register.packaging import pack

    with tempfile.TemporaryDirectory() as folder:
        night.artifact(pack(bundle, Path(folder)), "model")
    return f"runs:/{night.run_id}/model"


def _parameters(settings: Mapping[str, Any]) -> Any:
    for section, fields in settings.items():
        yield from ((f"{section}.{name}", value) for name, value in fields.items())


def _note(run: Run, version: str | None, bundle: Bundle, mlflow_run_id: str | None) -> None:
    fields = {"version": version, "digest": bundle.digest, "mlflow_run_id": mlflow_run_id}
    write_beside(run.folder / "register.json", json.dumps(fields, indent=1))
