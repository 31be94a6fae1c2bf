"""Every alert, shown firing and silent by promtool on series that are written down beside it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PROMETHEUS = Path(__file__).parents[2] / "docker" / "prometheus"
RULES = PROMETHEUS / "rules" / "serve.yml"
CASES: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}


def _tests(name: str) -> Iterator[dict[str, Any]]:
    """Yields one test of promtool's a case."""
    fires = CASES[name]["fires"]
    labels = {**fires["labels"], "severity": ALERTS[name]["labels"]["severity"]}
    told = {"summary": fires["summary"], "runbook": ALERTS[name]["annotations"]["runbook"]}
    yield _test(name, "fires", fires, [{"exp_labels": labels, "exp_annotations": told}])
    for case in CASES[name]["silent"]:
        yield _test(name, f"silent when {case['when']}", case, [])


def _interval(cases: dict[str, Any]) -> str:
    return cases.get("interval", "1m")


def _test(name: str, said: str, case: dict[str, Any], alerts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": f"{name}: {said}",
        "interval": _interval(CASES[name]),
        "input_series": [{"series": series, "values": values} for series, values in case["series"].items()],
        "alert_rule_test": [{"alertname": name, "eval_time": case["at"], "exp_alerts": alerts}],
    }


def test_every_alert_is_shown_and_says_what_to_do() -> None:
    assert set(CASES) == set(ALERTS)
    assert [name for name, case in CASES.items() if not case["silent"]] == []
    for rule in ALERTS.values():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert all(rule["annotations"][said].endswith(".") for said in ("summary", "runbook"))


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_fires_on_what_it_is_for_and_not_on_what_is_near(name: str, tmp_path: Path) -> None:
    tests = {
        "rule_files": [str(RULES)],
        "evaluation_interval": _interval(CASES[name]),
        "group_eval_order": [group["name"] for group in GROUPS],
        "tests": list(_tests(name)),
    }
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    ran = subprocess.run(["promtool", "test", "rules", str(tmp_path / "tests.yml")], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    "command",
    [
        # Its token is there only where it runs.
        ["check", "config", "--syntax-only", "--lint-fatal", str(PROMETHEUS / "prometheus.yml")],
        ["check", "rules", "--lint-fatal", str(RULES)],
    ],
    ids=["configuration", "rules"],
)
def test_promtool_finds_nothing_to_mend_in_what_ships(command: list[str]) -> None:
    checked = subprocess.run(["promtool", *command], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
