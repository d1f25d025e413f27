"""What tests of the decoding share: the corpus, both decoders behind one signature, and the comparison of results."""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge_assets.decoding import contract, reference
from edge_assets.decoding.knowledge import Fence, Knowledge
from edge_assets.decoding.reference import Decoded, Reading, Record
from edge_assets.decoding.registry import Registry, Source
from edge_assets.log_record import Header
from edge_assets.settings import Route, Settings
from edge_assets.stream import decode
from edge_assets.stream.decode import POSITION_COLUMNS
from edge_assets.stream.registry import Registry as SparkRegistry

RECORD_TYPE = (
    "log_id string, kafka_topic string, kafka_partition int, kafka_offset bigint, kafka_micros bigint, "
    "raw_key binary, payload binary, header string"
)

CORPUS = Path(__file__).parent / "corpus"
ALERT_COLUMNS = (*contract.ALERT_TEXTS, *contract.ALERT_NOTES, contract.ALERT_VALUE, contract.ALERT_SINCE)
RECEIVED_AT = 1_790_000_000_000_000
"""2026-09-21T14:13:20Z"""
DEVICE_TOPIC, DEAD_LETTER_TOPIC = "sensor-events", "dead-letters"
MORE_ROUTES = (
    Route(pattern="esp/<node>/sensor/<measurement>/state", units={"temperature": "°F"}),
    Route(pattern="tele/<device>/SENSOR"),
)
"""beside those that are there by default"""
FIRST_OFFSET = 10_000
"""of records that do not say theirs; the corpus's barrier lies before it"""


