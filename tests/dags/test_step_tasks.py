"""What a DAG run asks of the steps in it, worked out without a scheduler."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.core.errors import UsageError
from pipeline.core.run import Layout, run_id_from

pytestmark = pytest.mark.usefixtures("plugins", "root")

INGEST_FORM = {"days": None, "source": None, "profile": None, "replay": None, "settings": {}}
RETRAIN_FORM = {
    "window_days": None, "epochs": None, "recipes": None, "dry_run": False, "force": False, "as_of": None,
    "settings": {},
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIPELINE_STORE__ROOT", str(tmp_path))
    return tmp_path


def _context(
    form: dict[str, Any], key: str | None = None, user: str | None = None, events: Any = (), **conf: Any
) -> Any:
    dag_run = SimpleNamespace(
        run_id="manual__2026-01-31T02:00:00+00:00", partition_key=key, conf=conf, triggering_user_name=user,
        consumed_asset_events=[SimpleNamespace(extra=extra) for extra in events],
    )  # fmt: skip
    return {"dag_run": dag_run, "params": {**form, **conf}, "dag": SimpleNamespace(dag_id="a_dag", params=form)}


def _arguments(*given: Any, **more: Any) -> list[str]:
    from step_tasks import Request

    return Request.of(_context(*given, **more)).arguments()


def test_a_scheduled_night_takes_the_partition_key_as_its_day() -> None:
    words = _arguments(INGEST_FORM, key="2026-01-30")
    assert words == ["--run", "manual__2026-01-31T02-00-00-00-00", "--days", "2026-01-30", "--requested-by", "schedule"]


def test_history_is_one_run_over_its_range() -> None:
    assert "2026-01-01..2026-01-30" in _arguments(INGEST_FORM, key="2026-01-30", days="2026-01-01..2026-01-30")


def test_a_key_that_is_not_the_ranges_last_day_is_refused() -> None:
    with pytest.raises(UsageError, match="2026-01-29 is not the last of the days"):
        _arguments(INGEST_FORM, key="2026-01-29", days="2026-01-01..2026-01-30")


def test_no_day_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="No day was given"):
        _arguments(INGEST_FORM)


def test_the_forms_fields_become_settings() -> None:
    words = _arguments(RETRAIN_FORM, key="2026-01-30", epochs=0, recipes=["float32"], settings={"train.dim": 16})
    assert words[6:] == ["--set", "train.dim=16", "--set", "train.epochs=0", "--set", 'optimize.recipes=["float32"]']


def test_a_replay_reads_again_what_was_refused_and_asks_nothing_of_the_retrain_that_follows() -> None:
    from step_tasks import Request

    request = Request.of(_context(INGEST_FORM, key="2026-01-30", replay="unknown_type"))
    assert request.arguments()[6:] == ["--set", 'ingest.replay="unknown_type"']
    assert request.handed_on()["settings"] == {}


def test_flags_and_as_of_are_passed_on() -> None:
    words = _arguments(RETRAIN_FORM, key="2026-01-30", dry_run=True, force=True, as_of="2026-01-31T00:00:00+00:00")
    assert words[6:] == ["--as-of", "2026-01-31T00:00:00+00:00", "--dry-run", "--force"]


def test_a_misspelt_parameter_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="has no parameter epoch; did you mean epochs"):
        _arguments(RETRAIN_FORM, key="2026-01-30", epoch=3)


def test_a_misspelt_setting_is_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match=r"train\.epoch.*did you mean epochs"):
        _arguments(RETRAIN_FORM, key="2026-01-30", settings={"train.epoch": 3})


def test_a_secret_in_the_form_is_refused() -> None:
    with pytest.raises(UsageError, match="everybody may read it"):
        _arguments(RETRAIN_FORM, key="2026-01-30", settings={"secrets.pseudonym_key": "00"})


def test_a_password_within_an_address_in_the_form_is_refused() -> None:
    with pytest.raises(UsageError, match="Secrets do not belong into a form"):
        _arguments(RETRAIN_FORM, key="2026-01-30", settings={"store.ledger_url": "postgresql://ann:hunter2@db/x"})


def test_who_asked_for_the_ingest_is_who_asked_for_the_retrain() -> None:
    cause = {"requested_by": "maria", "settings": {"train.epochs": 1}}
    words = _arguments(RETRAIN_FORM, key="2026-01-30", events=[cause])
    assert words[words.index("--requested-by") + 1] == "maria"
    assert "train.epochs=1" in words


def test_ingest_hands_on_its_settings_but_not_where_logs_lie() -> None:
    from step_tasks import Request

    context = _context(INGEST_FORM, key="2026-01-30", user="maria", source="logs", settings={"train.epochs": 1})
    assert Request.of(context).handed_on() == {"requested_by": "maria", "settings": {"train.epochs": 1}}


def _publish(root: Path, *days: str) -> None:
    Layout(root).published_folder.mkdir()
    for day in days:
        (root / "published" / f"{day}.json").write_text("{}")


def test_by_hand_the_newest_published_day_is_taken(root: Path) -> None:
    _publish(root, "2026-01-29", "2026-01-30", "2025-12-31")
    assert "2026-01-30" in _arguments(RETRAIN_FORM, user="maria")


@pytest.mark.parametrize(
    ("as_of", "day"),
    # A day counts once it has ended: midnight after it is late enough, a second earlier is not.
    [
        ("2026-01-31T00:00:00+00:00", "2026-01-30"),
        ("2026-01-30T23:59:59+00:00", "2026-01-29"),
        ("2026-01-31T00:00:00", "2026-01-30"),
    ],
)
def test_as_of_takes_the_newest_day_that_had_ended(root: Path, as_of: str, day: str) -> None:
    _publish(root, "2026-01-29", "2026-01-30")
    words = _arguments(RETRAIN_FORM, as_of=as_of)
    assert words[words.index("--days") + 1] == day


def test_a_retrain_before_anything_was_published_is_refused() -> None:
    with pytest.raises(UsageError, match="holds no published day; run ingest_behaviour_logs first"):
        _arguments(RETRAIN_FORM)


def test_a_run_that_goes_on_keeps_the_days_it_began_with(root: Path) -> None:
    _publish(root, "2026-01-30", "2026-01-31")
    record = root / "runs" / run_id_from("manual__2026-01-31T02:00:00+00:00") / "run.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"days": "2026-01-30"}))
    assert "2026-01-30" in _arguments(RETRAIN_FORM)


def test_a_tool_takes_the_word_of_a_person_only() -> None:
    from step_process import StepProcess
    from step_tasks import ToolOperator

    tool = ToolOperator(tool="rollback", options={"--reason": "reason"})
    with pytest.raises(UsageError, match="takes the word of a person"):
        tool._command(StepProcess(print), _context({"reason": ""}, reason="because"))


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("manual__2026-01-31T02:00:00+00:00__x", "manual__2026-01-31T02-00-00-00-00__x"),
        ("../../etc", "-..-etc"),
        ("", "run"),
    ],
)
def test_a_run_id_is_safe_as_a_folder(given: str, clean: str) -> None:
    assert run_id_from(given) == (clean if clean[0] not in "._-" else clean.lstrip("._-"))


def test_long_run_ids_stay_apart() -> None:
    a, b = run_id_from("x" * 240 + "a"), run_id_from("x" * 240 + "b")
    assert a != b
    assert len(a) == len(b) == 200
