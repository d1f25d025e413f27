"""Dagster's pages as a person sees and uses them: the lineage, an asset with its metadata and checks, a backfill that
is launched by its button and finishes, and an asset that is not fresh any more.

With SCREENSHOTS set to a folder, the pages are kept there as pictures: `.ci/screenshots` makes those of the README so.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_assets.bench.browser import PROGRAMS, Browser
from edge_assets.definitions import build
from edge_assets.defs.rollups import rollup_job
from edge_assets.platform_metrics.dagster_word import Dagster
from edge_assets.settings import Settings, SimulatorSettings
from edge_assets_tests.e2e.test_supervisor import Platform
from edge_assets_tests.faults.platform_under_test import until

pytestmark = [pytest.mark.java, pytest.mark.broker, pytest.mark.timeout(600)]

SIZE = (1600, 1000)
REST_SECONDS = 1.0
"""a page that has not changed for so long is taken for drawn"""
REST_TRIES = 10

ROLLUP = "rollups/readings_1m"
LIMIT_MINUTES = 1
"""of that rollup's freshness here: Dagster's least"""
LOOK_SECONDS = 5
"""so often Dagster looks at freshness here; by itself each 30 s"""

SCHEDULE = """query($name: String!) { scheduleOrError(scheduleSelector: {
    scheduleName: $name, repositoryName: "__repository__", repositoryLocationName: "edge_assets"}) {
    ... on Schedule { scheduleState { id } } ... on PythonError { message } } }"""
STOP = "mutation($id: String!) { stopRunningSchedule(id: $id) { __typename ... on PythonError { message } } }"
BACKFILLS = """query { partitionBackfillsOrError(limit: 1) {
    ... on PartitionBackfills { results { id status } } ... on PythonError { message } } }"""
FRESHNESS = """query($path: [String!]!) { assetNodeOrError(assetKey: {path: $path}) {
    ... on AssetNode { freshnessStatusInfo { freshnessStatus } } } }"""


@pytest.fixture
def platform(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """All simulators, batches that come soon, and a limit of freshness that is reached soon."""
    if not any(map(shutil.which, PROGRAMS)):
        pytest.skip("no Chromium on PATH; on Debian: `apt install chromium`")
    monkeypatch.setenv("FRESHNESS_DAEMON_INTERVAL_SECONDS", str(LOOK_SECONDS))
    own: dict[str, Any] = {
        "stream": settings.stream.model_copy(update={"trigger_seconds": 2.0}),
        "dagster": settings.dagster.model_copy(update={"freshness_minutes": {ROLLUP: LIMIT_MINUTES}}),
        "simulators": SimulatorSettings(),
    }
    if "SCREENSHOTS" in os.environ:  # the pages show it
        own["home"] = Path(tempfile.gettempdir()) / "edge_assets"
    running = Platform(settings.model_copy(update=own))
    assert running.edge("up", "--detach").returncode == 0
    yield running
    running.edge("down")
    shutil.rmtree(running.settings.home)


def test_the_pages_show_what_flows(platform: Platform, tmp_path: Path) -> None:
    dagster = platform.status()["dagster"]["url"]
    until(lambda: _readings(platform) > 0, "readings", 180)
    _stop_schedule(dagster, rollup_job(platform.settings)[1].name)
    with Browser(*SIZE) as browser:
        pages = _Pages(browser, dagster, Path(os.environ.get("SCREENSHOTS") or tmp_path))
        backfill = _launch_backfill(pages, dagster)
        until(lambda: _backfill(dagster)["status"].startswith("COMPLETED"), "the backfill's end", 240)
        assert _backfill(dagster) == {"id": backfill, "status": "COMPLETED_SUCCESS"}
        groups = {spec.group_name or "" for spec in build(platform.settings).resolve_all_asset_specs()}
        pages.show("lineage", "/asset-groups", *groups)
        pages.show(
            "asset",
            "/assets/silver/readings?view=overview",
            *("one measurement of one device at one time", "event_time", "unit of value", "stream_writer"),
        )
        pages.show("checks", "/assets/silver/readings?view=checks", "caught_up", "plausible")
        pages.show("backfill", f"/runs/b/{backfill}", backfill, "readings_1m", "succeeded")
        until(lambda: _freshness(dagster, ROLLUP) == "DEGRADED", f"word that {ROLLUP} is too old", 180)
        limit = "fails if more than a minute since last materialization"
        pages.show("freshness", f"/assets/{ROLLUP}?view=overview", "FailedLast materialized", limit)
    told = {(name, labels): value for name, labels, value in Dagster()(platform.settings)}
    assert told["edge_asset_freshness", (ROLLUP,)] == 2
    age = time.time() - told["edge_asset_materialization_timestamp_seconds", (ROLLUP,)]
    assert told["edge_asset_fail_window_seconds", (ROLLUP,)] == LIMIT_MINUTES * 60 < age


def _readings(platform: Platform) -> int:
    """How many there are; 0 while there is no table either."""
    said = platform.edge("sql", "--format", "csv", "SELECT count(*) FROM silver.readings").stdout.splitlines()
    return int(said[-1]) if said else 0


def _stop_schedule(dagster: str, name: str) -> None:
    """As a person does by its switch on the page *Automation*."""
    found = _graphql(dagster, SCHEDULE, name=name)["scheduleOrError"]
    stopped = _graphql(dagster, STOP, id=found["scheduleState"]["id"])["stopRunningSchedule"]
    assert stopped["__typename"] == "ScheduleStateResult", stopped


def _launch_backfill(pages: _Pages, dagster: str) -> str:
    """Choose yesterday and today on the rollup's page, and press its buttons. Returns the backfill's id."""
    today = datetime.now(UTC).date()
    pages.go(f"/assets/{ROLLUP}?view=partitions&default_range=[{today - timedelta(days=1)}...{today}]")
    pages.press("Materialize")
    pages.press("Launch backfill")
    found: dict[str, str] = until(lambda: _backfill(dagster), "the backfill that was asked for", 60)
    return found["id"]


def _backfill(dagster: str) -> dict[str, str]:
    """The newest one; empty where there is none."""
    found = _graphql(dagster, BACKFILLS)["partitionBackfillsOrError"]["results"]
    return found[0] if found else {}


def _freshness(dagster: str, asset: str) -> str:
    found = _graphql(dagster, FRESHNESS, path=asset.split("/"))["assetNodeOrError"]
    return found["freshnessStatusInfo"]["freshnessStatus"]


def _graphql(dagster: str, query: str, **variables: Any) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{dagster}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.load(answer)
    assert "errors" not in found, found
    return found["data"]


class _Pages:
    """Dagster's pages in a browser."""

    def __init__(self, browser: Browser, dagster: str, pictures: Path) -> None:
        self._browser = browser
        self._dagster = dagster
        self._pictures = pictures
        pictures.mkdir(parents=True, exist_ok=True)

    def go(self, path: str) -> None:
        self._browser.open(f"{self._dagster}{path}")

    def show(self, name: str, path: str, *words: str) -> None:
        """Go there, wait until the page has all of these words, in any case, and keep its picture as `<name>.png`."""
        self.go(path)
        for word in words:
            self._browser.wait_for(f"document.body.textContent.toLowerCase().includes({json.dumps(word.lower())})", 60)
        self._come_to_rest()
        self._browser.screenshot(self._pictures / f"{name}.png")

    def press(self, label: str) -> None:
        """The first button whose label begins so, once it can be pressed."""
        button = (
            f"[...document.querySelectorAll('button')].find(b => b.textContent.startsWith({json.dumps(label)})"
            " && !b.disabled)"
        )
        self._browser.wait_for(f"!!{button}", 60)
        self._browser.evaluate(f"{button}.click()")

    def _come_to_rest(self) -> None:
        before = None
        for _ in range(REST_TRIES):
            now = self._browser.evaluate("document.body.innerHTML")
            if now == before:
                return
            before = now
            time.sleep(REST_SECONDS)
