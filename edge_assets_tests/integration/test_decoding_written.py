"""The corpus on its whole way: a real Kafka, the stream writer as a process, the tables as others read them."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from edge_assets.decoding import contract
from edge_assets.decoding.reference import Decoded, Reading
from edge_assets.log_record import CLOCK_KEY, HEADER
from edge_assets.platform import log as kafka_log
from edge_assets.settings import Settings
from edge_assets_tests.decoding_rig import (
    ALERT_COLUMNS,
    CORPUS,
    MORE_ROUTES,
    Case,
    corpus,
    header,
    micros,
    with_base_topics,
)
from edge_assets_tests.stream_rig import table, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(600)]

OWN_POSITION = {"kafka_offset", "kafka_topic", "kafka_time"}
"""Cases that say where or when their record lies in the log cannot be written to a real one."""


HOSTILE = [
    (b"$edge/clock", b'{"boot":"b","offset_us":1%s}' % (b"0" * 30)),
    (b"$edge/clock", b'{"boot":"b","offset_us":1e999}'),
    (b"$edge/clock", b'{"boot":"b","offset_us":9223372036854775807}'),
    (b"$edge/clock", b"[" * 100_000),
    (b"$edge/clock", b"\xff"),
    (b"$edge/bridge", b'{"bridge":"x","incarnation":1%s}' % (b"0" * 30)),
    (b"$edge/bridge", b"null"),
    (b"$edge/anything", None),
    (b"odd/bridge/devices", b"[" * 100_000),
    (b"odd/bridge/devices", b'[{"ieee_address":"0x1","friendly_name":"do\\ud800or","definition":{"model":5,"vendor":[],'
     b'"description":{},"exposes":[{"type":7,"property":"a","unit":1,"value_min":NaN,"value_on":{"x":[]}}]}}]'),
    (b"odd/bridge/devices", b'[{"ieee_address":"0x1","friendly_name":"x","definition":{"exposes":[{"type":"numeric",'
     b'"property":"a","value_max":1%s}]}}]' % (b"0" * 400)),
    (b"odd/bridge/groups", b'[{"id":1%s,"friendly_name":"x"}]' % (b"0" * 5_000)),
]  # fmt: skip
"""What somebody could write to teach the stream something. It is a record like any other."""


def written_cases() -> list[Case]:
    lines = [json.loads(line) for path in sorted(CORPUS.glob("*.jsonl")) for line in path.read_text().split("\n")[:-1]]
    pairs = zip(lines, corpus(), strict=True)
    return [case for line, case in pairs if not OWN_POSITION & line.keys() and not teaches(case)]


def teaches(case: Case) -> bool:
    """It would change the world for the others."""
    devices = (b"bridge/devices", b"bridge/groups")
    return (
        case.record.topic.startswith(b"$edge/")
        or case.record.topic.endswith(devices)
        or case.expected.get("teaches", False)
    )


def write(settings: Settings, cases: list[Case]) -> None:
    """The corpus's world, then its records: offsets from 0, in this order."""
    from confluent_kafka import Producer

    told = json.loads((CORPUS / "network.json").read_text())
    topic = settings.bridge.routes[0].topic or ""
    kafka_log.ensure_topic(settings, topic)
    producer = Producer({**kafka_log.client_options(settings), "acks": "all"})

    def put(key: bytes, value: bytes | None, said: str | None) -> None:
        headers: list[Any] = [] if said is None else [(HEADER, said.encode())]
        producer.produce(topic, value, key, headers=headers)

    for teaching in told["taught"]:
        put(teaching["topic"].encode(), json.dumps(teaching["payload"]).encode(), header(micros(teaching["at"])))
    for boot, offset in told["clocks"].items():
        put(CLOCK_KEY.encode(), json.dumps({"boot": boot, "offset_us": offset}).encode(), header())
    for key, value in HOSTILE:
        put(key, value, header())
    for case in cases:
        put(case.record.topic, case.record.payload, case.record.header)
    assert producer.flush(60) == 0


