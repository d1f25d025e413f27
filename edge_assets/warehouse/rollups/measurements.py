"""Rooms and devices as one relation, `measurements`: one value of one device or room at one time.

A room's identifier is its device_id, its fields are measurements under their own names; so are the fields that its
messages have brought themselves (`edge_assets.decoding.fields`), which have no unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edge_assets.decoding import fields
from edge_assets.decoding.contract import ROOM_FIELDS
from edge_assets.warehouse.duck_types import quoted, text

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


def relation(
    readings: str | None, rooms: str | None, room_columns: Mapping[str, str] | None = None, where: str = "true"
) -> str:
    """A SELECT of `COLUMNS` over SELECTs of the two tables (None: not there). `where` is asked of both.

    `room_columns`: DuckDB's types of the rooms' columns, by name.
    """
    parts = [_devices(readings, where)] if readings else []
    if rooms:
        parts.append(_rooms(rooms, room_columns or {}, where))
    return " UNION ALL ".join(parts) if parts else nothing()


def nothing() -> str:
    columns = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in COLUMNS.items())
    return f"SELECT {columns} WHERE false"


def _devices(readings: str, where: str) -> str:
    return (
        "SELECT 'device' AS kind, site, device_id, device_name, measurement, value, text, unit, event_time, "
        f"received_at, quality, {_POSITION} FROM ({readings}) WHERE {where}"
    )


def _rooms(rooms: str, columns: Mapping[str, str], where: str) -> str:
    values = ", ".join(_fields(columns))
    if not values:
        return nothing()
    name = "coalesce(room_name, room_id)" if "room_name" in columns else "room_id"
    return (
        "SELECT 'room' AS kind, site, room_id AS device_id, name AS device_name, field.measurement AS measurement, "
        "field.value AS value, field.text AS text, field.unit AS unit, "
        f"event_time, received_at, quality, position FROM (SELECT site, room_id, {name} AS name, event_time, "
        f"received_at, quality, {_POSITION}, unnest([{values}]) AS field FROM ({rooms}) WHERE {where}) "
        "WHERE field.value IS NOT NULL OR field.text IS NOT NULL"
    )


def _fields(columns: Mapping[str, str]) -> Iterator[str]:
    """Each field that there is a column for, as a struct of measurement, value, text and unit."""
    for name, (_, unit) in ROOM_FIELDS.items():
        if name in columns:
            yield _field(name, f"{name}::DOUBLE", _NO_TEXT, text(unit) if unit else _NO_TEXT)
    for name, kind in columns.items():
        if name in ROOM_FIELDS or name.lower() in fields.RESERVED:
            continue
        if kind in _NUMBERS:
            yield _field(name, f"{quoted(name)}::DOUBLE", _NO_TEXT, _NO_TEXT)
        elif kind == "VARCHAR":
            yield _field(name, "CAST(NULL AS DOUBLE)", quoted(name), _NO_TEXT)


def _field(name: str, value: str, words: str, unit: str) -> str:
    measurement = text(fields.measurement_of(name))
    return f"{{'measurement': {measurement}, 'value': {value}, 'text': {words}, 'unit': {unit}}}"


_NO_TEXT = "CAST(NULL AS VARCHAR)"
_NUMBERS = ("DOUBLE", "BIGINT", "BOOLEAN")
