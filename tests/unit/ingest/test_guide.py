"""What the guide shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.core.settings import Settings
from pipeline.ingest.judging.rules import rules_of
from pipeline.ingest.profiles.checking import check
from pipeline.ingest.profiles.drafting import draft
from pipeline.ingest.profiles.profile import SHIPPED, load_profile

DOCS = Path(__file__).parents[3] / "docs"
GUIDE = (DOCS / "guide" / "your-own-logs.md").read_text()
DRAFTED, CORRECTED, REFERENCE, CHANGING = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
FIRST_REPORT, LAST_REPORT = re.findall(r"```text\n(.*?)```", GUIDE, re.DOTALL)


def _profile(folder: Path, text: str) -> str:
    (folder / "our_shop.yaml").write_text(text)
    return str(folder / "our_shop.yaml")


@pytest.fixture
def log(tmp_path: Path) -> str:
    """The file that the guide's lines make."""
    (script,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    return str(tmp_path / "klicks_20260105.csv")


def test_the_draft_in_the_guide_is_what_is_drafted(log: str, settings: Settings) -> None:
    assert draft(log, settings) == DRAFTED


def test_the_first_report_in_the_guide_is_what_is_reported(log: str, tmp_path: Path, settings: Settings) -> None:
    report = check(log, _profile(tmp_path, DRAFTED), settings, 10_000)
    assert report.replace(str(tmp_path / "our_shop.yaml"), "our_shop.yaml") == FIRST_REPORT.rstrip()


def test_the_last_report_in_the_guide_is_what_is_reported(log: str, tmp_path: Path, settings: Settings) -> None:
    profile = _profile(tmp_path, CORRECTED)
    assert "- 49 rows belong to another day than 2026-01-05" in check(log, profile, settings, 10_000)
    there = settings.shop.model_copy(update={"timezone": "Europe/Berlin"})
    assert check(log, profile, settings.model_copy(update={"shop": there}), 10_000).endswith(LAST_REPORT.rstrip())


def test_ingest_makes_of_the_guides_log_what_the_guide_says(log: str, source, settings: Settings) -> None:
    source.write_bytes(Path(log).read_bytes(), "klicks_20260105.csv")
    source.profile.write_text(CORRECTED)
    there = settings.shop.model_copy(update={"timezone": "Europe/Berlin"})
    source.settings = source.settings.model_copy(update={"shop": there})
    assert f"ingest: {source.ingest().report.sentence}" in GUIDE


def test_the_profile_line_by_line_loads(tmp_path: Path) -> None:
    profile = load_profile(_profile(tmp_path, REFERENCE))
    assert profile.person_columns == ("customer", "visit", "email")


def test_the_changing_catalogue_in_the_guide_is_the_shipped_one() -> None:
    assert (
        yaml.safe_load(CHANGING)["catalogue"]
        == yaml.safe_load((SHIPPED / "retailrocket.yaml").read_text())["catalogue"]
    )


def test_the_docs_name_every_rule_and_every_shipped_profile() -> None:
    rules = (DOCS / "reference" / "rules.md").read_text()
    assert "(../reference/rules.md)" in GUIDE
    assert not [rule.name for rule in rules_of(load_profile("generated")) if f"`{rule.name}`" not in rules]
    assert not [path.stem for path in SHIPPED.glob("*.yaml") if f"`{path.stem}`" not in GUIDE]
