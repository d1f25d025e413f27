"""Columns that are otherwise than told, clocks that disagree, devices that are silent: what checks ask of the lake."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from edge_assets.definitions import build
from edge_assets.defs.checks import CHEAP
from edge_assets.defs.lake_care import columns_as_told
from edge_assets.defs.rollups import JOB, devices_speak
from edge_assets.defs.samples import Sample
from edge_assets.settings import Settings
from edge_assets.tables import DEVICES, READINGS, ROOM_TELEMETRY
from edge_assets.warehouse import clocks, silence
from edge_assets.warehouse.drift import Drift, drift
from edge_assets.warehouse.lake import snapshot
from edge_assets.warehouse.rollups.update import update
from edge_assets.warehouse.silence import Heard, nothing_comes
from edge_assets.warehouse.sql import run_sql
from edge_assets.warehouse.tidiness import look
from edge_assets_tests.lake_tables import reading, sound_lake, write

NOW = datetime.now(UTC)


def columns(settings: Settings, layer: str, name: str) -> dict[str, str]:
    return snapshot(settings, (layer, name)).columns


# -- columns -----------------------------------------------------------------------------------------------------------


def test_a_sound_table_has_the_columns_of_the_contract(settings: Settings) -> None:
    sound_lake(settings)
    for table in (READINGS, DEVICES):
        assert drift(table, columns(settings, table.layer, table.name)) == []
    assert drift(ROOM_TELEMETRY, columns(settings, "silver", "room_telemetry")) == [], "a table that is not there yet"


def test_a_column_that_came_went_or_changed_is_named(settings: Settings) -> None:
    sound_lake(settings)
    told = columns(settings, "silver", "readings")
    other = {name: kind for name, kind in told.items() if name != "unit"} | {"value": "VARCHAR", "moon": "DOUBLE"}
    assert drift(READINGS, other) == [
        Drift("value", "DOUBLE", "VARCHAR"),
        Drift("unit", "VARCHAR", "missing"),
        Drift("moon", "not named", "DOUBLE"),
    ]
    rooms = columns(settings, "silver", "room_telemetry")
    assert drift(ROOM_TELEMETRY, {**rooms, "pm25": "DOUBLE"}) == [], "messages bring columns there"
    assert len(drift(ROOM_TELEMETRY, {**rooms, "co2_ppm": "VARCHAR"})) == 1


def test_a_foreign_writer_s_column_fails_the_check_of_its_table(settings: Settings) -> None:
    sound_lake(settings)
    assert columns_as_told(READINGS, look(settings, ("silver", "readings"))).passed
    row = pa.table({"moon": pa.array([1.0]), "date": pa.array([NOW.date()])})
    path = settings.lake_path / "silver" / "readings"
    write_deltalake(path, row, mode="append", schema_mode="merge")
    verdict = columns_as_told(READINGS, look(settings, ("silver", "readings")))
    assert not verdict.passed and verdict.severity is dg.AssetCheckSeverity.ERROR
    assert verdict.rows == [{"column": "moon", "told": "not named", "found": "DOUBLE"}]


# -- clocks ------------------------------------------------------------------------------------------------------------


def said(device: str, late_seconds: float, number: int, **more: Any) -> dict[str, Any]:
    at = NOW - timedelta(minutes=5 + number)
    times = {"received_at": at, "date": at.date(), "event_time": at - timedelta(seconds=late_seconds)}
    return reading(number, "power", **{"device_name": device, "event_time_source": "payload", **times, **more})


def test_clocks_that_cannot_be_right_are_named_and_what_waited_in_a_queue_is_not(settings: Settings) -> None:
    rows = []
    for number in range(20):
        rows += [
            said("sound", 0.2 + (3_000 if number > 3 else 0), number),
            said("behind", 90 + number, number),
            said("ahead", -40 if number else 5, number),
            said("without a time", 0.0, number, event_time_source="received"),
            said("nonsense", 0.0, number, event_time_source="received", quality="time_implausible"),
            said("imported", 9e6, number, kafka_topic=settings.history.topic),
            said("at our start", 0.1, number, quality="implausible clock_unsynchronised" if number < 5 else "good"),
        ]
    rows += [said("new", 900, number) for number in range(3)]
    write(settings, READINGS, rows)
    found = {one.device: one.problem for one in clocks.look(settings)}
    assert found == {
        "sound": "",
        "behind": "behind by 90 s",
        "ahead": "ahead by 40 s",
        "without a time": "",
        "nonsense": "its time is not believed",
        "at our start": "came while our clock was not set",
        "new": "",
    }


def test_the_check_names_them_with_a_query(settings: Settings) -> None:
    write(settings, READINGS, [said("slow", 100, number) for number in range(20)])
    checks = [check for check in build(settings).asset_checks or () if "clocks_agree" in str(check.check_keys)]
    done = dg.materialize(checks, instance=dg.DagsterInstance.ephemeral(), selection=dg.AssetSelection.checks(*checks))
    (verdict,) = done.get_asset_check_evaluations()
    assert not verdict.passed and "slow (behind by 100 s)" in (verdict.description or "")
    assert "| slow | behind by 100 s | 20 |" in str(verdict.metadata["rows"].value)
    assert "slow" in run_sql(settings, sql_of(str(verdict.metadata["look"].value)))


# -- silence -----------------------------------------------------------------------------------------------------------


def days_of(device: str, until: datetime, hours: tuple[int, ...], days: int = 6) -> list[dict[str, Any]]:
    """A device that speaks at these hours of each day, and falls silent at a time."""
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    times = [midnight - timedelta(days=day) + timedelta(hours=hour) for day in range(days) for hour in hours]
    own = {"device_id": device, "device_name": device}
    return [
        reading(number, "contact", **own, event_time=at, received_at=at, date=at.date())
        for number, at in enumerate(sorted(times))
        if at <= until
    ]


def test_each_device_is_measured_by_its_own_silences(settings: Settings) -> None:
    door, plug = (8, 9, 17, 18), tuple(range(24))
    rows = [
        *days_of("door", NOW, door),
        *days_of("plug", NOW, plug),
        *days_of("dead plug", NOW - timedelta(hours=30), plug),
        *days_of("dead door", NOW - timedelta(days=4), door, days=9),
        *days_of("first day", NOW - timedelta(hours=6), ((NOW.hour - 6) % 24 and plug) or plug, days=1),
    ]
    write(settings, READINGS, rows)
    update(settings)
    found = {one.device_id: one for one in silence.look(settings)}
    assert {name for name, one in found.items() if one.is_silent} == {"dead plug", "dead door"}
    assert found["door"].usually_at_most_seconds >= 13 * 3600, "the night is usual"
    assert found["plug"].usually_at_most_seconds <= 3600
    verdict = devices_speak(settings)
    assert not verdict.passed and {row["device"] for row in verdict.rows} == {"dead plug", "dead door"}
    run_sql(settings, sql_of(verdict.look))


def heard(name: str, silent: float, usual: float = 60, days: int = 9) -> Heard:
    return Heard("device", name, name, NOW, silent, usual, days, None, None)


def test_patience_has_bounds() -> None:
    assert not heard("chatty", 1_700).is_silent and heard("chatty", 1_900).is_silent
    assert not heard("new", 80_000, days=1).is_silent and heard("new", 90_000, days=1).is_silent
    assert not heard("gone", 31 * 86_400).is_silent
    assert heard("yearly", 50 * 86_400, usual=20 * 86_400).is_silent is False


def test_where_nothing_comes_at_all_it_is_not_the_devices() -> None:
    assert nothing_comes([heard("a", 4_000), heard("b", 5_000), heard("c", 9_000, usual=7_200)])
    assert not nothing_comes([heard("a", 4_000), heard("b", 5_000), heard("c", 100)]), "one still speaks"
    assert not nothing_comes([heard("only", 4_000)])
    hourly = [heard("a", 2_000, usual=3_600), heard("b", 3_000, usual=3_600)]
    assert not nothing_comes([*hourly, heard("dead", 90_000), heard("long dead", 400_000)]), "others spoke since"
    assert nothing_comes([heard("a", 4_000), heard("b", 5_000), heard("long dead", 400_000)])
    dead = [heard(f"dead {number}", 400_000) for number in range(3)]
    assert nothing_comes([heard("a", 4_000), heard("b", 5_000), *dead]), "however many were dead before"
    assert not nothing_comes([])


def test_without_rollups_nobody_is_silent(settings: Settings) -> None:
    assert devices_speak(settings).passed


def test_the_scheduled_run_says_who_is_silent(settings: Settings) -> None:
    write(settings, READINGS, [*days_of("dead", NOW - timedelta(days=2), (1, 2, 3)), *days_of("live", NOW, (0,))])
    config = {"ops": {"bring_rollups_up_to_date": {"config": {"recompute_selected_days": False}}}}
    job = build(settings, held=[]).resolve_job_def(JOB)
    with dg.DagsterInstance.ephemeral() as instance:
        run = job.execute_in_process(instance=instance, partition_key=NOW.date().isoformat(), run_config=config)
    found = {each.check_name: each for each in run.get_asset_check_evaluations()}
    assert run.success and not found["devices_speak"].passed and "dead" in (found["devices_speak"].description or "")
    assert "| dead |" in str(found["devices_speak"].metadata["rows"].value)
    assert "equal_to_silver" not in found


# -- what people are told to ask --------------------------------------------------------------------------------------


def sql_of(command: str) -> str:
    match = re.fullmatch(r'edge sql "(.+)"', command)
    assert match, command
    return match[1]


@pytest.mark.parametrize("check", CHEAP, ids=lambda check: check.name)
def test_each_cheap_check_says_what_to_do_and_its_query_is_understood(check: Any, settings: Settings) -> None:
    sound_lake(settings)
    assert "Else" in check.description
    look = check.judge([Sample(0), Sample(600, read_at=599.0, clock_set=False)]).look
    assert look or check.name == "caught_up"
    if look.startswith("edge sql"):
        run_sql(settings, sql_of(look))


def test_every_check_says_what_to_do(settings: Settings) -> None:
    repository = build(settings).get_repository_def()
    specs = {
        spec.key: spec
        for checks in (*repository.asset_checks_defs_by_key.values(), *repository.assets_defs_by_key.values())
        for spec in checks.check_specs
    }
    assert len(specs) > 40
    assert [str(key) for key, spec in specs.items() if "Else" not in (spec.description or "")] == []
