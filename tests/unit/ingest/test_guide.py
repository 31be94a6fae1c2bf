from __future__ import annotations

import re
from pathlib import Path

from pipeline.ingest.profile import load_profile
from pipeline.ingest.rules import rules_of

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "your-own-logs.md"


def test_the_profile_in_the_guide_loads(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "own.yaml").write_text(example)
    profile = load_profile(str(tmp_path / "own.yaml"))
    assert profile.person_columns == ("customer", "visit", "email")


def test_the_guide_names_every_rule() -> None:
    text = GUIDE.read_text()
    assert not [rule.name for rule in rules_of(load_profile("generated")) if f"`{rule.name}`" not in text]
