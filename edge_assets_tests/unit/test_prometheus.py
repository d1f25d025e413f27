"""Prometheus' files in deploy/: valid, each alert rule seen to fire and not to fire, each name one that is exported."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_assets.live.metrics import METRICS as DEVICE_METRICS
from edge_assets.platform_metrics.catalogue import METRICS
from edge_assets_tests.exporter_names import KAFKA_EXPORTER, NODE_EXPORTER, PROMETHEUS

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))


def rules(kind: str) -> list[dict[str, Any]]:
    """All rules of a kind (alert, record)."""
    found = []
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            found += [rule for rule in group["rules"] if kind in rule]
    return found


@pytest.fixture(scope="module")
def tool() -> dict[str, str]:
    found = {name: shutil.which(name) for name in ("promtool", "amtool")}
    if None in found.values():
        pytest.skip("promtool and amtool are not on PATH; on Debian: `apt install prometheus prometheus-alertmanager`")
    return {name: str(path) for name, path in found.items()}


def run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_are_valid(tool: dict[str, str]) -> None:
    run(tool["promtool"], "check", "config", "prometheus.yml")
    run(tool["promtool"], "check", "rules", *RULES)
    run(tool["amtool"], "check-config", "alertmanager.example.yml")


def test_the_alerts_fire_when_they_should_and_not_otherwise(tool: dict[str, str]) -> None:
    run(tool["promtool"], "test", "rules", *sorted((FOLDER / "tests").glob("*.yml")))


def test_every_alert_is_seen_to_fire_and_to_stay_silent() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for case in yaml.safe_load((FOLDER / "tests" / "alerts.yml").read_text())["tests"]:
        for look in case["promql_expr_test"]:
            (alert,) = re.findall(r'alertname="(\w+)"', look["expr"])
            (fires if look["exp_samples"] else silent).add(alert)
    names = {rule["alert"] for rule in rules("alert")}
    assert fires == silent == names


def test_every_alert_says_how_bad_and_what_to_do_next() -> None:
    for rule in rules("alert"):
        assert rule["labels"]["severity"] in ("warning", "critical") or "$labels.severity" in rule["labels"]["severity"]
        assert rule["annotations"]["summary"] and len(rule["annotations"]["description"]) > 40, rule["alert"]


def test_every_name_in_a_rule_is_exported() -> None:
    recorded = {rule["record"] for rule in rules("record")}
    known = (
        recorded
        | set(METRICS)
        | {metric.name for metric in DEVICE_METRICS}
        | KAFKA_EXPORTER
        | NODE_EXPORTER
        | PROMETHEUS
    )
    for rule in (*rules("alert"), *rules("record")):
        assert metric_names(rule["expr"]) <= known, rule["expr"]


def metric_names(expression: str) -> set[str]:
    """The metrics that an expression names: words with a `_` that are neither labels nor functions."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', "", expression)
    bare = re.sub(r"\b(by|on|group_left|group_right|ignoring|without)\s*\([^)]*\)", "", bare)
    words = re.findall(r"[a-zA-Z_:][\w:]*(?!\w*\s*\()", bare)
    return {word for word in words if "_" in word or word == "up"} - {"group_left", "clamp_min", "label_replace"}


def test_everything_is_scraped_each_15_seconds() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert config["global"]["scrape_interval"] == "15s"
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    assert jobs >= {"edge", "node", "kafka", "mosquitto", "s3", "grafana", "prometheus", "alertmanager"}
    assert all("scrape_interval" not in job for job in config["scrape_configs"])
