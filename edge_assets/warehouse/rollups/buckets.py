"""The SQL of a bucket: a minute from silver; an hour, a day and a room's hour from minutes.

Larger buckets are always made of minutes, whether a day is still open (then a view does it) or closed. Sums are
compensated (`fsum`), so that the order in which rows are read can move no more than a sum's last bit.
"""

from __future__ import annotations

from edge_assets.warehouse.rollups import times
from edge_assets.warehouse.rollups.measurements import COUNTS
from edge_assets.warehouse.rollups.model import READINGS_1D, READINGS_1H, ROOM_COMFORT, Rollup

GOOD = ((20, 24), (30, 60), 1_000)
FAIR = ((18, 26), (25, 70), 1_400)
"""°C from/to, % from/to, ppm at most: after EN 16798-1's classes for offices, in round numbers"""


def minutes(source: str) -> str:
    """readings_1m of a relation `measurements`."""
    return f"""
        SELECT {times.bucket("event_time", times.MINUTE)} AS bucket, kind, site, device_id,
            arg_max(device_name, position) AS device_name, measurement, unit,
            count(*) AS n, min(value) AS min, max(value) AS max, fsum(value) / count(*) AS avg, fsum(value) AS sum,
            arg_min(value, position) AS first, arg_max(value, position) AS last
        FROM ({source}) WHERE {COUNTS}
        GROUP BY 1, kind, site, device_id, measurement, unit"""


def from_minutes(rollup: Rollup, source: str) -> str:
    """A rollup that is derived from readings_1m, of a relation of its rows."""
    if rollup is ROOM_COMFORT:
        return _comfort(source)
    assert rollup in (READINGS_1H, READINGS_1D) and rollup.from_minutes
    return f"""
        SELECT {times.bucket("bucket", rollup.from_minutes)} AS bucket, kind, site, device_id,
            arg_max(device_name, m.bucket) AS device_name, measurement, unit,
            CAST(sum(n) AS BIGINT) AS n, min(min) AS min, max(max) AS max, fsum(sum) / sum(n) AS avg, fsum(sum) AS sum,
            arg_min(first, m.bucket) AS first, arg_max(last, m.bucket) AS last
        FROM ({source}) AS m
        GROUP BY {times.bucket("m.bucket", rollup.from_minutes)}, kind, site, device_id, measurement, unit"""


def _comfort(source: str) -> str:
    def figures(measurement: str, name: str) -> str:
        which = f"FILTER (measurement = '{measurement}')"
        return (
            f"fsum(sum) {which} / sum(n) {which} AS {name}_avg, min(min) {which} AS {name}_min, "
            f"max(max) {which} AS {name}_max"
        )

    def share(measurement: str) -> str:
        which = f"measurement = '{measurement}'"
        return f"(count(*) FILTER ({which} AND m.max > 0)) / nullif(count(*) FILTER ({which}), 0)"

    return f"""
        SELECT *, {_comfort_class()} AS comfort FROM (
            SELECT {times.bucket("bucket", times.HOUR)} AS bucket, site, device_id AS room_id,
                arg_max(device_name, m.bucket) AS room_name,
                {figures("temperature", "temperature")},
                {figures("humidity", "humidity")},
                {figures("co2_ppm", "co2")},
                coalesce({share("occupancy_count")}, {share("motion_detected")}) AS occupied_share
            FROM ({source}) AS m WHERE kind = 'room'
            GROUP BY {times.bucket("m.bucket", times.HOUR)}, site, device_id)"""


def _comfort_class() -> str:
    def holds(limits: tuple[tuple[int, int], tuple[int, int], int]) -> str:
        (cold, hot), (dry, damp), co2 = limits
        return (
            f"coalesce(temperature_avg BETWEEN {cold} AND {hot}, true) AND "
            f"coalesce(humidity_avg BETWEEN {dry} AND {damp}, true) AND coalesce(co2_avg <= {co2}, true)"
        )

    return f"""CASE
        WHEN temperature_avg IS NULL AND humidity_avg IS NULL AND co2_avg IS NULL THEN NULL
        WHEN {holds(GOOD)} THEN 'good' WHEN {holds(FAIR)} THEN 'fair' ELSE 'poor' END"""