def micros(iso: str) -> int:
    return (datetime.fromisoformat(iso) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def header(received_at: int = RECEIVED_AT, **changes: Any) -> str:
    """As the bridge writes it."""
    usual: dict[str, Any] = {
        "by": "bridge",
        "inc": 9,
        "epoch": "e",
        "at": received_at,
        "sync": True,
        "mono": 5,
        "boot": "boot",
    }
    usual |= {"qos": 1, "retain": False, "dup": False, "mid": 7}
    return Header(**(usual | changes)).encode().decode()


def record(topic: str | bytes, payload: Any, number: int, received_at: int = RECEIVED_AT, **changes: Any) -> Record:
    """A record that the bridge could have written; what is neither text nor bytes is written as JSON."""
    if payload is not None and not isinstance(payload, bytes):
        payload = (payload if isinstance(payload, str) else json.dumps(payload)).encode()
    key = topic if isinstance(topic, bytes) else topic.encode()
    said = header(received_at, **changes)
    return Record(key, payload, received_at, said, "log", DEVICE_TOPIC, 0, FIRST_OFFSET + number)


# -- the corpus ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """What the corpus's records are decoded with."""

    registry: Registry
    knowledge: Knowledge
    settings: Settings


def world(settings: Settings) -> World:
    told = json.loads((CORPUS / "network.json").read_text())
    registry = Registry()
    for number, teaching in enumerate(told["taught"]):
        source = Source("log", DEVICE_TOPIC, 0, number, micros(teaching["at"]))
        registry = registry.apply(teaching["topic"], json.dumps(teaching["payload"]).encode(), source)
    bad = frozenset((log_id, partition, offset) for log_id, partition, offset in told["bad_registry"])
    fences = tuple(Fence(**fence) for fence in told["fences"])
    knowledge = Knowledge(fences, told["clocks"], bad, told["room_fields"])
    return World(registry, knowledge, with_base_topics(settings, told["base_topics"]))


def with_base_topics(settings: Settings, topics: Iterable[str]) -> Settings:
    stream = settings.stream.model_copy(update={"base_topics": tuple(topics)})
    routes = (*type(settings.bridge)().routes, *MORE_ROUTES)
    bridge = settings.bridge.model_copy(update={"dead_letter_topic": DEAD_LETTER_TOPIC, "routes": routes})
    return settings.model_copy(update={"stream": stream, "bridge": bridge})


@dataclass(frozen=True)
class Case:
    """One line of the corpus."""

    name: str
    record: Record
    expected: dict[str, Any]

    def check(self, decoded: Decoded) -> None:
        expected = dict(self.expected)
        found = comparable(decoded)
        assert (found.outcome, found.reason) == (expected.pop("outcome"), expected.pop("reason", None))
        assert found.refused == expected.pop("refused", 0)
        if (readings := expected.pop("readings", None)) is not None:
            assert found.readings == _sorted([Reading(*reading) for reading in readings])
        assert found.states == _sorted([Reading(*state) for state in expected.pop("states", ())])
        if (received_at := expected.pop("true_received_at", None)) is not None:
            assert found.received_at == micros(received_at)
        if (event_time := expected.pop("event_time", None)) is not None:
            assert found.event_time == micros(event_time)
        if (room := expected.pop("room", None)) is not None:
            assert found.room == dict.fromkeys(found.room or ()) | _room(room)
        if (alert := expected.pop("alert", None)) is not None:
            assert found.alert == dict.fromkeys(found.alert or ()) | _room(alert) | {"since": micros(alert["since"])}
        assert found.teaches == expected.pop("teaches", False)
        for name, value in expected.items():
            assert getattr(found, name) == value, name


def corpus() -> list[Case]:
    lines = [
        (f"{path.stem}: {case['name']}", case)
        for path in sorted(CORPUS.glob("*.jsonl"))
        for case in map(json.loads, path.read_text().split("\n")[:-1])
    ]
    return [Case(name, _record(case, number), case["expected"]) for number, (name, case) in enumerate(lines)]


def _record(case: dict[str, Any], number: int) -> Record:
    received_at = micros(case["received_at"]) if "received_at" in case else RECEIVED_AT
    said = case.get("header", {})
    return Record(
        topic=_bytes(case, "topic") or b"",
        payload=_bytes(case, "payload"),
        kafka_time=micros(case["kafka_time"]) if "kafka_time" in case else received_at,
        header=header(received_at, **said) if isinstance(said, dict) else said,
        log_id="log",
        kafka_topic=case.get("kafka_topic", DEVICE_TOPIC),
        kafka_partition=0,
        kafka_offset=case.get("kafka_offset", FIRST_OFFSET + number),
    )


def _bytes(case: dict[str, Any], name: str) -> bytes | None:
    if (packed := case.get(f"{name}_base64")) is not None:
        return base64.b64decode(packed)
    return None if case[name] is None else case[name].encode()


# -- the decoders --------------------------------------------------------------------------------------------------


def decode_in_python(
    records: Sequence[Record], registry: Registry, knowledge: Knowledge, settings: Settings
) -> list[Decoded]:
    return [reference.decode(record, registry, knowledge, settings) for record in records]


def decode_in_spark(
    spark: Any, records: Sequence[Record], registry: Registry, knowledge: Knowledge, settings: Settings
) -> list[Decoded]:
    """All at once. Their positions must differ."""
    lookup = SparkRegistry(registry.entries).lookup(spark, settings.bridge.routes)
    decoded = decode.decode(frame_of(spark, records), lookup, knowledge, settings).persist()
    try:
        rows = [row.asDict() for row in _with_micros(decoded).drop("properties", "payload").collect()]
        readings = defaultdict(list)
        for row in decode.readings_of(decoded, lookup, settings).collect():
            readings[_position(row)].append(row)
        states = defaultdict(list)
        for row in decode.states_of(decoded, lookup, settings).collect():
            states[_position(row)].append(row)
        counted = decoded.join(decode.counts_of(decoded, lookup), "row").collect()
        counts = {_position(row): (row.readings, row.refused) for row in counted}
        rooms_of = _with_micros(decode.rooms_of(decoded, settings, knowledge.room_fields))
        rooms = {_position(row): row.asDict() for row in rooms_of.collect()}
        told = [f"{expression} AS {name}" for name, expression in decode.room_counts(knowledge.room_fields).items()]
        alerts = {_position(row): row.asDict() for row in _with_micros(decode.alerts_of(decoded, settings)).collect()}
        of_rooms = decoded.where("kind IN ('room', 'alert')").selectExpr(*POSITION_COLUMNS, *told).collect()
        refused = {at: n for at, (_, n) in counts.items()} | {_position(row): row.refused for row in of_rooms}
        for row in decoded.join(decode.beyond_of(decoded, knowledge, settings), "row").collect():
            refused[_position(row)] += row.beyond
            rooms[_position(row)]["teaches"] = row.teaches
        assert {_position(row) for row in of_rooms if row.readings} == {*rooms, *alerts}
    finally:
        decoded.unpersist()
        lookup.forget()
    assert sorted(map(_position, rows)) == sorted(map(_place, records)), "each record has one row"
    assert {at: len(rows) for at, rows in readings.items()} == {at: n for at, (n, _) in counts.items() if n}
    by_position = {_position(row): row for row in rows}
    places = map(_place, records)
    return [
        _decoded(
            by_position[at],
            readings.get(at, []),
            states.get(at, []),
            refused.get(at, 0),
            rooms.get(at),
            alerts.get(at),
            (*contract.ROOM_FIELDS, *knowledge.room_fields),
        )
        for at in places
    ]


def frame_of(spark: Any, records: Sequence[Record]) -> Any:
    """Records in `decode.RECORD_COLUMNS`."""
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

    times = {"received_at", "event_time", "kafka_time", "since"} & set(decoded.columns)
    return decoded.withColumns({name: F.unix_micros(name) for name in times})


def _place(record: Record) -> tuple[str, str, int, int]:
    return record.log_id, record.kafka_topic, record.kafka_partition, record.kafka_offset


def _position(row: Any) -> tuple[str, str, int, int]:
    return tuple(row[name] for name in POSITION_COLUMNS)  # type: ignore[return-value]


def _decoded(
    row: dict[str, Any],
    readings: Sequence[Any],
    states: Sequence[Any],
    refused: int,
    room: dict[str, Any] | None,
    alert: dict[str, Any] | None,
    fields: Sequence[str],
) -> Decoded:
    if row["outcome"] != "read" or row["kind"] == "registry":
        return Decoded(
            row["outcome"], row["reason"], row["received_at"], refused=refused, states=tuple(map(_reading, states))
        )
    assert not states
    for reading in readings:
        same = ("device_id", "device_name", "model", "pending", "event_time_source")
        assert all(reading[name] == row[name] for name in same)
    return Decoded(
        row["outcome"],
        row["reason"],
        row["received_at"],
        tuple(map(_reading, readings)),
        refused,
        row["device_id"],
        row["device_name"],
        row["model"],
        row["pending"],
        row["event_time"],
        row["event_time_source"],
        room=room and {name: room.get(name) for name in fields},
        quality=room["quality"] if room else None,
        teaches=bool(room and room.get("teaches")),
        alert=alert and {name: alert[name] for name in ALERT_COLUMNS},
    )


def _reading(row: Any) -> Reading:
    return Reading(row.measurement, row.value, row.text, row.unit, row.quality)


def comparable(decoded: Decoded) -> Decoded:
    """In one order, and with the numbers and escapes within texts in one notation. Whose state a record tells that
    was not read is not compared: tables have it by its rows."""
    room, alert = (None if columns is None else _room(columns) for columns in (decoded.room, decoded.alert))
    if decoded.outcome != "read":
        decoded = Decoded(
            decoded.outcome, decoded.reason, decoded.received_at, (), decoded.refused, states=decoded.states
        )
    return replace(decoded, readings=_sorted(decoded.readings), states=_sorted(decoded.states), room=room, alert=alert)


def _room(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _one_notation(value) if isinstance(value, str) else value for name, value in columns.items()}


def _sorted(readings: Sequence[Reading]) -> tuple[Reading, ...]:
    plain = [replace(r, text=r.text if r.text is None else _one_notation(r.text)) for r in readings]
    return tuple(sorted(plain, key=lambda r: (r.measurement, str(r))))


def _one_notation(text: str) -> str:
    text = re.sub(r"\\u[0-9A-Fa-f]{4}", lambda escape: escape[0].lower(), text)
    text = re.sub(r'"?(-?)(Infinity|NaN)"?', r"\1\2", text)
    return re.sub(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", _shortest, text)


def _shortest(number: re.Match[str]) -> str:
    value = float(number[0]) + 0.0
    return "Infinity" if value == float("inf") else "-Infinity" if value == float("-inf") else repr(value)


def differences(records: Sequence[Record], expected: Sequence[Decoded], found: Sequence[Decoded]) -> list[str]:
    """What two decoders do not agree on, the shortest payload first."""
    pairs = zip(records, map(comparable, expected), map(comparable, found), strict=True)
    different = [(r, a, b) for r, a, b in pairs if a != b]
    different.sort(key=lambda triple: len(triple[0].payload or b"") + len(triple[0].topic))
    return [f"{r.topic!r} {r.payload!r} {r.header!r}\n{_unlike(a, b)}" for r, a, b in different]


def _unlike(expected: Decoded, found: Decoded) -> str:
    lines = []
    for name in (field.name for field in fields(Decoded)):
        a, b = getattr(expected, name), getattr(found, name)
        if name in ("readings", "states"):
            a, b = sorted(map(str, set(a) - set(b))), sorted(map(str, set(b) - set(a)))
        if a != b:
            lines.append(f"  {name}\n    reference: {a}\n    Spark:     {b}")
    return "\n".join(lines)
