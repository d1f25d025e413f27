"""The rollups as plain data: what one row is, its columns with units, and the files that rows lie in. No engine here.

A rollup's rows lie in tiers of files, from small and often rewritten to large and written once. A tier is named by
the time that one file spans: hour, day, month, year; `all` is a single file.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_assets.tables import Column


@dataclass(frozen=True, slots=True)
class Rollup:
    name: str
    row: str
    columns: tuple[Column, ...]
    time: str
    """the column that says when: `bucket` (a time, UTC) or `day` (a UTC date); of device_health, none"""
    tiers: tuple[str, ...]
    order: tuple[str, ...]
    """how rows are sorted in a file, so that one series lies together"""
    from_minutes: int | None = None
    """derived from readings_1m in buckets of so many seconds; days that are still open are not stored at all"""


_SERIES = (
    Column("kind", "string", "device or room"),
    Column("site", "string", "the place, from the settings"),
    Column("device_id", "string", "the device's address or the room's identifier"),
    Column("device_name", "string", "the latest name in the bucket"),
    Column("measurement", "string", "what was measured"),
    Column("unit", "string", "unit of min, max, avg, sum, first and last; null where it has none"),
)
_FIGURES = (
    Column("n", "bigint", "how many readings; those without a number, and implausible ones, are not counted"),
    Column("min", "double", "the smallest value"),
    Column("max", "double", "the largest value"),
    Column("avg", "double", "the mean of the values, each counting once"),
    Column("sum", "double", "the sum of the values"),
    Column("first", "double", "the first value, by event time"),
    Column("last", "double", "the last value, by event time"),
)
_ORDER = ("kind", "site", "device_id", "measurement", "unit", "bucket")


def _readings(name: str, word: str, tiers: tuple[str, ...], seconds: int | None) -> Rollup:
    bucket = Column("bucket", "timestamp", f"where the {word} begins (UTC)")
    row = f"one measurement of one device or room in one {word}"
    return Rollup(name, row, (bucket, *_SERIES, *_FIGURES), "bucket", tiers, _ORDER, seconds)


READINGS_1M = _readings("readings_1m", "minute", ("hour", "day", "month"), None)
READINGS_1H = _readings("readings_1h", "hour", ("day", "month"), 3_600)
READINGS_1D = _readings("readings_1d", "day", ("month", "year"), 86_400)

ROOM_COMFORT = Rollup(
    "room_comfort",
    "one room in one hour",
    (
        Column("bucket", "timestamp", "where the hour begins (UTC)"),
        Column("site", "string", "the place, from the settings"),
        Column("room_id", "string", "the room"),
        Column("room_name", "string", "its latest name"),
        Column("temperature_avg", "double", "mean temperature, °C"),
        Column("temperature_min", "double", "lowest temperature, °C"),
        Column("temperature_max", "double", "highest temperature, °C"),
        Column("humidity_avg", "double", "mean relative humidity, %"),
        Column("humidity_min", "double", "lowest relative humidity, %"),
        Column("humidity_max", "double", "highest relative humidity, %"),
        Column("co2_avg", "double", "mean CO2, ppm"),
        Column("co2_min", "double", "lowest CO2, ppm"),
        Column("co2_max", "double", "highest CO2, ppm"),
        Column(
            "occupied_share",
            "double",
            "share (0 to 1) of the minutes heard of in which somebody was there; by motion where nobody is counted",
        ),
        Column(
            "comfort",
            "string",
            "by the hour's means: good (20 to 24 °C, 30 to 60 %, CO2 up to 1,000 ppm), fair (18 to 26 °C, 25 to 70 %, "
            "up to 1,400 ppm), else poor; what is not measured does not count",
        ),
    ),
    "bucket",
    ("month",),
    ("site", "room_id", "bucket"),
    3_600,
)

_DEVICE = (
    Column("day", "date", "UTC day"),
    Column("site", "string", "the place, from the settings"),
    Column("device_id", "string", "the device's address"),
    Column("device_name", "string", "its latest name of the day"),
)

ENERGY_DAILY = Rollup(
    "energy_daily",
    "one device or room on one UTC day",
    (
        Column("day", "date", "UTC day"),
        Column("kind", "string", "device or room"),
        *_DEVICE[1:],
        Column("energy_kwh", "double", "what its counter grew by, kWh; a reset and an impossible jump add nothing"),
        Column("readings", "bigint", "readings of the counter"),
        Column("resets", "bigint", "how often the counter fell back"),
        Column("jumps", "bigint", "how often it rose by more than can be: no energy, and the count goes on from there"),
        Column("counter_kwh", "double", "the counter at its last reading, kWh"),
    ),
    "day",
    ("month",),
    ("kind", "site", "device_id", "day"),
)

DOOR_ACTIVITY = Rollup(
    "door_activity",
    "one door contact on one UTC day",
    (
        *_DEVICE,
        Column("openings", "bigint", "times it went from closed to open"),
        Column("closings", "bigint", "times it went from open to closed"),
        Column(
            "open_seconds",
            "double",
            "time that it was open on this day, up to its latest report; silence of more than a day ends an opening",
        ),
        Column("longest_open_seconds", "double", "the longest stretch of it on this day"),
        Column("readings", "bigint", "reports of the contact"),
    ),
    "day",
    ("month",),
    ("site", "device_id", "day"),
)

MESSAGES_DAILY = Rollup(
    "messages_daily",
    "one device or room on one UTC day",
    (
        Column("day", "date", "UTC day"),
        Column("kind", "string", "device or room"),
        *_DEVICE[1:],
        Column("messages", "bigint", "messages with at least one reading, told apart by their event time"),
        Column("gap_median_seconds", "double", "median time since the message before"),
        Column("gap_p95_seconds", "double", "time since the message before that 95 of 100 keep within"),
        Column("first_at", "timestamp", "its first message of the day"),
        Column("last_at", "timestamp", "its last message of the day"),
    ),
    "day",
    ("month",),
    ("kind", "site", "device_id", "day"),
)

DEVICE_HEALTH = Rollup(
    "device_health",
    "one device or room",
    (
        Column("kind", "string", "device or room"),
        Column("site", "string", "the place, from the settings"),
        Column("device_id", "string", "the device's address or the room's identifier"),
        Column("device_name", "string", "its latest name"),
        Column("last_seen", "timestamp", "event time of its latest message"),
        Column("battery_percent", "double", "latest battery level, %; null where it reports none"),
        Column("linkquality", "double", "latest link quality, lqi"),
        Column(
            "available",
            "boolean",
            "what the network last said, before the bridge subscribed or since; null where it says nothing",
        ),
        Column("cadence_seconds", "double", "usual time between two messages: median over its last 7 days with any"),
        Column("cadence_p95_seconds", "double", "95 of 100 come within this time, on the worst of these days"),
    ),
    "last_seen",
    ("all",),
    ("kind", "site", "device_id"),
)

ROLLUPS = (
    READINGS_1M,
    READINGS_1H,
    READINGS_1D,
    ROOM_COMFORT,
    ENERGY_DAILY,
    DOOR_ACTIVITY,
    MESSAGES_DAILY,
    DEVICE_HEALTH,
)

HEALTH_AT_QUERY = (
    Column("messages_last_day", "bigint", "messages of the last 24 hours (of its most frequent measurement)"),
    Column("silent_seconds", "double", "time since its latest message"),
    Column(
        "silent",
        "boolean",
        "nothing came for twice as long as 95 of 100 gaps, and for 10 minutes at least",
    ),
)
"""what the view device_health adds when it is asked, because it depends on the time of asking"""
