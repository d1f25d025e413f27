"""The stream writer on a real Kafka and a real lake: what is in the log is in the tables, once."""

from __future__ import annotations

from typing import Any

import pytest

from edge_assets.log_record import BARRIER_KEY
from edge_assets.service import read_status
from edge_assets.settings import Settings
from edge_assets_tests.stream_rig import Log, records, table, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(300)]


@pytest.fixture
def log(settings: Settings, kafka: Settings) -> Log:
    return Log(settings)


DEVICES: list[dict[str, Any]] = [
    {"ieee_address": "0x00", "friendly_name": "Coordinator", "type": "Coordinator"},
    {
        "ieee_address": "0xd1",
        "friendly_name": "door",
        "type": "EndDevice",
        "definition": {
            "model": "SNZB-04P",
            "vendor": "SONOFF",
            "description": "Contact sensor",
            "exposes": [
                {"type": "binary", "property": "contact", "value_on": False, "value_off": True},
                {"type": "numeric", "property": "voltage", "unit": "mV"},
                {"type": "numeric", "property": "battery", "unit": "%", "value_min": 0, "value_max": 100},
            ],
        },
    },
]


def test_each_record_has_its_one_outcome_and_its_readings(settings: Settings, log: Log) -> None:
    log.put("zigbee2mqtt/bridge/devices", DEVICES)
    log.put("zigbee2mqtt/bridge/groups", [{"id": 3, "friendly_name": "Lights"}])
    log.put("zigbee2mqtt/door", {"contact": True, "voltage": 3000, "battery": 101, "note": "21,5", "update": {"x": 1}})
    log.put("zigbee2mqtt/door/availability", "offline")
    log.put("zigbee2mqtt/door/voltage", "2900")
    log.put("zigbee2mqtt/Lights", {"state": "ON"})
    log.put("zigbee2mqtt/door/set", {"state": "ON"})
    log.put("zigbee2mqtt/bridge/logging", {"level": "info"})
    log.put("zigbee2mqtt/door", b"")
    log.put("zigbee2mqtt/door", b"\xff{")
    log.put("zigbee2mqtt/door", '{"a":1}{"b":2}')
    log.put("zigbee2mqtt/door", '{"a":1,"a":2}')
    log.put("elsewhere/door", {"a": 1})
    log.put("zigbee2mqtt/door", {"contact": False}, retain=True)
    log.put("zigbee2mqtt/door/availability", "online", retain=True)
    log.flush()
    with writer(settings) as process:
        until(lambda: len(records(settings)) == log.written, "all records", process)
        until(lambda: len(table(settings, "silver.readings")) == 6, "all readings", process)
    found = [(row["outcome"], row["reason"], row["readings"], row["refused"]) for row in records(settings)]
    assert found == [
        ("read", None, 0, 0),
        ("read", None, 0, 0),
        ("read", None, 4, 1),
        ("read", None, 1, 0),
        ("read", None, 1, 0),
        ("ignored", "group", 0, 0),
        ("ignored", "command", 0, 0),
        ("ignored", "bridge", 0, 0),
        ("tombstone", None, 0, 0),
        ("dead_letter", "not_utf8", 0, 0),
        ("dead_letter", "bad_json", 0, 0),
        ("dead_letter", "duplicate_keys", 0, 0),
        ("dead_letter", "no_decoder", 0, 0),
        ("ignored", "retained", 0, 0),
        ("ignored", "retained", 0, 0),
    ]
    states = table(settings, "silver.device_states")
    assert {(row["device_id"], row["measurement"], row["value"], row["text"]) for row in states} == {
        ("0xd1", "contact", 0.0, None),
        ("0xd1", "availability", 1.0, "online"),
    }
    readings = {
        (row["kafka_offset"], row["measurement"]): (row["value"], row["text"], row["unit"], row["quality"])
        for row in table(settings, "silver.readings")
    }
    assert readings == {
        (2, "contact"): (1.0, None, None, "good"),
        (2, "voltage"): (3000.0, None, "mV", "good"),
        (2, "battery"): (101.0, None, "%", "implausible"),
        (2, "update.x"): (1.0, None, None, "good"),
        (3, "availability"): (0.0, "offline", None, "good"),
        (4, "voltage"): (2900.0, None, "mV", "good"),
    }
    assert {row["device_id"] for row in table(settings, "silver.readings")} == {"0xd1"}
    assert len(table(settings, "bronze.dead_letters")) == 4


