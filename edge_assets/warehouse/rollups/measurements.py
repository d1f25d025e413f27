"""Rooms and devices as one relation, `measurements`: one value of one device or room at one time.

A room's identifier is its device_id, its fields are measurements under their own names.
"""

from __future__ import annotations

from collections.abc import Collection

from edge_assets.decoding.contract import ROOM_FIELDS

READINGS = ("silver", "readings")
ROOMS = ("silver", "room_telemetry")

COLUMNS = {
    "kind": "VARCHAR",
    "site": "VARCHAR",
    "device_id": "VARCHAR",
    "device_name": "VARCHAR",
    "measurement": "VARCHAR",
    "value": "DOUBLE",
    "text": "VARCHAR",
    "unit": "VARCHAR",
    "event_time": "TIMESTAMPTZ",
    "received_at": "TIMESTAMPTZ",
    "quality": "VARCHAR",
    "position": "HUGEINT",
}
"""`position` orders by event time, and rows of one time by their place in the log"""

COUNTS = "value IS NOT NULL AND (quality IS NULL OR NOT list_contains(string_split(quality, ' '), 'implausible'))"
"""SQL: whether a row counts in a rollup. `time_implausible` is another word, and does: its time is the arrival's"""

_POSITION = (
    "epoch_us(event_time)::HUGEINT * 100000000000000 "
    "+ coalesce(kafka_partition, 0) % 100 * 1000000000000 + coalesce(kafka_offset, 0) % 1000000000000 AS position"
)


def relation(readings: str | None, rooms: str | None, room_columns: Collection[str] = (), where: str = "true") -> str:
    """A SELECT of `COLUMNS` over SELECTs of the two tables (None: not there). `where` is asked of both."""
    parts = [_devices(readings, where)] if readings else []
    if rooms:
        parts.append(_rooms(rooms, room_columns, where))
    return " UNION ALL ".join(parts) if parts else nothing()


def nothing() -> str:
    columns = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in COLUMNS.items())
    return f"SELECT {columns} WHERE false"


def _devices(readings: str, where: str) -> str:
    return (
        "SELECT 'device' AS kind, site, device_id, device_name, measurement, value, text, unit, event_time, "
        f"received_at, quality, {_POSITION} FROM ({readings}) WHERE {where}"
    )


def _rooms(rooms: str, columns: Collection[str], where: str) -> str:
    fields = ", ".join(
        f"{{'measurement': '{name}', 'value': {name}::DOUBLE, 'unit': {_literal(unit)}}}"
        for name, (_, unit) in ROOM_FIELDS.items()
        if name in columns
    )
    if not fields:
        return nothing()
    name = "coalesce(room_name, room_id)" if "room_name" in columns else "room_id"
    return (
        "SELECT 'room' AS kind, site, room_id AS device_id, name AS device_name, field.measurement AS measurement, "
        "field.value AS value, CAST(NULL AS VARCHAR) AS text, field.unit AS unit, "
        f"event_time, received_at, quality, position FROM (SELECT site, room_id, {name} AS name, event_time, "
        f"received_at, quality, {_POSITION}, unnest([{fields}]) AS field FROM ({rooms}) WHERE {where}) "
        "WHERE field.value IS NOT NULL"
    )


def _literal(unit: str | None) -> str:
    return f"'{unit}'" if unit else "CAST(NULL AS VARCHAR)"
