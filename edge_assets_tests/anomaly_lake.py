"""A lake with weeks of readings of a few devices, minute by minute or so, for tests of anomalies from end to end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from edge_assets.settings import Settings
from edge_assets.tables import READINGS
from edge_assets_tests.lake_tables import AT, reading, write

EVERY = timedelta(minutes=30)
Jumps = Mapping[tuple[datetime, datetime], float]
"""from, until → what is added to the first device's temperature"""


def rows(begin: datetime, end: datetime, jumps: Jumps | None = None, devices: int = 2) -> list[dict[str, Any]]:
    found, at = [], begin
    while at < end:
        number = (at - AT) // EVERY
        for device in range(devices):
            noise = np.random.default_rng([device, abs(number)]).normal(0, 0.1)
            value = 21 + 2 * math.sin(number / 48 * 2 * math.pi) + math.sin(number / 190) + noise
            value += sum(by for (low, high), by in (jumps or {}).items() if low <= at < high and device == 0)
            own = {"device_id": f"0x{device}", "device_name": f"sensor {device}", "unit": "°C", "event_time": at}
            arrived = {"received_at": at, "date": at.date()}
            found.append(reading(number * devices + device, "temperature", value=round(value, 1), **own, **arrived))
        at += EVERY
    return found


def heard(settings: Settings, begin: datetime, end: datetime, jumps: Jumps | None = None) -> None:
    """Commit what the devices say between two times."""
    write(settings, READINGS, rows(begin, end, jumps))


def told(settings: Settings) -> list[tuple[Any, ...]]:
    """What gold.anomalies holds, in order of time, without the time at which it was found."""
    from edge_assets.warehouse import lake

    with lake.connection(settings) as opened:
        lake.show(opened, settings, ("gold", "anomalies"))
        return opened.execute(
            "SELECT device_id, device_name, measurement, unit, type, window_start, window_end, value, expected, score "
            "FROM gold.anomalies ORDER BY window_end, device_id"
        ).fetchall()


def windows(anomalies: Iterable[tuple[Any, ...]]) -> list[tuple[str, str, datetime]]:
    return [(row[0], row[4], row[5]) for row in anomalies]