def test_it_resumes_from_the_tables_without_a_checkpoint(settings: Settings, log: Log) -> None:
    for number in range(50):
        log.put("zigbee2mqtt/door", {"voltage": number})
    log.flush()
    with writer(settings) as process:
        until(lambda: len(table(settings, "silver.readings")) == 50, "the first half", process)
    for number in range(50, 100):
        log.put("zigbee2mqtt/door", {"voltage": number})
    log.flush()
    with writer(settings) as process:
        until(lambda: len(table(settings, "silver.readings")) >= 100, "the second half", process)
    assert sorted(row["value"] for row in table(settings, "silver.readings")) == list(map(float, range(100)))
    assert [row["kafka_offset"] for row in records(settings)] == list(range(100))


def test_readings_of_a_device_that_is_described_later_are_resolved(settings: Settings, log: Log) -> None:
    log.put("zigbee2mqtt/door", {"contact": True, "voltage": "three"})
    log.flush()
    with writer(settings) as process:
        before = until(lambda: table(settings, "silver.readings"), "the pending readings", process)
        assert {(row["device_id"], row["pending"]) for row in before} == {("door", True)}
        log.put("zigbee2mqtt/bridge/devices", DEVICES)
        log.flush()

        def resolved() -> list[dict[str, Any]]:
            rows = table(settings, "silver.readings")
            return rows if all(row["device_id"] == "0xd1" for row in rows) else []

        after = until(resolved, "the resolved readings", process)
    assert [(row["measurement"], row["value"], row["pending"]) for row in after] == [("contact", 1.0, False)]
    assert [(row["readings"], row["refused"]) for row in records(settings)] == [(1, 1), (0, 0)]


def test_a_rename_changes_the_name_only(settings: Settings, log: Log) -> None:
    renamed = [DEVICES[0], {**DEVICES[1], "friendly_name": "front/door"}]
    log.put("zigbee2mqtt/bridge/devices", DEVICES)
    log.put("zigbee2mqtt/door", {"voltage": 1})
    log.put("zigbee2mqtt/bridge/devices", renamed)
    log.put("zigbee2mqtt/door", b"")
    log.put("zigbee2mqtt/front/door", {"voltage": 2})
    log.flush()
    with writer(settings) as process:
        until(lambda: len(table(settings, "silver.readings")) == 2, "the readings", process)
    rows = sorted(table(settings, "silver.readings"), key=lambda row: row["value"])
    assert [(row["device_id"], row["device_name"], row["unit"]) for row in rows] == [
        ("0xd1", "door", "mV"),
        ("0xd1", "front/door", "mV"),
    ]


def test_the_last_words_of_a_dead_bridge_are_fenced(settings: Settings, log: Log) -> None:
    log.put("zigbee2mqtt/door", {"voltage": 1}, inc=1)
    log.put(BARRIER_KEY, {"bridge": "bridge", "incarnation": 2, "epoch": "e"}, inc=2)
    log.put("zigbee2mqtt/door", {"voltage": 2}, inc=1)
    log.put("zigbee2mqtt/door", {"voltage": 2}, inc=2, dup=True)
    log.flush()
    with writer(settings) as process:
        until(lambda: len(records(settings)) == 4, "all records", process)
        log.put("zigbee2mqtt/door", {"voltage": 3}, inc=1)
        log.flush()
        until(lambda: len(records(settings)) == 5, "a later batch", process)
    assert [(row["outcome"], row["reason"]) for row in records(settings)] == [
        ("read", None),
        ("ignored", "control"),
        ("ignored", "fenced"),
        ("read", None),
        ("ignored", "fenced"),
    ]


def test_a_dead_letter_is_redriven_after_its_cause_is_mended(settings: Settings, log: Log) -> None:
    log.put("attic/door", {"voltage": 7})
    log.put("attic/door", "{")
    log.flush()
    with writer(settings) as process:
        until(lambda: len(table(settings, "bronze.dead_letters")) == 2, "the dead letters", process)
    mended = settings.model_copy(
        update={"stream": settings.stream.model_copy(update={"base_topics": ("zigbee2mqtt", "attic")})}
    )
    from edge_assets.stream.requests import redrive

    with writer(mended) as process:

        def mine() -> bool:
            status = read_status(mended, "stream_writer")
            return status.get("pid") == process.pid and "batch" in status

        until(mine, "the writer", process)
        assert redrive(mended) == {"looked_at": 2, "read": 1}
        assert redrive(mended) == {"looked_at": 1}
    assert [row["reason"] for row in table(settings, "bronze.dead_letters")] == ["no_decoder"]
    assert [(row["outcome"], row["readings"]) for row in records(settings)] == [("read", 1), ("dead_letter", 0)]
    assert [row["value"] for row in table(settings, "silver.readings")] == [7.0]
