"""What the cheap checks say of the services' counters, and how they are evaluated without a run."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from edge_assets.definitions import build
from edge_assets.defs.assets import asset_specs
from edge_assets.defs.checks import CHEAP, COMPLETE, REPEATS, asset_checks, check_sensor, judge_complete, judge_repeats
from edge_assets.defs.judges import (
    DROP_SECONDS,
    SHOWN,
    judge_backup,
    judge_clock,
    judge_dead_letters,
    judge_disk,
    judge_drops,
    judge_expired,
    judge_lag,
    judge_plausible,
    markdown,
    metadata,
)
from edge_assets.defs.samples import Sample, samples_path, take_sample
from edge_assets.service import status_path, write_json
from edge_assets.settings import Settings, load_settings
from edge_assets.warehouse import proof
from edge_assets.warehouse.proof import Problem
from edge_assets.warehouse.verify import Report

HOUR = 3600.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(_env_file=None, home=tmp_path)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def hourly(**last: int) -> list[Sample]:
    return [Sample(0, 10_000, 0, 0), replace(Sample(600, 11_000), **last)]  # type: ignore[arg-type]


def test_a_few_dead_letters_are_no_alarm() -> None:
    assert judge_dead_letters(hourly(dead_letters=9)).passed
    assert judge_dead_letters(hourly(dead_letters=10)).passed
    verdict = judge_dead_letters(hourly(dead_letters=11))
    assert not verdict.passed and "11 of 1,000 records" in verdict.words and "edge redrive" in verdict.words


def test_an_old_burst_of_dead_letters_is_forgotten_after_an_hour() -> None:
    burst = [Sample(0), Sample(600, 1000, 500), Sample(600 + 3601, 2000, 500), Sample(600 + 3700, 2100, 500)]
    assert judge_dead_letters(burst).passed


def test_a_restart_of_the_counters_is_no_negative_growth() -> None:
    verdict = judge_dead_letters([Sample(0, 10_000, 50), Sample(600, 100, 20)])
    assert not verdict.passed and verdict.figures["dead letters"] == 20


def test_a_drop_is_seen_for_a_day() -> None:
    assert judge_drops([Sample(0), Sample(600)]).passed
    assert not judge_drops([Sample(0), Sample(600, dropped=1), Sample(80_000, dropped=1)]).passed
    assert judge_drops([Sample(0), Sample(600, dropped=1), Sample(90_000, dropped=1)]).passed


def test_odd_readings_are_told_with_a_query_for_them() -> None:
    before = Sample(0, readings=1_000)
    assert judge_plausible([before, Sample(600, readings=1_020, implausible=9)]).passed
    assert judge_plausible([before, Sample(600, readings=3_000, implausible=100)]).passed
    verdict = judge_plausible([before, Sample(600, readings=2_000, implausible=51)])
    assert not verdict.passed and "51 of 1,000 readings" in verdict.words and "edge sql" in verdict.words


def test_a_stream_writer_that_falls_behind_or_silent() -> None:
    assert judge_lag([Sample(600)]).passed, "it has not begun"
    assert judge_lag([Sample(600, lag=100_000, read_at=590.0)]).passed
    assert not judge_lag([Sample(600, lag=100_001, read_at=590.0)]).passed
    verdict = judge_lag([Sample(1_200, read_at=600.0)])
    assert not verdict.passed and "10 minutes" in verdict.words


def test_the_watch_evaluates_without_a_run_and_remembers(settings: Settings, instance: dg.DagsterInstance) -> None:
    sensor = check_sensor(settings)
    repository = build(settings).get_repository_def()
    for dropped in (3, 5):
        write_json(status_path(settings, "bridge"), {"dropped_by_broker": dropped})
        result = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, repository_def=repository))
    by_name = {e.check_name: e for e in result.asset_events if isinstance(e, dg.AssetCheckEvaluation)}
    assert not by_name["nothing_dropped"].passed and "dropped 2 messages" in (
        by_name["nothing_dropped"].description or ""
    )
    assert by_name["few_dead_letters"].passed
    assert not result.run_requests
    assert take_sample(settings, 0).dropped == 5


def test_a_person_can_execute_the_cheap_checks(settings: Settings, instance: dg.DagsterInstance) -> None:
    write_json(status_path(settings, "bridge"), {"dropped_by_broker": 2})
    wanted = [check for check in asset_checks(settings) if COMPLETE not in str(check.check_keys)]
    selection = dg.AssetSelection.checks(*wanted)
    result = dg.materialize([*asset_specs(settings), *wanted], instance=instance, selection=selection)
    verdicts = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    amiss = {"nothing_dropped", "backed_up"}
    names = {check.name for check in CHEAP} | {"clocks_agree"}
    assert verdicts == {name: name not in amiss for name in names}


def test_what_expired_unread_fails_for_a_day_and_is_told_after_it() -> None:
    assert judge_expired([Sample(600)]).passed
    lost: dict[str, Any] = {"lost": 50, "lost_at": 500.0, "lost_ranges": ("sensor-events/0 offsets 1 to 50",)}
    verdict = judge_expired([Sample(600, **lost)])
    assert not verdict.passed and "offsets 1 to 50. Raise EDGE_KAFKA__RETENTION_HOURS" in verdict.words
    later = judge_expired([Sample(600 + DROP_SECONDS, **lost)])
    assert later.passed and later.words.startswith("50 records")


def test_little_space_is_told_before_the_stream_writer_stops() -> None:
    assert judge_disk([Sample(0, free_mb=1_000, reserve_mb=200)]).passed
    low, none = (judge_disk([Sample(0, free_mb=free, reserve_mb=200)]) for free in (999, 249))
    assert not low.passed and low.severity == dg.AssetCheckSeverity.WARN and "make room" in low.words
    assert not none.passed and none.severity == dg.AssetCheckSeverity.ERROR and "200 MB" in none.words


def a_day(*free_mb: int, **last: Any) -> list[Sample]:
    """Looks at a disk, evenly over a day."""
    step = 24 * HOUR / (len(free_mb) - 1)
    samples = [Sample(1e9 + number * step, free_mb=free, reserve_mb=200) for number, free in enumerate(free_mb)]
    return [*samples[:-1], replace(samples[-1], **last)]


def test_a_disk_that_will_be_full_within_days_is_told_while_there_is_room() -> None:
    calm = judge_disk(a_day(50_200, 49_700, 49_200))
    assert calm.passed and calm.figures["MB a day"] == 1_000 and calm.figures["days until full"] == 49
    assert "49 days at today's growth of 1,000 MB a day" in calm.words
    soon = judge_disk(a_day(50_200, 45_000, 42_200))
    assert not soon.passed and soon.severity is dg.AssetCheckSeverity.WARN and "5 days" in soon.words
    assert judge_disk(a_day(42_200, 45_000, 50_200)).passed, "it has more room than a day ago"
    assert "days" not in judge_disk(a_day(50_200, 42_200)[1:]).words, "nothing is known of its growth"
    hours = [Sample(1e9, free_mb=50_000), Sample(1e9 + 11 * HOUR, free_mb=20_000)]
    assert judge_disk(hours).passed, "of some hours nobody can say what a day is like"


def test_a_backup_that_is_old_or_never_was_is_told(settings: Settings) -> None:
    verdict = judge_backup([take_sample(settings)])
    assert not verdict.passed and verdict.severity is dg.AssetCheckSeverity.WARN and "edge backup" in verdict.words
    assert judge_backup([take_sample(settings)]) == verdict, "said in the same words at each look"
    ended = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
    write_json(status_path(settings, "backup"), {"ended_at": ended.isoformat(), "bytes": 5_000_000})
    young = judge_backup([take_sample(settings, ended.timestamp() + 47 * HOUR)])
    assert young.passed and young.figures["MB"] == 5 and "2026-03-01 at 02:00 UTC" in young.words
    assert not judge_backup([take_sample(settings, ended.timestamp() + 73 * HOUR)]).passed
    for odd in ({}, {"ended_at": "yesterday"}, {"ended_at": None, "bytes": None}):
        write_json(status_path(settings, "backup"), odd)
        assert not judge_backup([take_sample(settings)]).passed


def test_a_clock_that_was_never_set_is_told(settings: Settings) -> None:
    assert judge_clock([take_sample(settings)]).passed, "no bridge has said otherwise"
    write_json(status_path(settings, "bridge"), {"clock_synchronised": False})
    verdict = judge_clock([take_sample(settings)])
    assert not verdict.passed and "time service" in verdict.words


def test_verdicts_show_the_rows_that_are_concerned() -> None:
    verdict = judge_dead_letters(
        [Sample(0), Sample(600, 1_000, 30), Sample(1_200, 2_000, 30), Sample(1_800, 2_500, 50)]
    )
    assert [row["dead letters"] for row in verdict.rows] == [20, 30]
    said = metadata(verdict)
    assert "| 1970-01-01 00:30:00 UTC | 20 |" in str(said["rows"].value) and "edge sql" in str(said["look"].value)
    behind = judge_lag([Sample(600, lag=200_000, read_at=599.0, unread={"a/0": 0, "b/1": 150_000, "c/0": 50_000})])
    assert [row["partition"] for row in behind.rows] == ["b/1", "c/0"]
    assert "rows" not in metadata(judge_lag([Sample(600, read_at=599.0)]))


def test_a_table_of_rows_is_short_and_whole() -> None:
    table = markdown([{"a": "x|y\nz", "b": number / 3, "c": None} for number in range(SHOWN + 5)])
    lines = table.splitlines()
    assert lines[:3] == ["| a | b | c |", "| --- | --- | --- |", "| x\\|y z | 0.0 |  |"]
    assert len(lines) == 2 + SHOWN + 2 and lines[-1] == "and 5 more"


def test_what_earlier_versions_remembered_does_no_harm(settings: Settings) -> None:
    """An unknown counter of another version: the looks begin anew."""
    write_json(samples_path(settings), {"samples": [{"at": 1.0, "moons": 2}]})
    check_sensor(settings).evaluate_tick(
        dg.build_sensor_context(
            instance=dg.DagsterInstance.ephemeral(), repository_def=build(settings).get_repository_def()
        )
    )
    (kept,) = json.loads(samples_path(settings).read_text())["samples"]
    assert kept["free_mb"] > 0


def test_what_is_there_twice_is_told_apart_from_what_is_missing() -> None:
    place = ("log", "sensor-events", 0)
    gap = Problem("gap", "2 offsets are missing in bronze.events", place, 2, (7,), "SELECT 1")
    twice = Problem("reading_doubled", "3 records have a measurement twice in silver", place, 3)
    assert judge_repeats(Report(False, False, (), (gap,))).passed
    found = judge_repeats(Report(False, False, (), (gap, twice)))
    assert not found.passed and found.severity is dg.AssetCheckSeverity.ERROR and found.figures == {"repeats": 3}
    assert [row["kind"] for row in found.rows] == ["reading_doubled"]
    whole = judge_complete(Report(False, False, (), (gap, twice)))
    assert not whole.passed and whole.severity is dg.AssetCheckSeverity.ERROR and "first at 7" in whole.words
    assert [row["query"] for row in whole.rows] == ["SELECT 1", ""]
    away = Report(False, True, (), (Problem("log_away", "Kafka does not answer", None, 1),))
    assert judge_complete(away).severity is dg.AssetCheckSeverity.WARN and judge_repeats(away).passed


def test_kinds_of_repeats_are_those_of_the_proof() -> None:
    source = inspect.getsource(proof)
    assert all(f'"{kind}"' in source for kind in REPEATS)
