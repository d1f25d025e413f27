"""An old home, upgraded: the stream goes on in its tables, and what is asked of them is answered."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_assets import upgrades
from edge_assets.platform import parts
from edge_assets.settings import Settings, WindowSettings
from edge_assets.warehouse.sql import run_sql
from edge_assets.warehouse.verify import verify
from edge_assets_tests import old_homes
from edge_assets_tests.stream_rig import Log, table, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(300)]

QUICK = WindowSettings(watermark_seconds=5, idle_seconds=2)
WINDOWS, LEFT_BEHIND = "gold.telemetry_5s_agg", "gold.telemetry_1m_agg"


def test_a_stream_goes_on_in_an_old_home(settings: Settings, kafka: Settings, tmp_path: Path) -> None:
    """And in a table that no upgrade has seen, as in a lake that was away: the writer itself gives it its columns."""
    settings = settings.model_copy(update={"windows": QUICK})
    old_homes.unpack("before_formats", settings.home)
    upgrades.ensure(settings, parts.environment(settings), print)
    of, to = (place / LEFT_BEHIND.replace(".", "/") for place in (tmp_path / "again" / "lake", settings.lake_path))
    old_homes.unpack("before_formats", tmp_path / "again")
    shutil.rmtree(to)
    shutil.copytree(of, to)
    before = {name: len(table(settings, name)) for name in (WINDOWS, "silver.readings", "silver.room_telemetry")}
    assert all(before.values())
    begin = max(row["event_time"] for row in table(settings, "silver.room_telemetry")) + timedelta(hours=1)

    log = Log(settings)
    topic = str(settings.bridge.routes[2].topic).replace("<room>", "lab")
    for seconds in range(0, 120, 2):
        at = begin + timedelta(seconds=seconds)
        said = {"room_id": "lab", "timestamp": at.isoformat(), "temperature": 20.0, "motion_detected": True}
        log.put("building/lab/telemetry", said, topic, at=int(at.timestamp() * 1e6))
    log.put("zigbee2mqtt/plug 1", {"power": 5, "energy": 1.5})
    log.flush()

    def fresh(name: str) -> list[dict[str, Any]]:
        return [row for row in table(settings, name) if row["window_start"] >= begin]

    with writer(settings) as process:
        until(lambda: len(fresh(WINDOWS)) > 10, "windows", process)
        until(lambda: fresh(LEFT_BEHIND), "windows of a minute", process)
        until(lambda: len(table(settings, "silver.readings")) == before["silver.readings"] + 2, "readings", process)
    assert {row["site"] for name in (WINDOWS, LEFT_BEHIND) for row in fresh(name)} == {"home"}
    assert len(table(settings, "silver.room_telemetry")) == before["silver.room_telemetry"] + 60
    asked = f"SELECT count(*) FILTER (site IS NULL) AS old, count(*) AS n FROM {WINDOWS}"
    (counted,) = json.loads(run_sql(settings, asked, "json"))
    assert counted["old"] == before[WINDOWS] and counted["n"] >= before[WINDOWS] + 10
    assert verify(settings).holds
