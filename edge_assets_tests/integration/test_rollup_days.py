"""What a day's energy, doors and rooms come to, in cases that a person can check by eye."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from edge_assets.settings import Settings
from edge_assets.tables import READINGS
from edge_assets.warehouse.rollups.update import update
from edge_assets_tests.integration.test_rollups import House
from edge_assets_tests.lake_tables import AT, reading, write
from edge_assets_tests.rollup_reference import assert_equal_to_a_recompute, told

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOON = AT


class Told:
    """Says values of one measurement at hours from noon of the first day."""

    def __init__(self, settings: Settings, measurement: str, unit: str | None = None) -> None:
        self.settings, self.measurement, self.unit, self.number = settings, measurement, unit, 0

    def __call__(self, *values: tuple[float, float], unit: str | None = None) -> None:
        found = []
        for hours, value in values:
            self.number += 1
            at = NOON + hours * HOUR
            own = {"event_time": at, "received_at": at, "date": at.date(), "unit": unit or self.unit}
            found.append(reading(self.number, self.measurement, value=value, **own))
        write(self.settings, READINGS, found)
        update(self.settings)
        assert_equal_to_a_recompute(self.settings)


def by_day(settings: Settings, rollup: str, column: str) -> dict[int, Any]:
    """Day of March → value."""
    return {key[0].day: round(row[column], 6) for key, row in sorted(told(settings, rollup).items())}


@pytest.mark.parametrize(
    ("values", "kwh", "resets", "jumps"),
    [
        ([(0, 10), (1, 10.5), (2, 11)], 1.0, 0, 0),
        ([(0, 10), (1, 10.5), (2, 0.1), (3, 0.6)], 1.0, 1, 0),
        ([(0, 10), (1, 10), (2, 10)], 0.0, 0, 0),
        ([(0, 10), (1, 10_000), (2, 10_000.5)], 0.5, 0, 1),
        ([(0, 0.8), (1, 800), (2, 0.9)], 0.0, 1, 1),
        ([(0, 10), (1, 500), (2, 501)], 1.0, 0, 1),
        ([(0, 0), (1, 0.4)], 0.4, 0, 0),
        ([(0, 7)], 0.0, 0, 0),
    ],
    ids=["grows", "reset", "idle", "thousandfold", "thousandfold and back", "over 100 kW", "from nought", "first"],
)
def test_energy_whatever_the_counter_does(
    settings: Settings, values: list[tuple[float, float]], kwh: float, resets: int, jumps: int
) -> None:
    Told(settings, "energy", "kWh")(*values)
    (row,) = told(settings, "energy_daily").values()
    assert (round(row["energy_kwh"], 6), row["resets"], row["jumps"]) == (kwh, resets, jumps)


def test_energy_in_watt_hours_and_over_days_of_silence(settings: Settings) -> None:
    say = Told(settings, "energy", "Wh")
    say((0, 1_000), (6, 1_500))
    say((13, 1_700))  # 1 o'clock of the next day: compared with the last one of the day before
    say((13 + 24 * 9, 3_700))
    assert by_day(settings, "energy_daily", "energy_kwh") == {1: 0.5, 2: 0.2, 11: 2.0}
    say((-24, 700), (8, 1_600))  # late: the day before, and between two that are known
    assert by_day(settings, "energy_daily", "energy_kwh") == {28: 0.0, 1: 0.9, 2: 0.1, 11: 2.0}


def test_a_counter_that_changes_its_unit_goes_on(settings: Settings) -> None:
    say = Told(settings, "energy")
    say((0, 1_000), unit="Wh")
    say((24, 1.25), unit="kWh")
    assert by_day(settings, "energy_daily", "energy_kwh") == {1: 0.0, 2: 0.25}


def test_a_door_that_stands_open_over_midnight(settings: Settings) -> None:
    say = Told(settings, "contact")
    say((0, 1), (10, 0))  # opened at 22:00, nothing since: how long is not known yet
    assert by_day(settings, "door_activity", "open_seconds") == {1: 0.0}
    say((14, 1))  # closed at 2:00
    assert by_day(settings, "door_activity", "open_seconds") == {1: 7_200.0, 2: 7_200.0}
    assert by_day(settings, "door_activity", "openings") == {1: 1, 2: 0}
    assert by_day(settings, "door_activity", "closings") == {1: 0, 2: 1}
    say((12.5, 0), (13, 0))  # late, and changing nothing
    assert by_day(settings, "door_activity", "longest_open_seconds") == {1: 7_200.0, 2: 7_200.0}


def test_a_day_on_which_the_door_only_stood_open(settings: Settings) -> None:
    Told(settings, "contact")((0, 1), (6, 0), (29, 0), (40, 1))
    # Open from 18:00; a report at 17:00 of the next day, and closed at 4:00 of the day after that.
    assert by_day(settings, "door_activity", "open_seconds") == {1: 6 * 3600.0, 2: 24 * 3600.0, 3: 4 * 3600.0}
    assert by_day(settings, "door_activity", "readings") == {1: 2, 2: 1, 3: 1}


def test_silence_of_more_than_a_day_ends_an_opening(settings: Settings) -> None:
    Told(settings, "contact")((0, 0), (24 * 6, 1))
    assert by_day(settings, "door_activity", "open_seconds") == {1: 12 * 3600.0, 2: 12 * 3600.0, 7: 0.0}
    assert by_day(settings, "door_activity", "closings") == {1: 0, 2: 0, 7: 1}


def test_implausible_values_and_texts_are_in_no_bucket_but_are_heard(settings: Settings) -> None:
    at = {"event_time": NOON, "unit": "°C"}
    write(
        settings,
        READINGS,
        [
            reading(1, "temperature", value=21.0, quality="good", **at),
            reading(2, "temperature", value=85.0, quality="clock_unsynchronised implausible", **at),
            reading(3, "temperature", value=23.0, quality="time_implausible maybe_repeat", **at),
            reading(4, "action", value=None, text="single", event_time=NOON + HOUR),
        ],
    )
    update(settings)
    (row,) = told(settings, "readings_1h").values()
    assert (row["n"], row["min"], row["max"], row["avg"]) == (2, 21.0, 23.0, 22.0)
    (heard,) = told(settings, "messages_daily").values()
    assert heard["messages"] == 2 and heard["last_at"] == NOON + HOUR


def test_a_room_s_comfort_by_the_hour(settings: Settings) -> None:
    house = House(settings)
    good = {"temperature": 21.0, "humidity": 45.0, "co2_ppm": 700.0}
    house.append_rooms(
        [house.room("office", NOON + timedelta(minutes=n), **good, occupancy_count=n % 2) for n in range(4)]
    )
    house.append_rooms([house.room("office", NOON + HOUR, **{**good, "co2_ppm": 1_200.0}, motion_detected=True)])
    house.append_rooms([house.room("office", NOON + 2 * HOUR, temperature=29.0)])
    house.append_rooms([house.room("office", NOON + 3 * HOUR, light_lux=300.0)])
    update(settings)
    assert_equal_to_a_recompute(settings)
    rows = sorted(told(settings, "room_comfort").items())
    assert [row["comfort"] for _, row in rows] == ["good", "fair", "poor", None]
    assert [row["occupied_share"] for _, row in rows] == [0.5, 1.0, None, None]


def test_rooms_without_a_table_of_readings_and_with_a_column_more(settings: Settings) -> None:
    import pyarrow as pa
    from deltalake import write_deltalake

    house = House(settings)
    house.append_rooms([house.room("lab", NOON, temperature=20.0)])
    update(settings)
    assert_equal_to_a_recompute(settings)
    more = [{**house.room("lab", NOON + HOUR, temperature=22.0), "room_name": "The lab", "noise_db": 40.0}]
    path = settings.lake_path / "silver" / "room_telemetry"
    table = pa.Table.from_pylist(more)
    table = table.set_column(table.column_names.index("kafka_partition"), "kafka_partition", pa.array([0], pa.int32()))
    write_deltalake(path, table, mode="append", schema_mode="merge")
    update(settings)
    assert {row["device_name"] for row in told(settings, "readings_1h").values()} == {"lab", "The lab"}


def test_days_are_utc_whatever_the_machine_s_zone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        at = datetime.fromisoformat("2026-03-01T23:59:59+00:00")
        write(settings, READINGS, [reading(1, "energy", value=1.0, event_time=at)])
        update(settings)
        assert {key[0] for key in told(settings, "energy_daily")} == {date(2026, 3, 1)}
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
