"""Who reads the rollups: `edge sql`, notebooks, exports, and readers at the moment of a swap."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from edge_assets.errors import LakeError
from edge_assets.settings import Settings
from edge_assets.tables import DEVICE_STATES, READINGS
from edge_assets.warehouse import open_lake
from edge_assets.warehouse.export import export
from edge_assets.warehouse.rollups.layout import database_path
from edge_assets.warehouse.rollups.update import update
from edge_assets.warehouse.sql import run_sql
from edge_assets.warehouse.views import views
from edge_assets_tests.lake_tables import AT, reading, state, write

MINUTE = timedelta(minutes=1)

READER = """
import sys, time
import duckdb
path, until = sys.argv[1], time.monotonic() + float(sys.argv[2])
looks = 0
while time.monotonic() < until:
    with duckdb.connect(path, read_only=True) as opened:
        n, minutes = opened.execute("SELECT sum(n), count(*) FROM readings_1m").fetchone()
        days = opened.execute("SELECT sum(n) FROM readings_1d").fetchone()[0]
        assert n >= 10 and n % 10 == 0 and days % 10 == 0, (n, days)
        looks += 1
print(looks)
"""


def minute(number: int) -> list[dict[str, object]]:
    """Ten readings of one minute."""
    at = AT + number * MINUTE
    return [
        reading(number * 10 + n, "temperature", value=20.0 + n, unit="°C", event_time=at + timedelta(seconds=n))
        for n in range(10)
    ]


def test_sql_sees_rollups_views_and_measurements_by_name(settings: Settings) -> None:
    write(settings, READINGS, minute(0))
    update(settings)
    (hour,) = json.loads(run_sql(settings, "SELECT n, avg, unit FROM readings_1h", "json"))
    assert hour == {"n": 10, "avg": 24.5, "unit": "°C"}
    write(settings, READINGS, minute(1))
    assert run_sql(settings, "SELECT count(*) FROM measurements", "csv").split()[1] == "20", "as of now, from silver"
    assert run_sql(settings, "SELECT count(*) FROM silver.readings r, grafana_climate", "csv").split()[1] == "20"
    listed = {row["name"] for row in json.loads(run_sql(settings, "SHOW ALL TABLES", "json"))}
    assert {"readings_1m", "device_health", "measurements", "readings", *(view.name for view in views())} <= listed


def test_before_the_first_update_measurements_are_there(settings: Settings) -> None:
    write(settings, READINGS, minute(0))
    assert run_sql(settings, "SELECT count(*) FROM measurements", "csv").split()[1] == "10"
    with pytest.raises(LakeError, match="readings_1h"):
        run_sql(settings, "FROM readings_1h")


def test_every_view_can_be_asked_with_and_without_rows(settings: Settings) -> None:
    for _ in range(2):
        update(settings)
        for view in views():
            assert view.description
            run_sql(settings, f"FROM {view.name}")
        write(settings, READINGS, minute(0))


def test_views_say_the_same_in_any_time_zone_and_under_any_name(settings: Settings) -> None:
    write(settings, READINGS, minute(0))
    update(settings)
    with duckdb.connect(str(database_path(settings)), read_only=True) as opened:
        opened.execute("SET TimeZone = 'Pacific/Auckland'")
        (at,) = opened.execute("SELECT bucket FROM readings_1d").fetchone() or (None,)
        assert at is not None and at.astimezone(UTC) == datetime(2026, 3, 1, tzinfo=UTC)


def test_device_health_knows_who_is_silent_when_it_is_asked(settings: Settings) -> None:
    now = datetime.now(UTC)

    def at(moment: datetime) -> dict[str, object]:
        return {"event_time": moment, "received_at": moment, "date": moment.date()}

    recent = [reading(n, "battery", value=97.0, device_id="0x0a", **at(now - n * MINUTE)) for n in range(5)]
    old = [reading(9 + n, "power", device_id="0x0b", **at(now - timedelta(hours=9) - n * MINUTE)) for n in range(5)]
    write(settings, READINGS, recent + old)
    update(settings)
    query = (
        "SELECT device_id, silent, messages_last_day, battery_percent, cadence_seconds FROM device_health ORDER BY 1"
    )
    assert json.loads(run_sql(settings, query, "json")) == [
        {
            "device_id": "0x0a",
            "silent": False,
            "messages_last_day": 5,
            "battery_percent": 97.0,
            "cadence_seconds": 60.0,
        },
        {"device_id": "0x0b", "silent": True, "messages_last_day": 5, "battery_percent": None, "cadence_seconds": 60.0},
    ]


def test_what_a_device_had_said_before_counts_until_it_speaks(settings: Settings) -> None:
    """Retained messages: the only word on a device that is silent, old news once it has spoken."""
    now = datetime.now(UTC)

    def at(moment: datetime) -> dict[str, object]:
        return {"received_at": moment, "date": moment.date()}

    def said(number: int, measurement: str, moment: datetime, **changes: Any) -> dict[str, Any]:
        return reading(number, measurement, event_time=moment, **at(moment), **changes)

    known, before = now - timedelta(hours=30), now - timedelta(hours=50)
    names = ("spoke the same day", "spoke a day later", "spoke before", "silent")
    states = [state(n, "availability", value=0.0, device_id=name, **at(known)) for n, name in enumerate(names)]
    states.append(state(4, "contact", device_id="silent", **at(known)))
    write(settings, DEVICE_STATES, states)
    same_day = min(known + timedelta(minutes=20), known.replace(hour=23, minute=59, second=30))
    spoken = [
        said(10, "availability", same_day, device_id=names[0]),
        said(11, "availability", now, device_id=names[1]),
        said(12, "availability", before, device_id=names[2]),
        said(13, "power", now, device_id=names[2]),
    ]
    write(settings, READINGS, spoken)
    update(settings)
    query = "SELECT device_id, available, last_seen IS NULL AS never_heard FROM device_health"
    health = {row["device_id"]: row for row in json.loads(run_sql(settings, query, "json"))}
    assert {name: row["available"] for name, row in health.items()} == dict(
        zip(names, (True, True, False, False), strict=True)
    )
    assert [name for name, row in health.items() if row["never_heard"]] == ["silent"]
    query = "SELECT device_id, measurement FROM device_state ORDER BY ALL"
    assert json.loads(run_sql(settings, query, "json")) == [
        {"device_id": "silent", "measurement": "availability"},
        {"device_id": "silent", "measurement": "contact"},
        {"device_id": "spoke before", "measurement": "availability"},
    ]
    latest = "SELECT value FROM latest_readings WHERE device_id = 'silent' AND measurement = 'contact'"
    assert json.loads(run_sql(settings, latest, "json")) == [{"value": 1.0}]


def test_a_notebook_opens_it_all_and_keeps_what_it_opened(settings: Settings) -> None:
    write(settings, READINGS, minute(0))
    update(settings)
    with open_lake(settings) as opened:
        assert opened.sql("SELECT n FROM readings_1h").fetchall() == [(10,)]
        for number in range(1, 3):
            write(settings, READINGS, minute(number * 1440))
            update(settings)
        assert opened.sql("SELECT sum(n) FROM readings_1d").fetchall()[0][0] >= 10, "merged files stay for a while"
        with pytest.raises(duckdb.Error):
            opened.execute("CREATE TABLE edge.main.mine (a INT)")


def test_readers_in_threads_and_processes_while_it_is_swapped(settings: Settings) -> None:
    write(settings, READINGS, minute(0))
    update(settings)
    path = str(database_path(settings))
    others = [
        subprocess.Popen([sys.executable, "-c", READER, path, "6"], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    problems: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                (n,) = run_sql(settings, "SELECT sum(n) AS n FROM readings_1h", "csv").split()[1:]
                assert int(n) % 10 == 0
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=read)
    thread.start()
    number = 0
    while any(other.poll() is None for other in others):
        number += 1
        write(settings, READINGS, minute(number * 377))  # some in the same hour, some days later: merges happen
        update(settings)
    stop.set()
    thread.join()
    assert not problems
    assert number > 1
    for other in others:
        said, _ = other.communicate()
        assert other.returncode == 0 and int(said) > 1


def test_what_a_reader_has_begun_with_stays_for_an_hour(settings: Settings) -> None:
    for number in range(3):
        write(settings, READINGS, minute(number))
        update(settings)
    hours = database_path(settings).parent / "rollups" / "1" / "readings_1m" / "hour"
    assert [path.name.split(".")[1] for path in sorted(hours.iterdir())] == ["1", "2", "3"]
    earlier = time.time() - 2 * 3600
    for path in [*hours.iterdir(), database_path(settings)]:
        os.utime(path, (earlier, earlier + 60 * (path == database_path(settings))))
    update(settings)
    assert [path.name.split(".")[1] for path in hours.iterdir()] == ["3"]
    assert json.loads(run_sql(settings, "SELECT sum(n)::INT AS n FROM readings_1m", "json")) == [{"n": 30}]


@pytest.mark.parametrize("what", ["readings_1m", "silver.readings", "SELECT * FROM measurements WHERE value > 25"])
def test_exports(settings: Settings, tmp_path: Path, what: str) -> None:
    write(settings, READINGS, minute(0))
    update(settings)
    parquet = export(settings, what, tmp_path / "it.parquet")
    assert pq.read_table(tmp_path / "it.parquet").num_rows == parquet.rows > 0
    written = export(settings, what, tmp_path / "it.CSV")
    with (tmp_path / "it.CSV").open() as lines:
        assert len(list(csv.DictReader(lines))) == written.rows == parquet.rows
    assert sorted(path.name for path in tmp_path.glob("*it*")) == ["it.CSV", "it.parquet"]


@pytest.mark.parametrize(
    ("what", "file", "says"),
    [
        ("readings_1m", "it.xlsx", ".parquet or .csv"),
        ("nonsense", "it.csv", "nonsense"),
        ("SELECT 1; SELECT 2", "it.csv", "one query"),
        ("DROP TABLE silver.readings", "it.csv", "syntax error"),
        ("SELECT 'a'::INT", "it.csv", "Could not convert"),
        ("SELECT 1", "nowhere/it.csv", "nowhere"),
    ],
)
def test_an_export_that_fails_says_so_on_one_line_and_leaves_nothing(
    settings: Settings, tmp_path: Path, what: str, file: str, says: str
) -> None:
    with pytest.raises(LakeError) as raised:
        export(settings, what, tmp_path / file)
    assert says in str(raised.value) and "\n" not in str(raised.value)
    assert list(tmp_path.glob("*it*")) == []


def test_the_command(settings: Settings, tmp_path: Path) -> None:
    write(settings, READINGS, minute(0))

    def edge(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edge_assets.cli", *arguments]
        return subprocess.run(
            command, env={**os.environ, **settings.environment()}, capture_output=True, text=True, cwd=tmp_path
        )

    done = edge("export", "silver.readings", "it.csv", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 10
    failed = edge("export", "nothing.there", "it2.csv")
    assert failed.returncode == 8 and len(failed.stderr.splitlines()) == 1
