"""Rollups, backfills and the proof of completeness, when raw rows have gone for their age. Without Spark: what the
stream writer commits is committed here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import duckdb
import pytest
from deltalake import CommitProperties, DeltaTable

from edge_assets import retention
from edge_assets.defs.rollups import rollup_assets
from edge_assets.errors import LakeError
from edge_assets.retention import Expired
from edge_assets.settings import RetentionRule, RetentionSettings, Settings
from edge_assets.tables import BRONZE_EVENTS, DEAD_LETTERS, READINGS, Table
from edge_assets.warehouse import lake
from edge_assets.warehouse.log_ends import LogEnds
from edge_assets.warehouse.proof import prove
from edge_assets.warehouse.rollups.compare import compare
from edge_assets.warehouse.rollups.expiry import expire_minutes
from edge_assets.warehouse.rollups.layout import database_path, state_path
from edge_assets.warehouse.rollups.update import rebuild_all, rebuild_days, update
from edge_assets.warehouse.verify import _Reached, _tables
from edge_assets_tests.lake_tables import LOG_ID, TOPIC, reading, sound_lake, write

NAMES = ("readings_1m", "readings_1h", "readings_1d", "energy_daily", "door_activity", "messages_daily")
FIRST = date(2026, 3, 1)
DAYS = [FIRST + timedelta(days=n) for n in (0, 1, 2, 10, 40, 41)]


def rows_of(day: date, offset: int) -> list[dict[str, Any]]:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    told = []
    for n, (measurement, value) in enumerate(
        [("contact", 0.0), ("energy", offset + 1.0), ("contact", 1.0), ("energy", offset + 2.0), ("linkquality", 90.0)]
    ):
        at = noon + timedelta(minutes=10 * n)
        told.append(
            reading(offset + n, measurement, value=value, event_time=at, received_at=at, date=day, device_name="door")
        )
    return told


def put(settings: Settings, days: Iterable[date] = DAYS) -> None:
    for day in days:
        write(settings, READINGS, rows_of(day, 100 * (day - FIRST).days))


def expire(settings: Settings, of: Table, condition: str, expired: Expired) -> None:
    """As the stream writer does it: first the word, then the rows, in a commit that is marked."""
    table = DeltaTable(settings.lake_path / of.layer / of.name)
    table.alter.set_table_properties({retention.PROPERTY: expired.encode()}, raise_if_not_exists=False)
    marked = CommitProperties(custom_metadata={"userMetadata": f'{{"{retention.MARK}": true}}'})
    table.delete(condition, commit_properties=marked)


def seen(settings: Settings, names: Iterable[str] = NAMES) -> dict[str, list[Any]]:
    with duckdb.connect(str(database_path(settings)), read_only=True) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        return {name: opened.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in names}


def health(settings: Settings) -> list[Any]:
    with duckdb.connect(str(database_path(settings)), read_only=True) as opened:
        return opened.execute("SELECT device_id, last_seen, linkquality FROM device_health ORDER BY ALL").fetchall()


def two_days_gone(settings: Settings) -> None:
    gone = Expired(DAYS[2], ((DAYS[0], DAYS[1]),))
    expire(settings, READINGS, f"date <= '{DAYS[1]}'", gone)


def test_what_was_rolled_up_stays(settings: Settings) -> None:
    put(settings)
    update(settings)
    before = seen(settings)
    assert {row[0].date() for row in before["readings_1m"]} == set(DAYS)
    two_days_gone(settings)
    outcome = update(settings)
    assert (outcome.buckets, seen(settings)) == (0, before)
    assert compare(settings, seed=3).holds
    assert rebuild_all(settings).rebuilt == "asked for"
    assert seen(settings) == before
    told = health(settings)
    state_path(settings).unlink()
    assert update(settings).rebuilt
    assert (seen(settings), health(settings)) == (before, told)


def test_an_unmarked_deletion_is_followed(settings: Settings) -> None:
    """The mark is what makes the difference."""
    put(settings)
    update(settings)
    DeltaTable(settings.lake_path / "silver" / "readings").delete(f"date <= '{DAYS[1]}'")
    update(settings)
    assert {row[0].date() for row in seen(settings)["readings_1m"]} == set(DAYS[2:])


def test_a_backfill_of_what_has_gone_is_refused(settings: Settings) -> None:
    put(settings)
    update(settings)
    two_days_gone(settings)
    before = seen(settings)
    with pytest.raises(LakeError, match="2026-03-02: raw rows of 1 of the 2 days have gone for their age"):
        rebuild_days(settings, DAYS[1:3])
    rebuild_days(settings, DAYS[2:])
    assert seen(settings) == before


def test_so_is_one_of_dagster(settings: Settings) -> None:
    put(settings)
    update(settings)
    two_days_gone(settings)
    before = seen(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize(
            [rollup_assets(settings)], partition_key="2026-03-02", instance=instance, raise_on_error=False
        )
    (failure,) = (event.step_failure_data for event in run.all_events if event.is_step_failure)
    assert "raw rows of 1 of the 1 days have gone for their age" in str(failure.error)
    assert seen(settings) == before


def test_late_rows_are_added_beside_what_stays(settings: Settings) -> None:
    put(settings)
    update(settings)
    before = seen(settings)
    two_days_gone(settings)
    at = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
    today = {"event_time": at, "received_at": at + timedelta(days=41), "date": DAYS[5]}
    write(settings, READINGS, [reading(9_000, "contact", value=1.0, device_name="door", **today)])
    write(settings, READINGS, [reading(9_001, "contact", value=1.0, device_id="0x02", device_name="gate", **today)])
    update(settings)
    now = seen(settings)
    for name in NAMES:
        new = [row for row in now[name] if row not in before[name]]
        assert [row for row in before[name] if row not in now[name]] == [], name
        assert all("0x02" in row for row in new), name
    assert any("0x02" in row for row in now["readings_1h"])


def test_minutes_go_by_the_month_and_hours_stay(settings: Settings) -> None:
    rules = (RetentionRule(measurement="linkquality", minutes_days=20), RetentionRule(minutes_days=60))
    settings = settings.model_copy(update={"retention": RetentionSettings(readings=rules)})
    put(settings)
    update(settings)
    before = seen(settings)
    march = {row for row in before["readings_1m"] if row[0].month == 3}
    assert expire_minutes(settings, date(2026, 4, 15)) == 0
    assert expire_minutes(settings, date(2026, 4, 25)) == sum("linkquality" in row for row in march) > 0
    now = seen(settings)
    assert set(now["readings_1m"]) == {
        row for row in before["readings_1m"] if not (row in march and "linkquality" in row)
    }
    assert all(now[name] == before[name] for name in NAMES[1:])
    assert expire_minutes(settings, date(2026, 4, 25)) == 0
    assert expire_minutes(settings, date(2026, 6, 15)) > 0
    assert {row[0].month for row in seen(settings)["readings_1m"]} == {4}
    # A late row of a day without minutes: its hours are made of all of its raw rows, which are still there.
    at = datetime(2026, 3, 1, 12, 20, 30, tzinfo=UTC)
    write(settings, READINGS, [reading(9_000, "energy", value=2.5, event_time=at, device_name="door", date=DAYS[5])])
    update(settings)
    hour = [row for row in seen(settings)["readings_1h"] if row[0].date() == FIRST and "energy" in row]
    assert [row[7] for row in hour] == [3]


def test_what_was_given_up_proves_nothing_and_is_missed_by_nobody(settings: Settings) -> None:
    sound_lake(settings, 40)
    ends = LogEnds({(LOG_ID, TOPIC, 0): 0}, {(LOG_ID, TOPIC, 0): 40})

    def problems() -> set[str]:
        with lake.connection(settings) as opened:
            return {problem.kind for problem in prove(opened, _tables(settings), ends)[1]}

    assert problems() == set()
    word = Expired(date(2026, 3, 2), (), {(LOG_ID, TOPIC, 0): 17})
    expire(settings, DEAD_LETTERS, "kafka_offset < 17", word)
    expire(settings, BRONZE_EVENTS, "kafka_offset < 17", word)
    assert problems() == set()
    expire(settings, READINGS, "measurement = 'battery'", Expired(date(2026, 3, 2), ((FIRST, FIRST),)))
    assert problems() == set()
    DeltaTable(settings.lake_path / "bronze" / "events").delete("kafka_offset in (17, 31)")
    assert problems() == {"gap", "reading_orphan"}


def test_without_the_word_of_the_table_it_is_a_gap(settings: Settings) -> None:
    sound_lake(settings, 40)
    DeltaTable(settings.lake_path / "bronze" / "events").delete("kafka_offset < 17")
    ends = LogEnds({(LOG_ID, TOPIC, 0): 0}, {(LOG_ID, TOPIC, 0): 40})
    with lake.connection(settings) as opened:
        kinds = {problem.kind for problem in prove(opened, _tables(settings), ends)[1]}
    assert "gap" in kinds


def test_what_was_given_up_was_reached(settings: Settings) -> None:
    """Who waits for the tables to have all of the log does not wait for what has come and gone."""
    sound_lake(settings, 20)
    expire(settings, BRONZE_EVENTS, "true", Expired(date(2026, 3, 2), (), {(LOG_ID, TOPIC, 0): 20}))
    assert _Reached(settings)() == {(LOG_ID, TOPIC, 0): 19}
    with lake.connection(settings) as opened:
        (tally,), problems = prove(
            opened, _tables(settings), LogEnds({(LOG_ID, TOPIC, 0): 5}, {(LOG_ID, TOPIC, 0): 22})
        )
    assert (tally.lag, tally.kept_from, problems) == (2, 20, [])
