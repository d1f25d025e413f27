"""Schedules of bounded work: a run at its time, one at a time, and one alone for all the times that were missed.

| what happens | what follows |
|---|---|
| the platform was away for forty ticks | Dagster launches the latest alone, which brings everything up to now |
| the run of the tick before is still going | the tick is skipped, and says so; the next one is soon |
| that run has lost its process, and stays *Started* | after `patience` it keeps nobody waiting |

Cron, and no `AutomationCondition`s. Theirs is a sensor that ticks each half minute, to launch runs of which each costs
a process of 100 MB; here what depends on each other is made in one run, by one process, and an update finds what has
changed in the Delta logs themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg

from edge_assets.defs.keep_alive import ACTIVE

PATIENCE = timedelta(hours=2)
"""a run that is still going after this time hangs, or has lost its process"""

ACTIVE_STATUSES = [dg.DagsterRunStatus(status) for status in sorted(ACTIVE)]

Answer = dg.RunRequest | dg.SkipReason


def regularly(
    job: Any,
    name: str,
    cron: str,
    words: str,
    *,
    answer: Callable[[dg.ScheduleEvaluationContext], Answer] = lambda context: dg.RunRequest(),
    patience: timedelta = PATIENCE,
) -> dg.ScheduleDefinition:
    """A schedule that is on by itself; `cron` is UTC, `job` has a name, `answer` is asked where no run is going."""

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"{words} Skipped while the run before is still going; what was missed is made up for by one run.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Answer:
        since = context.scheduled_execution_time - patience
        going = dg.RunsFilter(job_name=job.name, statuses=ACTIVE_STATUSES, created_after=since)
        if runs := context.instance.get_runs(going, limit=1):
            return dg.SkipReason(
                f"the run {runs[0].run_id[:8]} of `{job.name}` is still going; the next tick looks again"
            )
        return answer(context)

    return schedule
