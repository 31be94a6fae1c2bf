"""Whether a decision may still be carried out: on this bundle, against this champion, once."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from pipeline.core.errors import CorruptArtifactError, MissingInputError, PipelineError
from pipeline.core.run import Run
from pipeline.model.bundle import open_bundle
from pipeline.promote.decision import Decision
from pipeline.store.ledger import Entry, stood


def check_binding(decision: Decision, entries: list[Entry]) -> None:
    """Raises: PipelineError: given against another champion than stands, carried out before, or of a backfill."""
    again = f"run `python -m pipeline gate --run {decision.raw['run_id']}` again"
    standing = stood(entries)
    champion = standing[-1] if standing else None
    if not decision.judged_against(champion):
        stands = f"{champion.to_digest[:12]} (entry {champion.sequence})" if champion else "none"
        judged = (
            f"{decision.champion_digest[:12]} (entry {decision.champion_sequence})"
            if decision.champion_digest
            else "none"
        )
        raise PipelineError(f"{decision.path}: judged against champion {judged}, and now stands {stands}; {again}.")
    if any(e.kind == "promotion" and e.details.get("decision") == decision.fingerprint for e in entries):
        raise PipelineError(f"{decision.path}: this decision was carried out once and taken back since; {again}.")
    if champion and champion.data_end and _moment(decision.data_end) <= _moment(champion.data_end):
        raise PipelineError(
            f"{decision.path}: its data end {decision.data_end} is not after the champion's {champion.data_end}, so "
            "this is a backfill and moves nothing; ingest newer days first."
        )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else datetime.fromisoformat(f"{text}+00:00")


def judged_bundle(run: Run, decision: Decision) -> Path:
    """Returns the bundle that was optimized, registered and judged: one and the same.

    Raises: PipelineError: they are not one and the same, or not there.
    """
    source = run.artifact("optimize").path / "bundle"
    try:
        open_bundle(source, decision.digest)
        registered = json.loads((run.folder / "register.json").read_text())
        found = (registered["digest"], str(registered["version"]))
    except FileNotFoundError:
        raise MissingInputError(
            f"Run {run.run_id} registered nothing yet; run `python -m pipeline register --run {run.run_id}`."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise CorruptArtifactError(
            f"{run.folder / 'register.json'}: cannot be read; register this run again."
        ) from None
    if found != (decision.digest, decision.version):
        raise PipelineError(
            f"{decision.path}: judged version {decision.version} with bundle {decision.digest[:12]}, and registered is "
            f"version {found[1]} with {found[0][:12]}; run `python -m pipeline gate --run {run.run_id}` again."
        )
    return source
