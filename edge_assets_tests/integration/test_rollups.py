"""Rollups over real Delta tables: whatever happens to silver, each bucket is what a recompute from silver gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from edge_assets.settings import Settings
from edge_assets.tables import READINGS
from edge_assets.warehouse.rollups import layout
from edge_assets.warehouse.rollups.model import READINGS_1M
from edge_assets.warehouse.rollups.update import rebuild_all, rebuild_days, update
from edge_assets_tests.lake_tables import AT, position, reading, schema, write
from edge_assets_tests.rollup_reference import assert_equal_to_a_recompute, assert_same, told

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
UNITS = {"temperature": "°C", "energy": "kWh", "battery": "%", "linkquality": "lqi", "contact": None}
QUALITIES = ("good", "good", "good", "good", "time_implausible", "implausible", "clock_unsynchronised implausible")

ROOM_SCHEMA = pa.schema(
    [
        ("site", pa.string()),
        ("room_id", pa.string()),
        ("event_time", pa.timestamp("us", "UTC")),
        ("event_time_source", pa.string()),
        ("quality", pa.string()),
        ("temperature", pa.float64()),
        ("humidity", pa.float64()),
        ("co2_ppm", pa.float64()),
        ("light_lux", pa.float64()),
        ("occupancy_count", pa.int64()),
        ("motion_detected", pa.bool_()),
        ("energy_kwh", pa.float64()),
        ("air_quality_index", pa.float64()),
        ("log_id", pa.string()),
        ("kafka_topic", pa.string()),
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
        ("received_at", pa.timestamp("us", "UTC")),
        ("date", pa.date32()),
    ]
)


class House:
    """Makes rows by a seed, each with an offset of its own, and commits them."""

    def __init__(self, settings: Settings, seed: int = 1) -> None:
        self.settings = settings
        self.random = random.Random(seed)
        self.offset = 0
        self.now = AT

    @property
    def table(self) -> DeltaTable:
        return DeltaTable(self.settings.lake_path / "silver" / "readings")

    def at(self, moment: datetime, measurement: str, value: float | None, **changes: Any) -> dict[str, Any]:
        self.offset += 1
        name = {"device_id": "0x0a", "device_name": "plug", "unit": UNITS.get(measurement)}
        received = {"event_time": moment, "received_at": self.now, "date": self.now.date()}
        return reading(self.offset, measurement, value=value, **{**name, **received, **changes})

    def rows(self, count: int, begin: datetime, end: datetime) -> list[dict[str, Any]]:
        found = []
        for _ in range(count):
            moment = begin + (end - begin) * self.random.random()
            what = self.random.choice(list(UNITS))
            device = self.random.choice(["0x0a", "0x0b", "0x0c"])
            value: float | None = {
                "contact": float(self.random.randint(0, 1)),
                "energy": round(self.random.uniform(0, 300), 2),
            }.get(what, round(self.random.uniform(-20, 100), 1))
            value = value if self.random.random() > 0.05 else None
            name = f"device {device} {self.random.randint(1, 2)}"
            quality = self.random.choice(QUALITIES)
            found.append(self.at(moment, what, value, device_id=device, device_name=name, quality=quality))
        return found

    def append(self, rows: list[dict[str, Any]]) -> None:
        write(self.settings, READINGS, rows)

    def room(self, name: str, moment: datetime, **fields: Any) -> dict[str, Any]:
        self.offset += 1
        row = {"site": "home", "room_id": name, "event_time": moment, "event_time_source": "payload"}
        row |= {"quality": "good", "received_at": self.now, "date": self.now.date()}
        return {**row, **position(self.offset, topic="telemetry.office"), **fields}

    def rooms(self, count: int, begin: datetime, end: datetime) -> list[dict[str, Any]]:
        pick = self.random
        return [
            self.room(
                pick.choice(["office", "lab"]),
                begin + (end - begin) * pick.random(),
                temperature=round(pick.uniform(17, 27), 1),
                humidity=round(pick.uniform(20, 75), 1) if pick.random() > 0.2 else None,
                co2_ppm=round(pick.uniform(400, 1600)),
                occupancy_count=pick.randint(0, 2),
                motion_detected=pick.random() > 0.5,
                energy_kwh=round(pick.uniform(0, 50), 2),
                quality=pick.choice(QUALITIES),
            )
            for _ in range(count)
        ]

    def append_rooms(self, rows: list[dict[str, Any]]) -> None:
        path = self.settings.lake_path / "silver" / "room_telemetry"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = pa.Table.from_pylist(rows, schema=ROOM_SCHEMA)
        write_deltalake(path, data, mode="append", partition_by=["date"])

    def later(self, by: timedelta) -> None:
        self.now += by


@pytest.fixture
def house(settings: Settings) -> House:
    return House(settings)


def test_nothing_there_yet_is_empty_and_no_error(settings: Settings) -> None:
    update(settings)
    assert told(settings, "readings_1m") == {} and told(settings, "device_health") == {}


@pytest.mark.parametrize(
    ("seed", "rounds"), [(1, 8), *(pytest.param(seed, 24, marks=pytest.mark.slow) for seed in range(2, 8))]
)
def test_whatever_happens_to_silver_each_bucket_is_a_recompute(settings: Settings, seed: int, rounds: int) -> None:
    """Days of appends, late rows, merges, deletions, replaced days, joined files, a table of rooms that comes late."""
    house = House(settings, seed)

    def live() -> None:
        house.append(house.rows(40, house.now - 20 * MINUTE, house.now))

    def late() -> None:
        house.append(house.rows(6, house.now - house.random.choice([3 * HOUR, 2 * DAY, 40 * DAY]), house.now))

    def resolve() -> None:
        """What the writer does when a device is named: rows of a name become rows of an address."""
        house.table.update(updates={"device_id": "'0x0d'"}, predicate="device_id = '0x0b' AND kafka_offset % 7 = 0")

    def delete() -> None:
        house.table.delete(f"kafka_offset % 11 = {house.random.randint(0, 10)}")

    def replace_a_day() -> None:
        day = house.now.date()
        rows = pa.Table.from_pylist(house.rows(15, house.now - 5 * HOUR, house.now), schema=schema(READINGS))
        write_deltalake(house.table, rows, mode="overwrite", predicate=f"date = '{day}'")

    def merge() -> None:
        rows = house.table.to_pyarrow_table().slice(0, 9)
        changed = rows.set_column(rows.column_names.index("value"), "value", pa.array([1.5] * rows.num_rows))
        house.table.merge(changed, "t.kafka_offset = s.kafka_offset", "s", "t").when_matched_update_all().execute()

    def join_files() -> None:
        house.table.optimize.compact()

    def rooms() -> None:
        house.append_rooms(house.rooms(10, house.now - HOUR, house.now))

    house.append(house.rows(200, AT - 3 * DAY, AT))
    update(settings)
    assert_equal_to_a_recompute(settings)
    happenings: list[Callable[[], None]] = [live, live, late, resolve, delete, replace_a_day, merge, join_files, rooms]
    for number in range(rounds):
        house.later(house.random.choice([10 * MINUTE, 2 * HOUR, 20 * HOUR]) if number != rounds // 2 else 29 * DAY)
        for happening in house.random.sample(happenings, house.random.randint(1, 3)):
            happening()
        update(settings)
        if number % 3 == 2 or number == rounds - 1:
            assert_equal_to_a_recompute(settings)


def test_a_rebuild_gives_what_the_increments_gave(settings: Settings, house: House) -> None:
    house.append(house.rows(100, AT - 9 * DAY, AT))
    house.append_rooms(house.rooms(30, AT - 2 * DAY, AT))
    update(settings)
    for _ in range(3):
        house.later(9 * HOUR)
        house.append(house.rows(50, house.now - DAY, house.now))
        update(settings)
    names = ("readings_1m", "readings_1h", "readings_1d", "energy_daily", "door_activity", "room_comfort")
    before = {name: told(settings, name) for name in names}
    generation = _state(settings).generation
    rebuild_days(settings, [(AT - DAY).date(), AT.date()])
    assert_same(before, {name: told(settings, name) for name in names})
    rebuild_all(settings)
    assert_same(before, {name: told(settings, name) for name in names})
    assert _state(settings).generation != generation
    assert_equal_to_a_recompute(settings)


def test_a_rebuilt_day_is_rid_of_what_silver_does_not_have(settings: Settings, house: House) -> None:
    house.append(house.rows(100, AT - 2 * DAY, AT))
    update(settings)
    day = (AT - DAY).date()
    path = layout.Layout(settings, _state(settings)).path(READINGS_1M, "day", day.isoformat())
    assert path is not None
    torn = pq.read_table(path).slice(3).to_pylist()
    stray = [{**row, "device_id": "none of ours"} for row in torn[:2]]
    pq.write_table(pa.Table.from_pylist(torn + stray, schema=pq.read_schema(path)), path)
    rebuild_days(settings, [day])
    assert_equal_to_a_recompute(settings)


def _state(settings: Settings) -> layout.State:
    state = layout.read_state(settings)
    assert state is not None
    return state


def test_an_update_with_nothing_new_writes_nothing(settings: Settings, house: House) -> None:
    house.append(house.rows(50, AT - HOUR, AT))
    update(settings)
    before = _files(settings)
    house.table.optimize.compact()
    assert update(settings).written == {}, "joining files changes no row"
    after = _files(settings)
    assert {path for path in before if "edge" not in path and "json" not in path} <= set(after)
    assert update(settings).bytes_written == 0


def _files(settings: Settings) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in layout.folder(settings).rglob("*") if p.is_file()}


@pytest.mark.parametrize("way", ["cleaned up", "made anew", "taken away"])
def test_a_log_that_no_longer_tells_means_a_rebuild(settings: Settings, house: House, way: str) -> None:
    house.append(house.rows(60, AT - DAY, AT))
    update(settings)
    generation = _state(settings).generation
    if way == "made anew":
        import shutil

        shutil.rmtree(settings.lake_path / "silver" / "readings")
        house.append(house.rows(60, AT - DAY, AT))
    elif way == "cleaned up":
        for _ in range(3):
            house.append(house.rows(5, AT - HOUR, AT))
        house.table.create_checkpoint()
        for version in range(3):
            (settings.lake_path / "silver" / "readings" / "_delta_log" / f"{version:020d}.json").unlink()
        house.append(house.rows(5, AT - HOUR, AT))
        house.table.create_checkpoint()
    else:
        house.append(house.rows(5, AT - HOUR, AT))
        house.table.optimize.compact()
        house.table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    said: list[str] = []
    update(settings, said.append)
    assert_equal_to_a_recompute(settings)
    if way == "made anew":
        assert _state(settings).generation != generation and "made anew" in " ".join(said)


def test_times_that_nobody_believes_move_no_clock(settings: Settings, house: House) -> None:
    """A row of the year 2060 is a row of 2060; today stays open."""
    house.now = datetime.now(UTC)
    house.append(house.rows(30, house.now - HOUR, house.now))
    house.append([house.at(datetime(2060, 5, 1, tzinfo=UTC), "temperature", 21.0)])
    update(settings)
    assert_equal_to_a_recompute(settings)
    assert _state(settings).horizon <= datetime.now(UTC)
    house.append(house.rows(30, house.now - HOUR, house.now))
    update(settings)
    assert_equal_to_a_recompute(settings)
