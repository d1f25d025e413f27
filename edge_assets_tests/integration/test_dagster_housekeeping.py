"""Housekeeping on Dagster's real storage: what goes, what stays, and the files on the disk."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.instance.ref import InstanceRef
from dagster._core.scheduler.instigation import TickData, TickStatus

from edge_assets.defs import purging
from edge_assets.defs.housekeeping import KEPT_PER_JOB, housekeeping_job
from edge_assets.defs.housekeeping import clean as clean_by
from edge_assets.defs.services import JOB_TAG
from edge_assets.defs.storage import held_open
from edge_assets.settings import Settings

DAY = 86_400.0
RUN_DAYS = EVENT_DAYS = 14
KEY = dg.AssetKey(["silver", "readings"])


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
        yield instance


def clean(instance: dg.DagsterInstance, now: float, keep_mb: int = 500) -> dict[str, int]:
    return clean_by(instance, now, RUN_DAYS, keep_mb)


@dg.job(executor_def=dg.in_process_executor)
def work() -> None:
    @dg.op
    def step() -> None: ...

    step()


def finish(instance: dg.DagsterInstance, count: int) -> list[str]:
    return [work.execute_in_process(instance=instance).run_id for _ in range(count)]


def run_files(tmp_path: Path) -> set[str]:
    return {path.name.split(".")[0] for path in (tmp_path / "history" / "runs").glob("*-*.db*")}


def test_old_runs_go_with_their_files_and_the_newest_stay(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    runs = finish(instance, KEPT_PER_JOB + 2)
    assert run_files(tmp_path) == set(runs)
    assert clean(instance, time.time() + (RUN_DAYS - 1) * DAY)["runs deleted"] == 0
    assert clean(instance, time.time() + (RUN_DAYS + 1) * DAY)["runs deleted"] == 2
    assert {run.run_id for run in instance.get_runs()} == set(runs[2:]) == run_files(tmp_path)


def test_a_stopped_service_s_last_run_stays_so_that_it_stays_stopped(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(work, tags={JOB_TAG: "work"})
    instance.report_run_canceled(run)
    clean(instance, time.time() + 1000 * DAY)
    assert [r.status.value for r in instance.get_runs()] == ["CANCELED"]


def test_bounded_work_without_a_sign_of_life_is_reported_failed_and_services_are_not(
    instance: dg.DagsterInstance,
) -> None:
    bounded = instance.create_run_for_job(work, status=dg.DagsterRunStatus.STARTED)
    service = instance.create_run_for_job(work, status=dg.DagsterRunStatus.STARTED, tags={JOB_TAG: "work"})
    assert clean(instance, time.time() + 0.5 * DAY)["runs without a process"] == 0
    assert clean(instance, time.time() + 2 * DAY)["runs without a process"] == 1
    states = {run.run_id: run.status.value for run in instance.get_runs()}
    assert states == {bounded.run_id: "FAILURE", service.run_id: "STARTED"}


def reports(tmp_path: Path, file: str) -> int:
    with closing(sqlite3.connect(tmp_path / "history" / "runs" / file)) as connection:
        return connection.execute("SELECT count(*) FROM event_logs").fetchone()[0]


def test_old_reports_go_and_the_latest_stay(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    for rows in (1, 2, 3):
        instance.report_runless_asset_event(dg.AssetMaterialization(KEY, metadata={"rows": rows}))
        for check in ("first", "second"):
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(asset_key=KEY, check_name=check, passed=True, metadata={"rows": rows})
            )
    assert clean(instance, time.time() + (EVENT_DAYS - 1) * DAY)["reports deleted"] == 0
    assert reports(tmp_path, "index.db") == reports(tmp_path, ".db") == 9
    # Of nine, one materialization and one evaluation of each check stay.
    assert clean(instance, time.time() + (EVENT_DAYS + 1) * DAY)["reports deleted"] == 6
    assert reports(tmp_path, "index.db") == 3 and reports(tmp_path, ".db") == 0

    records = instance.fetch_materializations(KEY, limit=10).records
    assert [r.asset_materialization.metadata["rows"].value for r in records if r.asset_materialization] == [3]
    for check in ("first", "second"):
        history = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(KEY, check), limit=10)
        assert len(history) == 1 and history[0].event is not None
    assert clean(instance, time.time() + (EVENT_DAYS + 1) * DAY)["reports deleted"] == 0


def test_a_run_s_own_materializations_are_left_to_the_run(instance: dg.DagsterInstance) -> None:
    @dg.asset
    def made() -> None: ...

    dg.materialize([made], instance=instance)
    clean(instance, time.time() + (EVENT_DAYS + 1) * DAY)
    assert instance.get_latest_materialization_event(dg.AssetKey("made")) is not None


def test_a_day_that_was_made_stays_made_when_its_run_has_gone(instance: dg.DagsterInstance) -> None:
    @dg.asset(partitions_def=dg.DailyPartitionsDefinition("2026-01-01"))
    def by_day() -> None: ...

    days = [f"2026-01-{day:02}" for day in range(1, KEPT_PER_JOB + 3)]
    for day in [*days, days[-1]]:
        dg.materialize([by_day], instance=instance, partition_key=day)
    for _ in range(2):  # the second round finds them as reports without a run
        clean(instance, time.time() + (RUN_DAYS + 1) * DAY)
        assert instance.get_runs_count() == KEPT_PER_JOB
        assert instance.get_materialized_partitions(dg.AssetKey("by_day")) == set(days)


def test_beyond_its_size_fewer_days_are_kept_and_the_disk_gets_the_space(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    note, now = "x" * 250_000, time.time()
    for _ in range(60):
        instance.report_runless_asset_event(dg.AssetMaterialization(KEY, metadata={"note": note}))
    assert purging.used_bytes(tmp_path) > 25e6
    done = clean(instance, now + 2.5 * DAY)
    assert (done["days kept"], done["reports deleted"]) == (RUN_DAYS, 0)
    with held_open(tmp_path):  # as the services have it
        # 14 days, 7, 3, 1: by then all but the latest are too old.
        done = clean(instance, now + 2.5 * DAY, keep_mb=20)
    assert (done["days kept"], done["reports deleted"]) == (1, 59)
    assert done["MB given back"] >= 25
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.db*")) < 2e6
    assert clean(instance, now + 2.5 * DAY, keep_mb=20)["days kept"] == RUN_DAYS


def test_old_ticks_go_and_the_latest_of_each_stays(instance: dg.DagsterInstance) -> None:
    for name, count in (("often", 3), ("once", 1)):
        for number in range(count):
            instance.create_tick(
                TickData(
                    instigator_origin_id=f"origin of {name}",
                    instigator_name=name,
                    instigator_type=InstigatorType.SENSOR,
                    status=TickStatus.SUCCESS,
                    timestamp=time.time() - 100 + number,
                    run_ids=[],
                    run_keys=[],
                    selector_id=f"selector of {name}",
                )
            )
    assert clean(instance, time.time() + (RUN_DAYS - 1) * DAY)["ticks deleted"] == 0
    assert clean(instance, time.time() + (RUN_DAYS + 1) * DAY)["ticks deleted"] == 2
    assert len(instance.get_ticks("origin of often", "selector of often")) == 1
    assert len(instance.get_ticks("origin of once", "selector of once")) == 1


def test_a_file_that_a_cut_left_behind_goes(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    (run,) = finish(instance, 1)
    lost = tmp_path / "history" / "runs" / "0a1b2c3d-0000-4000-8000-000000000000.db"
    lost.write_bytes(b"left behind")
    assert clean(instance, time.time())["lost files"] == 0
    assert clean(instance, time.time() + (RUN_DAYS + 1) * DAY)["lost files"] == 1
    assert run_files(tmp_path) == {run}


def test_as_the_job_runs_it(instance: dg.DagsterInstance, settings: Settings) -> None:
    finish(instance, 1)
    job, _ = housekeeping_job(settings)
    assert job.execute_in_process(instance=instance).success
