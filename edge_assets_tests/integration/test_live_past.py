"""What the page knows after a restart: the lake's last hours, through the file that the rollups publish."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from edge_assets.listening.heard import Device
from edge_assets.live import past
from edge_assets.live.devices import Devices
from edge_assets.serving.opened import Warehouse
from edge_assets.settings import Settings
from edge_assets.tables import READINGS
from edge_assets.warehouse.rollups.layout import database_path
from edge_assets.warehouse.rollups.update import update
from edge_assets_tests.bridge_rig import with_settings
from edge_assets_tests.conftest import Mosquitto
from edge_assets_tests.lake_tables import reading, write
from edge_assets_tests.live_rig import RunningLive, live_settings

NOW = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=3)
KEY = "device:pico/dht22"


def lake(settings: Settings) -> None:
    """A sensor that speaks twice a minute, and a door that was opened ten hours ago."""
    minutes = [NOW - timedelta(minutes=back) for back in (30, 20, 10, 0)]
    about = {"device_id": "pico/dht22", "device_name": "pico/dht22", "unit": "°C"}
    rows = [
        reading(number * 2 + half, "temperature", value=20.0 + number + half / 2, **about, **times(at, half * 30))
        for number, at in enumerate(minutes)
        for half in (0, 1)
    ]
    rows.append(reading(99, "contact", value=0.0, device_id="0x01", **times(NOW - timedelta(hours=10), 0)))
    write(settings, READINGS, rows)
    update(settings)


def times(at: datetime, seconds: int) -> dict[str, object]:
    at += timedelta(seconds=seconds)
    return {"event_time": at, "received_at": at, "date": at.date()}


def remembered(settings: Settings) -> Devices:
    devices = Devices(settings)
    asyncio.run(past.bring_back(settings, Warehouse(settings), devices, time.time_ns() // 1_000))
    return devices


def test_series_come_back_by_the_minute_and_what_is_silent_for_long_by_its_last_word(settings: Settings) -> None:
    lake(settings)
    devices = remembered(settings)
    sensor, door = devices.get(Device("device", "pico/dht22")), devices.get(Device("device", "0x01"))
    assert sensor and door
    measured = sensor.measurements["temperature"]
    assert measured.series and [value for _, value in measured.series] == [20.25, 21.25, 22.25, 23.25]
    assert [at for at, _ in measured.series][-1] == NOW.timestamp() * 1_000
    assert measured.unit == "°C" and sensor.last_seen == (NOW.timestamp() + 30) * 1e6
    assert door.measurements["contact"].value == 0 and door.group == "doors"


def test_without_a_lake_the_page_begins_empty(settings: Settings) -> None:
    assert len(remembered(settings)) == 0


def test_file_that_cannot_be_read_keeps_nobody_from_looking(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    database_path(settings).parent.mkdir(parents=True)
    database_path(settings).write_bytes(b"no database")
    assert len(remembered(settings)) == 0 and "without its past" in caplog.text


def test_no_history_is_asked_for_where_none_is_wanted(settings: Settings) -> None:
    lake(settings)
    assert len(remembered(with_settings(settings, live={"history_hours": 0}))) == 0


@pytest.mark.broker
def test_first_hello_after_a_restart_has_the_past(settings: Settings, mosquitto: Mosquitto) -> None:
    lake(settings)
    with RunningLive(live_settings(settings)) as live, live.viewer() as viewer:
        history = viewer.next()["history"][KEY]["temperature"]
        assert [value for _, value in history] == [20.25, 21.25, 22.25, 23.25]
