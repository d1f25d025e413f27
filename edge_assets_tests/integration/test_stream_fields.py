"""Fields that rooms gain, change and lose, and properties that devices gain: on a real Kafka, Spark and lake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_assets import delta_log
from edge_assets.decoding.reference import Record
from edge_assets.settings import Route, Settings
from edge_assets.stream import requests, room_columns
from edge_assets.stream.batch import BatchWriter
from edge_assets.stream.lake import Lake, MoreColumn
from edge_assets.tables import BRONZE_EVENTS, READINGS, ROOM_TELEMETRY, TABLES
from edge_assets.warehouse.sql import run_sql
from edge_assets.warehouse.verify import verify
from edge_assets_tests.decoding_rig import frame_of, record
from edge_assets_tests.integration.test_stream_writer import DEVICES
from edge_assets_tests.stream_rig import Log, records, table, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(600)]

LAB, HALL = "building/lab/telemetry", "annex/hall/telemetry"
CO2 = {"type": "numeric", "property": "co2", "unit": "ppm"}


def more_exposes() -> list[dict[str, Any]]:
    """The door's description after a firmware update."""
    changed: list[dict[str, Any]] = json.loads(json.dumps(DEVICES))
    changed[1]["definition"]["exposes"].append(CO2)
    return changed


def ask(settings: Settings, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run_sql(settings, query, "json"))
    return found


def test_what_rooms_and_devices_gain_change_and_lose(settings: Settings, kafka: Settings) -> None:
    log, room = Log(settings), str(settings.bridge.routes[2].topic).replace("<room>", "lab")

    def say(*messages: dict[str, Any]) -> None:
        for message in messages:
            log.put(LAB, message, room)
        log.flush()

    def all_there() -> bool:
        gave = sum(row["readings"] for row in records(settings))
        got = sum(len(table(settings, name)) for name in ("silver.readings", "silver.room_telemetry"))
        return len(records(settings)) == log.written and got == gave

    log.put("zigbee2mqtt/bridge/devices", DEVICES)
    log.put("zigbee2mqtt/door", {"contact": True})
    log.put(HALL, {"temperature": 5, "order": 3})
    say({"temperature": 20})
    with writer(settings) as process:
        until(all_there, "the first messages", process)
        log.put("zigbee2mqtt/door", {"contact": True, "co2": 700})
        say({"temperature": 21, "pm25": 7, "firmware": "1.0", "air": {"voc": 120, "warm": True}}, {"pm25": "high"})
        until(all_there, "a new field", process)
        log.put("zigbee2mqtt/bridge/devices", more_exposes())
        log.put("zigbee2mqtt/door", {"contact": True, "co2": 710})
        say({"temperature": 22}, {"temperature": 23, "pm25": 8.5, "firmware": 2})
        until(all_there, "a removed field", process)
        assert process.poll() is None
    more = settings.bridge.model_copy(
        update={"routes": (*settings.bridge.routes, Route(pattern="annex/<room>/telemetry", topic=log.topic))}
    )
    settings = settings.model_copy(update={"bridge": more})
    with writer(settings) as process:
        say({"pm25": 9, "firmware": "1.1"}, {"pm25": True}, {"radon": 4})
        until(all_there, "the messages after a restart", process)
        assert requests.redrive(settings) == {"looked_at": 4, "read": 1}
        until(all_there, "the redriven message", process)

    letters = [(row["reason"], json.loads(row["payload"])) for row in table(settings, "bronze.dead_letters")]
    assert sorted(letters, key=str) == [
        ("wrong_type", {"pm25": "high"}),
        ("wrong_type", {"pm25": True}),
        ("wrong_type", {"temperature": 23, "pm25": 8.5, "firmware": 2}),
    ]
    details = {row["detail"].split(": ")[-1] for row in table(settings, "bronze.dead_letters")}
    assert details == {"pm25 is not of the type double", "firmware is not of the type string"}
    columns = 'room_id, temperature, pm25, firmware, air__voc, air__warm, radon, "order"'
    rows = ask(settings, f"select {columns} from silver.room_telemetry order by room_id, received_at")
    names = ("room_id", "temperature", "pm25", "firmware", "air__voc", "air__warm", "radon", "order")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("hall", 5.0, None, None, None, None, None, 3.0),
        ("lab", 20.0, None, None, None, None, None, None),
        ("lab", 21.0, 7.0, "1.0", 120.0, True, None, None),
        ("lab", 22.0, None, None, None, None, None, None),
        ("lab", None, 9.0, "1.1", None, None, None, None),
        ("lab", None, None, None, None, None, 4.0, None),
    ]
    found = ask(settings, "select measurement, value, text from measurements where kind = 'room' order by all")
    assert {"measurement": "air.voc", "value": 120.0, "text": None} in found
    assert {"measurement": "air.warm", "value": 1.0, "text": None} in found
    assert {"measurement": "firmware", "value": None, "text": "1.1"} in found
    assert [row["value"] for row in found if row["measurement"] == "pm25"] == [7.0, 9.0]
    gained = "select value, unit from silver.readings where measurement = 'co2' order by received_at"
    assert ask(settings, gained) == [{"value": 700.0, "unit": None}, {"value": 710.0, "unit": "ppm"}]
    assert verify(settings).holds


