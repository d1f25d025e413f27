"""Asset checks: whether what arrived is whole. They double as the platform's monitoring.

| check | asset | looks at | when |
|---|---|---|---|
| `complete` | bronze.events | the tables against the log (`edge verify`) | every 6 hours, by a job: it needs DuckDB |
| `nothing_expired` | bronze.events | what the stream writer found expired | every 10 minutes, without a run |
| `disk_space` | bronze.events | the disks of home and lake | every 10 minutes, without a run |
| `few_dead_letters` | bronze.dead_letters | the stream writer's counters | every 10 minutes, without a run |
| `nothing_dropped` | broker/mqtt | the bridge's counters | every 10 minutes, without a run |
| `caught_up` | silver.readings | how far the stream writer is behind the log | every 10 minutes, without a run |
| `plausible` | silver.readings | the stream writer's counters | every 10 minutes, without a run |
| `few_files`, `short_log` | each table | its files and its log (`edge_assets.defs.lake_care`) | each hour, by a job |
| `fields_known` | silver.room_telemetry | the stream writer's counters | every 10 minutes, without a run |

The cheap ones only compare two small status files (`edge_assets.service`) with what they said before, which is kept
in `EDGE_HOME/run/check_samples.json`. A person can execute each check from its page at any time. Freshness is no
check: each asset has its own policy.

Dagster shows a verdict only until the asset's next materialization, which here comes after minutes: a failure would
vanish unread. So each report of an asset carries the latest verdicts on it forward (`carry_forward`), with the time
of the look that they come from.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg

from edge_assets.defs.assets import BROKER, table_key
from edge_assets.platform import disk
from edge_assets.service import read_status, write_json
from edge_assets.settings import Settings
from edge_assets.stream.losses import NEXT_STEP
from edge_assets.tables import BRONZE_EVENTS, DEAD_LETTERS, READINGS, ROOM_TELEMETRY, TABLES

EVENTS_KEY = table_key(BRONZE_EVENTS.full_name)
READINGS_KEY = table_key(READINGS.full_name)
DEAD_LETTERS_KEY = table_key(DEAD_LETTERS.full_name)
ROOMS_KEY = table_key(ROOM_TELEMETRY.full_name)

LOOK_SECONDS = 600
WINDOW_SECONDS = 3600.0
"""the share of dead letters is taken over this time"""

DEAD_LETTER_SHARE = 0.01
DEAD_LETTER_COUNT = 10
"""fewer than these are looked at by a person some day; no alarm"""

LAG_RECORDS = 100_000
"""a batch at its largest"""

SILENT_SECONDS = 300.0

IMPLAUSIBLE_SHARE = 0.05
IMPLAUSIBLE_COUNT = 10

LOOKED_AT = "looked at"

LOW_SPACE = 5
"""with less than so many times the stream writer's reserve free, somebody should make room"""

DROP_SECONDS = 24 * 3600.0
"""a drop stays visible for this time: it is a loss, and nothing mends it"""


NEW_SECONDS = 24 * 3600.0
"""a column is called new for this time"""


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters at one time (seconds since 1970). They start at 0 with their service."""

    at: float
    records: int = 0
    dead_letters: int = 0
    dropped: int = 0
    readings: int = 0
    implausible: int = 0
    lag: int = 0
    """records of the log that the tables do not hold yet"""
    read_at: float | None = None
    """when the stream writer last looked at the log; None: not since the platform's start"""
    lost: int = 0
    """records that expired before they were read, since the lake began"""
    lost_at: float | None = None
    """when the newest of them were found"""
    lost_ranges: tuple[str, ...] = ()
    """the newest of them, in words"""
    free_mb: int = 0
    """of the fuller one of the disks of home and lake"""
    reserve_mb: int = 0
    """below it the stream writer stops"""
    beyond: int = 0
    """fields of rooms for which there is no column"""
    columns: Mapping[str, str] = field(default_factory=dict)
    """columns that rooms have brought → when, ISO 8601"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check says: whether it passes, why, and its figures."""

    passed: bool
    words: str
    figures: Mapping[str, Any]
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN


def take_sample(settings: Settings, now: float | None = None) -> Sample:
    """The counters as the services' status files have them."""
    stream = read_status(settings, "stream_writer")
    tables, written, progress, lost = (stream.get(name) or {} for name in ("tables", "written", "progress", "lost"))
    return Sample(
        time.time() if now is None else now,
        records=int((tables.get(BRONZE_EVENTS.full_name) or {}).get("rows") or 0),
        dead_letters=int((tables.get(DEAD_LETTERS.full_name) or {}).get("rows") or 0),
        dropped=int(read_status(settings, "bridge").get("dropped_by_broker") or 0),
        readings=int(written.get("readings") or 0),
        implausible=int(written.get("implausible") or 0),
        lag=int(progress.get("lag") or 0),
        read_at=datetime.fromisoformat(progress["at"]).timestamp() if progress.get("at") else None,
        lost=int(lost.get("records") or 0),
        lost_at=lost.get("found_at"),
        lost_ranges=tuple(lost.get("ranges") or ()),
        free_mb=min(space.free_mb for space in disk.spaces(settings)),
        reserve_mb=settings.stream.min_free_mb,
        beyond=int(written.get("beyond") or 0),
        columns={name: about["since"] for name, about in more_columns(tables).items()},
    )


