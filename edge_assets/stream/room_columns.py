"""Columns that rooms bring by themselves: found in a batch, and given to the table before the batch is committed.

The table's own schema is the one place that knows them (`Lake.more_columns`). It is widened first, as `silver.devices`
is written first: what a batch was decoded with is then there when it is derived again, and a kill in between leaves a
column without values, which the same records fill when they are read again. What is to become a column is decided by
the contract as a program (`edge_assets.decoding.reference`), message by message in the order of the log.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from edge_assets.decoding import fields, reference
from edge_assets.decoding.knowledge import Knowledge
from edge_assets.decoding.reference import Record
from edge_assets.settings import Settings
from edge_assets.stream import decode
from edge_assets.stream.lake import Lake, MoreColumn
from edge_assets.tables import ROOM_TELEMETRY

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)

FULL = "further fields are refused, and stay in bronze.events; EDGE_STREAM__MAX_ROOM_FIELDS allows more"

LOOKED_AT = 50
"""messages that come to the driver at once; when they have taught, the batch is decoded anew, and there may be more"""


def news(decoded: DataFrame, knowledge: Knowledge, settings: Settings) -> dict[str, MoreColumn]:
    """The columns that decoded records bring, in order; none where no field of theirs can become one."""
    if len(knowledge.room_fields) >= settings.stream.max_room_fields:
        return {}
    found: dict[str, MoreColumn] = {}
    for row in _teaching(decoded, knowledge, settings):
        for name, kind in reference.taught(_record(row), knowledge, settings).items():
            found[name] = _column(name, kind, row)
            knowledge = replace(knowledge, room_fields={**knowledge.room_fields, name: kind})
    return found


def add(lake: Lake, columns: dict[str, MoreColumn]) -> None:
    """Give the table these columns."""
    lake.add_columns(ROOM_TELEMETRY, columns)
    for name, column in columns.items():
        log.info("%s has a new column %s (%s): %s", ROOM_TELEMETRY.full_name, name, column.type, column.description)


def _teaching(decoded: DataFrame, knowledge: Knowledge, settings: Settings) -> list[Any]:
    """The first records with a field that can become a column, in the order of the log."""
    teach = decode.beyond_of(decoded, knowledge, settings).where("teaches").select("row")
    rows = decoded.join(teach, "row", "left_semi").selectExpr(
        *decode.POSITION_COLUMNS, "unix_micros(kafka_time) AS kafka_us", "key", "payload", "header", "received_at"
    )
    first = rows.orderBy("received_at", "kafka_topic", "kafka_partition", "kafka_offset").limit(LOOKED_AT)
    return first.selectExpr("*", "unix_micros(received_at) AS received_us").drop("received_at").collect()


def _record(row: Any) -> Record:
    place = (row.log_id, row.kafka_topic, row.kafka_partition, row.kafka_offset)
    return Record(row.key.encode(), bytes(row.payload), row.kafka_us, row.header, *place)


def _column(name: str, kind: str, row: Any) -> MoreColumn:
    since = datetime.fromtimestamp(row.received_us / 1e6, UTC).isoformat(timespec="seconds")
    words = f"{fields.measurement_of(name)} of rooms' messages, which {row.key} was the first to send, at {since}"
    return MoreColumn(kind, words, since)