def test_the_corpus_in_the_tables(settings: Settings, kafka: Settings) -> None:
    """No record of it fails a batch, and pyarrow (which takes no text that is not UTF-8) reads all of it."""
    told = json.loads((CORPUS / "network.json").read_text())
    ours = with_base_topics(settings, [*told["base_topics"], "odd"])
    bridge = settings.bridge.model_copy(update={"routes": (*settings.bridge.routes, *MORE_ROUTES)})
    ours = ours.model_copy(update={"bridge": bridge})
    cases = written_cases()
    assert len(cases) > 300
    write(ours, cases)
    first = len(told["taught"]) + len(told["clocks"]) + len(HOSTILE)
    with writer(ours) as process:
        until(lambda: len(table(ours, "bronze.events")) >= first + len(cases), "all records", process, 300)
        wanted = sum(row["readings"] for row in table(ours, "bronze.events"))
        until(lambda: sum(map(len, silver(ours))) >= wanted, "all that they gave", process, 300)
    found = decoded_rows(ours)
    assert sorted(found) == list(range(first + len(cases)))
    for offset, case in enumerate(cases, first):
        _visible(case, found[offset]).check(found[offset])
    outcomes = [(found[first - len(HOSTILE) + n].outcome, found[first - len(HOSTILE) + n].reason) for n in range(12)]
    assert outcomes == [("ignored", "control")] * 8 + [
        ("dead_letter", "bad_registry"),
        ("read", None),
        ("dead_letter", "bad_registry"),
        ("dead_letter", "bad_registry"),
    ]
    assert "do?or" in {row["device_name"] for row in table(ours, "silver.devices")}
    dead = sum(decoded.outcome == "dead_letter" for decoded in found.values())
    assert len(table(ours, "bronze.dead_letters")) == dead > 50


def _visible(case: Case, found: Decoded) -> Case:
    """What a record without readings says of its device and time is in no table, nor where an alert's time is from."""
    if found.readings or found.room:
        return case
    of_record = {"outcome", "reason", "readings", "refused", "true_received_at"}
    of_alert = {"alert", "event_time", "pending"} if found.alert else set()
    return replace(case, expected={k: v for k, v in case.expected.items() if k in of_record | of_alert})


def silver(settings: Settings) -> tuple[list[dict[str, Any]], ...]:
    """Readings, the messages of rooms, and the events of alerts."""
    return tuple(table(settings, f"silver.{name}") for name in ("readings", "room_telemetry", "alerts"))


def decoded_rows(settings: Settings) -> dict[int, Decoded]:
    """offset → what the tables say of the record."""
    readings = defaultdict(list)
    of_devices, of_rooms, of_alerts = silver(settings)
    for row in of_devices:
        readings[row["kafka_offset"]].append(row)
    rooms = {row["kafka_offset"]: row for row in of_rooms}
    columns = (*contract.ROOM_FIELDS, *json.loads((CORPUS / "network.json").read_text())["room_fields"])
    alerts = {row["kafka_offset"]: row for row in of_alerts}
    assert (len(rooms), len(alerts)) == (len(of_rooms), len(of_alerts))
    found = {}
    for row in table(settings, "bronze.events"):
        mine = readings.pop(row["kafka_offset"], [])
        room = rooms.pop(row["kafka_offset"], None)
        alert = alerts.pop(row["kafka_offset"], None)
        assert len(mine) + (room is not None) + (alert is not None) == row["readings"], row["key"]
        about = {name: mine[0][name] for name in ("device_id", "device_name", "model", "pending")} if mine else {}
        if mine:
            about["event_time"] = round(mine[0]["event_time"].timestamp() * 1e6)
            about["event_time_source"] = mine[0]["event_time_source"]
        if room:
            about |= {"device_id": room["room_id"], "device_name": room["room_id"], "pending": False}
            about |= {"room": {name: room[name] for name in columns}, "quality": room["quality"]}
            about["event_time"] = round(room["event_time"].timestamp() * 1e6)
            about["event_time_source"] = room["event_time_source"]
        if alert:
            since = {"since": round(alert["since"].timestamp() * 1e6)}
            about |= {"pending": False, "alert": {name: alert[name] for name in ALERT_COLUMNS} | since}
            about["event_time"] = round(alert["event_time"].timestamp() * 1e6)
        rows = tuple(Reading(r["measurement"], r["value"], r["text"], r["unit"], r["quality"]) for r in mine)
        received_at = round(row["received_at"].timestamp() * 1e6)
        found[row["kafka_offset"]] = Decoded(row["outcome"], row["reason"], received_at, rows, row["refused"], **about)
    assert not (readings or rooms or alerts), "no row without its record"
    return found
