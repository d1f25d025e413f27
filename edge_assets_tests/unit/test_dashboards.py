"""The dashboards in deploy/: what their description renders to, readable for people, and of names that exist."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_assets.dashboards.__main__ import FOLDER, files
from edge_assets.dashboards.model import API, PROMETHEUS, Api, Dashboard, Panel, Prometheus
from edge_assets.dashboards.platform import PLATFORM
from edge_assets.dashboards.sensors import SENSORS
from edge_assets.live.metrics import METRICS as DEVICE_METRICS
from edge_assets.platform_metrics.catalogue import METRICS
from edge_assets_tests.exporter_names import KAFKA_EXPORTER, MINIO, VERSITYGW
from edge_assets_tests.unit.test_prometheus import metric_names, rules

PROVISIONING = Path(__file__).parents[2] / "deploy" / "grafana" / "provisioning"
DASHBOARDS = {"sensors.json": SENSORS, "platform.json": PLATFORM}

each_file = pytest.mark.parametrize("name", sorted(DASHBOARDS))


def panels(dashboard: Dashboard) -> Iterator[Panel]:
    for row in dashboard.rows:
        yield from row.panels


@each_file
def test_the_file_in_the_repository_is_not_stale(name: str) -> None:
    assert (FOLDER / name).read_text() == files()[name], "stale: `python -m edge_assets.dashboards`"


@each_file
def test_it_is_laid_out_without_gaps_in_identity_or_overlaps(name: str) -> None:
    found = json.loads(files()[name])
    assert found["schemaVersion"] == 42
    numbers = [panel["id"] for panel in found["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24 and not cells & taken, panel["title"]
        taken |= cells


@each_file
def test_every_panel_says_what_it_tells(name: str) -> None:
    dashboard = DASHBOARDS[name]
    titles = [panel.title for panel in panels(dashboard)]
    assert len(set(titles)) == len(titles)
    for panel in panels(dashboard):
        assert len(panel.words) > 10 and panel.words.endswith("."), panel.title
        assert panel.queries and panel.unit


@each_file
def test_every_metric_is_one_that_is_exported(name: str) -> None:
    recorded = {rule["record"] for rule in rules("record")}
    known = recorded | set(METRICS) | {metric.name for metric in DEVICE_METRICS} | KAFKA_EXPORTER | VERSITYGW | MINIO
    others = ("node_", "broker_", "scrape_", "up", "ALERTS")  # asked of the real ones by e2e/test_dashboards.py
    for panel in panels(DASHBOARDS[name]):
        for query in panel.queries:
            if isinstance(query, Prometheus):
                unknown = {each for each in metric_names(query.expr) - known if not each.startswith(others)}
                assert not unknown, panel.title


def test_every_metric_of_the_platform_is_in_a_panel_or_raises_an_alert() -> None:
    shown = {
        name
        for panel in panels(PLATFORM)
        for query in panel.queries
        if isinstance(query, Prometheus)
        for name in metric_names(query.expr)
    }
    recorded = {rule["record"]: metric_names(rule["expr"]) for rule in rules("record")}
    alarming = {name for rule in rules("alert") for name in metric_names(rule["expr"])}
    told = shown | alarming
    assert set(METRICS) == set(METRICS) & told.union(*(names for record, names in recorded.items() if record in told))


@each_file
def test_a_series_has_a_time_a_name_and_a_number(name: str) -> None:
    for panel in panels(DASHBOARDS[name]):
        for query in panel.queries:
            if isinstance(query, Api) and query.series:
                assert sorted(query.columns.values()) == ["number", "string", "timestamp_epoch"], panel.title
                assert panel.name, f"{panel.title}: how is a series called?"


@each_file
def test_columns_of_tables_that_are_dressed_are_there(name: str) -> None:
    for panel in panels(DASHBOARDS[name]):
        for query in panel.queries:
            if isinstance(query, Api) and panel.kind == "table":
                assert set(panel.columns) <= set(query.columns), panel.title


def test_the_provisioned_sources_are_those_of_the_panels() -> None:
    sources = yaml.safe_load((PROVISIONING / "datasources" / "edge.yaml").read_text())
    assert sources["apiVersion"] == 1
    given = {source["uid"]: source for source in sources["datasources"]}
    assert {uid: source["type"] for uid, source in given.items()} == {
        each["uid"]: each["type"] for each in (PROMETHEUS, API)
    }
    assert given[API["uid"]]["jsonData"]["allowedHosts"] == [given[API["uid"]]["url"]]


def test_the_dashboards_lead_to_each_other() -> None:
    uids = {dashboard.uid for dashboard in DASHBOARDS.values()}
    for name in DASHBOARDS:
        links: list[dict[str, Any]] = json.loads(files()[name])["links"]
        urls = [link["url"] for link in links]
        assert {url.removeprefix("/d/") for url in urls if url.startswith("/d/")} < uids
        assert {"${live_url}", "${dagster_url}"} <= set(urls)


def test_the_provider_reads_dashboards_from_a_folder() -> None:
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "edge.yaml").read_text())["providers"]
    assert provider["type"] == "file" and provider["options"]["path"] == "/var/lib/grafana/dashboards"


@each_file
def test_tables_are_sorted_by_a_column_that_they_show(name: str) -> None:
    for panel in panels(DASHBOARDS[name]):
        if panel.sort:
            titles = {str(given.get("title", column)) for column, given in panel.columns.items()}
            assert panel.sort.removeprefix("-") in titles, panel.title