# -- batch by batch, in one process: kills, order, bounds -----------------------------------------------------------

Start = Callable[..., BatchWriter]


@pytest.fixture
def lake(spark: Any, tmp_path: Path) -> Lake:
    made = Lake(spark, tmp_path / "lake")
    made.create_tables()
    return made


@pytest.fixture
def start(spark: Any, lake: Lake, settings: Settings) -> Start:
    """A new stream writer on the lake, as after a restart."""

    def started(max_room_fields: int = 64) -> BatchWriter:
        spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
        stream = settings.stream.model_copy(update={"max_room_fields": max_room_fields})
        batches = BatchWriter(spark, lake, settings.model_copy(update={"stream": stream}))
        batches.recover()
        return batches

    return started


def said(first: int, *payloads: dict[str, Any]) -> list[Record]:
    """Messages of the lab from an offset on."""
    return [record(LAB, payload, first + number) for number, payload in enumerate(payloads)]


def rows_of(lake: Lake, *columns: str) -> list[tuple[Any, ...]]:
    chosen = lake.read(ROOM_TELEMETRY).orderBy("kafka_offset").select(*columns)
    return [tuple(row) for row in chosen.collect()]


def types_of(lake: Lake) -> dict[str, str]:
    return {name: column.type for name, column in lake.more_columns(ROOM_TELEMETRY).items()}


def test_the_first_in_the_log_gives_the_type_and_a_dead_letter_gives_none(spark: Any, lake: Lake, start: Start) -> None:
    told = said(0, {"pm25": 5}, {"pm25": "5 or so", "late": 1}, {"late": "text"}, {"PM25": 1, "pm25": None})
    summary = start().write(frame_of(spark, told))
    assert summary and summary.outcomes == {"read": 3, "dead_letter": 1}
    assert types_of(lake) == {"pm25": "double", "late": "string"}
    assert rows_of(lake, "pm25", "late") == [(5.0, None), (None, "text"), (None, None)]
    refused = lake.read(BRONZE_EVENTS).orderBy("kafka_offset").select("refused").collect()
    assert [row.refused for row in refused] == [0, 0, 0, 1]
    (since,) = {column.since for column in lake.more_columns(ROOM_TELEMETRY).values()}
    assert since == "2026-09-21T14:13:20+00:00"


def test_killed_before_the_batch_is_committed(spark: Any, lake: Lake, start: Start) -> None:
    """The column is there, and the records come again, in other batches too: the table's type stands."""
    start().write(frame_of(spark, said(0, {"temperature": 1})))
    room_columns.add(lake, {"pm25": MoreColumn("double", "the last words of a writer", "2026-09-21T14:13:20+00:00")})
    again = start()
    again.write(frame_of(spark, said(1, {"pm25": "high"}, {"pm25": 7})))
    assert types_of(lake) == {"pm25": "double"}
    assert rows_of(lake, "temperature", "pm25") == [(1.0, None), (None, 7.0)]
    assert again.note.batch == 2


