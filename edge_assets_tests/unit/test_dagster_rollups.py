"""Rollups as Dagster shows and makes them: lineage, columns, the scheduled run, a range of days, the check."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_assets.definitions import build
from edge_assets.defs.rollups import CHECK, JOB, rollup_assets, rollup_check, rollup_check_job, rollup_job, rollup_specs
from edge_assets.errors import SettingsError
from edge_assets.settings import Settings, load_settings
from edge_assets.tables import READINGS
from edge_assets.warehouse.rollups.layout import Layout, folder, read_state
from edge_assets.warehouse.rollups.model import READINGS_1M, ROLLUPS
from edge_assets_tests.lake_tables import AT, reading, write

LINEAGE = """
rollups/readings_1m     <- silver/readings
rollups/readings_1h     <- rollups/readings_1m
rollups/readings_1d     <- rollups/readings_1m
rollups/room_comfort    <- rollups/readings_1m
rollups/energy_daily    <- rollups/readings_1d, silver/readings
rollups/door_activity   <- rollups/readings_1d, silver/readings
rollups/messages_daily  <- silver/readings
rollups/device_health   <- rollups/messages_daily, rollups/readings_1d, rollups/readings_1m, silver/device_states
"""
DAY = timedelta(days=1)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def days_of_readings(settings: Settings, days: int = 3) -> None:
    rows = []
    for number in range(days * 24):
        at = AT + number * timedelta(hours=1)
        own = {"event_time": at, "received_at": at, "date": at.date(), "unit": "°C"}
        rows.append(reading(number, "temperature", value=20.0 + number % 5, **own))
    write(settings, READINGS, rows)


def test_the_lineage_goes_on_from_silver(settings: Settings) -> None:
    lines = []
    for spec in rollup_specs(settings)[: len(ROLLUPS)]:
        sources = sorted(d.asset_key.to_user_string() for d in spec.deps if "room_telemetry" not in d.asset_key.path)
        lines.append(f"{spec.key.to_user_string():<23} <- {', '.join(sources)}")
    assert lines == LINEAGE.strip().splitlines()


def test_every_asset_says_what_it_is(settings: Settings) -> None:
    specs = rollup_specs(settings)
    for spec in specs:
        assert spec.description and spec.kinds and spec.freshness_policy and spec.owners
    for spec, rollup in zip(specs, ROLLUPS, strict=False):
        columns = spec.metadata["dagster/column_schema"].columns
        assert [column.name for column in columns][: len(rollup.columns)] == [c.name for c in rollup.columns]
        assert all(column.description for column in columns)


def test_days_can_be_selected_of_what_has_days(settings: Settings) -> None:
    partitioned = {spec.key.path[-1] for spec in rollup_specs(settings) if spec.partitions_def}
    assert partitioned == {rollup.name for rollup in ROLLUPS} - {"device_health"}


def test_the_schedule_asks_for_today_and_recomputes_nothing_else(settings: Settings, tmp_path: Path) -> None:
    _, schedule = rollup_job(settings)
    assert schedule.cron_schedule == "*/10 * * * *"
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        now = datetime(2026, 11, 21, 10, 20, tzinfo=UTC)
        context = dg.build_schedule_context(
            instance, scheduled_execution_time=now, repository_def=build(settings).get_repository_def()
        )
        (request,) = schedule.evaluate_tick(context).run_requests or []
        assert request.partition_key == "2026-11-21"
        early = dg.build_schedule_context(instance, scheduled_execution_time=datetime(1970, 1, 1, tzinfo=UTC))
        assert "is it set" in (schedule.evaluate_tick(early).skip_message or "")


@pytest.mark.parametrize("minutes", ["7", "0", "90"])
def test_minutes_that_do_not_divide_an_hour_are_refused(minutes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_ROLLUPS__UPDATE_MINUTES", minutes)
    with pytest.raises(SettingsError, match="UPDATE_MINUTES"):
        load_settings(_env_file=None)


def run_job(settings: Settings, instance: dg.DagsterInstance, day: date) -> dg.ExecuteInProcessResult:
    config = {"ops": {"bring_rollups_up_to_date": {"config": {"recompute_selected_days": False}}}}
    job = build(settings, held=[]).resolve_job_def(JOB)
    return job.execute_in_process(instance=instance, partition_key=day.isoformat(), run_config=config)


def test_the_scheduled_run_makes_all(settings: Settings, instance: dg.DagsterInstance) -> None:
    days_of_readings(settings)
    today = (AT + 2 * DAY).date()
    result = run_job(settings, instance, today)
    assert result.success
    made = {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}
    assert made == {*(rollup.name for rollup in ROLLUPS), "edge_duckdb", "anomalies"}
    record = instance.get_latest_materialization_event(dg.AssetKey(["rollups", "readings_1d"]))
    assert record is not None and record.asset_materialization is not None
    assert instance.get_materialized_partitions(dg.AssetKey(["rollups", "readings_1m"])) >= {
        "2026-03-01",
        "2026-03-02",
        "2026-03-03",
    }
    (own,) = [
        event.asset_materialization
        for event in instance.all_logs(result.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
        if (m := event.asset_materialization) and m.asset_key.path[-1] == "readings_1m" and m.metadata
    ]
    assert own.partition == today.isoformat()
    assert own.metadata["last bucket"].value == "2026-03-04 11:00:00+00:00"
    assert own.metadata["dagster/row_count"].value == 72 and own.metadata["bytes written"].value


def test_a_selected_range_is_recomputed_in_one_run(settings: Settings, instance: dg.DagsterInstance) -> None:
    days_of_readings(settings)
    run_job(settings, instance, AT.date())
    torn = _day_file(settings, "2026-03-02")
    pq.write_table(pq.read_table(torn).slice(5), torn)
    check = rollup_check(settings)
    tags = {"dagster/asset_partition_range_start": "2026-03-02", "dagster/asset_partition_range_end": "2026-03-03"}
    assert dg.materialize([rollup_assets(settings)], instance=instance, tags=tags).success
    assert pq.read_metadata(_day_file(settings, "2026-03-02")).num_rows == 24
    assert evaluate(check, instance).passed


def _day_file(settings: Settings, day: str) -> Path:
    state = read_state(settings)
    assert state is not None
    path = Layout(settings, state).path(READINGS_1M, "day", day)
    assert path is not None
    return path


def evaluate(check: dg.AssetChecksDefinition, instance: dg.DagsterInstance) -> dg.AssetCheckEvaluation:
    done = dg.materialize([check], instance=instance, selection=dg.AssetSelection.checks(check), raise_on_error=False)
    (evaluation,) = done.get_asset_check_evaluations()
    assert evaluation.check_name == CHECK
    return evaluation


def test_the_check_says_which_bucket_differs_and_what_to_do(settings: Settings, instance: dg.DagsterInstance) -> None:
    days_of_readings(settings, days=1)
    run_job(settings, instance, AT.date())
    for path in Path(folder(settings)).rglob("readings_1m/hour/*.parquet"):
        rows = [{**row, "last": 99.0} for row in pq.read_table(path).to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    found = evaluate(rollup_check(settings), instance)
    assert (
        not found.passed and "temperature" in (found.description or "") and "materialize" in (found.description or "")
    )


def test_jobs_and_schedules_are_there_and_run_by_themselves(settings: Settings) -> None:
    repository = build(settings).get_repository_def()
    jobs = {job.name for job in repository.get_all_jobs()}
    assert {JOB, rollup_check_job()[0].name} <= jobs
    by_name = {schedule.name: schedule for schedule in repository.schedule_defs}
    for name in ("rollups_regularly", "check_rollups_regularly"):
        assert by_name[name].default_status is dg.DefaultScheduleStatus.RUNNING
