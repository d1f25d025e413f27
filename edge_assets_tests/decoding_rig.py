"""What tests of the decoding share: both decoders behind one signature, and the comparison of what they say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edge_assets.decoding import reference
from edge_assets.decoding.knowledge import Knowledge
from edge_assets.decoding.reference import Decoded, Reading, Record
from edge_assets.decoding.registry import Registry
from edge_assets.settings import Settings
from edge_assets.stream import decode
from edge_assets.stream.decode import POSITION_COLUMNS
from edge_assets.stream.registry import Registry as SparkRegistry

RECORD_TYPE = (
    "log_id string, kafka_topic string, kafka_partition int, kafka_offset bigint, kafka_micros bigint, "
    "raw_key binary, payload binary, header string"
)


def decode_in_python(
    records: Sequence[Record], registry: Registry, knowledge: Knowledge, settings: Settings
) -> list[Decoded]:
    return [reference.decode(record, registry, knowledge, settings) for record in records]


def decode_in_spark(
    spark: Any, records: Sequence[Record], registry: Registry, knowledge: Knowledge, settings: Settings
) -> list[Decoded]:
    """All at once. Their positions must differ."""
    lookup = SparkRegistry(registry.entries).lookup(spark)
    decoded = decode.decode(_frame(spark, records), lookup, knowledge, settings).persist()
    try:
        rows = [row.asDict() for row in _with_micros(decoded).drop("properties", "payload").collect()]
        readings = defaultdict(list)
        for row in decode.readings_of(decoded, lookup, settings).collect():
            readings[_position(row)].append(row)
        counts = {_position(row): (row.readings, row.refused) for row in decode.counts_of(decoded, lookup).collect()}
    finally:
        decoded.unpersist()
        lookup.forget()
    assert sorted(map(_position, rows)) == sorted(map(_place, records)), "each record has one row"
    assert {at: len(rows) for at, rows in readings.items()} == {at: n for at, (n, _) in counts.items() if n}
    by_position = {_position(row): row for row in rows}
    return [_decoded(by_position[at], readings.get(at, []), counts.get(at, (0, 0))[1]) for at in map(_place, records)]


def _frame(spark: Any, records: Sequence[Record]) -> Any:
    from pyspark.sql import functions as F

    rows = [
        (
            *_place(record),
            record.kafka_time,
            bytearray(record.topic),
            None if record.payload is None else bytearray(record.payload),
            record.header,
        )
        for record in records
    ]
    frame = spark.createDataFrame(rows, RECORD_TYPE).coalesce(2)
    frame = frame.withColumns(
        {"key": F.col("raw_key").cast("string"), "kafka_time": F.timestamp_micros("kafka_micros")}
    )
    return frame.select(*decode.RECORD_COLUMNS)


def _with_micros(decoded: Any) -> Any:
    from pyspark.sql import functions as F

    return decoded.withColumns({name: F.unix_micros(name) for name in ("received_at", "event_time", "kafka_time")})


def _place(record: Record) -> tuple[str, str, int, int]:
    return record.log_id, record.kafka_topic, record.kafka_partition, record.kafka_offset


def _position(row: Any) -> tuple[str, str, int, int]:
    return tuple(row[name] for name in POSITION_COLUMNS)  # type: ignore[return-value]


def _decoded(row: dict[str, Any], readings: Sequence[Any], refused: int) -> Decoded:
    if row["outcome"] != "read" or row["kind"] == "registry":
        return Decoded(row["outcome"], row["reason"], row["received_at"], (), refused)
    for reading in readings:
        same = ("device_id", "device_name", "model", "pending", "event_time_source")
        assert all(reading[name] == row[name] for name in same)
    return Decoded(
        row["outcome"],
        row["reason"],
        row["received_at"],
        tuple(Reading(r.measurement, r.value, r.text, r.unit, r.quality) for r in readings),
        refused,
        row["device_id"],
        row["device_name"],
        row["model"],
        row["pending"],
        row["event_time"],
        row["event_time_source"],
    )


def comparable(decoded: Decoded) -> Decoded:
    """In one order, and with the numbers within texts in one notation."""
    readings = [replace(r, text=r.text if r.text is None else _one_notation(r.text)) for r in decoded.readings]
    return replace(decoded, readings=tuple(sorted(readings, key=lambda r: (r.measurement, str(r)))))


def _one_notation(text: str) -> str:
    text = re.sub(r'"?(-?)(Infinity|NaN)"?', r"\1\2", text)
    return re.sub(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", _shortest, text)


def _shortest(number: re.Match[str]) -> str:
    value = float(number[0]) + 0.0
    return "Infinity" if value == float("inf") else "-Infinity" if value == float("-inf") else repr(value)
