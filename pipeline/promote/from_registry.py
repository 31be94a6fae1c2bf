"""Reviews written into MLflow as tags of a version, taken where `promote.review_in_mlflow` allows it.

A reviewer sets `review` to `approve` or `refuse`, and `review_reason`. MLflow does not say who set a tag, so the ledger
says so too, and nobody may overrule a failed gate that way: an override bears a name. Everything else is checked as for
any review: decision, digest, champion. What came of it is written to `review_answer`, and a tag is taken once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.core.errors import PipelineError, SettingsError
from pipeline.core.run import Layout, Run
from pipeline.core.settings import Settings
from pipeline.promote.decision import Decision
from pipeline.promote.review import VERDICTS, review

VERDICT, REASON, ANSWER = "review", "review_reason", "review_answer"
WHO = "through MLflow, identity not known"


def take_reviews(settings: Settings) -> list[str]:
    """Carries out every review that was not taken yet; returns a sentence for each.

    Raises: SettingsError: `promote.review_in_mlflow` is off. UnavailableError: MLflow does not answer.
    """
    if not settings.promote.review_in_mlflow:
        raise SettingsError(
            "promote.review_in_mlflow is false, so tags in MLflow decide nothing: whoever may edit a version could "
            "promote it. Use `python -m pipeline review`, or set it to true."
        )
    from pipeline.store.tracking import Tracking

    tracking: Any = Tracking.connect(settings)
    told = []
    for version, tags in sorted(tracking.versions().items(), key=lambda each: int(each[0])):
        if VERDICT not in tags or tags.get(ANSWER, "").startswith(_mark(tags)):
            continue
        try:
            sentence = _take(settings, version, tags)
        except PipelineError as error:
            if error.retry_may_help:
                raise
            sentence = str(error)
        # Whatever is written anew is another review.
        tracking.tag_version(version, {ANSWER: f"{_mark(tags)}: {sentence}"})
        told.append(f"Version {version}, {_mark(tags)}: {sentence}")
    return told


def _mark(tags: Mapping[str, str]) -> str:
    """Returns which words an answer is to."""
    return f"{tags[VERDICT].strip()} ({tags.get(REASON, '').strip()})"


def _take(settings: Settings, version: str, tags: Mapping[str, str]) -> str:
    verdict, reason = tags[VERDICT].strip().lower(), tags.get(REASON, "").strip()
    if verdict not in VERDICTS:
        raise PipelineError(f"The tag {VERDICT} is {verdict!r}; write {' or '.join(VERDICTS)}.")
    if not reason:
        raise PipelineError(f"The tag {REASON} is missing; say why, it goes into the ledger for good.")
    run_id = tags.get("run_id", "")
    if not (Layout(settings.store.root.resolve()).runs / run_id / "run.json").exists() or not run_id:
        raise PipelineError(f"The version's tag run_id is {run_id!r}, and no such run is kept; train it again.")
    decision = Decision.load(Run.open(settings.store.root.resolve(), run_id, settings.shop.timezone))
    if (decision.version, decision.digest) != (version, tags.get("digest")):
        raise PipelineError(
            f"The gate of run {run_id} judged version {decision.version} with bundle {decision.digest[:12]}, not this "
            f"one with {tags.get('digest', 'none')[:12]}; run the gate again."
        )
    if verdict == "approve" and decision.outcome == "fail":
        raise PipelineError(
            "A gate failed. Whoever overrules it does so by name: "
            f"`python -m pipeline review --run {run_id}`, or review_promotion in Airflow."
        )
    return review(settings, run_id, verdict, WHO, reason, decision.fingerprint).sentence
