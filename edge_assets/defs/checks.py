"""Asset checks: whether what arrived is whole. They double as the platform's monitoring.

| check | asset | looks at | when |
|---|---|---|---|
| `complete`, `no_repeats` | bronze.events | the tables against the log (`edge verify`) | every 6 hours, by a job |
| `clocks_agree` | silver.readings | devices' times against ours | with them |
| `nothing_expired` | bronze.events | what the stream writer found expired | every 10 minutes, without a run |
| `disk_space` | bronze.events | the disks of home and lake, and how long they last | every 10 minutes, without a run |
| `backed_up` | bronze.events | when the last backup ended | every 10 minutes, without a run |
| `few_dead_letters` | bronze.dead_letters | the stream writer's counters | every 10 minutes, without a run |
| `nothing_dropped` | broker/mqtt | the bridge's counters | every 10 minutes, without a run |
| `clock_set` | broker/mqtt | whether the bridge believes this machine's clock | every 10 minutes, without a run |
| `caught_up` | silver.readings | how far the stream writer is behind the log | every 10 minutes, without a run |
| `plausible` | silver.readings | the stream writer's counters | every 10 minutes, without a run |
| `fields_known` | silver.room_telemetry | the stream writer's counters | every 10 minutes, without a run |
| `few_files`, `short_log`, `columns_as_told` | each table | its files, log, columns (`lake_care`) | hourly, by a job |
| `equals_silver`, `rooms_described` | gold's windows | a recompute (`gold`) | every 3 hours, by a job |
| `equal_to_silver` | readings_1m | a recompute (`rollups`) | every 6 hours, by a job |
| `devices_speak` | device_health | each device's silence (`rollups`) | with the rollups, every 10 minutes |
| `few_alarm`, `told_once` | gold.anomalies | the table (`anomalies`) | with the rollups |

Modules without a path are in `edge_assets.defs`. The cheap checks only compare small status files
(`edge_assets.service`) with what they said before: `samples` takes and remembers, `judges` says what it means. A person
can execute each check from its page at any time. Freshness is no check: each asset has its own policy. Who is told of
either: `notices`.

Dagster shows a verdict only until the asset's next materialization, which here comes after minutes: a failure would
vanish unread. So each report of an asset carries the latest verdicts on it forward (`carry_forward`), with the time
of the look that they come from.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from edge_assets.defs import judges
from edge_assets.defs.assets import BROKER, table_key
from edge_assets.defs.judges import Verdict, metadata
from edge_assets.defs.samples import Sample, remember, samples_until_now
from edge_assets.defs.schedules import regularly
from edge_assets.settings import Settings
from edge_assets.tables import BRONZE_EVENTS, DEAD_LETTERS, READINGS, ROOM_TELEMETRY, TABLES

if TYPE_CHECKING:
    from edge_assets.warehouse.verify import Report

EVENTS_KEY = table_key(BRONZE_EVENTS.full_name)
READINGS_KEY = table_key(READINGS.full_name)
DEAD_LETTERS_KEY = table_key(DEAD_LETTERS.full_name)
ROOMS_KEY = table_key(ROOM_TELEMETRY.full_name)

LOOK_SECONDS = 600
LOOKED_AT = "looked at"


@dataclass(frozen=True, slots=True)
class Cheap:
    """A check of samples alone."""

    name: str
    asset: dg.AssetKey
    description: str
    """what holds, and what to do where it does not"""
    judge: Callable[[Sequence[Sample]], Verdict]


CHEAP: tuple[Cheap, ...] = (
    Cheap(
        "few_dead_letters",
        DEAD_LETTERS_KEY,
        f"At most {judges.DEAD_LETTER_SHARE:.0%} of an hour's records are dead letters. Else: see which and why with "
        "the query in the metadata, mend what sends them or update the platform, then `edge redrive`.",
        judges.judge_dead_letters,
    ),
    Cheap(
        "nothing_dropped",
        BROKER,
        "The MQTT broker dropped nothing that was queued for the bridge. Else messages are lost: find out why bridge "
        "or Kafka was away for so long, or let the broker queue more (EDGE_MQTT__QUEUE_MAX_MESSAGES).",
        judges.judge_drops,
    ),
    Cheap(
        "clock_set",
        BROKER,
        "This machine's clock is set. Else: let a time service run (systemd-timesyncd, chrony) and reach its servers.",
        judges.judge_clock,
    ),
    Cheap(
        "nothing_expired",
        EVENTS_KEY,
        "No record expired in the log before it was read, in the last day. Else records are lost: let the log keep "
        "more (EDGE_KAFKA__RETENTION_HOURS, EDGE_KAFKA__RETENTION_BYTES), and see why the stream writer was away.",
        judges.judge_expired,
    ),
    Cheap(
        "disk_space",
        EVENTS_KEY,
        f"There is room on the disks of home and lake, and for {judges.FULL_DAYS:.0f} days more at today's growth. "
        "Else: delete what is not the platform's, or keep less (EDGE_KAFKA__RETENTION_HOURS, "
        "EDGE_RETENTION__BRONZE_DAYS).",
        judges.judge_disk,
    ),
    Cheap(
        "backed_up",
        EVENTS_KEY,
        f"The last backup is at most {judges.BACKUP_DAYS:.0f} days old. Else: set EDGE_BACKUP__DESTINATION to "
        "another disk or a bucket, and see what the job `backup` says; `edge backup` makes one now.",
        judges.judge_backup,
    ),
    Cheap(
        "caught_up",
        READINGS_KEY,
        "The stream writer reads the log, and is less than a full batch behind. Else: is its sensor on, does its run "
        "live, and what do its log lines say?",
        judges.judge_lag,
    ),
    Cheap(
        "plausible",
        READINGS_KEY,
        f"At most {judges.IMPLAUSIBLE_SHARE:.0%} of an hour's readings are beyond what their unit allows. Else: see "
        "which device with the query in the metadata; a sensor is broken, or its unit is another one than it says.",
        judges.judge_plausible,
    ),
    Cheap(
        "fields_known",
        ROOMS_KEY,
        "What rooms say beyond the fields that are known has columns. Else: see which with the query in the metadata, "
        "and give them other names or allow more columns (EDGE_STREAM__MAX_ROOM_FIELDS).",
        judges.judge_fields,
    ),
)

STOPS: Mapping[tuple[str, str], dg.AssetKey] = {
    ("silver/readings", "caught_up"): EVENTS_KEY,
    ("bronze/events", "disk_space"): EVENTS_KEY,
}
"""checks that, where they fail as an error, say that the stream writer stands still → the first of its tables: what is
below has the same reason"""


def asset_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """The checks of the way from the broker to silver, as a person can execute them."""
    return [_verified(settings), _clocks(settings), *(_cheap(settings, check) for check in CHEAP)]


def _cheap(settings: Settings, cheap: Cheap) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=cheap.asset, name=cheap.name, description=cheap.description)
    def check() -> dg.AssetCheckResult:
        return result(cheap.judge(samples_until_now(settings)))

    return check


def result(verdict: Verdict, asset: dg.AssetKey | None = None, name: str | None = None) -> dg.AssetCheckResult:
    """A verdict as what a check returns."""
    return dg.AssetCheckResult(
        passed=verdict.passed,
        asset_key=asset,
        check_name=name,
        description=verdict.words,
        metadata=metadata(verdict),
        severity=verdict.severity,
    )


# --- those that read tables ------------------------------------------------------------------------------------------

COMPLETE, NO_REPEATS, CLOCKS_AGREE = "complete", "no_repeats", "clocks_agree"
REPEATS = ("repeat", "reading_extra", "reading_doubled", "dead_letter_repeated", "state_doubled")
"""kinds of problems of `edge verify` that say that something is there more than once"""

_VERIFIED = {
    COMPLETE: "Every record of the log is in the table once, none is repeated, each has its one outcome: what `edge "
    "verify` proves. Else: the metadata says where; `edge reprocess --from-log` mends what the log still has.",
    NO_REPEATS: "Nothing is in a table twice: no record in bronze, no measurement of a record in silver. Else: see "
    "which with the query in the metadata; has another process written to the lake? `edge reprocess` mends silver.",
}


def _verified(settings: Settings) -> dg.AssetChecksDefinition:
    specs = [dg.AssetCheckSpec(name, asset=EVENTS_KEY, description=words) for name, words in _VERIFIED.items()]

    @dg.multi_asset_check(name="tables_against_log", specs=specs, can_subset=True)
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        from edge_assets.warehouse.verify import verify

        report = verify(settings)
        for name, verdict in (COMPLETE, judge_complete(report)), (NO_REPEATS, judge_repeats(report)):
            if dg.AssetCheckKey(EVENTS_KEY, name) in context.selected_asset_check_keys:
                yield result(verdict, EVENTS_KEY, name)

    return check


def judge_complete(report: "Report") -> Verdict:
    """All that `edge verify` proves."""
    figures = {k: v for k, v in report.as_dict().items() if isinstance(v, int) and not isinstance(v, bool)}
    *_, verdict = report.render().splitlines()
    # Kafka that is away leaves the proof undone, which is less than a proof that fails; and what has expired stays
    # missing for ever, and must not hide what comes after it.
    mild = report.partial or report.expired_alone
    severity = dg.AssetCheckSeverity.WARN if mild else dg.AssetCheckSeverity.ERROR
    words = "\n".join([verdict, *map(str, report.problems)])
    return Verdict(report.holds, words, figures, severity, _problems(report), "edge verify")


def judge_repeats(report: "Report") -> Verdict:
    """What of it is about rows that are there more than once."""
    problems = _problems(report, REPEATS)
    count = sum(row["count"] for row in problems)
    words = f"{count:,} things are there more than once" if problems else "nothing is there more than once"
    return Verdict(not problems, words, {"repeats": count}, dg.AssetCheckSeverity.ERROR, problems, "edge verify")


def _problems(report: "Report", kinds: Sequence[str] = ()) -> list[dict[str, Any]]:
    found = (problem for problem in report.as_dict()["problems"] if not kinds or problem["kind"] in kinds)
    return [
        {"kind": one["kind"], "count": one["count"], "says": one["says"], "query": one["query"] or ""} for one in found
    ]


def _clocks(settings: Settings) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=READINGS_KEY,
        name=CLOCKS_AGREE,
        description="Devices that say when they measured have a clock that agrees with this machine's. Else: set the "
        "clock of the devices in the metadata, or of this machine; until then the received time counts, and the "
        "quality says so. A recording that was replayed looks the same for a day.",
    )
    def check() -> dg.AssetCheckResult:
        from edge_assets.warehouse import clocks

        found = clocks.look(settings)
        wrong = [clock for clock in found if clock.problem]
        words = f"the clocks of {len(found):,} devices and rooms agree with ours"
        if wrong:
            named = ", ".join(f"{clock.device} ({clock.problem})" for clock in wrong[:5])
            words = f"of {len(found):,} devices and rooms {len(wrong):,} disagree with our clock: {named}"
        rows = [
            {
                "device": clock.device,
                "what": clock.problem,
                "readings": clock.readings,
                "not believed": clock.not_believed,
                "least late, s": clock.least_late_seconds,
                "usually late, s": clock.usually_late_seconds,
            }
            for clock in wrong
        ]
        look = f'edge sql "{" ".join(clocks.query(settings).split())}"'
        return result(Verdict(not wrong, words, {"devices": len(found), "wrong": len(wrong)}, rows=rows, look=look))

    return check


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
    return job, regularly(job, f"{name}_regularly", cron, words)  # type: ignore[return-value]


def complete_job() -> tuple[dg.JobDefinition, dg.ScheduleDefinition]:
    checks = [
        *(dg.AssetCheckKey(EVENTS_KEY, name) for name in _VERIFIED),
        dg.AssetCheckKey(READINGS_KEY, CLOCKS_AGREE),
    ]
    words = "Compares the tables with the log, as `edge verify` does, and devices' clocks with ours."
    return check_job(checks, "verify_tables", "17 */6 * * *", words)


# --- without a run ---------------------------------------------------------------------------------------------------


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
        remember(settings, samples)
        return dg.SensorResult(
            asset_events=[_evaluation(check, check.judge(samples)) for check in CHEAP],
            skip_reason="evaluated without a run",
        )

    return watch


def _evaluation(check: Cheap, verdict: Verdict) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=check.asset,
        check_name=check.name,
        passed=verdict.passed,
        description=verdict.words,
        metadata=metadata(verdict),
        severity=verdict.severity,
    )


OF_TABLES = ("few_files", "short_log", "columns_as_told")
"""of each table, by `edge_assets.defs.lake_care`"""

SAID_ONCE = (*OF_TABLES, NO_REPEATS, CLOCKS_AGREE, "backed_up", "clock_set")
"""passes of these are not carried forward: two more reports of each table each five minutes would wear out a card"""

CHECKS = {
    asset: [
        *([COMPLETE, NO_REPEATS] if asset == EVENTS_KEY else []),
        *([CLOCKS_AGREE] if asset == READINGS_KEY else []),
        *(check.name for check in CHEAP if check.asset == asset),
        *(() if asset == BROKER else OF_TABLES),
    ]
    for asset in (BROKER, *(table_key(table.full_name) for table in TABLES))
}
"""the checks of each asset, by name"""


def carry_forward(instance: dg.DagsterInstance, asset: dg.AssetKey, names: Sequence[str] | None = None) -> list[str]:
    """Say the latest verdicts on an asset again, for its latest materialization: of all its checks, or of those that
    are named. Returns the checks' names.

    A check that is being executed is left out: what is said again now would hide its verdict.
    """
    keys = [dg.AssetCheckKey(asset, name) for name in (CHECKS.get(asset, ()) if names is None else names)]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys) if keys else {}
    carried = []
    for key, record in latest.items():
        verdict = record.evaluation
        if isinstance(verdict, dg.AssetCheckEvaluation) and not (key.name in SAID_ONCE and verdict.passed):
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
