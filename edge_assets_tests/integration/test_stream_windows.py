"""Windows and sessions over rooms through the real stream writer, compared with a recompute of our own from bronze."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from random import Random
from statistics import fmean
from typing import Any

import pytest

from edge_assets import rooms
from edge_assets.platform import log as kafka_log
from edge_assets.settings import Settings, Window, WindowSettings
from edge_assets.warehouse.verify import verify
from edge_assets_tests.stream_rig import Log, damage, table, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(900)]

BEGIN = 1_790_000_000
"""seconds since 1970; a multiple of 5 and of 100"""
WINDOWS = WindowSettings(
    tables=(
        Window(name="telemetry_5s_agg", size_seconds=10, slide_seconds=5, publish=True),
        Window(name="telemetry_1m_agg", size_seconds=60),
    ),
    watermark_seconds=20,
    idle_seconds=10,
    session_gap_seconds=30,
    repair_minutes=0.05,
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"windows": WINDOWS})


def of_room(settings: Settings, name: str) -> str:
    return str(settings.bridge.routes[2].topic).replace("<room>", name)


class Rooms:
    """Puts messages of rooms into the log and remembers them."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self._settings, self._log = settings, log
        self.said: list[tuple[str, float, dict[str, Any]]] = []

    def say(self, room: str, at: float, arrived: float | None = None, **fields: Any) -> None:
        """`at`, `arrived`: seconds after `BEGIN`."""
        stamp = datetime.fromtimestamp(BEGIN + at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        payload = {"room_id": room, "timestamp": stamp, **fields}
        received = int((BEGIN + (at + 0.2 if arrived is None else arrived)) * 1e6)
        topic = of_room(self._settings, room)
        self._log.put(f"building/{room}/telemetry", payload, topic, at=received)
        self.said.append((room, at, fields))


def expected_windows(
    said: list[tuple[str, float, dict[str, Any]]], size: int, step: int
) -> dict[tuple, dict[str, Any]]:
    """(room, seconds after BEGIN at which it begins) → figures, from the messages themselves."""
    held: dict[tuple, list[dict[str, Any]]] = defaultdict(list)
    for room, at, fields in said:
        last = (BEGIN + at) // step * step - BEGIN
        for back in range(0, size, step):
            if last - back + size > at:
                held[room, last - back].append(fields)
    return {key: _figures(messages) for key, messages in held.items()}


def _figures(messages: list[dict[str, Any]]) -> dict[str, Any]:
    def of(name: str) -> list[float]:
        return [m[name] for m in messages if m.get(name) is not None and -60 <= m[name] <= 100_000]

    temperatures = [value for value in of("temperature") if value <= 150]
    return {
        "avg_temperature": pytest.approx(fmean(temperatures)) if temperatures else None,
        "max_temperature": max(temperatures, default=None),
        "avg_co2": pytest.approx(fmean(of("co2_ppm"))) if of("co2_ppm") else None,
        "max_occupancy": max(of("occupancy_count"), default=None),
        "motion_events": sum(m.get("motion_detected", False) for m in messages),
    }


def found_windows(settings: Settings, name: str) -> dict[tuple, dict[str, Any]]:
    rows = table(settings, name)
    names = ("avg_temperature", "max_temperature", "avg_co2", "max_occupancy", "motion_events")
    found = {(row["room_id"], row["window_start"].timestamp() - BEGIN): {n: row[n] for n in names} for row in rows}
    assert len(found) == len(rows), "a window is there twice"
    return found


def are_right(settings: Settings, name: str, expected: dict[tuple, dict[str, Any]]) -> bool:
    return found_windows(settings, name) == expected


def _sql_time(at: float) -> str:
    return (
        f"arrow_cast('{datetime.fromtimestamp(BEGIN + at, UTC).isoformat()}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
    )


def expected_sessions(said: list[tuple[str, float, dict[str, Any]]], gap: float) -> list[tuple]:
    sessions: list[list] = []
    for room, at, fields in sorted(said, key=lambda one: one[:2]):
        if fields.get("occupancy_count"):
            if sessions and sessions[-1][0] == room and at - sessions[-1][2] <= gap:
                sessions[-1][2:] = at, max(sessions[-1][3], fields["occupancy_count"])
            else:
                sessions.append([room, at, at, fields["occupancy_count"]])
    return [tuple(session) for session in sessions]


def found_sessions(settings: Settings) -> list[tuple]:
    def after(time: datetime) -> float:
        return round(time.timestamp() - BEGIN, 3)

    rows = table(settings, "gold.sessions")
    return sorted((r["room_id"], after(r["session_start"]), after(r["session_end"]), r["peak_occupancy"]) for r in rows)


def published(settings: Settings, room: str) -> Iterator[dict[str, Any]]:
    from confluent_kafka import Consumer, TopicPartition

    topic = of_room(settings, room) + ".downsampled"
    consumer = Consumer({**kafka_log.client_options(settings), "group.id": "test", "enable.auto.commit": False})
    try:
        end = consumer.get_watermark_offsets(TopicPartition(topic, 0), 10)[1]
        consumer.assign([TopicPartition(topic, 0, 0)])
        for _ in range(end):
            message = consumer.poll(10)
            assert message is not None and message.error() is None
            assert message.key() == room.encode()
            yield json.loads(message.value() or b"")
    finally:
        consumer.close()


def minutes_of_life(random: Random) -> Iterator[tuple[float, str, float, dict[str, Any]]]:
    """(arrival, room, event time, fields) of three rooms over four minutes; one in twenty is late and out of order,
    some of these behind the watermark."""
    for second in range(0, 240, 2):
        for room in ("lab", "hall", "attic"):
            at = round(second + random.random(), 3)
            late = random.choice((5, 15, 40, 90)) * random.random() if random.random() < 0.05 else 0.2
            people = 2 if room == "lab" and (40 < at < 80 or at > 130) else 0
            fields = {"temperature": random.uniform(18, 25), "co2_ppm": random.randint(400, 900)}
            fields |= {"occupancy_count": people, "motion_detected": random.random() < 0.3}
            if random.random() < 0.02:
                fields["temperature"] = 900.0  # beyond what °C can be
            yield at + late, room, at, fields


def test_windows_and_sessions_equal_a_recompute_with_late_messages_and_a_kill(settings: Settings, kafka: Settings):
    log = Log(settings)
    said = Rooms(settings, log)
    rooms.describe(settings, "lab", room_name="Laboratory", floor="1", room_type="office")
    arrivals = sorted(minutes_of_life(Random(5)), key=lambda one: one[0])
    half = len(arrivals) // 2
    with writer(settings) as process:
        for begin in range(0, half, 30):
            for arrived, room, at, fields in arrivals[begin : min(begin + 30, half)]:
                said.say(room, at, arrived, **fields)
            log.flush()
            until(lambda: len(table(settings, "silver.room_telemetry")) == log.written, "a part", process, 300)
        until(
            lambda: ("lab", 5.0) in found_windows(settings, "gold.telemetry_5s_agg"), "the first windows", process, 300
        )
        said.say("lab", 7.0, 100, temperature=35.0)  # they are written: this one corrects them
        log.flush()
        rooms.describe(settings, "hall", room_name="Entrance hall")
        process.kill()
    for arrived, room, at, fields in arrivals[half:]:
        said.say(room, at, arrived, **fields)
    log.flush()
    with writer(settings) as process:
        for name, size, step in (("gold.telemetry_5s_agg", 10, 5), ("gold.telemetry_1m_agg", 60, 60)):
            expected = expected_windows(said.said, size, step)
            until(partial(are_right, settings, name, expected), f"{name}, whole and right", process, 300)
        until(lambda: found_sessions(settings) == expected_sessions(said.said, 30), "the sessions", process, 300)
        assert verify(settings).holds
        # A repair that takes messages away leaves some windows with less, and two with none.
        span = f"event_time >= {_sql_time(100)} AND event_time < {_sql_time(115)}"
        damage(settings, "silver.room_telemetry", f"room_id = 'attic' AND {span}")
        said.say("hall", 241.0, 242, temperature=20.0)  # the next commit is where the writer sees somebody else's
        log.flush()
        attic_speaks_less = [one for one in said.said if not (one[0] == "attic" and 100 <= one[1] < 115)]
        expected = expected_windows(attic_speaks_less, 10, 5)
        assert len(expected) == len(expected_windows(said.said, 10, 5)) - 2
        until(
            partial(are_right, settings, "gold.telemetry_5s_agg", expected),
            "the windows without these",
            process,
            300,
        )
    rows = table(settings, "gold.telemetry_5s_agg")
    names = {(row["room_id"], row["room_name"], row["floor"]) for row in rows}
    assert names == {
        ("lab", "Laboratory", "1"),
        ("hall", None, None),
        ("hall", "Entrance hall", None),
        ("attic", None, None),
    }
    told: dict[tuple, dict[str, Any]] = {}
    corrections = withdrawn = 0
    for window in (window for room in ("lab", "hall", "attic") for window in published(settings, room)):
        key = window["room_id"], window["window_start"]
        if key in told and not window["correction"]:
            assert {**told[key], "correction": False} == window, "a repeat with another content"
        told[key] = window
        corrections += window["correction"]
        if window.get("withdrawn"):
            assert told.pop(key)["avg_temperature"] is None
            withdrawn += 1
    assert corrections > 0 and withdrawn == 2
    in_table = {
        (r["room_id"], r["window_start"].isoformat(timespec="milliseconds").replace("+00:00", "Z")): r for r in rows
    }
    assert told.keys() == in_table.keys()
    for key, window in told.items():
        for name in ("site", "avg_temperature", "max_co2", "motion_events", "min_air_quality"):
            assert window[name] == in_table[key][name], (key, name)
