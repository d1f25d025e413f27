"""Dagster's pages as a person sees them: the lineage, an asset with its metadata and checks, a backfill of a rollup.

With SCREENSHOTS set to a folder, the pages are kept there as pictures: `.ci/screenshots` makes those of the README so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edge_assets.defs.groups import GROUPS
from edge_assets.settings import Settings, SimulatorSettings
from edge_assets_tests.e2e.test_supervisor import Platform
from edge_assets_tests.faults.platform_under_test import until

pytestmark = [pytest.mark.java, pytest.mark.broker, pytest.mark.timeout(600)]

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SIZE = "1600,1000"
PATIENCE_MS = 20_000

BACKFILL = """mutation($assets: [AssetKeyInput!]!, $days: [String!]!) {
  launchPartitionBackfill(backfillParams: {assetSelection: $assets, partitionNames: $days}) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status } ... on PythonError { message } } }"""


@pytest.fixture
def chromium() -> str:
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip("no Chromium on PATH; on Debian: `apt install chromium`")
    return found


@pytest.fixture
def platform(settings: Settings) -> Iterator[Platform]:
    """All simulators, and batches that come soon."""
    stream = settings.stream.model_copy(update={"trigger_seconds": 2.0})
    own: dict[str, Any] = {"stream": stream, "simulators": SimulatorSettings()}
    if "SCREENSHOTS" in os.environ:  # the pages show it
        own["home"] = Path(tempfile.gettempdir()) / "edge_assets"
    running = Platform(settings.model_copy(update=own))
    assert running.edge("up", "--detach").returncode == 0
    yield running
    running.edge("down")
    shutil.rmtree(running.settings.home)


def test_the_pages_show_what_flows(platform: Platform, chromium: str, tmp_path: Path) -> None:
    dagster = platform.status()["dagster"]["url"]
    until(lambda: "readings" in _asked(platform, "SELECT 'readings' FROM silver.readings LIMIT 1"), "readings", 180)
    backfill = _backfill(dagster, ["rollups/readings_1m", "rollups/readings_1h"])
    until(lambda: _status(dagster, backfill).startswith("COMPLETED"), "the backfill's end", 240)
    assert _status(dagster, backfill) == "COMPLETED_SUCCESS"
    page = _Pages(chromium, dagster, tmp_path)
    lineage = page.text("lineage", "/asset-groups")
    assert all(group in lineage for group in GROUPS)
    asset = page.text("asset", "/assets/silver/readings?view=overview")
    assert "one measurement of one device at one time" in asset.lower()
    assert all(name in asset for name in ("event_time", "unit of value", "stream_writer"))
    checks = page.text("checks", "/assets/silver/readings?view=checks")
    assert "caught_up" in checks and "plausible" in checks
    day = page.text("backfill", f"/runs/b/{backfill}")
    assert backfill in day and "readings_1m" in day


def _asked(platform: Platform, query: str) -> str:
    return platform.edge("sql", query, "--format", "csv").stdout


def _backfill(dagster: str, assets: list[str]) -> str:
    """Ask for today's partition of these assets, as a person does in the dialog *Materialize*."""
    keys = [{"path": asset.split("/")} for asset in assets]
    answer = _graphql(dagster, BACKFILL, assets=keys, days=[datetime.now(UTC).date().isoformat()])
    return answer["launchPartitionBackfill"]["backfillId"]


def _status(dagster: str, backfill: str) -> str:
    return _graphql(dagster, STATUS, id=backfill)["partitionBackfillOrError"]["status"]


def _graphql(dagster: str, query: str, **variables: Any) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{dagster}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.load(answer)
    assert "errors" not in found, found
    return found["data"]


class _Pages:
    """Pages in a headless Chromium, with an empty profile."""

    def __init__(self, chromium: str, dagster: str, folder: Path) -> None:
        self._dagster = dagster
        self._pictures = Path(os.environ.get("SCREENSHOTS") or folder)
        self._pictures.mkdir(parents=True, exist_ok=True)
        self._command = [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
            *("--disable-background-networking", "--disable-sync", "--no-first-run", f"--window-size={SIZE}"),
            *(f"--user-data-dir={folder / 'profile'}", f"--virtual-time-budget={PATIENCE_MS}", "--timeout=60000"),
        ]

    def text(self, name: str, path: str) -> str:
        """The page's elements once it has come to rest; its picture is `<name>.png`."""
        url = f"{self._dagster}{path}"
        subprocess.run(
            [*self._command, f"--screenshot={self._pictures / name}.png", url], capture_output=True, check=True
        )
        for _ in range(3):
            done = subprocess.run([*self._command, "--dump-dom", url], capture_output=True, text=True, check=True)
            if "Loading" not in done.stdout:
                break
            time.sleep(2)
        return done.stdout
