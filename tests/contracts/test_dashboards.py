"""Dashboards and rules name what the server counts, and fit Grafana as far as a file shows it."""

from __future__ import annotations

import itertools
import re

import pytest
import yaml

from pipeline.serve.metrics import Metrics
from tests.fixtures.dashboards import DOCKER, asked, boards, family, names, panels, rules

GRAFANA = DOCKER / "grafana"
COLUMNS = 24
UNITS = {
    "bytes", "dateTimeAsIso", "dateTimeFromNow", "none", "percentunit", "reqps", "s", "short",
}  # fmt: skip
KINDS = {"row", "stat", "table", "timeseries", "heatmap"}
BOARDS = pytest.mark.parametrize("board", boards(), ids=lambda board: board["uid"])


def counted() -> set[str]:
    metrics = Metrics()
    families = [family for each in (metrics.process, *metrics.series) for family in each.collect()]
    return {f"{each.name}_total" if each.type == "counter" else each.name for each in families}


def test_every_name_that_is_asked_for_is_counted_recorded_or_prometheus_own() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    expressions = [*asked(), *(rule["expr"] for rule in rules())]
    assert all(names(expression) for expression in expressions)
    unknown = {family(name) for expression in expressions for name in names(expression)} - counted() - recorded
    assert unknown == {"up", "ALERTS"}


def test_every_metric_of_the_server_is_looked_at() -> None:
    looked_at = {family(name) for expression in asked() for name in names(expression)}
    looked_at |= {family(name) for rule in rules() for name in names(rule["expr"])}
    assert {name for name in counted() if name.startswith("serve_")} - looked_at == set()


def test_everything_recorded_is_used() -> None:
    used = {name for expression in asked() for name in names(expression)}
    used |= {name for rule in rules() for name in names(rule["expr"])}
    assert {rule["record"] for rule in rules() if "record" in rule} - used == set()


@BOARDS
def test_panels_have_ids_of_their_own_and_units_grafana_knows(board: dict) -> None:
    found = list(panels(board))
    assert len({panel["id"] for panel in found}) == len(found)
    assert {panel["type"] for panel in found} <= KINDS
    shown = [panel for panel in found if panel["type"] != "row"]
    assert {panel["fieldConfig"]["defaults"]["unit"] for panel in shown} <= UNITS
    assert all(panel["title"] and panel["targets"] for panel in shown)
    for panel in shown:
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters), panel["title"]


@BOARDS
def test_panels_lie_within_the_columns_and_cover_no_other(board: dict) -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in panels(board)]
    assert [title for title, at in places if at["x"] < 0 or at["w"] < 1 or at["x"] + at["w"] > COLUMNS] == []
    over = [(one, other) for (one, a), (other, b) in itertools.combinations(places, 2) if _meet(a, b)]
    assert over == []


def _meet(one: dict[str, int], other: dict[str, int]) -> bool:
    sides = (("x", "w"), ("y", "h"))
    return all(one[at] < other[at] + other[size] and other[at] < one[at] + one[size] for at, size in sides)


@BOARDS
def test_every_panel_asks_the_source_that_is_provisioned(board: dict) -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    uids = {source["uid"] for source in provisioned["datasources"]}
    asked_of = [target["datasource"]["uid"] for panel in panels(board) for target in panel.get("targets", [])]
    asked_of += [panel["datasource"]["uid"] for panel in panels(board) if "datasource" in panel]
    asked_of += [each["datasource"]["uid"] for each in board["templating"]["list"] + board["annotations"]["list"]]
    assert set(asked_of) == uids


def test_compose_hands_prometheus_and_grafana_their_files_to_read_only() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    mounted = {}
    for name in ("prometheus", "grafana"):
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", services[name]["image"])
        files = [volume.split(":") for volume in services[name]["volumes"] if volume.startswith("./")]
        assert {mode for _, _, mode in files} == {"ro"}
        mounted |= {target: DOCKER / source for source, target, _ in files}
    assert (mounted["/etc/prometheus"] / "prometheus.yml").is_file()
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "files.yaml").read_text())["providers"]
    assert list(mounted[provider["options"]["path"]].glob("*.json"))
    assert mounted["/etc/grafana/provisioning"] == GRAFANA / "provisioning"


def test_the_guide_names_panels_that_are_there() -> None:
    guide = (DOCKER.parent / "docs" / "guide" / "server.md").read_text()
    table = guide.split("| at 07:00 after a bad night |")[1].split("\n\n")[0]
    named = set(re.findall(r"\*([^*]+)\*", table))
    assert named
    assert named - {panel["title"] for board in boards() for panel in panels(board)} == set()
