"""What the lake remembers of the last hours, for the first hello after a start: without it, all charts were empty.

One look at the DuckDB file that the rollups publish, in a thread, by the opener that the API has
(`edge_assets.serving.opened`), and within its memory; where there is none yet, the page begins with what it hears.
Minutes stand in for the points that were: their mean.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from edge_assets.listening.heard import Device
from edge_assets.live.devices import Devices
from edge_assets.serving.opened import NO_FILE, Warehouse
from edge_assets.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

AT_ONCE = 20
"""series that are put in before others have a turn"""

log = logging.getLogger(__name__)


class PastSeries(NamedTuple):
    device: Device
    name: str
    measurement: str
    unit: str | None
    points: list[tuple[int, float]]


class PastHealth(NamedTuple):
    device: Device
    last_seen: int | None
    usual_seconds: float | None


class Past(NamedTuple):
    series: list[PastSeries]
    health: list[PastHealth]


async def bring_back(settings: Settings, warehouse: Warehouse, devices: Devices, now: int) -> int:
    """Put the past into the devices. Returns how many series have one; 0 also where the lake cannot say."""
    try:
        past = await asyncio.to_thread(read, settings, warehouse)
    except Exception as error:  # of whatever the engine or a file of the lake may have: the page lives without
        log.warning("the page begins without its past: %s", str(error).splitlines()[0] if str(error) else repr(error))
        return 0
    for number, series in enumerate(past.series):
        if known := devices.remember(series.device, series.name, now):
            devices.remember_series(known, series.measurement, series.unit, series.points)
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    for health in past.health:
        if known := devices.get(health.device):
            known.last_seen = max(filter(None, (known.last_seen, health.last_seen)), default=None)
            known.cadence.usual_seconds = health.usual_seconds
    return len(past.series)


def read(settings: Settings, warehouse: Warehouse) -> Past:
    """The last hours by minute, and the latest value of what has been silent for longer. Raises what DuckDB raises,
    and `Away` where the file cannot be opened."""
    if settings.live.history_hours == 0 or warehouse.identity() == NO_FILE:
        return Past([], [])
    with warehouse.cursor() as (_, cursor):
        past = Past(_series(cursor, settings), _health(cursor))
    warehouse.close()  # its memory is given back until somebody asks the API
    return past


def _series(cursor: DuckDBPyConnection, settings: Settings) -> list[PastSeries]:
    rows = cursor.execute(
        """
        WITH minutes AS (
            SELECT kind, device_id, device_name, measurement, unit, epoch_ms(bucket) AS ms, avg AS value
            FROM readings_1m WHERE bucket >= now() - to_seconds(?) AND isfinite(avg)
            UNION ALL BY NAME
            SELECT kind, device_id, device_name, measurement, unit, epoch_ms(minute) AS ms, value
            FROM latest_readings l WHERE isfinite(value) AND minute < now() - to_seconds(?)
        )
        SELECT kind, device_id, arg_max(device_name, ms), measurement, arg_max(unit, ms),
            list(ms ORDER BY ms), list(value ORDER BY ms)
        FROM minutes GROUP BY kind, device_id, measurement ORDER BY ALL""",
        [settings.live.history_hours * 3_600] * 2,
    ).fetchall()
    return [
        PastSeries(Device(kind, identity), name, measurement, unit, list(zip(times, values, strict=True)))
        for kind, identity, name, measurement, unit, times, values in rows
    ]


def _health(cursor: DuckDBPyConnection) -> list[PastHealth]:
    rows = cursor.execute(
        "SELECT kind, device_id, epoch_us(last_seen), cadence_p95_seconds FROM device_health"
    ).fetchall()
    return [PastHealth(Device(kind, identity), seen, usual) for kind, identity, seen, usual in rows]
