"""Schedules and backfills as Dagster's daemon evaluates them: its own code, on its real storage, with a clock of ours.

The definitions are loaded as the code server loads them, in this process.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus
from dagster._core.test_utils import freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs
from dagster._time import get_current_timestamp

from edge_assets.definitions import build
from edge_assets.defs.rollups import JOB, rollup_key
from edge_assets.platform import parts
from edge_assets.service import service_lock
from edge_assets.settings import Settings, load_settings
from edge_assets.warehouse.rollups.layout import LOCK
from edge_assets.warehouse.rollups.update import update
from edge_assets_tests.integration.test_rollup_retention import DAYS, put, seen, two_days_gone
from edge_assets_tests.integration.test_rollups import House
from edge_assets_tests.lake_tables import AT
from edge_assets_tests.rollup_reference import assert_equal_to_a_recompute

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOTHING_RUNS = "class: MockedRunLauncher\n  module: dagster._core.test_utils"
RUNS_HERE = "class: SyncInMemoryRunLauncher\n  module: dagster._core.launcher.sync_in_memory_run_launcher"


def definitions() -> dg.Definitions:
    """What the code server loads, with the settings that the test's environment has."""
    return build(load_settings(_env_file=None), held=[])


class Daemon:
    """Dagster's scheduler and its backfills, one look at a time."""

    def __init__(self, workspace: WorkspaceProcessContext) -> None:
        self.workspace = workspace
        self.instance = workspace.instance
        self.log = logging.getLogger("daemon")

    def look(self, at: datetime) -> None:
        """What the scheduler does when it looks at that time."""
        with freeze_time(at):
            list(launch_scheduled_runs(self.workspace, self.log, end_datetime_utc=at, iteration_times={}))

    def ticks(self, schedule: str) -> list[InstigatorTick]:
        """Newest first."""
        repository = next(iter(self.workspace.create_request_context().code_locations[0].get_repositories().values()))
        found = repository.get_schedule(schedule)
        return list(self.instance.get_ticks(found.get_remote_origin_id(), found.selector_id))

    def runs(self, job: str | None = None) -> list[dg.DagsterRun]:
        """Newest first."""
        return list(self.instance.get_runs(dg.RunsFilter(job_name=job) if job else None))

    def end(self) -> None:
        """Let all runs have ended well."""
        for run in self.runs():
            if not run.is_finished:
                self.instance.report_run_failed(run, "ended by the test")

    def backfill(self, name: str, first: date, last: date) -> list[dg.DagsterRun]:
        """What follows when a person selects these days of a rollup and presses *Launch*: the runs of it."""
        days = [(first + n * DAY).isoformat() for n in range((last - first).days + 1)]
        self.instance.add_backfill(
            PartitionBackfill.from_asset_partitions(
                backfill_id=name,
                asset_graph=self.workspace.create_request_context().asset_graph,
                partition_names=days,
                asset_selection=[rollup_key("readings_1m"), rollup_key("readings_1h"), rollup_key("energy_daily")],
                backfill_timestamp=get_current_timestamp(),
                tags={},
                dynamic_partitions_store=self.instance,
                all_partitions=False,
                title=None,
                description=None,
                run_config=None,
            )
        )
        for _ in range(5):
            assert not [error for error in execute_backfill_iteration(self.workspace, self.log) if error]
            found = self.instance.get_backfill(name)
            assert found is not None
            if found.status is not BulkActionStatus.REQUESTED:
                break
        return list(self.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": name})))


@contextmanager
def daemon_of(settings: Settings, launcher: str, patch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    for variable, value in settings.environment().items():
        patch.setenv(variable, value)
    parts.prepare_dagster(settings)
    home = parts.dagster_home(settings)
    with (home / "dagster.yaml").open("a") as file:
        file.write(f"run_launcher:\n  {launcher}\n")
    here = str(Path(__file__).parents[2])  # a run's process imports this module too
    origin = LoadableTargetOrigin(module_name=__name__, attribute=definitions.__name__, working_directory=here)
    target = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(origin))
    with (
        dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance,
        WorkspaceProcessContext(instance, target) as workspace,
    ):
        yield Daemon(workspace)


@pytest.fixture
def daemon(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """One that launches runs which nobody executes: they stay as they are. Backups are asked for."""
    backup = settings.backup.model_copy(update={"destination": str(settings.home / "backups")})
    with daemon_of(settings.model_copy(update={"backup": backup}), NOTHING_RUNS, monkeypatch) as daemon:
        yield daemon


@pytest.fixture
def working(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """One whose runs are executed at once."""
    with daemon_of(settings, RUNS_HERE, monkeypatch) as daemon:
        yield daemon


NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def test_forty_missed_ticks_are_one_run(daemon: Daemon) -> None:
    daemon.look(NOW + MINUTE)
    daemon.look(NOW + 10 * MINUTE)
    assert len(daemon.runs(JOB)) == 1
    daemon.end()
    back = NOW + 10 * MINUTE + 40 * 10 * MINUTE + MINUTE
    daemon.look(back)
    assert len(daemon.runs(JOB)) == 2 and len(daemon.ticks("rollups_regularly")) == 2
    tick = daemon.ticks("rollups_regularly")[0]
    assert tick.status is TickStatus.SUCCESS and datetime.fromtimestamp(tick.timestamp, UTC) == back - MINUTE
    assert daemon.runs(JOB)[0].tags["dagster/partition"] == back.date().isoformat()
    daemon.look(back + MINUTE)
    assert len(daemon.runs(JOB)) == 2, "and no second one for what was missed"


def test_after_a_week_away_each_schedule_runs_once(daemon: Daemon) -> None:
    daemon.look(NOW + MINUTE)
    assert not daemon.runs()
    daemon.look(NOW + 7 * DAY)
    launched = Counter(run.job_name for run in daemon.runs())
    schedules = definitions().get_repository_def().schedule_defs
    assert launched == Counter(schedule.job_name for schedule in schedules) and len(launched) == len(schedules) >= 7


def test_rollups_that_are_being_worked_on_are_not_queued_up_for(daemon: Daemon, settings: Settings) -> None:
    daemon.look(NOW + MINUTE)
    with service_lock(settings, LOCK):
        for ticks in (1, 2, 3):
            daemon.look(NOW + ticks * 10 * MINUTE)
        told = daemon.ticks("rollups_regularly")
        assert [tick.status for tick in told] == [TickStatus.SKIPPED] * 3 and not daemon.runs(JOB)
        assert "works on the rollups" in (told[0].skip_reason or "")
    daemon.look(NOW + 40 * MINUTE)
    assert len(daemon.runs(JOB)) == 1, "the next tick after that"


def test_a_run_that_is_still_going_is_not_overtaken_and_a_dead_one_keeps_nobody_waiting(daemon: Daemon) -> None:
    first = NOW + 29 * MINUTE
    if first < datetime.now(UTC):  # the run is stored with the real clock's time: before its tick, by less than an hour
        first += HOUR
    job, schedule = "lake_maintenance", "lake_maintenance_regularly"
    daemon.look(first - MINUTE)
    daemon.look(first)
    assert len(daemon.runs(job)) == 1
    daemon.look(first + HOUR)
    assert daemon.ticks(schedule)[0].status is TickStatus.SKIPPED and len(daemon.runs(job)) == 1
    assert daemon.runs(job)[0].run_id[:8] in (daemon.ticks(schedule)[0].skip_reason or "")
    daemon.look(first + 4 * HOUR)
    assert len(daemon.runs(job)) == 2, "after hours it hangs, or its process has gone"


def test_a_backfill_is_one_run_and_gives_what_the_increments_gave(working: Daemon, settings: Settings) -> None:
    house = House(settings, seed=5)
    house.append(house.rows(60, AT - 2 * DAY, AT))
    house.append_rooms(house.rooms(20, AT - DAY, AT))
    update(settings)
    house.later(9 * HOUR)
    house.append(house.rows(40, house.now - DAY, house.now))
    update(settings)
    before = seen(settings)
    (run,) = working.backfill("again", (AT - 2 * DAY).date(), house.now.date())
    assert run.status is dg.DagsterRunStatus.SUCCESS, working.instance.all_logs(run.run_id)[-3:]
    asked = {name: run.tags[f"dagster/asset_partition_range_{name}"] for name in ("start", "end")}
    assert asked == {"start": (AT - 2 * DAY).date().isoformat(), "end": house.now.date().isoformat()}
    assert same_but_for_last_bits(before, seen(settings))
    assert_equal_to_a_recompute(settings)
    found = working.instance.get_backfill("again")
    assert found is not None and found.status is BulkActionStatus.COMPLETED_SUCCESS


def same_but_for_last_bits(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> bool:
    """The same rows with the same values; in which order a sum was added up may move its last bit."""

    def same(one: Any, other: Any) -> bool:
        return one == other or (isinstance(one, float) and math.isclose(one, other, rel_tol=1e-15, abs_tol=1e-12))

    assert {name: len(rows) for name, rows in before.items()} == {name: len(rows) for name, rows in after.items()}
    rows = [pair for name in before for pair in zip(before[name], after[name], strict=True)]
    return all(same(*values) for one, other in rows for values in zip(one, other, strict=True))


def test_a_backfill_that_is_refused_says_why_and_changes_nothing(working: Daemon, settings: Settings) -> None:
    put(settings)
    update(settings)
    two_days_gone(settings)
    before = seen(settings)
    (run,) = working.backfill("too far", DAYS[0], DAYS[2])
    assert run.status is dg.DagsterRunStatus.FAILURE and seen(settings) == before
    assert "raw rows of 2 of the 5 days have gone for their age (EDGE_RETENTION__READINGS)" in said(working, run)
    found = working.instance.get_backfill("too far")
    assert found is not None and found.status is BulkActionStatus.COMPLETED_FAILED


def said(daemon: Daemon, run: dg.DagsterRun) -> str:
    """What the failed step's event shows a person first."""
    (event,) = daemon.instance.all_logs(run.run_id, dg.DagsterEventType.STEP_FAILURE)
    assert event.dagster_event is not None
    failure = event.dagster_event.step_failure_data.user_failure_data
    assert failure is not None
    return failure.description or ""
