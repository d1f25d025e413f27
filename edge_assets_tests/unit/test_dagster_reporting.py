"""What the services' counters become in Dagster: materializations and verdicts, without runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from edge_assets.definitions import build
from edge_assets.defs.assets import asset_specs
from edge_assets.defs.checks import (
    DROP_SECONDS,
    Sample,
    asset_checks,
    check_sensor,
    judge_dead_letters,
    judge_disk,
    judge_drops,
    judge_expired,
    judge_fields,
    judge_lag,
    judge_plausible,
    take_sample,
)
from edge_assets.defs.reporting import FIRST_REPORT_SECONDS, FIRST_SECONDS, QUIET_SECONDS, REPORT_SECONDS, Reporter
from edge_assets.defs.sparkline import sparkline
from edge_assets.service import status_path, write_json
from edge_assets.settings import Settings, load_settings

TOPIC = dg.AssetKey(["log", "sensor-events"])
BROKER = dg.AssetKey(["broker", "mqtt"])
OVERSIZE = dg.AssetKey(["log", "dead-letters"])
READINGS = dg.AssetKey(["silver", "readings"])
ROOMS = dg.AssetKey(["silver", "room_telemetry"])
DEAD = dg.AssetKey(["bronze", "dead_letters"])
DEVICES = dg.AssetKey(["silver", "devices"])


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(_env_file=None, home=tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def metadata(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, Any]:
    event = instance.get_latest_materialization_event(key)
    assert event is not None and event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_what_has_not_moved_is_not_reported(settings: Settings, clock: Clock, instance: dg.DagsterInstance) -> None:
    reporter = Reporter(settings, "bridge", clock)
    assert reporter.report(instance, {}) == []
    assert reporter.report(instance, {"received": 0, "logged": 0, "connected": True}) == []


@pytest.mark.parametrize(("age", "pause"), [(0, FIRST_REPORT_SECONDS), (FIRST_SECONDS, REPORT_SECONDS)])
def test_an_advance_is_reported_after_a_pause(
    age: float, pause: float, settings: Settings, clock: Clock, instance: dg.DagsterInstance
) -> None:
    reporter = Reporter(settings, "bridge", clock)
    clock.now += age
    assert TOPIC in reporter.report(instance, {"received": 5, "logged": 4, "routes": {"zigbee2mqtt/#": 4}})
    clock.now += pause - 1
    assert reporter.report(instance, {"received": 9, "logged": 9, "routes": {"zigbee2mqtt/#": 9}}) == []
    clock.now += 1
    assert set(reporter.report(instance, {"received": 9, "logged": 9, "routes": {"zigbee2mqtt/#": 9}})) == {
        BROKER,
        TOPIC,
    }
    assert metadata(instance, TOPIC)["new records"] == 5
    clock.now += pause
    assert reporter.report(instance, {"received": 9, "logged": 9, "routes": {"zigbee2mqtt/#": 9}}) == []


def test_a_service_that_stops_reports_the_rest_at_once(
    settings: Settings, clock: Clock, instance: dg.DagsterInstance
) -> None:
    reporter = Reporter(settings, "bridge", clock)
    reporter.report(instance, {"logged": 4, "routes": {"zigbee2mqtt/#": 4}})
    assert reporter.report(instance, {"logged": 5, "routes": {"zigbee2mqtt/#": 5}}, last=True) == [TOPIC]


def test_a_table_s_report_carries_its_version_lag_and_positions(
    settings: Settings, clock: Clock, instance: dg.DagsterInstance
) -> None:
    counters = {
        "batch": 3,
        "tables": {"silver.readings": {"version": 12, "rows": 70, "last_event_at": "2026-11-21T08:00:00+00:00"}},
        "progress": {"lag": 7},
        "positions": {"sensor-events/0": 100, "sensor-events/1": 90},
    }
    assert Reporter(settings, "stream_writer", clock).report(instance, counters) == [READINGS]
    said = metadata(instance, READINGS)
    assert said["new rows"] == 70 and said["table version"] == 12 and said["lag (records)"] == 7
    assert said["positions"] == {"sensor-events/0": 100, "sensor-events/1": 90}


def test_columns_that_rooms_have_brought_are_in_the_report_of_their_table(
    settings: Settings, clock: Clock, instance: dg.DagsterInstance
) -> None:
    now = datetime.now(UTC)
    more = {
        "pm25": {"type": "double", "description": "pm25 of rooms", "since": (now - timedelta(days=2)).isoformat()},
        "air__voc": {"type": "double", "description": "air.voc of rooms", "since": now.isoformat()},
    }
    counters = {"tables": {"silver.room_telemetry": {"version": 12, "rows": 70, "more_columns": more}}}
    assert Reporter(settings, "stream_writer", clock).report(instance, counters) == [ROOMS]
    said = metadata(instance, ROOMS)
    names = [column.name for column in said["dagster/column_schema"].columns]
    assert names[:2] == ["site", "room_id"] and names[-2:] == ["pm25", "air__voc"]
    assert said["schema changed"] == "new in the last day: air__voc"
    write_json(status_path(settings, "stream_writer"), {**counters, "written": {"beyond": 3}})
    sample = take_sample(settings)
    assert (sample.beyond, set(sample.columns)) == (3, {"pm25", "air__voc"})
    before = replace(sample, at=sample.at - 600)
    verdict = judge_fields([before, sample])
    assert verdict.passed and "air__voc" in verdict.words and "pm25" not in verdict.words
    verdict = judge_fields([before, replace(sample, beyond=10)])
    assert not verdict.passed and "7 values" in verdict.words and "EDGE_STREAM__MAX_ROOM_FIELDS" in verdict.words


def test_a_small_plot_shows_how_an_asset_has_moved_lately(
    settings: Settings, clock: Clock, instance: dg.DagsterInstance
) -> None:
    reporter = Reporter(settings, "bridge", clock)
    logged = 0
    for rate in (60, 0, 30, 120):
        clock.now += REPORT_SECONDS
        logged += rate * 5
        reporter.report(instance, {"logged": logged, "routes": {"zigbee2mqtt/#": logged}})
    assert metadata(instance, TOPIC)["a minute, lately"] == "▅▂█  now 120, at most 120", "a pause thins the next bar"


def test_a_sparkline_begins_at_zero() -> None:
    assert sparkline([0, 1, 2, 4]) == "▁▃▅█" and sparkline([5, 5]) == "██" and sparkline([0, 0]) == "▁▁"
    assert sparkline([]) == ""
    with pytest.raises(ValueError, match="below zero"):
        sparkline([1, -1])


def test_quiet_tables_say_hourly_that_somebody_has_looked(
    settings: Settings, clock: Clock, instance: dg.DagsterInstance
) -> None:
    reporter = Reporter(settings, "stream_writer", clock)

    def after(seconds: float, batch: int, rows: int) -> list[dg.AssetKey]:
        clock.now += seconds
        return reporter.report(instance, {"batch": batch, "tables": {"bronze.dead_letters": {"rows": rows}}})

    assert after(0, 1, 0) == [DEAD]
    assert after(QUIET_SECONDS - 1, 2, 0) == []
    assert after(1, 2, 0) == [DEAD]
    assert after(QUIET_SECONDS, 2, 0) == [], "the stream writer has not moved"
    assert after(0, 3, 1) == [DEAD]
    assert metadata(instance, DEAD)["new rows"] == 1


def test_the_simulated_network_is_reported_by_who_publishes(
    settings: Settings, clock: Clock, instance: dg.DagsterInstance
) -> None:
    network = dg.AssetKey(["devices", "zigbee2mqtt"])
    carried = {"received": 5, "logged": 5, "routes": {"zigbee2mqtt/#": 5}}
    assert network not in Reporter(settings, "bridge", clock).report(instance, carried)
    published = {"published": 9, "published_below": {"zigbee2mqtt": 5, "building": 4}}
    assert Reporter(settings, "simulators", clock).report(instance, published)[0] == network
    assert metadata(instance, network)["new messages"] == 5, "without those of other simulated devices"


@pytest.mark.parametrize(
    "counters",
    [
        {"logged": None, "received": "many"},
        {"tables": {"silver.readings": {"rows": 1, "last_event_at": "yesterday"}}, "progress": {}, "batch": None},
        {"tables": None, "progress": None, "positions": None},
    ],
)
def test_odd_counters_stop_nothing(
    counters: dict[str, Any], settings: Settings, clock: Clock, instance: dg.DagsterInstance
) -> None:
    for service in ("bridge", "stream_writer", "simulators", "another"):
        Reporter(settings, service, clock).report(instance, counters)


def test_the_registry_of_devices_is_news_only_when_it_grows(
    settings: Settings, clock: Clock, instance: dg.DagsterInstance
) -> None:
    reporter = Reporter(settings, "stream_writer", clock)
    for rows, news in ((6, 0), (7, 1)):
        clock.now += REPORT_SECONDS
        assert reporter.report(instance, {"batch": 1, "tables": {"silver.devices": {"rows": rows}}}) == [DEVICES]
        assert metadata(instance, DEVICES)["new rows"] == news


# Verdicts


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
    wanted = [check for check in asset_checks(settings) if "complete" not in str(check.check_keys)]
    selection = dg.AssetSelection.checks(*wanted)
    result = dg.materialize([*asset_specs(settings), *wanted], instance=instance, selection=selection)
    verdicts = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    names = ("few_dead_letters", "nothing_expired", "disk_space", "caught_up", "plausible", "fields_known")
    assert verdicts == {"nothing_dropped": False, **dict.fromkeys(names, True)}


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
