"""Every panel's query, asked of a real platform: of a real Prometheus with its metrics and node_exporter's, of its API.

What exporters would say that no package brings is checked by name: mosquitto-exporter's against the `$SYS` topics of
the real broker, from which it makes them; kafka_exporter's and versitygw's against lists (`exporter_names.py`).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import yaml
from paho.mqtt import publish
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_assets.dashboards.model import EVERYTHING, Api, Dashboard, Panel, Prometheus, Query
from edge_assets.dashboards.platform import PLATFORM
from edge_assets.dashboards.rendering import GRID
from edge_assets.dashboards.sensors import SENSORS
from edge_assets.platform import broker, endpoints, process
from edge_assets.platform_metrics.catalogue import METRICS
from edge_assets.service import read_status
from edge_assets.settings import Settings, SimulatorSettings
from edge_assets.warehouse.rollups.update import update
from edge_assets_tests.e2e.test_supervisor import Platform
from edge_assets_tests.exporter_names import KAFKA_EXPORTER, MINIO, VERSITYGW, mosquitto_exporter_name
from edge_assets_tests.faults.platform_under_test import until
from edge_assets_tests.unit.test_prometheus import metric_names

pytestmark = [pytest.mark.java, pytest.mark.broker, pytest.mark.timeout(600)]

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
PROGRAMS = ("prometheus", "prometheus-node-exporter")
RULES = """
rules:
  - name: oven-hot
    condition: {measurement: temperature, above: 80}
    severity: info
    message: "{device} is at {value} {unit}"
