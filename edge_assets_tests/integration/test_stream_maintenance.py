"""The stream writer keeps the lake small and lets go what is too old, and nothing that follows from it changes."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from edge_assets import delta_log
from edge_assets.definitions import build
from edge_assets.errors import LakeError
from edge_assets.retention import Expired, is_marked
from edge_assets.service import read_status
from edge_assets.settings import RetentionRule, RetentionSettings, Settings
from edge_assets.stream import durability, requests
from edge_assets.tables import BRONZE_EVENTS, DEAD_LETTERS, READINGS, TABLES, Table
from edge_assets.warehouse import lake
from edge_assets.warehouse.rollups import update as rollups
from edge_assets.warehouse.rollups.compare import compare
from edge_assets.warehouse.rollups.layout import database_path
from edge_assets.warehouse.tidiness import look
from edge_assets.warehouse.verify import verify
from edge_assets_tests.stream_rig import Log, records, table, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(900)]

TODAY = datetime.now(UTC).date()
ROUNDS = 9
"""so many batches of today: more files than are left alone"""

JAVA_OBJECTS = 60
"""of what Python holds between two batches, however many there were"""

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)

RULES = RetentionSettings(
    bronze_days=30,
    readings=(
        RetentionRule(device="plug*", measurement="linkquality", raw_days=10),
        RetentionRule(raw_days=36),
    ),
)
FOLLOWING = ("readings_1m", "readings_1h", "readings_1d", "energy_daily", "door_activity", "messages_daily")


def ago(days: int, seconds: int = 0) -> dict[str, Any]:
    """The header of a message that was received at noon so many days ago."""
    return {"at": int((NOON - timedelta(days=days)).timestamp() + seconds) * 1_000_000}


def put_history(log: Log) -> None:
    log.put("zigbee2mqtt/door", "{", **ago(40))
    for number, days in enumerate((40, 35, 20)):
        log.put("zigbee2mqtt/door", {"contact": number % 2 == 0, "voltage": 3000 - number}, **ago(days))
        log.put("zigbee2mqtt/door", {"contact": number % 2 == 1, "voltage": 2990 - number}, **ago(days, 90))
        log.put("zigbee2mqtt/plug 1", {"energy": 5.0 + number, "linkquality": 80 + number}, **ago(days, 30))
        log.put("zigbee2mqtt/plug 1", {"energy": 5.5 + number, "linkquality": 90 + number}, **ago(days, 60))
    log.put("zigbee2mqtt/door", {"contact": True}, **ago(33))  # by a clock that was wrong: it comes after younger ones
    log.flush()


def put_today(log: Log, number: int) -> None:
    now = int(time.time() * 1e6)
    log.put("zigbee2mqtt/door", {"contact": number % 2 == 0, "voltage": 2900 + number}, at=now)
    log.put("zigbee2mqtt/plug 1", {"energy": 20 + number / 10, "linkquality": 100}, at=now)
    log.flush()


def all_written(settings: Settings, log: Log, process: Any) -> None:
    until(lambda: len(records(settings)) == log.written, "all records", process, 240)
    until(lambda: read_status(settings, "stream_writer").get("batch"), "a status", process, 240)


def goes_on(settings: Settings, log: Log, process: Any) -> None:
    """What comes when some of the records have gone for their age is written like all before it."""
    kept = len(records(settings))
    put_today(log, ROUNDS)
    until(lambda: len(records(settings)) == kept + 2, "what comes then", process, 240)


def days_of(settings: Settings, of: Table) -> set[int]:
    return {(TODAY - row["date"]).days for row in table(settings, of.full_name)}


def followed(settings: Settings) -> dict[str, list[Any]]:
    """All rows of all rollups, as a reader sees them."""
    import duckdb

    with duckdb.connect(str(database_path(settings)), read_only=True) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        found = {name: opened.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in FOLLOWING}
        known = "SELECT kind, device_id, last_seen, battery_percent FROM device_health ORDER BY ALL"
        return {**found, "device_health": opened.execute(known).fetchall()}


def folder(settings: Settings, of: Table) -> Any:
    return settings.lake_path / of.layer / of.name


def test_the_lake_stays_small_and_what_is_too_old_goes(settings: Settings, kafka: Settings) -> None:
    settings = settings.model_copy(
        update={"retention": RULES, "stream": settings.stream.model_copy(update={"vacuum_hours": 0.0})}
    )
    log = Log(settings)
    put_history(log)
    with writer(settings) as process:
        all_written(settings, log, process)
        for number in range(ROUNDS):
            put_today(log, number)
            all_written(settings, log, process)
        rollups.update(settings)
        before = followed(settings)
        assert all(before.values())

        _maintains(settings, log, process)
        _expires(settings)
        _follows(settings, before)
        goes_on(settings, log, process)
        assert verify(settings, wait_seconds=20).holds
        until(lambda: read_status(settings, "stream_writer")["java_objects"] < JAVA_OBJECTS, "less held", process)

    _cuts_logs(settings, log)


def _maintains(settings: Settings, log: Log, process: Any) -> None:
    """Files are joined, replaced ones gone, each table still knows its last batch, and live readings come through."""
    notes = {of: durability.note_before(folder(settings, of)) for of in TABLES}
    small = look(settings, ("silver", "readings"))
    assert small.most_files_a_day >= ROUNDS
    put_today(log, 99)
    run = (
        build(settings, held=[])
        .resolve_job_def("lake_maintenance")
        .execute_in_process(instance=dg.DagsterInstance.ephemeral())
    )
    (shown,) = (each.metadata for each in run.asset_materializations_for_node("lake__maintenance"))
    (told,) = (row.data for row in shown["tables"].records if row.data["table"] == "silver.readings")  # type: ignore[attr-defined]
    assert told["files before"] >= small.files and told["most files a day before"] >= ROUNDS
    assert told["most files a day after"] < 8
    assert 0 < shown["longest slice (s)"].value < 60  # type: ignore[operator]
    assert all(each.passed for each in run.get_asset_check_evaluations())
    all_written(settings, log, process)
    assert look(settings, ("silver", "readings")).files <= told["files after"] + 2
    there = {str(path) for path in folder(settings, READINGS).glob("date=*/*.parquet")}
    assert len(there) < small.files, "replaced files are on the disk still"
    for of, note in notes.items():
        now = durability.note_before(folder(settings, of))
        assert (note is None) == (now is None)
        assert not (note and now) or now["batch"] >= note["batch"]
    readings = folder(settings, READINGS)
    joined = [c for c in delta_log.commits(readings) if '"OPTIMIZE"' in c.path.read_text()]
    assert joined and all('\\"carried\\": true' in c.path.read_text() for c in joined)
    assert verify(settings, wait_seconds=20).holds


def _expires(settings: Settings) -> None:
    assert days_of(settings, BRONZE_EVENTS) == {40, 35, 33, 20, 0}
    late = (TODAY - timedelta(days=33)).isoformat()
    told = requests.expire(settings)["tables"]
    assert told["bronze.events"] == {"days": 2, "rows": 9, "postponed": [late]}
    assert told["bronze.dead_letters"]["rows"] == 1
    assert told["silver.readings"] == {"days": 3, "rows": 8 + 2 + 2, "postponed": []}
    assert days_of(settings, BRONZE_EVENTS) == {33, 20, 0}
    assert days_of(settings, DEAD_LETTERS) == set()
    assert days_of(settings, READINGS) == {35, 33, 20, 0}
    left = {
        (row["device_name"], row["measurement"]) for row in table(settings, "silver.readings") if row["date"] != TODAY
    }
    assert left == {("door", "contact"), ("door", "voltage"), ("plug 1", "energy")}
    expired = Expired.of(lake.snapshot(settings, ("silver", "readings")).properties)
    assert [expired.holds(TODAY - timedelta(days=n)) for n in (40, 35, 20, 1, 0)] == [True, True, True, False, False]
    again = requests.expire(settings)["tables"]
    assert not any(gone["rows"] for gone in again.values())


def _follows(settings: Settings, before: dict[str, list[Any]]) -> None:
    """Rollups are what they were (today's aside, which goes on), and are so after everything is made anew."""
    proof = verify(settings)
    assert proof.holds and [partition.kept_from for partition in proof.partitions if partition.kept_from] == [9]
    rollups.update(settings)
    assert _old(followed(settings)) == _old(before)
    with pytest.raises(LakeError, match="have gone for their age"):
        rollups.rebuild_days(settings, [TODAY, TODAY - timedelta(days=40)])
    rollups.rebuild_days(settings, [TODAY])
    assert rollups.rebuild_all(settings).rebuilt
    now = followed(settings)
    assert _old(now) == _old(before)
    assert compare(settings, seed=1).holds


def _old(found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    def day(row: tuple[Any, ...]) -> date:
        return row[0].date() if isinstance(row[0], datetime) else row[0]

    return {name: [row for row in rows if day(row) < TODAY] for name, rows in found.items() if name != "device_health"}


def _cuts_logs(settings: Settings, log: Log) -> None:
    """Commits of days ago leave the log, whether anything is written to a table or not; its newest note stays."""
    old = time.time() - 6 * 86_400
    for of in TABLES:
        for path in (folder(settings, of) / "_delta_log").iterdir():
            if path.is_file():
                os.utime(path, (old, old))
    lengths = {of: len(delta_log.commits(folder(settings, of))) for of in TABLES}
    notes = {of: durability.note_before(folder(settings, of)) for of in TABLES}
    with writer(settings) as process:
        goes_on(settings, log, process)
        requests.maintain(settings)
        assert verify(settings, wait_seconds=20).holds
    for of in TABLES:
        there = len(delta_log.commits(folder(settings, of)))
        assert there < lengths[of] or lengths[of] <= 2, of.full_name
        note, now = notes[of], durability.note_before(folder(settings, of))
        assert note is None or (now is not None and now["batch"] >= note["batch"])
    marked = [c for c in delta_log.commits(folder(settings, READINGS)) if is_marked(_metadata(c))]
    assert not marked, "a retention commit of days ago is in the log still"


def _metadata(commit: delta_log.Commit) -> str | None:
    return next(a["commitInfo"].get("userMetadata") for a in commit.actions() if "commitInfo" in a)
