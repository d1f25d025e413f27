"""What charts show is what a recompute in plain Python gives: buckets of all tiers; windows, alerts and anomalies."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from edge_assets.settings import RetentionRule, RetentionSettings, Settings
from edge_assets.tables import DEVICE_STATES, READINGS
from edge_assets.warehouse.rollups.expiry import expire_minutes
from edge_assets.warehouse.rollups.update import update
from edge_assets_tests.lake_tables import AT, state, write
from edge_assets_tests.serving_rig import (
    DAY,
    HOUR,
    MINUTE,
    alert_events,
    anomaly,
    home_of_readings,
    rooms,
    served,
    temperature,
)

Readings = list[tuple[datetime, float]]


def scattered(settings: Settings, count: int = 3_000, days: int = 40) -> Readings:
    """Readings of one series at any times, with days of silence among them."""
    draw = random.Random(7)
    found: Readings = []
    for _ in range(count):
        moment = AT + timedelta(seconds=round(draw.uniform(0, days * 86_400), 3))
        if moment.day % 7 != 3:
            found.append((moment, round(draw.uniform(-20, 40), 1)))
    rows = [temperature(number, moment, value) for number, (moment, value) in enumerate(found)]
    write(settings, READINGS, rows)
    update(settings)
    return found


def recomputed(readings: Readings, seconds: int, begin: float, end: float) -> dict[int, list[float]]:
    """bucket in ms → [mean, lowest, highest]"""
    buckets: dict[int, list[float]] = defaultdict(list)
    for moment, value in readings:
        if begin <= moment.timestamp() * 1_000 < end:
            buckets[int(moment.timestamp()) // seconds * seconds * 1_000].append(value)
    return {at: [sum(its) / len(its), min(its), max(its)] for at, its in sorted(buckets.items())}


def test_series_and_views_are_what_a_recompute_gives(settings: Settings) -> None:
    readings = scattered(settings)
    draw = random.Random(1)
    sources = set()
    with served(settings) as api:
        for number in range(60):
            begin = AT + timedelta(seconds=draw.uniform(-86_400, 39 * 86_400))
            end = begin + timedelta(seconds=draw.choice([600, 7_200, 86_400, 700_000, 3_000_000]) * draw.random())
            asked: dict[str, Any] = {"from": begin.isoformat(), "to": end.isoformat(), "points": draw.randint(1, 900)}
            series = api.get("/series", device="0x01", measurement="temperature", **asked)
            seconds = series["bucket_seconds"]
            sources.add(seconds)
            assert series["from"] <= begin.timestamp() * 1_000 and series["to"] >= end.timestamp() * 1_000 - 1
            expected = recomputed(readings, seconds, series["from"], series["to"])
            same(expected, {point[0]: point[1:] for point in series["points"]})
            assert len(series["points"]) <= asked["points"] + 1
            if number % 5 == 0:  # of a view the mean of means: of the same rows where it is read from the same tier
                rows = api.get("/views/grafana_climate", time="ms", **asked)
                assert [row["time"] for row in rows] == list(expected)
                for row in rows:
                    assert [row["min"], row["max"]] == expected[row["time"]][1:]
                    assert row["min"] <= row["value"] <= row["max"] and row["unit"] == "°C"
    assert {60} < sources and max(sources) >= 3_600, "all tiers were asked"


def same(expected: dict[int, list[float]], found: dict[int, list[float]]) -> None:
    assert list(found) == list(expected)
    for at, values in expected.items():
        assert found[at] == pytest.approx(values, rel=1e-9, abs=1e-9)


def test_a_gap_stays_a_gap(settings: Settings) -> None:
    home_of_readings(settings)
    update(settings)
    with served(settings) as api:
        asked = {"from": AT.isoformat(), "to": (AT + 10 * HOUR).isoformat(), "points": 100}
        series = api.get("/series", device="0x01", measurement="temperature", **asked)
    silent = (AT + HOUR).timestamp() * 1_000, (AT + 2 * HOUR).timestamp() * 1_000
    assert not [at for at, *_ in series["points"] if silent[0] <= at < silent[1]]
    assert len(series["points"]) == 9 * 60 / (series["bucket_seconds"] / 60)
    assert api is not None and series["unit"] == "°C"


def test_recent_minutes_are_as_they_are(settings: Settings) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    write(settings, READINGS, [temperature(n, now - n * MINUTE, 20 + n) for n in range(10)])
    update(settings)
    with served(settings) as api:
        series = api.get("/series", device="0x01", measurement="temperature", from_="-1h", to="now+1m")
    assert series["bucket_seconds"] == 60
    assert [point[1] for point in series["points"]] == [20.0 + n for n in reversed(range(10))]


def test_a_series_whose_unit_changed_is_shown_in_the_last_one(settings: Settings) -> None:
    rows = [temperature(n, AT + n * HOUR, 70, unit="°F") for n in range(3)]
    write(settings, READINGS, rows + [temperature(9, AT + 5 * HOUR, 21)])
    update(settings)
    with served(settings) as api:
        found = api.get("/series", device="0x01", measurement="temperature", **{"from": (AT - DAY).isoformat()})
        before = {"from": (AT - DAY).isoformat(), "to": (AT + 4 * HOUR).isoformat()}
        assert api.get("/series", device="0x01", measurement="temperature", **before)["unit"] == "°F"
    assert (found["unit"], [point[1] for point in found["points"]]) == ("°C", [21.0])


def test_sums_stay_sums_and_the_lowest_the_lowest(settings: Settings) -> None:
    """Energy of days put into buckets of weeks is what the days come to, and money too."""
    rows = []
    for day in range(20):
        at = AT + day * DAY
        own = {"device_id": "0x02", "device_name": "plug", "unit": "kWh"}
        rows.append(temperature(day, at, day * 2.0, measurement="energy", **own))
        rows.append(temperature(day + 50, at, 90 - day, measurement="battery", device_id="0x02", unit="%"))
    write(settings, READINGS, rows)
    update(settings)
    asked = {"from": AT.isoformat(), "to": (AT + 20 * DAY).isoformat(), "points": 3}
    with served(settings) as api:
        days = api.get("/views/grafana_energy_daily")
        weeks = api.get("/views/grafana_energy_daily", **asked)
        money = api.get("/views/energy_cost", **asked)
        levels = api.get("/views/grafana_batteries", **asked)
    assert len(weeks) < len(days) / 4
    assert sum(row["energy_kwh"] for row in weeks) == pytest.approx(sum(row["energy_kwh"] for row in days))
    assert sum(row["cost"] for row in money) == pytest.approx(38 * 0.3)
    assert min(row["battery_percent"] for row in levels) == 71


def test_doors_as_they_are_and_minute_by_minute(settings: Settings) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    rows = []
    for number, closed in enumerate([1, 1, 0, 0, 1, 0]):
        moment = now - (10 - number) * MINUTE
        own = {"measurement": "contact", "unit": None, "device_id": "0x09", "device_name": "front"}
        rows.append(temperature(number, moment, closed, **own))
    write(settings, READINGS, rows)
    update(settings)
    with served(settings) as api:
        (door,) = api.get("/views/grafana_doors")
        minutes = api.get("/views/grafana_door_states", from_="-1h", points=100)
        (hour,) = api.get("/views/grafana_door_states", from_="-3h", points=1)[-1:]
    assert (door["door"], door["open"]) == ("front", True)
    assert [row["open"] for row in minutes] == [0, 0, 1, 1, 0, 1]
    assert hour["open"] == 1, "open at any time in it"


def test_windows_of_rooms_by_the_range(settings: Settings) -> None:
    rooms(settings, count=240)
    with served(settings) as api:

        def ask(span: timedelta, **more: Any) -> list[dict[str, Any]]:
            asked = {"from": AT.isoformat(), "to": (AT + span).isoformat()}
            found: list[dict[str, Any]] = api.get("/views/grafana_room_windows", **asked, **more)
            return found

        short = ask(5 * MINUTE)
        assert [row["window_seconds"] for row in short] == [10.0] * 60
        assert short[0]["room"] == "Room 1" and short[1]["avg_temperature"] == 21.0
        wide = ask(3 * DAY)
        assert {row["window_seconds"] for row in wide} == {60.0} and len(wide) == 240, "of a long range, wider windows"
        fewer = ask(20 * MINUTE, points=40)
        assert len(fewer) == 40 and fewer[0]["motion_events"] == 12
        assert fewer[0]["avg_temperature"] == 22.5 and fewer[0]["min_temperature"] == 19.0
        assert ask(5 * MINUTE, room="r1") == ask(5 * MINUTE, room="Room 1") == short
        assert ask(5 * MINUTE, room="r2") == []
        assert api.get("/views/grafana_room_windows") == [], "of the last 24 hours, where nobody says from when"


def test_alerts_that_came_twice_count_once(settings: Settings) -> None:
    alert_events(settings)
    with served(settings) as api:
        alerts = api.get("/views/grafana_alerts")
        (day,) = api.get("/views/grafana_alert_counts", severity="warning,critical")
        assert api.get("/views/grafana_alerts", rule="other") == []
        assert api.get("/views/grafana_alerts", from_="2026-03-02") == []
    assert [(row["alert_id"], row["open"], row["seconds_to_clear"]) for row in alerts] == [
        ("a", False, 300.0),
        ("b", True, None),
    ]
    assert (alerts[0]["seconds_to_notify"], alerts[0]["device"]) == (1.0, "attic")
    assert (day["alerts"], day["cleared"], day["seconds_to_clear"]) == (2, 1, 300.0)
    assert day["time"] == "2026-03-01T00:00:00.000Z"


def test_anomalies(settings: Settings) -> None:
    anomaly(settings)
    with served(settings) as api:
        (found,) = api.get("/views/grafana_anomalies", measurement="temperature")
        (count,) = api.get("/views/grafana_anomaly_counts")
    assert (found["device"], found["type"], found["score"]) == ("attic", "spike", 9.5)
    assert (count["type"], count["anomalies"]) == ("spike", 1)


def test_minutes_that_have_gone_for_their_age_are_hours(settings: Settings) -> None:
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 200 * DAY
    home_of_readings(settings, begin, minutes=120)
    write(settings, READINGS, [temperature(9_999, begin + 190 * DAY, 20)])
    rules = RetentionSettings(readings=(RetentionRule(minutes_days=30),))
    settings = settings.model_copy(update={"retention": rules})
    update(settings)
    asked: dict[str, Any] = {"from": "-201d", "to": "-199d", "points": 5_000}
    with served(settings) as api:
        before = api.get("/series", device="0x02", measurement="power", **asked)
        assert before["bucket_seconds"] == 60 and len(before["points"]) == 120
        assert expire_minutes(settings) > 0
        after = api.get("/series", device="0x02", measurement="power", **asked)
        assert after["bucket_seconds"] == 3_600 and len(after["points"]) == 2
        assert len(api.get("/views/grafana_power", **asked)) == 2


def test_a_device_that_was_never_heard_is_listed(settings: Settings) -> None:
    write(settings, DEVICE_STATES, [state(1, "availability", value=0.0, device_id="0x07", device_name="cellar")])
    write(settings, READINGS, [temperature(1, AT, 20)])
    update(settings)
    with served(settings) as api:
        found = {device["name"]: device for device in api.get("/devices")}
    assert found["cellar"]["available"] is False and found["cellar"]["last_seen"] is None
