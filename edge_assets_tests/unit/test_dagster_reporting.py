"""What the services' counters become in Dagster: materializations and verdicts, without runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from edge_assets.defs.judges import judge_fields
from edge_assets.defs.reporting import FIRST_REPORT_SECONDS, FIRST_SECONDS, QUIET_SECONDS, REPORT_SECONDS, Reporter
from edge_assets.defs.samples import take_sample
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
