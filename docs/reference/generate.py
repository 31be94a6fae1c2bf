"""Writes the reference pages that are made from code: `python docs/reference/generate.py`.

A test fails when a page is not what this makes.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import typer  # noqa: E402

from pipeline.cli import app  # noqa: E402
from pipeline.core.settings import ENVIRONMENT_PREFIX, sections  # noqa: E402
from pipeline.steps import STEPS  # noqa: E402

MADE = "<!-- Made by `make docs`; edit the code it is made from. -->"


def pages() -> dict[str, str]:
    """Returns every generated page by file name."""
    return {"settings.md": settings_page(), "commands.md": commands_page(), "steps.md": steps_page()}


def steps_page() -> str:
    """One row a step of the night."""
    rows = []
    for step in STEPS:
        reads = ", ".join(f"`{name}`" for name in step.after) or "raw logs"
        rows.append(f"| `{step.name}` | {reads} | {step.kind} | {step.timeout_minutes} min | {step.does} |")
    head = ["# The steps of the night", MADE, "| step | reads | kind | timeout | does |", "|---|---|---|---|---|"]
    return "\n".join([head[0], "", head[1], "", *head[2:], *rows, ""])


def settings_page() -> str:
    """One table a section."""
    lines = ["# Settings", "", MADE, ""]
    lines += [
        f"Strongest first: `--set section.field=value`, environment (`{ENVIRONMENT_PREFIX}SECTION__FIELD`),"
        " `pipeline.yaml`, these defaults.",
        "",
    ]
    for name, section in sections().items():
        lines += [f"## {name}", "", section.__doc__ or "", "", "| field | default | meaning |", "|---|---|---|"]
        for field, info in section.model_fields.items():
            lines.append(f"| `{field}` | `{_written(info.default)}` | {info.description} |")
        lines.append("")
    return "\n".join(lines)


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(str(v) for v in value) + "]"
    return "not set" if value is None else str(value) if value != "" else '""'


def commands_page() -> str:
    """One section a command, with its options."""
    lines = ["# Commands", "", MADE, "", "All are called as `python -m pipeline COMMAND`.", ""]
    group = typer.main.get_command(app)
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        lines += [f"## {name}", "", " ".join((command.help or "").split()), ""]
        rows = [_option(p) for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
        lines += ["| option | meaning |", "|---|---|", *rows, ""] if rows else []
    return "\n".join(lines)


def _option(parameter: object) -> str:
    names = ", ".join(f"`{o}`" for o in parameter.opts)  # type: ignore[attr-defined]
    if parameter.param_type_name == "argument":  # type: ignore[attr-defined]
        names = f"`{parameter.name.upper()}`"  # type: ignore[attr-defined]
    must = " (required)" if parameter.required else ""  # type: ignore[attr-defined]
    return f"| {names} | {getattr(parameter, 'help', '') or ''}{must} |"


if __name__ == "__main__":
    for file, text in pages().items():
        (HERE / file).write_text(text)
        print(f"wrote docs/reference/{file}")
