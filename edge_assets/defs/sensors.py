"""The keep-alive sensors: one for each service, a thin shell around `edge_assets.defs.keep_alive`.

Each looks at the service's runs and at its kernel lock, watches the lock while the service is alive, and launches a
run only to start it. What ends or fails something is done when a second look, shortly after, finds the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import dagster as dg

from edge_assets.defs import takeover
from edge_assets.defs.keep_alive import ACTIVE, Decision, Run, Seen, Signalled, decide
from edge_assets.defs.services import Service
from edge_assets.defs.shutdown import is_shutting_down, send
from edge_assets.service import lock_holder, read_status
from edge_assets.settings import Settings

if TYPE_CHECKING:
    from dagster._core.storage.dagster_run import RunRecord

LOOK_SECONDS = 5
"""between the end of one tick and the next, about; Dagster has no shorter one"""

WATCH_SECONDS = 25.0
"""how long a tick watches a living service. A tick writes 40 to 70 KB to Dagster's storage whatever it finds, so
that few long ones spare the SD card, and a death is seen sooner. Below Dagster's limit of 60 s for a tick."""

LOCK_SECONDS = 0.5
SECOND_LOOK_SECONDS = 2.0
"""longer than a run that has just let go of its lock needs to tell Dagster that it ended"""

FINISHED_RUNS = 8
"""enough to see a row of failures as long as the pauses grow"""

ACTIVE_STATUSES = [dg.DagsterRunStatus(status) for status in sorted(ACTIVE)]


def keep_alive_sensor(service: Service, job: dg.JobDefinition, settings: Settings) -> dg.SensorDefinition:
    """The sensor that keeps a service's job running."""

    @dg.sensor(
        name=f"keep_{service.name}_alive",
        job=job,
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts `{service.name}` again when it has died. A run that a person terminates stays "
        "stopped: launch the job, or turn this sensor off and on, to start it again.",
    )
    def keep_alive(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        decision = watch(context, service, settings)
        carry_out(context.instance, service, settings, decision)
        return dg.SensorResult(
            run_requests=[dg.RunRequest()] if decision.start else [],
            skip_reason=None if decision.start else decision.reason,
            cursor=_to_remember(decision.signalled),
        )

    return keep_alive


def watch(context: dg.SensorEvaluationContext, service: Service, settings: Settings) -> Decision:
    """Look; while the service is alive, wait for its lock to change hands, and look again."""
    signalled = _remembered(context.cursor)
    until = time.monotonic() + WATCH_SECONDS
    while True:
        seen = look(context, service, settings)
        decision = decide(seen, signalled)
        if decision.fail or decision.cancel or decision.send:
            time.sleep(SECOND_LOOK_SECONDS)
            if _same(decision, decide(look(context, service, settings), signalled)):
                return decision
        elif not decision.alive or not _changed(service, settings, seen.holder, until):
            return decision


def _changed(service: Service, settings: Settings, holder: int | None, until: float) -> bool:
    """Wait until another process holds the lock, or none does; False where nothing changed in time."""
    while time.monotonic() < until and not is_shutting_down(settings):
        if lock_holder(settings, service.name) != holder:
            return True
        time.sleep(LOCK_SECONDS)
    return False


def look(context: dg.SensorEvaluationContext, service: Service, settings: Settings) -> Seen:
    """One look at a service: its runs first, then its lock, so that no run can seem older than its process."""
    now = time.time()
    runs = _runs(context.instance, service.name)
    holder = lock_holder(settings, service.name)
    return Seen(
        now=now,
        runs=runs,
        holder=holder,
        holder_run=_run_of(holder, service, settings),
        next_run=takeover.next_run(settings, service.name),
        switched_on=context.last_sensor_start_time,
        shutting_down=is_shutting_down(settings),
    )


def carry_out(instance: dg.DagsterInstance, service: Service, settings: Settings, decision: Decision) -> None:
    """Do what was decided, except for the start, which is the sensor's answer to Dagster."""
    for run_id in (*decision.fail, *decision.cancel):
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            continue
        if run_id in decision.fail:
            instance.report_run_failed(run, f"Its process is gone: nobody holds the lock of {service.name}.")
        else:
            instance.report_run_canceled(run, f"Its process went before it could say so: {service.name} is stopped.")
    if decision.send and (pid := lock_holder(settings, service.name)):
        send(pid, decision.send)


def _runs(instance: dg.DagsterInstance, job: str) -> list[Run]:
    active = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=ACTIVE_STATUSES))
    newest = instance.get_run_records(dg.RunsFilter(job_name=job), limit=FINISHED_RUNS)
    records = {record.dagster_run.run_id: record for record in (*newest, *active)}
    return [_run(record) for record in sorted(records.values(), key=lambda r: r.storage_id, reverse=True)]


def _run(record: RunRecord) -> Run:
    created = record.create_timestamp.timestamp()
    status = record.dagster_run.status
    since = record.end_time if record.dagster_run.is_finished else None
    if status == dg.DagsterRunStatus.STARTED:
        since = record.start_time
    return Run(
        id=record.dagster_run.run_id,
        status=status.value,
        since=since or record.update_timestamp.timestamp(),
        started=record.start_time or created,
    )


def _run_of(holder: int | None, service: Service, settings: Settings) -> str | None:
    """The run that the lock's holder says it belongs to; a status file of another process says nothing."""
    status = read_status(settings, service.name) if holder else {}
    return status.get("run_id") if status.get("pid") == holder else None


def _same(first: Decision, second: Decision) -> bool:
    return (first.fail, first.cancel, first.send) == (second.fail, second.cancel, second.send)


def _remembered(cursor: str | None) -> Signalled | None:
    try:
        return Signalled(**json.loads(cursor)) if cursor else None
    except (ValueError, TypeError):
        return None


def _to_remember(signalled: Signalled | None) -> str:
    return json.dumps({"pid": signalled.pid, "at": signalled.at}) if signalled else ""


def keep_alive_sensors(
    pairs: Iterable[tuple[Service, dg.JobDefinition]], settings: Settings
) -> list[dg.SensorDefinition]:
    return [keep_alive_sensor(service, job, settings) for service, job in pairs]
