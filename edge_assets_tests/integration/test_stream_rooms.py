"""Rooms through the real stream writer: typed rows, topics that come up while it runs, and the proof over all of it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import pytest

from edge_assets.alert_record import AlertEvent
from edge_assets.settings import Settings
from edge_assets.warehouse.verify import verify
from edge_assets_tests.stream_rig import START, Log, records, table, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(300)]


def of_room(settings: Settings, name: str) -> str:
    return str(settings.bridge.routes[2].topic).replace("<room>", name)


def fired(number: int) -> AlertEvent:
    """An event whose times are those at which a test's `Log` is received."""
    at = START + 1_000_000 * number
    about = ("device", "0x01", "door", "contact", 0.0, None)
    return AlertEvent(f"a-{number}", "a", "firing", "door-open", "warning", *about, at - 60_000_000, at, "door is open")


def test_rooms_alerts_and_bare_topics_arrive_also_of_rooms_that_speak_for_the_first_time(
    settings: Settings, kafka: Settings
):
    log = Log(settings)
    log.put("pico/temperature/dht22", "21.5\n")
    log.put(
        "building/lab/telemetry",
        {"room_id": "lab", "temperature": 21.5, "motion_detected": True},
        of_room(settings, "lab"),
    )
    log.put("building/lab/telemetry", {"temperature": "warm"}, of_room(settings, "lab"))
    log.flush()
    with writer(settings) as process:
        until(lambda: len(records(settings)) == 3, "the first records", process)
        for number in range(20):
            payload = {
                "temperature": number,
                "co2_ppm": None if number % 2 else "NaN",
                "timestamp": "2026-09-21T14:13:20Z",
            }
            log.put("building/kitchen/telemetry", payload, of_room(settings, "kitchen"))
        log.put("zigbee2mqtt/door", {"contact": True})
        for number in (1, 2):
            log.put(fired(number).topic, fired(number).encode(), settings.bridge.routes[3].topic)
        log.put("edge/alerts/door-open", {"rule": "door-open"}, settings.bridge.routes[3].topic)
        log.flush()
        until(lambda: len(records(settings)) == log.written, "the kitchen", process)
        until(lambda: len(table(settings, "silver.room_telemetry")) == 21, "its rows", process)
        until(lambda: len(table(settings, "silver.readings")) == 2, "the readings", process)
    readings = {row["measurement"]: row for row in table(settings, "silver.readings")}
    bare = readings["temperature"]
    assert (bare["device_id"], bare["value"], bare["unit"], bare["pending"]) == ("pico/dht22", 21.5, "°C", False)
    rows = table(settings, "silver.room_telemetry")
    (lab,) = [row for row in rows if row["room_id"] == "lab"]
    assert (lab["temperature"], lab["motion_detected"], lab["co2_ppm"], lab["site"]) == (
        21.5,
        True,
        None,
        settings.site,
    )
    kitchen = sorted((row for row in rows if row["room_id"] == "kitchen"), key=lambda row: row["kafka_offset"])
    assert [row["temperature"] for row in kitchen] == list(map(float, range(20)))
    assert {row["event_time"] for row in kitchen} == {datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)}
    letters = {row["key"]: row["reason"] for row in table(settings, "bronze.dead_letters")}
    assert letters == {"building/lab/telemetry": "wrong_type", "edge/alerts/door-open": "bad_alert"}
    alerts = sorted(table(settings, "silver.alerts"), key=lambda row: row["event_id"])
    assert [(row["event_id"], row["transition"], row["value"]) for row in alerts] == [
        ("a-1", "firing", 0.0),
        ("a-2", "firing", 0.0),
    ]
    assert (alerts[0]["since"], alerts[0]["event_time"]) == (
        datetime.fromtimestamp(START / 1e6 - 59, UTC),
        datetime.fromtimestamp(START / 1e6 + 1, UTC),
    )
    gave = {row["key"]: (row["readings"], row["refused"]) for row in records(settings) if row["kafka_offset"] == 0}
    assert gave["building/kitchen/telemetry"] == (1, 1)
    report = verify(settings)
    assert report.holds, report
    assert {part.topic for part in report.partitions} >= {
        log.topic,
        of_room(settings, "lab"),
        of_room(settings, "kitchen"),
    }


def has_more_than(settings: Settings, count: int) -> bool:
    return len(table(settings, "silver.room_telemetry")) > count


@pytest.mark.slow  # four starts of Spark; the kills of a whole platform have a room among their sources
def test_a_room_is_resumed_from_the_tables(settings: Settings, kafka: Settings):
    log = Log(settings)
    for start in (0, 30, 60):
        for number in range(start, start + 30):
            log.put("building/lab/telemetry", {"temperature": number}, of_room(settings, "lab"))
        log.flush()
        with writer(settings) as process:
            until(partial(has_more_than, settings, start), "rows", process)
            process.kill()
    with writer(settings) as process:
        until(lambda: len(table(settings, "silver.room_telemetry")) >= 90, "all rows", process)
    found = sorted(row["temperature"] for row in table(settings, "silver.room_telemetry"))
    assert found == list(map(float, range(90)))
    assert verify(settings).holds
