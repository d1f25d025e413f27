"""A home with a history, for benches: days of readings, written into the lake's layout without Spark.

Devices report every few minutes: temperature, humidity, battery, link quality, power, a growing energy counter, and one
in five a door contact. The values are functions of device and time, so that each run measures the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from edge_assets.settings import Settings
from edge_assets.tables import READINGS
from edge_assets.warehouse.rollups import times

DAYS_A_COMMIT = 10


def make(
    settings: Settings,
    days: int,
    devices: int,
    every_seconds: int,
    end: datetime,
    one_day_in: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> int:
    """Commit `days` of readings up to `end`, or one day in so many of them. Returns how many."""
    begin, total = end - timedelta(days=days), 0
    while begin < end:
        until = min(begin + timedelta(days=DAYS_A_COMMIT), end)
        told = until if one_day_in == 1 else begin + timedelta(days=max(DAYS_A_COMMIT // one_day_in, 1))
        total += append(settings, devices, every_seconds, begin, min(told, end))
        begin = until
        progress(f"made readings up to {begin.date()}: {total:,}")
    return total


def append(settings: Settings, devices: int, every_seconds: int, begin: datetime, end: datetime) -> int:
    """Commit what the devices say between two times, as one file a day."""
    import duckdb
    from deltalake import write_deltalake

    count = int((end - begin).total_seconds()) // every_seconds
    first = int(begin.timestamp()) // every_seconds
    at = f"make_timestamptz((s.range * {every_seconds} + d.range % {every_seconds}) * 1000000)"
    query = f"""
        SELECT 'home' AS site, format('0x{{:016x}}', device) AS device_id, 'device ' || device AS device_name,
            'MODEL' AS model, m.measurement, m.value, CAST(NULL AS VARCHAR) AS text, m.unit, event_time,
            'received' AS event_time_source, 'good' AS quality, false AS pending, 'bench' AS log_id,
            'sensor-events' AS kafka_topic, 0::INTEGER AS kafka_partition,
            (step * {devices} + device)::BIGINT AS kafka_offset, event_time AS received_at,
            {times.utc_day("event_time")} AS date
        FROM (SELECT step, device, event_time, unnest([
            {{'measurement': 'temperature', 'value': 18 + 4 * sin(step * 0.01 + device), 'unit': '°C'}},
            {{'measurement': 'humidity', 'value': 45 + 10 * cos(step * 0.007 + device), 'unit': '%'}},
            {{'measurement': 'power', 'value': (step * 7 + device * 13) % 1800 / 1.0, 'unit': 'W'}},
            {{'measurement': 'energy', 'value': (step % 100000000) * 0.002 + device, 'unit': 'kWh'}},
            {{'measurement': 'battery', 'value': 100.0 - step % 100, 'unit': '%'}},
            {{'measurement': 'linkquality', 'value': 90.0 + (step + device) % 100, 'unit': 'lqi'}},
            {{'measurement': CASE WHEN device % 5 = 0 THEN 'contact' ELSE 'state' END,
              'value': ((step // 7 + device) % 2)::DOUBLE, 'unit': CAST(NULL AS VARCHAR)}}
        ]) AS m FROM (SELECT s.range AS step, d.range AS device, {at} AS event_time
            FROM range({first}, {first + count}) s, range({devices}) d))
        ORDER BY event_time"""
    path = settings.lake_path / READINGS.layer / READINGS.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        rows = opened.sql(query).to_arrow_table()
    write_deltalake(path, rows, mode="append", partition_by=["date"])
    return int(rows.num_rows)


def midnight() -> datetime:
    """The end of a history: some hours into a UTC day that is past, so that a day is open."""
    return times.floor(datetime.now(UTC) - timedelta(days=1), "day") + timedelta(hours=12)