def more_columns(tables: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
    """The columns that rooms have brought, as the stream writer's status has them: name → type, description, since."""
    return (tables.get(ROOM_TELEMETRY.full_name) or {}).get("more_columns") or {}


def new_columns(columns: Mapping[str, str], now: float) -> list[str]:
    """Of columns and the times since when they are there those of the last day, newest last."""
    times = {name: datetime.fromisoformat(since).timestamp() for name, since in columns.items() if since}
    return sorted((name for name, at in times.items() if at > now - NEW_SECONDS), key=lambda name: (times[name], name))


def samples_path(settings: Settings) -> Path:
    return settings.home / "run" / "check_samples.json"


def samples_until_now(settings: Settings) -> list[Sample]:
    """What is remembered of the last day, with the last look before it, and a look now."""
    try:
        remembered = [Sample(**s) for s in json.loads(samples_path(settings).read_text())["samples"]]
    except (OSError, ValueError, TypeError, KeyError):
        remembered = []
    samples = [*remembered, take_sample(settings)]
    older = sum(1 for sample in samples if sample.at < samples[-1].at - DROP_SECONDS)
    return samples[max(older - 1, 0) :]


def judge_dead_letters(samples: Sequence[Sample]) -> Verdict:
    """Few of the window's records may be dead letters. `samples` in order of time, at least one."""
    dead, records, share = _share(samples, lambda s: s.dead_letters, lambda s: s.records)
    passed = dead < DEAD_LETTER_COUNT or share <= DEAD_LETTER_SHARE
    words = f"{dead:,} of {records:,} records {_over(samples, 'in the last hour')} could not be read"
    if not passed:
        words += "; `edge sql` on bronze.dead_letters says why, `edge redrive` puts them through once mended"
    return Verdict(passed, words, {"dead letters": dead, "records": records, "share": share})


def judge_drops(samples: Sequence[Sample]) -> Verdict:
    """The broker may drop nothing that was queued for the bridge. `samples` in order of time, at least one."""
    dropped = _growth(samples, samples[-1].at - DROP_SECONDS, lambda s: s.dropped)
    words = f"the broker dropped {dropped:,} messages {_over(samples, 'in the last day')}"
    if dropped:
        words += ": its queue for the bridge was full (EDGE_MQTT__QUEUE_MAX_MESSAGES, EDGE_MQTT__QUEUE_MAX_BYTES)"
    return Verdict(not dropped, words, {"messages dropped": dropped}, dg.AssetCheckSeverity.ERROR)


def judge_expired(samples: Sequence[Sample]) -> Verdict:
    """Nothing may have expired in the log before it was read, in the last day. At least one sample."""
    now = samples[-1]
    recent = now.lost_at is not None and now.at - now.lost_at < DROP_SECONDS
    words = f"{now.lost:,} records have expired in the log before they were read, since the tables began"
    if recent:
        words += f"; the newest: {'; '.join(now.lost_ranges)}. {NEXT_STEP[0].upper()}{NEXT_STEP[1:]}"
    return Verdict(not recent, words, {"records expired": now.lost}, dg.AssetCheckSeverity.ERROR)


def judge_disk(samples: Sequence[Sample]) -> Verdict:
    """More is free than the stream writer needs to go on, by far. At least one sample."""
    now = samples[-1]
    figures = {"MB free": now.free_mb, "reserve, MB": now.reserve_mb}
    words = f"{now.free_mb:,} MB are free"
    step = "make room: delete what is not the platform's, or lower EDGE_KAFKA__RETENTION_HOURS"
    if now.free_mb < now.reserve_mb * disk.RESUME:
        words += f"; below {now.reserve_mb} MB (EDGE_STREAM__MIN_FREE_MB) the stream writer stops: {step}"
        return Verdict(False, words, figures, dg.AssetCheckSeverity.ERROR)
    if now.free_mb < now.reserve_mb * LOW_SPACE:
        return Verdict(False, f"{words}: {step}", figures)
    return Verdict(True, words, figures)


def judge_lag(samples: Sequence[Sample]) -> Verdict:
    """The stream writer looks at the log again and again, and is less than a full batch behind. At least one sample."""
    now = samples[-1]
    figures = {"records behind": now.lag}
    if now.read_at is None:
        return Verdict(True, "the stream writer has not read from the log yet", figures)
    silent = now.at - now.read_at
    if silent > SILENT_SECONDS:
        words = (
            f"the stream writer has not looked at the log for {silent / 60:,.0f} minutes; is its sensor switched on, "
            "and what does its run say?"
        )
        return Verdict(False, words, figures, dg.AssetCheckSeverity.ERROR)
    if now.lag > LAG_RECORDS:
        words = f"{now.lag:,} records of the log are not in the tables yet: more comes in than this machine writes, or "
        return Verdict(False, words + "it was away and catches up", figures)
    return Verdict(True, f"{now.lag:,} records of the log are not in the tables yet", figures)


_IMPLAUSIBLE = (
    "select device_name, measurement, min(value), max(value), count(*) from silver.readings "
    "where quality like '%implausible%' and date >= current_date - 1 group by all"
)


def judge_plausible(samples: Sequence[Sample]) -> Verdict:
    """Few of the window's readings may lie beyond what their unit allows. `samples` in order of time, at least one."""
    odd, readings, share = _share(samples, lambda s: s.implausible, lambda s: s.readings)
    passed = odd < IMPLAUSIBLE_COUNT or share <= IMPLAUSIBLE_SHARE
    words = f"{odd:,} of {readings:,} readings {_over(samples, 'in the last hour')} are beyond what their unit allows"
    if not passed:
        words += f'; which: edge sql "{_IMPLAUSIBLE}"'
    return Verdict(passed, words, {"implausible": odd, "readings": readings, "share": share})


def judge_fields(samples: Sequence[Sample]) -> Verdict:
    """The last hour's fields of rooms have columns; and which columns are new. `samples` in order of time."""
    now = samples[-1]
    refused = _growth(samples, now.at - WINDOW_SECONDS, lambda s: s.beyond)
    new = new_columns(now.columns, now.at)
    words = f"new in the last day: {', '.join(new)}" if new else "no new columns in the last day"
    if refused:
        words = (
            f"{refused:,} values of rooms' messages {_over(samples, 'in the last hour')} have no column and are in "
            "bronze.events alone: their names cannot be a column's, or there are as many as "
            f"EDGE_STREAM__MAX_ROOM_FIELDS allows; {words}"
        )
    return Verdict(not refused, words, {"refused": refused, "new columns": len(new), "columns": len(now.columns)})


def _share(
    samples: Sequence[Sample], part: Callable[[Sample], int], whole: Callable[[Sample], int]
) -> tuple[int, int, float]:
    """By how much two counters grew within the window, and the ratio."""
    since = samples[-1].at - WINDOW_SECONDS
    some, all_ = _growth(samples, since, part), _growth(samples, since, whole)
    return some, all_, some / all_ if all_ else 0.0


def _growth(samples: Sequence[Sample], since: float, counter: Callable[[Sample], int]) -> int:
    """By how much a counter grew in the looks since then. A first look counts from 0; a fall is a new start."""
    if len(samples) == 1:
        return counter(samples[0])
    steps = [(counter(a), counter(b)) for a, b in pairwise(samples) if b.at >= since]
    return sum(after - before if after >= before else after for before, after in steps)


def _over(samples: Sequence[Sample], window: str) -> str:
    return "so far" if len(samples) == 1 else window


CHEAP: tuple[tuple[str, dg.AssetKey, str, Callable[[Sequence[Sample]], Verdict]], ...] = (
    (
        "few_dead_letters",
        DEAD_LETTERS_KEY,
        f"At most {DEAD_LETTER_SHARE:.0%} of an hour's records are dead letters.",
        judge_dead_letters,
    ),
    ("nothing_dropped", BROKER, "The MQTT broker dropped nothing that was queued for the bridge.", judge_drops),
    ("nothing_expired", EVENTS_KEY, "No record expired in the log before it was read, in the last day.", judge_expired),
    ("disk_space", EVENTS_KEY, "There is room on the disks of home and lake.", judge_disk),
    ("caught_up", READINGS_KEY, "The stream writer reads the log, and is less than a full batch behind.", judge_lag),
    (
        "plausible",
        READINGS_KEY,
        f"At most {IMPLAUSIBLE_SHARE:.0%} of an hour's readings are beyond what their unit allows.",
        judge_plausible,
    ),
    ("fields_known", ROOMS_KEY, "What rooms say beyond the fields that are known has columns.", judge_fields),
)


def asset_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """All checks, as a person can execute them."""
    return [_complete(settings), *(_cheap(settings, *check) for check in CHEAP)]


def _cheap(
    settings: Settings,
    name: str,
    asset: dg.AssetKey,
    description: str,
    judge: Callable[[Sequence[Sample]], Verdict],
) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=name, description=description)
    def check() -> dg.AssetCheckResult:
        verdict = judge(samples_until_now(settings))
        return dg.AssetCheckResult(
            passed=verdict.passed,
            description=verdict.words,
            metadata=verdict.figures,
            severity=verdict.severity,
        )

    return check


