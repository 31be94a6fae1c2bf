"""No raw id of a person reaches anything a night writes or says, whatever became of their rows."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.core import settings as settings_module
from pipeline.core.days import Days
from pipeline.core.run import Run
from pipeline.core.sections import Simulate
from pipeline.ingest import step as ingest
from pipeline.ingest.people.asking import pseudonyms_of
from pipeline.ingest.people.forget import Forgetting
from pipeline.prepare import step as prepare
from pipeline.store.erasures import Erasures
from pipeline.store.sweep import any_of, sweep
from pipeline.validate import step as validate
from tests.conftest import PSEUDONYM_KEY
from tests.fixtures.planted import PLANTED, planted_logs

DAYS = "2026-01-01..2026-01-06"
SHOP = Simulate(events_per_day=700, users=60, items=80, dirt_share=0.1, seed=3)


@dataclass
class Night:
    """A night until its training set is made.

    Attributes:
        said: everything its processes printed.
    """

    settings: settings_module.Settings
    source: Path
    scratch: Path
    said: str = ""

    @property
    def root(self) -> Path:
        return self.settings.store.root.resolve()

    @property
    def run(self) -> Run:
        return Run.open(self.root, "night", "UTC", Days.parse(DAYS))

    def live(self) -> Night:
        for step in (ingest, validate, prepare):
            step.run(self.settings, self.run)
        return self

    def users(self, name: str) -> set[str]:
        queries = pq.read_table(self.run.artifact("prepare").file(f"{name}.parquet"))
        return set(queries["user"].to_pylist())


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Night:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", PSEUDONYM_KEY)
    profile = planted_logs(tmp_path / "source", SHOP, DAYS)
    settings = settings_module.load(
        [
            f"store.root={tmp_path / 'var'}",
            f"ingest.source={tmp_path / 'source'}",
            f"ingest.profile={profile}",
            "validate.min_rows=10",
            "prepare.validation_days=1",
            "prepare.max_test_days=1",
            "prepare.min_test_queries=10",
        ]
    )
    lived = Night(settings, tmp_path / "source", scratch).live()
    lived.said = "".join(capfd.readouterr())
    return lived


def test_no_raw_id_reaches_a_file_a_scratch_folder_or_the_terminal(night: Night) -> None:
    assert len(sweep(night.source, PLANTED).found) == 6, "the searcher must find them where they are"
    counts = [artifact.json("counts.json") for artifact in night.run.artifacts("ingest").values()]
    taken = {rule for day in counts for rule, rows in day["rules"].items() if rows}
    assert {"torn", "unknown_type", "bad_time", "other_day", "exact_duplicate"} <= taken, "each way out must be taken"
    assert night.users("test")
    swept = sweep(night.root, PLANTED)
    assert swept.files > 50
    assert swept.found == ()
    assert sweep(night.scratch, PLANTED).found == ()
    assert PLANTED.search(night.said.encode()) is None


def test_the_key_reaches_nothing_either(night: Night) -> None:
    assert sweep(night.root, any_of([PSEUDONYM_KEY])).found == ()
    assert PSEUDONYM_KEY not in night.said


def test_after_a_person_is_forgotten_the_next_night_learns_without_them(night: Night) -> None:
    # The busiest user is in training, validation and test.
    (name, *_) = pseudonyms_of("PLANTED-USER-0", night.settings)
    before = night.run.artifact("prepare")
    assert sweep(before.path, any_of([name])).found
    sequences = before.json("split.json")["counts"]["sequences"]
    said = Forgetting(night.settings, [name]).run("ann", "asked by letter")
    assert "only the ledger of erasures names the person" in said
    assert not before.path.exists()
    night.live()
    after = night.run.artifact("prepare")
    assert after.key != before.key
    assert sweep(night.root / "store", any_of([name])).found == ()
    assert after.json("split.json")["counts"]["sequences"] < sequences
    erased = [a.json("counts.json")["rules"]["erased"] for a in night.run.artifacts("ingest").values()]
    assert sum(erased) > 0
    assert json.loads(json.dumps(Erasures.open(night.settings).all()[0].counts))["dropped"]["prepare"] == 1
