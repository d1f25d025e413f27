"""What keeps Dagster's own storage small: it keeps everything for ever unless somebody takes it away.

Daily: finished runs by age, with the file of events that `delete_run` leaves behind (130 KB each); the reports of
materializations and checks by age, the latest of each kept; runs that no process can be behind any more. Ticks of
sensors and schedules are purged by Dagster itself, by the ages in `dagster.yaml`.
"""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from edge_assets.defs.keep_alive import ACTIVE

if TYPE_CHECKING:
    from dagster._core.storage.dagster_run import RunRecord

RUN_DAYS = 14
KEPT_PER_JOB = 3
"""the newest runs of each job stay whatever their age: the keep-alive reads from them whether a person stopped it"""
MOST_PER_JOB = 100
"""and of one that fails again and again no more than these stay"""

EVENT_DAYS = 14
STALE_DAYS = 1.0
"""bounded work that is still active after this time has lost its process"""

PAGE = 500
FINISHED = [status for status in dg.DagsterRunStatus if status.value in ("SUCCESS", "FAILURE", "CANCELED")]


@dg.op(description="Takes old runs, their files and old reports out of Dagster's storage.")
def clean_storage(context: dg.OpExecutionContext) -> None:
    done = clean(context.instance, now=time.time())
    context.log.info(", ".join(f"{name}: {count}" for name, count in done.items()))


@dg.job(
    name="housekeeping",
    executor_def=dg.in_process_executor,
    description=f"Daily: takes runs older than {RUN_DAYS} days, their files and reports older than {EVENT_DAYS} days "
    "out of Dagster's storage. The lake is not touched.",
)
def housekeeping() -> None:
    clean_storage()


housekeeping_daily = dg.ScheduleDefinition(
    name="housekeeping_daily",
    job=housekeeping,
    cron_schedule="40 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)


def clean(instance: dg.DagsterInstance, now: float) -> dict[str, int]:
    """One round of cleaning; `now` in seconds since 1970. Returns what was done, by name."""
    return {
        "runs without a process": _report_stale_runs(instance, now),
        "runs deleted": sum(1 for _ in _delete_runs(instance, now)),
        "reports deleted": delete_reports(instance, now - timedelta(days=EVENT_DAYS).total_seconds()),
    }


def _report_stale_runs(instance: dg.DagsterInstance, now: float) -> int:
    """Services are left out: their keep-alive knows better, and theirs may well be weeks old."""
    from edge_assets.defs.services import JOB_TAG

    before = datetime.fromtimestamp(now - timedelta(days=STALE_DAYS).total_seconds(), UTC)
    active = [dg.DagsterRunStatus(status) for status in sorted(ACTIVE)]
    stale = [
        record.dagster_run
        for record in instance.get_run_records(dg.RunsFilter(statuses=active, updated_before=before))
        if JOB_TAG not in record.dagster_run.tags
    ]
    for run in stale:
        instance.report_run_failed(run, f"No sign of life for {STALE_DAYS:.0f} day: its process is gone.")
    return len(stale)


def _delete_runs(instance: dg.DagsterInstance, now: float) -> Iterator[str]:
    before = now - timedelta(days=RUN_DAYS).total_seconds()
    seen: Counter[str] = Counter()
    for record in list(_finished(instance)):
        seen[record.dagster_run.job_name] += 1
        rank = seen[record.dagster_run.job_name]
        old = (record.end_time or record.update_timestamp.timestamp()) < before
        if rank > MOST_PER_JOB or (old and rank > KEPT_PER_JOB):
            delete_run(instance, record.dagster_run.run_id)
            yield record.dagster_run.run_id


def _finished(instance: dg.DagsterInstance) -> Iterator["RunRecord"]:
    """All finished runs, newest first."""
    cursor: str | None = None
    while page := instance.get_run_records(dg.RunsFilter(statuses=FINISHED), limit=PAGE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def delete_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete a run, its events, and the file that held them."""
    instance.delete_run(run_id)
    path_of = getattr(instance.event_log_storage, "path_for_shard", None)
    if path_of is not None:
        for suffix in ("", "-wal", "-shm"):
            Path(path_of(run_id) + suffix).unlink(missing_ok=True)


def delete_reports(instance: dg.DagsterInstance, before: float) -> int:
    """Delete what was reported without a run before that time, except each asset's and each check's latest.

    Dagster has no call for it short of wiping an asset, so this speaks SQL to its storage.
    """
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events

    storage: Any = instance.event_log_storage
    when = datetime.fromtimestamp(before, UTC).replace(tzinfo=None)
    old = db.and_(Events.c.run_id == "", Events.c.timestamp < when)
    latest = db.select(db.func.max(Events.c.id)).group_by(Events.c.asset_key, Events.c.dagster_event_type)
    with storage.index_connection() as connection:
        # Evaluations of checks are told apart by a table of their own.
        kept = _old_evaluations_kept(connection, when)
        delete = Events.delete().where(old, Events.c.id.not_in(latest), Events.c.id.not_in(kept))
        deleted = connection.execute(delete).rowcount
    if hasattr(storage, "path_for_shard"):
        # SQLite: the same again in the file of run '', which nobody reads.
        with storage.run_connection("") as connection:
            connection.execute(Events.delete().where(old))
    return deleted


def _old_evaluations_kept(connection: Any, when: datetime) -> list[int]:
    """Delete old evaluations of checks; returns the events of those that are the latest of their check."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Checks

    latest = db.select(db.func.max(Checks.c.id)).group_by(Checks.c.asset_key, Checks.c.check_name)
    connection.execute(Checks.delete().where(Checks.c.create_timestamp < when, Checks.c.id.not_in(latest)))
    rows = connection.execute(db.select(Checks.c.evaluation_event_storage_id))
    return [row[0] for row in rows if row[0] is not None]