"""

MAY_BE_EMPTY = {
    "edge:temperature_celsius": "a virtual machine has no sensor of temperature",
    "ALERTS{": "nothing is wrong",
    "broker_": "mosquitto-exporter comes from no package; its names are checked below",
    "kafka_topic": "kafka_exporter comes from no package; its names are checked below",
    "minio_": "the lake of this platform is a folder",
    "versitygw": "the lake of this platform is a folder",
    "edge_backup": "a new platform has no backup",
    "edge_bridge_unrouted": "every message has a route",
    "edge:disk_left": "a disk that others fill and empty need not fill",
    "/grafana_anomalies": "nothing is unlike its past in its first minutes",
    "/grafana_anomaly_counts": "nothing is unlike its past in its first minutes",
    "/grafana_sessions": "a stay has ended when nobody was in the room for ten minutes",
}

NOT_TOLD = {
    "edge_alerts_outbox_oldest_timestamp_seconds": "no notification waits",
    "edge_backup_size_bytes": "a new platform has no backup",
    "edge_backup_timestamp_seconds": "a new platform has no backup",
    "edge_bridge_unrouted_total": "every message has a route",
    "edge_dagster_queued_runs_oldest_timestamp_seconds": "no run waits",
}
"""metrics that a platform that is well does not export"""

EVERYTHING_SECONDS = 150
"""until every panel has something to show; on a machine at rest it takes half a minute"""


@dataclass
class Watched:
    """A platform, and what watches it."""

    platform: Platform
    prometheus: str
    api: str
    choices: dict[str, list[str]] = field(default_factory=dict)
    """by variable; while it is empty, all is chosen"""


@pytest.fixture(scope="module")
def programs() -> dict[str, str]:
    found = {name: shutil.which(name) for name in PROGRAMS}
    if missing := [name for name, path in found.items() if path is None]:
        pytest.skip(f"not on PATH: {', '.join(missing)}; on Debian: `apt install {' '.join(missing)}`")
    return {name: str(path) for name, path in found.items()}


@pytest.fixture
def watched(settings: Settings, programs: dict[str, str], tmp_path: Path) -> Iterator[Watched]:
    own: dict[str, Any] = {
        "stream": settings.stream.model_copy(update={"trigger_seconds": 2.0}),
        "simulators": SimulatorSettings(),
        "alerts": settings.alerts.model_copy(update={"enabled": True}),
        "live": settings.live.model_copy(update={"enabled": True}),
    }
    platform = Platform(settings.model_copy(update=own))
    platform.settings.home.mkdir(parents=True)
    (platform.settings.home / "alerts.yaml").write_text(RULES)
    try:
        up = platform.edge("up", "--detach")
        assert up.returncode == 0, up.stderr
        status = platform.status()
        metrics = re.sub(r"^http://|/metrics$", "", status["metrics"]["devices"])
        node, itself = (f"127.0.0.1:{endpoints.free_port()}" for _ in range(2))
        configuration = _configuration(tmp_path, {"edge": metrics, "node": node, "prometheus": itself})
        commands = [
            [programs["prometheus-node-exporter"], f"--web.listen-address={node}"],
            [
                programs["prometheus"],
                f"--config.file={configuration}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address={itself}",
            ],
        ]
        log = (tmp_path / "watching.log").open("wb")
        running = [subprocess.Popen(command, stdout=log, stderr=log) for command in commands]
        try:
            yield Watched(platform, f"http://{itself}", status["live"]["url"])
        finally:
            for each in running:
                each.kill()
                each.wait()
            log.close()
    finally:
        platform.edge("down")


def _configuration(folder: Path, addresses: dict[str, str]) -> Path:
    """The platform's own configuration, with the addresses of this machine, and impatient."""
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s"}
    config["rule_files"] = [str(DEPLOY / "rules" / "*.yml")]
    del config["alerting"]
    config["scrape_configs"] = [
        {"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in addresses.items()
    ]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_no_panel_is_empty(watched: Watched) -> None:
    until(lambda: _rows(watched, "silver.readings") and _rows(watched, "silver.room_telemetry"), "readings", 240)
    resolved = endpoints.remembered(watched.platform.settings)
    update(resolved, lambda line: None)
    choices = choices_of_variables(watched)
    an_alert_fires(resolved)
    queries = [
        (panel, query)
        for dashboard in (SENSORS, PLATFORM)
        for row in dashboard.rows
        for panel in row.panels
        for query in panel.queries
    ]
    empty = {(panel.title, _text(query)): "never asked" for panel, query in queries}
    deadline = time.monotonic() + EVERYTHING_SECONDS
    while empty and time.monotonic() < deadline:
        for panel, query in queries:
            if (panel.title, _text(query)) in empty:
                problem = why_empty(watched, panel, query)
                if problem is None or (problem == "empty" and _excused(query)):
                    del empty[panel.title, _text(query)]
                else:
                    empty[panel.title, _text(query)] = problem
        time.sleep(1)
    assert not empty, json.dumps({f"{title}: {query}": why for (title, query), why in empty.items()}, indent=1)
    every_metric_is_told(watched)
    a_choice_is_understood(replace(watched, choices=choices), queries)
    the_alert_rules_find_nothing_amiss(watched)
    the_broker_says_what_its_exporter_shows(resolved)


def _rows(watched: Watched, table: str) -> int:
    """By the writer's own word: to ask the lake each moment would slow down what is waited for."""
    tables = read_status(watched.platform.settings, "stream_writer").get("tables") or {}
    return (tables.get(table) or {}).get("rows") or 0


def _text(query: Query) -> str:
    return query.expr if isinstance(query, Prometheus) else query.path


def _excused(query: Query) -> bool:
    return any(words in _text(query) for words in MAY_BE_EMPTY)


def choices_of_variables(watched: Watched) -> dict[str, list[str]]:
    found = {}
    for variable in SENSORS.variables:
        assert isinstance(variable.query, Api)
        rows = until(partial(choices, watched, variable.query), f"a choice of {variable.name}", 60)
        assert all(row["__text"] for row in rows)
        found[variable.name] = [row["__value"] for row in rows]
    return found


def every_metric_is_told(watched: Watched) -> None:
    """What the catalogue declares is what a running platform exports."""
    told = set(fetched(f"{watched.prometheus}/api/v1/label/__name__/values")["data"])
    assert set(METRICS) - told <= set(NOT_TOLD)


def an_alert_fires(settings: Settings) -> None:
    host, port = broker.address(settings)
    publish.single("pico/temperature/oven", "90", qos=1, hostname=host, port=port)


def a_choice_is_understood(watched: Watched, queries: Sequence[tuple[Panel, Query]]) -> None:
    """With some devices and rooms chosen, every query that depends on them is answered without an error."""
    told = {panel.title: why_empty(watched, panel, query) for panel, query in queries if "${" in str(query)}
    assert told and set(told.values()) <= {None, "empty"}, told
    assert told["Temperature"] is None and told["Reachable"] is None


def choices(watched: Watched, query: Api) -> list[dict[str, Any]]:
    """None while the server is on its way up."""
    try:
        return answer(watched, query)
    except urllib.error.URLError:
        return []


def why_empty(watched: Watched, panel: Panel, query: Query) -> str | None:
    """None: it has something to show. `empty`, or what went wrong."""
    try:
        if isinstance(query, Prometheus):
            found = asked(watched, query)
            return None if found else "empty"
        rows = answer(watched, query)
        return _judged(query, rows)
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except (urllib.error.URLError, AssertionError) as error:
        return str(error)


def asked(watched: Watched, query: Prometheus) -> list[Any]:
    """What Prometheus answers: as a panel asks it, at one time or over some."""
    chosen = "|".join(map(re.escape, watched.choices.get("device", [])))
    expression = query.expr.replace("${device:regex}", f"({chosen})" if chosen else EVERYTHING)
    now = time.time()
    kind, span = (
        ("query", {"time": now}) if query.instant else ("query_range", {"start": now - 60, "end": now, "step": 5})
    )
    found = fetched(f"{watched.prometheus}/api/v1/{kind}?{urlencode({'query': expression, **span})}")
    assert found["status"] == "success", found
    return [series for series in found["data"]["result"] if _has_numbers(series)]


def _has_numbers(series: dict[str, Any]) -> bool:
    values = series["values"] if "values" in series else [series["value"]]
    return any(value != "NaN" for _, value in values)


def answer(watched: Watched, query: Api) -> list[dict[str, Any]]:
    """The rows of the API as Infinity makes them: the URL with its variables filled in, of each row the columns."""
    now = int(time.time() * 1000)
    url = query.url(GRID).replace("${__from}", str(now - 86_400_000)).replace("${__to}", str(now))
    for variable in SENSORS.variables:
        name, values = variable.name, watched.choices.get(variable.name)
        chosen = "{" + ",".join(values) + "}" if values else EVERYTHING
        url = url.replace("${" + name + ":percentencode}", quote(chosen, safe=""))
    assert "${" not in url, url
    rows = fetched(watched.api + url)
    assert isinstance(rows, list), f"the root selector is empty, so the answer must be a list: {url}"
    wanted = [column.partition("=") for column in query.columns]
    for row in rows:
        missing = {selector or name for name, _, selector in wanted} - set(row)
        assert not missing, f"{url} has no column {missing}: {sorted(row)}"
    return [{name: row[selector or name] for name, _, selector in wanted} for row in rows]


def _judged(query: Api, rows: list[dict[str, Any]]) -> str | None:
    for name, kind in query.columns.items():
        for value in (row[name.partition("=")[0]] for row in rows):
            if value is not None and not isinstance(value, TYPES[kind]):
                return f"{name} is {value!r}, which is no {kind}"
    if query.series:
        (at,) = (name for name, kind in query.columns.items() if kind == "timestamp_epoch")
        (number,) = (name for name, kind in query.columns.items() if kind == "number")
        if [row[at] for row in rows] != sorted(row[at] for row in rows):
            return "rows are not in the order of time, as Infinity wants them for a series"
        rows = [row for row in rows if row[number] is not None]
    return None if rows else "empty"


TYPES: dict[str, Any] = {"number": (int, float), "string": str, "boolean": bool, "timestamp_epoch": (int, float)}


def fetched(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def the_alert_rules_find_nothing_amiss(watched: Watched) -> None:
    """On a platform that is well no critical rule fires, and every rule could be evaluated."""
    groups = fetched(f"{watched.prometheus}/api/v1/rules")["data"]["groups"]
    broken = {
        rule["name"]: rule.get("lastError") for group in groups for rule in group["rules"] if rule["health"] == "err"
    }
    assert broken == {}
    alerts = fetched(f"{watched.prometheus}/api/v1/alerts")["data"]["alerts"]
    firing = [each for each in alerts if each["state"] == "firing" and each["labels"]["severity"] == "critical"]
    assert firing == []


def the_broker_says_what_its_exporter_shows(settings: Settings) -> None:
    named = {name for name in _named(PLATFORM) if name.startswith("broker_")}
    assert named, "the dashboard has panels of the broker"
    heard: set[str] = set()
    client = Client(CallbackAPIVersion.VERSION2, client_id="sys")
    client.on_message = lambda _client, _data, message: heard.add(mosquitto_exporter_name(message.topic))
    client.connect(*broker.address(settings))
    client.subscribe("$SYS/#")
    client.loop_start()
    try:
        assert process.wait_until(lambda: named <= heard, 30), named - heard
    finally:
        client.loop_stop()
        client.disconnect()
    known = KAFKA_EXPORTER | VERSITYGW | MINIO
    assert {name for name in _named(PLATFORM) if name.startswith(("kafka_", "versitygw_", "minio_"))} <= known


def _named(dashboard: Dashboard) -> set[str]:
    return {
        name
        for row in dashboard.rows
        for panel in row.panels
        for query in panel.queries
        if isinstance(query, Prometheus)
        for name in metric_names(query.expr)
    }
