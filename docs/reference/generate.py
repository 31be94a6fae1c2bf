"""Writes the reference pages that are made from code: `python docs/reference/generate.py`.

A test fails when a page is not what this makes.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import typer  # noqa: E402
import yaml  # noqa: E402

from benchmarks import claims  # noqa: E402
from pipeline.cli import app  # noqa: E402
from pipeline.core.gates import COMPARISONS, GATES, SLICES  # noqa: E402
from pipeline.core.gates import METRICS as GATE_METRICS  # noqa: E402
from pipeline.core.sections import ENVIRONMENT_PREFIX  # noqa: E402
from pipeline.core.settings import sections  # noqa: E402
from pipeline.gate.record import schema  # noqa: E402
from pipeline.ingest.judging.rules import rules_of  # noqa: E402
from pipeline.ingest.profiles.profile import Exclusion, load_profile  # noqa: E402
from pipeline.serve.metrics import Metrics  # noqa: E402
from pipeline.steps import STEPS  # noqa: E402
from pipeline.validate.metrics import METRICS  # noqa: E402
from pipeline.validate.suite import SETTING, SHIPPED  # noqa: E402

MADE = "<!-- Made by `make docs`; edit the code it is made from. -->"


def pages() -> dict[str, str]:
    """Returns every generated page by file name."""
    return {
        "settings.md": settings_page(),
        "commands.md": commands_page(),
        "steps.md": steps_page(),
        "rules.md": rules_page(),
        "data-rules.md": data_rules_page(),
        "gates.md": gates_page(),
        "metrics.md": metrics_page(),
        "benchmarks.md": benchmarks_page(),
        "decision.schema.json": decision_schema(),
    }


def decision_schema() -> str:
    """The JSON schema of the gate's record."""
    return json.dumps({"$comment": "Made by `make docs` from `pipeline/gate/record.py`.", **schema()}, indent=1) + "\n"