def _complete(settings: Settings) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=EVENTS_KEY,
        name="complete",
        description="Every record of the log is in the table once, none is repeated, each has its one outcome: "
        "what `edge verify` proves.",
    )
    def check() -> dg.AssetCheckResult:
        return _completeness(settings)

    return check


def _completeness(settings: Settings) -> dg.AssetCheckResult:
    from edge_assets.warehouse.verify import verify

    report = verify(settings)
    figures = {k: v for k, v in report.as_dict().items() if isinstance(v, int) and not isinstance(v, bool)}
    *_, verdict = report.render().splitlines()
    return dg.AssetCheckResult(
        passed=report.holds,
        # Kafka that is away leaves the proof undone, which is less than a proof that fails; and what has expired stays
        # missing for ever, and must not hide what comes after it.
        severity=(
            dg.AssetCheckSeverity.WARN if report.partial or report.expired_alone else dg.AssetCheckSeverity.ERROR
        ),
        description="\n".join([verdict, *map(str, report.problems)]),
        metadata=figures,
    )


def check_job(
    checks: Sequence[dg.AssetCheckKey], name: str, cron: str, words: str
) -> tuple[dg.JobDefinition, dg.ScheduleDefinition]:
    """Checks that need a process of their own, as a job, and a schedule for it: what it reads grows with the lake."""
    job = dg.define_asset_job(
        name,
        selection=dg.AssetSelection.checks(*checks),
        executor_def=dg.in_process_executor,
        description=words,
    )
    schedule = dg.ScheduleDefinition(
        name=f"{name}_regularly",
        job=job,
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    return job, schedule  # type: ignore[return-value]


def complete_job() -> tuple[dg.JobDefinition, dg.ScheduleDefinition]:
    check = dg.AssetCheckKey(EVENTS_KEY, "complete")
    return check_job(
        [check], "verify_tables", "17 */6 * * *", "Compares the tables with the log, as `edge verify` does."
    )


def check_sensor(settings: Settings) -> dg.SensorDefinition:
    """Evaluates the cheap checks without a run, and remembers the samples of a day."""

    @dg.sensor(
        name="watch_checks",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Evaluates the cheap asset checks from the services' counters, without a run.",
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        samples = samples_until_now(settings)
        write_json(samples_path(settings), {"samples": [asdict(sample) for sample in samples]})
        return dg.SensorResult(
            asset_events=[_evaluation(name, asset, judge(samples)) for name, asset, _, judge in CHEAP],
            skip_reason="evaluated without a run",
        )

    return watch


def _evaluation(name: str, asset: dg.AssetKey, verdict: Verdict) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=name,
        passed=verdict.passed,
        description=verdict.words,
        metadata={key: dg.MetadataValue.float(float(value)) for key, value in verdict.figures.items()},
        severity=verdict.severity,
    )


OF_TABLES = ("few_files", "short_log")
"""of each table, by `edge_assets.defs.lake_care`"""

CHECKS = {
    asset: [
        *(["complete"] if asset == EVENTS_KEY else []),
        *(name for name, other, _, _ in CHEAP if other == asset),
        *(() if asset == BROKER else OF_TABLES),
    ]
    for asset in (BROKER, *(table_key(table.full_name) for table in TABLES))
}
"""the checks of each asset, by name"""


def carry_forward(instance: dg.DagsterInstance, asset: dg.AssetKey, names: Sequence[str] | None = None) -> list[str]:
    """Say the latest verdicts on an asset again, for its latest materialization: of all its checks, or of those that
    are named. Returns the checks' names.

    Of the checks that each table has only failures: two more reports a table each five minutes would wear out a card. A
    check that is being executed is left out: what is said again now would hide its verdict.
    """
    keys = [dg.AssetCheckKey(asset, name) for name in (CHECKS.get(asset, ()) if names is None else names)]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys) if keys else {}
    carried = []
    for key, record in latest.items():
        verdict = record.evaluation
        if isinstance(verdict, dg.AssetCheckEvaluation) and not (key.name in OF_TABLES and verdict.passed):
            instance.report_runless_asset_event(_again(verdict, record.create_timestamp))
            carried.append(key.name)
    return carried


def _again(verdict: dg.AssetCheckEvaluation, at: float) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=verdict.asset_key,
        check_name=verdict.check_name,
        passed=verdict.passed,
        description=verdict.description,
        metadata={LOOKED_AT: dg.MetadataValue.timestamp(at), **verdict.metadata},
        severity=verdict.severity,
    )
