"""Delta tables of the contract with rows of a test's own, written without Spark."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from edge_assets.settings import Settings
from edge_assets.tables import BRONZE_EVENTS, DEAD_LETTERS, DEVICES, READINGS, Table

LOG_ID = str(uuid.UUID(int=7))
TOPIC = "sensor-events"
AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

EXPOSE = pa.struct(
    [
        ("type", pa.string()),
        ("unit", pa.string()),
        ("value_on", pa.string()),
        ("value_off", pa.string()),
        ("value_min", pa.float64()),
        ("value_max", pa.float64()),
    ]
)
TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
}

Row = Mapping[str, Any]


def schema(table: Table) -> pa.Schema:
    return pa.schema(
        [
            (column.name, TYPES[column.type] if column.type in TYPES else pa.map_(pa.string(), EXPOSE))
            for column in table.columns
        ]
    )


def write(settings: Settings, table: Table, rows: Iterable[Row], mode: Any = "append") -> None:
    """Commit rows to a table of the lake; columns that a row does not name are null."""
    columns = schema(table)
    data = pa.Table.from_pylist([{name: row.get(name) for name in columns.names} for row in rows], schema=columns)
    path = settings.lake_path / table.layer / table.name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(path, data, mode=mode, partition_by=list(table.partitioned_by) or None)


def event(offset: int, outcome: str = "read", readings: int = 2, **changes: Any) -> dict[str, Any]:
    """A row of `bronze.events`."""
    row = {
        **position(offset),
        "kafka_time": AT,
        "key": "zigbee2mqtt/door",
        "payload": b"{}",
        "outcome": outcome,
        "readings": readings if outcome == "read" else 0,
        "refused": 0,
        "batch": 1,
        "received_at": AT,
        "date": AT.date(),
    }
    return row | changes


def reading(offset: int, measurement: str, **changes: Any) -> dict[str, Any]:
    """A row of `silver.readings`."""
    row = {
        **position(offset),
        "site": "home",
        "device_id": "0x01",
        "device_name": "door",
        "measurement": measurement,
        "value": 1.0,
        "event_time": AT,
        "quality": "good",
        "pending": False,
        "received_at": AT,
        "date": AT.date(),
    }
    return row | changes


def dead_letter(offset: int, **changes: Any) -> dict[str, Any]:
    """A row of `bronze.dead_letters`."""
    row = {**position(offset), "key": "zigbee2mqtt/door", "payload": b"{", "reason": "bad_json", "batch": 1}
    return row | {"received_at": AT, "date": AT.date()} | changes


def state(offset: int, measurement: str, **changes: Any) -> dict[str, Any]:
    """A row of `silver.device_states`."""
    row = {**position(offset), "site": "home", "device_id": "0x01", "device_name": "door", "measurement": measurement}
    return row | {"value": 1.0, "quality": "good", "received_at": AT, "date": AT.date()} | changes


def device(address: str, **changes: Any) -> dict[str, Any]:
    """A row of `silver.devices`."""
    exposes = [("contact", {"type": "binary", "value_on": "false", "value_off": "true"})]
    return {**position(0), "site": "home", "device_id": address, "kind": "device", "exposes": exposes} | changes


def position(offset: int, log_id: str = LOG_ID, topic: str = TOPIC, partition: int = 0) -> dict[str, Any]:
    return {"log_id": log_id, "kafka_topic": topic, "kafka_partition": partition, "kafka_offset": offset}


def sound_lake(settings: Settings, records: int = 20, start: int = 0) -> None:
    """A lake in which nothing is amiss: each tenth record ignored, each seventh a dead letter, the others read."""
    offsets = range(start, start + records)
    outcomes = {n: "ignored" if n % 10 == 0 else "dead_letter" if n % 7 == 0 else "read" for n in offsets}
    write(settings, BRONZE_EVENTS, [event(n, outcome) for n, outcome in outcomes.items()])
    write(settings, DEAD_LETTERS, [dead_letter(n) for n, outcome in outcomes.items() if outcome == "dead_letter"])
    read = [n for n, outcome in outcomes.items() if outcome == "read"]
    write(settings, READINGS, [reading(n, name) for n in read for name in ("contact", "battery")])
    write(settings, DEVICES, [device("0x01")])
