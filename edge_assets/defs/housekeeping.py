"""What keeps Dagster's own storage small: it keeps everything for ever unless somebody takes it away.

Daily, by age (`EDGE_DAGSTER__KEEP_DAYS`): finished runs with their files, reports of materializations, checks and
freshness, and ticks, the latest of each kept; runs that no process can be behind any more. Where that leaves more than
`EDGE_DAGSTER__KEEP_MB`, the same again with half the days, down to one. Then free pages go back to the disk. Most ticks
are purged sooner, by Dagster itself and the ages in `dagster.yaml`. How: `edge_assets.defs.purging`.
"""

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from edge_assets.defs import purging
from edge_assets.defs.keep_alive import ACTIVE
from edge_assets.settings import Settings

if TYPE_CHECKING:
    from dagster._core.storage.dagster_run import RunRecord

log = logging.getLogger(__name__)

KEPT_PER_JOB = 3
"""the newest runs of each job stay whatever their age: the keep-alive reads from them whether a person stopped it"""
MOST_PER_JOB = 100
"""and of one that fails again and again no more than these stay"""

STALE_DAYS = 1.0
"""bounded work that is still active after this time has lost its process"""

PAGE = 500
DONE = ("runs without a process", "runs deleted", "reports deleted", "ticks deleted", "lost files")
FINISHED = [status for status in dg.DagsterRunStatus if status.value in ("SUCCESS", "FAILURE", "CANCELED")]


def housekeeping_job(settings: Settings) -> tuple[dg.JobDefinition, dg.ScheduleDefinition]:
    keep_days, keep_mb = settings.dagster.keep_days, settings.dagster.keep_mb

    @dg.op(description="Takes old runs, their files and old reports out of Dagster's storage.")
    def clean_storage(context: dg.OpExecutionContext) -> None:
        done = clean(context.instance, time.time(), keep_days, keep_mb)
        context.log.info(", ".join(f"{name}: {count}" for name, count in done.items()))

    @dg.job(
        executor_def=dg.in_process_executor,
        description=f"Daily: takes runs and reports older than {keep_days} days out of Dagster's storage, and younger "
        f"ones while it holds more than {keep_mb} MB. The newest of each stay. The lake is not touched.",
    )
    def housekeeping() -> None:
        clean_storage()

    schedule = dg.ScheduleDefinition(
        name="housekeeping_daily",
        job=housekeeping,
        cron_schedule="40 3 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    return housekeeping, schedule


def clean(instance: dg.DagsterInstance, now: float, keep_days: int, keep_mb: int) -> dict[str, int]:
    """One round of cleaning; `now` in seconds since 1970. Returns what was done, by name."""
    home = Path(instance.root_directory)
    done = Counter({"runs without a process": _report_stale_runs(instance, now)})
    days = keep_days
    done += _delete(instance, now, days)
    while purging.used_bytes(home) > keep_mb * 1e6 and days > 1:
        days //= 2
        done += _delete(instance, now, days)
    left = purging.used_bytes(home)
    freed = 0
    try:
        freed = sum(purging.give_back(home).values())
    except sqlite3.Error as error:  # somebody writes for long; there is another night
        log.warning("free space was not given back: %s", error)
    return {
        **{name: done[name] for name in DONE},
        "days kept": days,
        "MB in use": round(left / 1e6),
        "MB given back": round(freed / 1e6),
    }


def _delete(instance: dg.DagsterInstance, now: float, days: int) -> Counter[str]:
    before = now - timedelta(days=days).total_seconds()
    return Counter(
        {
            "runs deleted": sum(1 for _ in _delete_runs(instance, before)),
            "reports deleted": purging.delete_reports(instance, before),
            "ticks deleted": purging.delete_ticks(instance, before),
            "lost files": purging.delete_lost_files(instance, min(before, now - timedelta(days=1).total_seconds())),
        }
    )


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


def _delete_runs(instance: dg.DagsterInstance, before: float) -> Iterator[str]:
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
    """Delete a run, its events, and the file that held them; the days that it made stay made."""
    purging.keep_latest_materializations(instance, run_id)
    instance.delete_run(run_id)
    path_of = getattr(instance.event_log_storage, "path_for_shard", None)
    if path_of is not None:
        purging.delete_file(Path(path_of(run_id)))