def test_killed_after_bronze_was_committed(spark: Any, lake: Lake, start: Start) -> None:
    """What was learned is known when the batch is derived again: the same rows."""
    start().write(frame_of(spark, said(0, {"temperature": 1}, {"pm25": 7, "air": {"voc": 1}, "tag": "x"})))
    before = rows_of(lake, "kafka_offset", "temperature", "pm25", "air__voc", "tag")
    path = Path(lake.location(ROOM_TELEMETRY).removeprefix("file:"))
    newest = max((path / "_delta_log").glob("*.json"))
    assert b"userMetadata" in newest.read_bytes(), "the commit of the rows, not the one of the columns"
    newest.unlink()
    for checksum in (path / "_delta_log").glob("*.crc"):
        checksum.unlink()
    again = start()
    assert rows_of(lake, "kafka_offset", "temperature", "pm25", "air__voc", "tag") == before
    again.write(frame_of(spark, said(2, {"pm25": 8})))
    assert rows_of(lake, "pm25")[-1] == (8.0,)
    assert len(rows_of(lake, "pm25")) == 3


def test_no_more_columns_than_the_setting_and_nothing_is_lost(spark: Any, lake: Lake, start: Start) -> None:
    batches = start(max_room_fields=3)
    summary = batches.write(frame_of(spark, said(0, {f"f{n}": n for n in range(2_000)}, {"temperature": 1, "f1": 2})))
    assert summary and summary.outcomes == {"read": 2}
    assert types_of(lake) == {"f0": "double", "f1": "double", "f2": "double"}
    assert rows_of(lake, "temperature", "f1") == [(None, 1.0), (1.0, 2.0)]
    assert batches.written["refused"] == 1_997
    version = batches.tables()[ROOM_TELEMETRY.full_name]["version"]
    batches.write(frame_of(spark, said(2, {"f7": 1, "f2": 5})))
    assert rows_of(lake, "f2")[-1] == (5.0,)
    assert lake.version(ROOM_TELEMETRY) == version + 1, "rows, and no more columns"
    assert lake.version(READINGS) == 0


def test_names_that_mean_something_elsewhere_are_columns_like_others(spark: Any, lake: Lake, start: Start) -> None:
    names = ["outcome", "payload", "row", "kind", "select", "properties", "implausible", "filename", "value", "name"]
    start().write(frame_of(spark, said(0, {"temperature": 1}, {name: n for n, name in enumerate(names)})))
    assert set(types_of(lake)) == set(names)
    assert rows_of(lake, *names)[1] == tuple(map(float, range(len(names))))


@pytest.mark.parametrize("left", ["_staged_commits/", ".00000000000000000000.json.5c2e.tmp"])
def test_tables_are_made_where_a_kill_has_left_half_of_them(spark: Any, tmp_path: Path, left: str) -> None:
    """Delta makes a log's folder before its first commit, and finds no table behind one that has none."""
    lake = Lake(spark, tmp_path / "lake")
    for number, each in enumerate(TABLES):
        if number % 2 == 0:
            half = lake.folder(each) / delta_log.FOLDER / left
            half.parent.mkdir(parents=True)
            half.mkdir() if left.endswith("/") else half.write_text('{"commitInfo":')
    lake.create_tables()
    assert [delta_log.newest(lake.folder(each)) for each in TABLES] == [0] * len(TABLES)
    assert all(lake.read(table).count() == 0 for table in TABLES)


def test_data_without_a_log_is_not_written_over(spark: Any, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path / "lake")
    data = lake.folder(TABLES[0]) / "part-0.parquet"
    (data.parent / delta_log.FOLDER).mkdir(parents=True)
    data.write_bytes(b"somebody's")
    with pytest.raises(Exception, match="DELTA_"):
        lake.create_tables()
    assert data.read_bytes() == b"somebody's"
