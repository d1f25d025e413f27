"""An old home, upgraded: the stream goes on in its tables, and what is asked of them is answered."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from edge_assets import upgrades
from edge_assets.platform import parts
from edge_assets.settings import Settings
from edge_assets.warehouse.sql import run_sql
from edge_assets.warehouse.verify import verify
from edge_assets_tests import old_homes
from edge_assets_tests.stream_rig import Log, table, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(300)]

WINDOWS = "gold.telemetry_5s_agg"


def test_a_stream_goes_on_in_an_old_home(settings: Settings, kafka: Settings) -> None:
    old_homes.unpack("before_formats", settings.home)
    upgrades.ensure(settings, parts.environment(settings), print)
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

    def fresh() -> list[dict[str, Any]]:
        return [row for row in table(settings, WINDOWS) if row["window_start"] >= begin]

    with writer(settings) as process:
        until(lambda: len(fresh()) > 10, "windows", process)
        until(lambda: len(table(settings, "silver.readings")) == before["silver.readings"] + 2, "readings", process)
    assert {row["site"] for row in fresh()} == {"home"}
    assert len(table(settings, "silver.room_telemetry")) == before["silver.room_telemetry"] + 60
    asked = f"SELECT count(*) FILTER (site IS NULL) AS old, count(*) AS n FROM {WINDOWS}"
    (counted,) = json.loads(run_sql(settings, asked, "json"))
    assert counted["old"] == before[WINDOWS] and counted["n"] >= before[WINDOWS] + len(fresh())
    assert verify(settings).holds
