"""The simulated rooms and the Pico W: what they say stays within what such a room or sensor can say."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from statistics import correlation, mean, pstdev
from typing import Any

import pytest

from edge_assets.settings import SimulatorSettings
from edge_assets.sources import pico_w, rooms
from edge_assets.sources.message import Message
from edge_assets.sources.rooms import PROFILES
from edge_assets.sources.simulators import everything
from edge_assets.sources.zigbee2mqtt import START

HOURS = 3_600.0
FIELDS = [
    "room_id",
    "timestamp",
    "temperature",
    "humidity",
    "co2_ppm",
    "light_lux",
    "occupancy_count",
    "motion_detected",
    "energy_kwh",
    "air_quality_index",
]
LIMITED = ("temperature", "humidity", "co2_ppm", "light_lux", "occupancy_count", "air_quality_index")


def building(seconds: float, start: datetime = START, **settings: Any) -> list[Message]:
    told = rooms.messages(SimulatorSettings(**settings), start)
    return list(takewhile(lambda m: m.at_seconds <= seconds, told))


def by_room(messages: list[Message]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for message in messages:
        report = json.loads(message.payload)
        assert message.topic == f"building/{report['room_id']}/telemetry"
        found[report["room_id"]].append(report)
    return found


def pico(seconds: float, **settings: Any) -> list[Message]:
    told = pico_w.messages(SimulatorSettings(**settings), START)
    return list(takewhile(lambda m: m.at_seconds <= seconds, told))


@pytest.mark.parametrize("seed", [1, 7, 2_026])
def test_each_room_stays_within_its_limits_for_a_day(seed: int) -> None:
    found = by_room(building(24 * HOURS, seed=seed, rooms_interval_seconds=30))
    assert list(found) == [profile.room_id for profile in PROFILES]
    for profile in PROFILES:
        reports = found[profile.room_id]
        for field in LIMITED:
            low, high = getattr(profile, field)
            said = [report[field] for report in reports]
            assert low <= min(said) and max(said) <= high, (profile.room_id, field)
            clipped = sum(value in (low, high) for value in said) / len(said)
            assert field in ("occupancy_count", "light_lux") or clipped < 0.05, (
                f"{profile.room_id}: {field} is cut off, not lived"
            )
        meter = [report["energy_kwh"] for report in reports]
        assert all(before <= after for before, after in pairwise(meter)) and meter[-1] > meter[0]
        assert all(report["occupancy_count"] > 0 or not report["motion_detected"] for report in reports)


@pytest.mark.parametrize("seed", [1, 7])
def test_the_rooms_differ_as_their_names_say(seed: int) -> None:
    found = by_room(building(24 * HOURS, seed=seed, rooms_interval_seconds=30))

    def of(room: str, field: str) -> list[float]:
        return [report[field] for report in found[room]]

    used = {room: reports[-1]["energy_kwh"] - reports[0]["energy_kwh"] for room, reports in found.items()}
    assert max(used, key=lambda room: used[room]) == "server_room"
    assert min(used, key=lambda room: used[room]) == "storage_closet"
    assert max(found, key=lambda room: mean(of(room, "air_quality_index"))) == "lab_workshop"
    assert min(found, key=lambda room: mean(of(room, "humidity"))) == "server_room"
    assert max(of("kitchen", "humidity")) > 55, "it steams"
    assert 0 in of("conference_room", "occupancy_count") and max(of("conference_room", "occupancy_count")) >= 8
    assert set(of("executive_office", "occupancy_count")) == {0, 1}
    steady = {room: pstdev(of(room, "temperature")) for room in found}
    assert steady["storage_closet"] < 0.1 < steady["conference_room"] < steady["lab_workshop"] * 3
    assert steady["executive_office"] < 0.15


@pytest.mark.parametrize("room", ["conference_room", "kitchen", "lab_workshop", "open_office", "break_room"])
def test_co2_follows_people(room: str) -> None:
    """With the delay of the air: people are counted as the mean of the last ten minutes."""
    reports = by_room(building(24 * HOURS, rooms_interval_seconds=30))[room]
    people = [mean(report["occupancy_count"] for report in reports[n - 20 : n]) for n in range(20, len(reports))]
    assert correlation(people, [report["co2_ppm"] for report in reports[20:]]) > 0.7


def test_ten_fields_and_a_time_of_their_own() -> None:
    messages = building(10)
    assert {m.qos for m in messages} == {1} and not any(m.retain for m in messages)
    for message in messages:
        report = json.loads(message.payload)
        assert list(report) == FIELDS
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", report["timestamp"])
        late = datetime.fromisoformat(report["timestamp"]) - START - timedelta(seconds=message.at_seconds)
        assert abs(late) < timedelta(milliseconds=2)


def test_each_room_reports_twice_a_second_in_order() -> None:
    messages = building(59.999)
    assert len(messages) == 8 * 120
    assert [m.at_seconds for m in messages] == sorted(m.at_seconds for m in messages)
    for topic in {m.topic for m in messages}:
        assert [m.at_seconds for m in messages if m.topic == topic] == [n / 2 for n in range(120)]


def test_same_seed_same_bytes() -> None:
    assert building(60) == building(60) and pico(600) == pico(600)
    assert building(60) != building(60, seed=8) and pico(600) != pico(600, seed=8)


def test_a_room_does_not_change_with_the_number_of_rooms_or_the_other_devices() -> None:
    few = by_room(building(60, rooms=2, pico=False, doors=0, plugs=0))
    assert list(few) == ["server_room", "conference_room"]
    assert few == {room: reports for room, reports in by_room(building(60)).items() if room in few}
    assert pico(60, rooms=0, doors=9) == pico(60)
    assert building(60, rooms=0) == []


def test_a_meter_goes_on_after_a_new_start() -> None:
    before = by_room(building(6 * HOURS, rooms_interval_seconds=60))
    after = by_room(building(0.5, start=START + timedelta(hours=6)))
    for room, reports in after.items():
        assert reports[0]["energy_kwh"] == pytest.approx(before[room][-1]["energy_kwh"], abs=0.2)
        assert reports[0]["energy_kwh"] >= before[room][-2]["energy_kwh"]


def test_at_another_speed_the_timestamps_are_those_of_the_publication() -> None:
    (*_, last) = building(600, speed=60)
    assert json.loads(last.payload)["timestamp"] <= "2026-03-01T06:30:10.000Z"


def test_the_timestamps_follow_a_clock_that_is_set() -> None:
    began = [START.timestamp()]
    told = rooms.messages(SimulatorSettings(rooms=1), START, lambda: began[0])
    list(islice(told, 10))
    began[0] += 86_400
    assert json.loads(next(told).payload)["timestamp"] == "2026-03-02T06:30:05.000Z"


@pytest.mark.parametrize("seed", [1, 7, 2_026])
def test_a_pico_says_bare_numbers_of_its_sensors_resolution(seed: int) -> None:
    messages = pico(24 * HOURS, seed=seed)
    assert len(messages) == 3 * (24 * 720 + 1)
    said: dict[str, list[str]] = defaultdict(list)
    for message in messages:
        assert (message.qos, message.retain) == (0, False)
        said[message.topic].append(message.payload.decode())
    dht22, humidity, internal = (
        said["pico/temperature/dht22"],
        said["pico/humidity/dht22"],
        said["pico/temperature/internal"],
    )
    assert all(re.fullmatch(r"\d\d\.\d", value) for value in [*dht22, *humidity])
    assert all(re.fullmatch(r"\d\d\.\d\d", value) for value in internal)
    assert all(15 <= float(value) <= 28 for value in dht22) and all(25 <= float(value) <= 70 for value in humidity)
    assert max(map(float, dht22)) - min(map(float, dht22)) > 3, "a day is seen"
    steps = {round(float(b) - float(a), 2) for a, b in pairwise(sorted(set(internal)))}
    assert steps <= {0.46, 0.47, 0.93, 0.94}, "the steps of the chip's converter"
    assert mean(map(float, internal)) > mean(map(float, dht22)) + 4, "the chip is warm"


def test_all_devices_in_one_stream() -> None:
    kinds: dict[str, int] = defaultdict(int)
    times = []
    for message in takewhile(lambda m: m.at_seconds < 30, everything(SimulatorSettings())):
        kinds[message.topic.split("/")[0]] += 1
        times.append(message.at_seconds)
    assert times == sorted(times)
    assert kinds["building"] == 8 * 60 and kinds["pico"] == 3 * 6 and kinds["zigbee2mqtt"] > 20
    none = SimulatorSettings(rooms=0, pico=False)
    assert {m.topic.split("/")[0] for m in islice(everything(none), 100)} == {"zigbee2mqtt"}


def test_now_is_in_the_timestamps() -> None:
    first = next(m for m in everything(SimulatorSettings()) if m.topic.startswith("building/"))
    said = datetime.fromisoformat(json.loads(first.payload)["timestamp"])
    assert abs(said - datetime.now(UTC)) < timedelta(seconds=10)


def test_whose_topic_is_whose() -> None:
    simulated = SimulatorSettings(rooms=0)
    assert simulated.base_of("zigbee2mqtt/#") == "zigbee2mqtt" and simulated.base_of("pico/temperature/dht22") == "pico"
    assert simulated.base_of("building/kitchen/telemetry") is None, "there are no rooms"
    assert SimulatorSettings(enabled=False).base_of("pico/x") is None
