"""The catalogue, the command line, the settings and the docs say the same."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from pipeline.cli import app
from pipeline.core.settings import sections
from pipeline.core.step import Report, write_result
from pipeline.steps import BY_NAME, STEPS

ROOT = Path(__file__).resolve().parents[2]


def _generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "reference" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMMANDS = _generator().commands()
GROUPS = {name: group for name, group in typer.main.get_command(app).commands.items() if hasattr(group, "commands")}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_has_its_folder_its_settings_its_command_and_its_tests(step) -> None:
    assert (ROOT / "pipeline" / step.name / "step.py").is_file()
    assert step.name in sections()
    assert step.name in COMMANDS
    assert list((ROOT / "tests" / "unit" / step.name).glob("test_*.py"))


def test_a_step_reads_only_steps_before_it() -> None:
    seen: set[str] = set()
    for step in STEPS:
        assert set(step.after) <= seen
        seen.add(step.name)
    assert list(BY_NAME) == [step.name for step in STEPS]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_only_a_mapped_step_has_parts(step) -> None:
    options = {parameter.name for parameter in COMMANDS[step.name].params}
    module = importlib.import_module(f"pipeline.{step.name}.step")
    assert {"part", "parts"} & options == ({"part", "parts"} if step.part else set())
    assert hasattr(module, "parts") == hasattr(module, "run_part") == bool(step.part)
    assert step.tasks == ((f"{step.part}s", step.part, step.name) if step.part else (step.name,))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert [p.name for p in command.params if p.param_type_name == "option" and not p.help and p.name != "help"] == []


def test_a_group_of_commands_has_help_and_its_commands_are_in_the_docs() -> None:
    assert {name: group.help for name, group in GROUPS.items() if not group.help} == {}
    assert {f"{name} {word}" for name, group in GROUPS.items() for word in group.commands} <= set(COMMANDS)
    assert "profile check" in COMMANDS


@pytest.mark.parametrize("name", sorted(sections()))
def test_every_setting_is_described_with_a_sentence(name: str) -> None:
    fields = sections()[name].model_fields
    assert [field for field, info in fields.items() if not (info.description or "").endswith(".")] == []


@pytest.mark.parametrize("page", ["settings.md", "commands.md", "steps.md", "rules.md", "data-rules.md", "metrics.md"])
def test_the_reference_pages_are_what_the_code_says(page: str) -> None:
    assert (ROOT / "docs" / "reference" / page).read_text() == _generator().pages()[page], "run `make docs`"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("pipeline.cli", {"tensorflow", "mlflow", "pandas", "airflow", "ibis", "great_expectations"}),
        ("pipeline.steps", {"numpy", "pandas", "pydantic", "yaml", "tensorflow", "mlflow"}),
    ],
)
def test_the_command_line_and_the_catalogue_load_nothing_heavy(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert set(out.stdout.split()) & heavy == set()


def test_the_result_message_is_versioned_and_reads_back(tmp_path: Path) -> None:
    report = Report(
        "done",
        counts={"rows": 3},
        metrics={"recall_at_20": 0.25},
        digests={"bundle": "ab"},
        verdict="pass",
        parts=("float32", "dynamic_int8"),
    )
    write_result(tmp_path / "result.json", "gate", report)
    message = json.loads((tmp_path / "result.json").read_text())
    assert {k: message[k] for k in ("version", "step", "error", "retry_may_help")} == {
        "version": 2,
        "step": "gate",
        "error": "",
        "retry_may_help": False,
    }
    assert Report.from_dict(message["report"]) == report
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