def benchmarks_page() -> str:
    """One section a result that was measured, as it was written down."""
    lines = ["# Benchmarks", "", MADE, "", *BENCHMARKS_HEAD.splitlines(), ""]
    for path in sorted(claims.RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        host, versions = result["host"], ", ".join(f"{name} {said}" for name, said in result["versions"].items())
        about = importlib.import_module(f"benchmarks.{path.stem}").__doc__.split("\n\n")
        lines += [f"## {path.stem}", "", about[0], "", "```", result["command"], "```", ""]
        lines += [f"{each.strip()}\n" for each in result.get("details", {}).get("tables", [])]
        lines += [claims.table([claims.Claim(**claim) for claim in result["claims"]]), ""]
        lines += [line for part in about[1:] if not part.startswith("    ") for line in (part.strip(), "")]
        lines += [f"{host['cores']} cores of {host['cpu']}, {host['memory_mb']:,} MB; {versions}.", ""]
    return "\n".join(lines)


BENCHMARKS_HEAD = """\
Each claim is a ratio to a peer that took turns with it on the same machine. It holds when its whole interval does;
`holds` is computed, never typed, and a claim that does not hold stays here. Absolute figures are of the machine named.
`make benchmark NAME=ingest` measures one again and writes `benchmarks/results/ingest.json`; `make docs` this page."""


def steps_page() -> str:
    """One row a step of the night."""
    rows = []
    for step in STEPS:
        after = ", ".join(f"`{name}`" for name in step.after) or "raw logs"
        parts = f" Each {step.part} is a task of its own before it." if step.part else ""
        rows.append(f"| `{step.name}` | {after} | {step.kind} | {step.timeout_minutes} min | {step.does}{parts} |")
    head = ["# The steps of the night", MADE, "| step | waits for | kind | timeout | does |", "|---|---|---|---|---|"]
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
    for name, command in sorted(commands().items()):
        lines += [f"## {name}", "", " ".join((command.help or "").split()), ""]
        rows = [_option(p) for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
        lines += ["| option | meaning |", "|---|---|", *rows, ""] if rows else []
    return "\n".join(lines)


def commands() -> dict[str, object]:
    """Returns every command by the words that call it; those of a group after the group's name."""
    found: dict[str, object] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        found |= {f"{name} {word}": each for word, each in below.items()} if below else {name: command}
    return found


def _option(parameter: object) -> str:
    names = ", ".join(f"`{o}`" for o in parameter.opts)  # type: ignore[attr-defined]
    if parameter.param_type_name == "argument":  # type: ignore[attr-defined]
        names = f"`{parameter.name.upper()}`"  # type: ignore[attr-defined]
    must = " (required)" if parameter.required else ""  # type: ignore[attr-defined]
    return f"| {names} | {getattr(parameter, 'help', '') or ''}{must} |"


def rules_page() -> str:
    """One row a rule, in the order they are tried."""
    profile = load_profile("generated")
    own = Exclusion(name="own", column="column", matches="pattern")
    events = profile.events.model_copy(update={"exclude": (own,)})
    rows = []
    for n, rule in enumerate(rules_of(profile.model_copy(update={"events": events})), 1):
        name = "entries of the profile's `events.exclude`" if rule.name == own.name else f"`{rule.name}`"
        doc = "One of its columns matches the entry's pattern." if rule.name == own.name else rule.doc
        rows.append(f"| {n} | {name} | {rule.outcome} | {doc} | {_settings_of(doc)} |")
    head = ["| order | rule | the row becomes | when | settings, with their defaults |", "|---:|---|---|---|---|"]
    return "\n".join(["# What becomes of a row", "", MADE, "", RULES_HEAD, *head, *rows, "", RULES_FOOT])


def _settings_of(doc: str) -> str:
    """Returns the settings a rule's line names, with their defaults."""
    known = sections()
    named = dict.fromkeys(re.findall(r"`([a-z]+)\.([a-z_]+)`", doc))
    fields = [(s, f, known[s].model_fields.get(f)) for s, f in named if s in known]
    return ", ".join(f"`{s}.{f}` = {_written(info.default)}" for s, f, info in fields if info)


RULES_HEAD = """\
Each row of a day's files ends in exactly one place, and the sum is checked for every day:
`rows = clean + quarantined + duplicate + robot + excluded + routed`. Rules are tried in this order; the first that
takes a row decides. `python -m pipeline counts --run RUN` says how many rows each took, `quarantine` shows the refused.
"""

RULES_FOOT = """\
## What a profile adds

- `events.exclude` names rows that are no behaviour towards goods, such as postage or stock movements. Each entry is
  a rule of its own name, counted apart: `{name: no_goods, column: sku,
  matches: "^(POST|GIFTWRAP)$"}` takes the rows whose `sku` matches and counts them as `no_goods`.
- `events.test_accounts` names people who are no customers, by patterns on columns that name people. They are looked
  at before ids become pseudonyms, and such columns are never written down.
- `events.judge_robots: false` leaves the rules of the outcome `robot` out, where a session has no pace.
- `events.time.stated_offset: must_match` refuses times that state another offset than `events.time.zone` has.
- `calendar.opened` is the shop's first day; older rows are refused.
- `events.event_type` decides what is an unknown type; `columns` and `replace` what is an id, a price or a number.

## What becomes of refused rows

A day more of whose rows are refused than the budget allows (`ingest.quarantine_fail_share`, `ingest.rule_fail_share`)
fails, and the message names the worst rule and its first row; `ingest.quarantine_warn_share` and
`ingest.rule_warn_share` warn. `quarantine.parquet` holds the rule, the source file, the byte offset in the
decompressed file, the row number and the row with its person columns pseudonymised. Of a torn row only what tore it
is kept, since a person's name may stand in any place. After a fix of the file, the profile or a limit, `python -m
pipeline replay` reads the days that hold refused rows again.
"""


def data_rules_page() -> str:
    """The shipped suites, rule by rule, and every metric a rule may name."""
    lines = ["# Rules for a day as a whole", "", MADE, ""]
    lines += [
        "What `validate` holds every day to. The suites are files of rules: `pipeline/validate/events.yaml` and"
        " `catalogue.yaml`; copy one, edit it and name it in `validate.suite` or `validate.catalogue_suite`. A"
        " rule that is broken *warns*, or it *fails* the day, which is then not published."
        " A bound is a number or a setting.",
        "",
    ]
    for table in SETTING:
        head = ["| rule | column | bound | | what is measured |", "|---|---|---|---|---|"]
        lines += [f"## {table.capitalize()}", "", *head]
        lines += [_data_rule(entry) for entry in yaml.safe_load((SHIPPED / f"{table}.yaml").read_text())]
        lines.append("")
    lines += ["## Metrics", "", "| metric | suites | column | what it is |", "|---|---|---|---|"]
    columns = {
        "any": "any",
        "text": "one of text",
        "number": "one of numbers",
        "distribution": "one whose distribution is kept",
        "event_type": "an event type",
    }
    for name, metric in METRICS.items():
        column = columns.get(metric.columns, f"`{metric.columns}`")
        lines.append(f"| `{name}` | {', '.join(metric.tables)} | {column} | {metric.says} |")
    return "\n".join([*lines, ""])


def gates_page() -> str:
    """One row a built-in gate, one a metric."""
    lines = ["# Gates", "", MADE, "", GATES_HEAD, "", "| gate | metric | comparison | limit | a rule may |"]
    lines += ["|---|---|---|---|---|"]
    for gate in GATES:
        limit = f"`gate.{gate.setting}`" if gate.setting else ""
        may = "not touch it" if not gate.overridable else "not weaken it" if gate.needed else "change it"
        lines.append(f"| {gate.name} | `{gate.metric}` | `{gate.comparison}` | {limit} | {may} |")
    lines += ["", "## Metrics", "", "| metric | what it is | comparisons that fit it |", "|---|---|---|"]
    for name, metric in GATE_METRICS.items():
        unit = f", {metric.unit}" if metric.unit else ""
        alone = "; needs a champion" if metric.of_both else ""
        fit = ", ".join(f"`{each}`" for each in COMPARISONS[metric.kind])
        lines.append(f"| `{name}` | {metric.says}{unit}{alone} | {fit} |")
    return "\n".join([*lines, "", "## Slices", "", *(f"- {name}" for name in SLICES), ""])


GATES_HEAD = """\
What a challenger meets, in the order of the record; [how to add gates of your own](../guide/reviewer.md). A gate whose
comparison is `report` tells and does not judge."""


def _data_rule(entry: dict) -> str:
    columns = entry["column"] if isinstance(entry["column"], list) else [entry["column"]]
    words = (("at least", "at_least"), ("at most", "at_most"))
    bound = " and ".join(f"{word} {_bound(entry[name])}" for word, name in words if name in entry)
    measured = " ".join(
        f"{name} {_listed(entry[name])}" for name in ("among", "values", "lowest", "highest") if name in entry
    )
    told = f"{entry['says']} `{entry['metric']}`" + (f", {measured}" if measured else "")
    named = ", ".join(f"`{name}`" for name in columns)
    return f"| `{entry['name']}` | {named} | {bound} | {entry['severity']} | {told} |"


def _bound(value: object) -> str:
    return f"`{value[1:]}`" if isinstance(value, str) else f"{value:g}"


def _listed(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else _bound(value)


def metrics_page() -> str:
    """One row a metric of the server, one an alert."""
    lines = ["# What the server tells Prometheus", "", MADE, "", METRICS_HEAD, ""]
    lines += ["| metric | kind | by | says |", "|---|---|---|---|"]
    for series in Metrics().series:
        by = ", ".join(f"`{label}`" for label in series.labels)
        for family in series.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            lines.append(f"| `{name}` | {family.type} | {by} | {family.documentation} |")
    lines += ["", "## Alerts, and what to do", "", ALERTS_HEAD, ""]
    lines += ["| alert | | it holds for | says | what to do |", "|---|---|---|---|---|"]
    for group in yaml.safe_load((RULES / "serve.yml").read_text())["groups"]:
        lines += [_alert(rule) for rule in group["rules"] if "alert" in rule]
    return "\n".join([*lines, ""])


RULES = HERE.parents[1] / "docker" / "prometheus" / "rules"


def _alert(rule: dict) -> str:
    said = re.sub(r"\{\{ \$(?:labels\.)?(\w+)[^}]*\}\}", r"*\1*", rule["annotations"]["summary"])
    cells = f"`{rule['alert']}`", rule["labels"]["severity"], rule.get("for", "at once"), said
    return f"| {' | '.join(cells)} | {rule['annotations']['runbook']} |"


METRICS_HEAD = """\
Beside these there are those every process has: `process_resident_memory_bytes`, `process_cpu_seconds_total`,
`process_open_fds`, `process_start_time_seconds` and their like. A gauge that does not apply, such as that of stored
histories where there are none, has no value. No label holds anything a client sent."""

ALERTS_HEAD = """\
`docker/prometheus/rules/serve.yml` has them. A *page* wakes somebody, for requests fail or will; a *ticket* waits for
the morning. `promtool test rules` shows each firing and silent on the series in `tests/services/alerts.yaml`."""


if __name__ == "__main__":
    for file, text in pages().items():
        (HERE / file).write_text(text)
        print(f"wrote docs/reference/{file}")
