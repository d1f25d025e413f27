"""Rollups as assets, and the file that shows them: one step makes them all, on a schedule; days can be made anew.

The scheduled run brings everything up to what silver holds; it is a run of today's partition, and days that late rows
have changed are reported beside it. A person who selects days in the web page has these recomputed from silver, with
the same result. The work itself knows no Dagster: `edge_assets.warehouse.rollups`.

dagster-duckdb's resource is not used: to import it is to import DuckDB, which only the run is to pay for, and it opens
files for writing, while `edge.duckdb` is never written in its place.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from edge_assets.defs import addresses, columns, groups
from edge_assets.defs.assets import owner, table_key
from edge_assets.defs.checks import check_job, result
from edge_assets.defs.judges import Verdict
from edge_assets.defs.schedules import Answer, regularly
from edge_assets.defs.words import rollups_job, rollups_stale, told
from edge_assets.errors import EdgeError
from edge_assets.service import lock_holder
from edge_assets.settings import Settings
from edge_assets.tables import DEVICE_STATES, READINGS, ROOM_TELEMETRY, Table
from edge_assets.warehouse.rollups.layout import LOCK, database_path, folder
from edge_assets.warehouse.rollups.model import (
    DEVICE_HEALTH,
    DOOR_ACTIVITY,
    MESSAGES_DAILY,
    READINGS_1D,
    READINGS_1M,
    ROLLUPS,
    Rollup,
)
from edge_assets.warehouse.views import views

if TYPE_CHECKING:
    from edge_assets.warehouse.rollups.figures import Figures
    from edge_assets.warehouse.rollups.update import Outcome

JOB = "rollups"
CHECK = "equal_to_silver"
DEVICES_SPEAK = "devices_speak"

STARTING = timedelta(minutes=5)
"""a run of this age works under the lock, or has ended as far as rollups go: the kernel knows better than its status"""

WORDS = {
    "readings_1m": "Each measurement by the minute: what a chart of a day draws.",
    "readings_1h": "Each measurement by the hour: what a chart of a month draws.",
    "readings_1d": "Each measurement by the day: what a chart of a year draws.",
    "room_comfort": "How each room was, hour by hour: climate, presence, and a class of comfort.",
    "energy_daily": "What each meter counted on each day, in kWh, whatever its counter did.",
    "door_activity": "How often and for how long each door stood open, day by day.",
    "messages_daily": "How many messages came from each device, and how far apart; device_health learns from it.",
    "device_health": "Each device's last word, battery, link and usual cadence, and whether it is silent for too long.",
}
MADE_ANEW = " Days that are wrong are made anew: select them in the partitions of this asset, and materialize."
SOURCES = {"room_comfort": READINGS_1M, "readings_1h": READINGS_1M, "readings_1d": READINGS_1M}
ALSO = {
    "energy_daily": (READINGS_1D,),
    "door_activity": (READINGS_1D,),
    "messages_daily": (),
    "device_health": (READINGS_1M, READINGS_1D, MESSAGES_DAILY),
}


def rollup_key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["rollups", name])


FILE = rollup_key("edge_duckdb")
"""what readers open"""


class HowFar(dg.Config):
    """What a run does besides bringing everything up to date."""

    recompute_selected_days: bool = True


def partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """UTC days, today among them."""
    return dg.DailyPartitionsDefinition(start_date=settings.rollups.first_day.isoformat(), end_offset=1)


def rollup_specs(settings: Settings) -> list[dg.AssetSpec]:
    """The rollups, then the file that shows them to readers."""
    return [*(_rollup(settings, rollup) for rollup in ROLLUPS), _file(settings)]


def rollup_assets(settings: Settings) -> dg.AssetsDefinition:
    """One step that makes them all: the lake is opened once."""

    @dg.multi_asset(
        name="bring_rollups_up_to_date",
        specs=rollup_specs(settings),
        check_specs=[
            dg.AssetCheckSpec(
                DEVICES_SPEAK,
                asset=rollup_key(DEVICE_HEALTH.name),
                description="No device or room is silent for longer than it ever usually is. Else: look at its "
                "battery and its radio, and whether somebody has unplugged it. One that is silent "
                "for a month is taken for gone.",
            )
        ],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def rollups(context: dg.AssetExecutionContext, config: HowFar) -> Iterator[dg.MaterializeResult]:
        from edge_assets.warehouse.rollups.figures import figures
        from edge_assets.warehouse.rollups.update import rebuild_days, update

        days = [date.fromisoformat(key) for key in context.partition_keys] if context.has_partition_key_range else []
        if context.has_partition_key and not days:
            days = [date.fromisoformat(context.partition_key)]

        def say(line: str) -> None:
            context.log.info(line)

        try:
            outcome = rebuild_days(settings, days, say) if config.recompute_selected_days else update(settings, say)
        except EdgeError as refused:  # its words, without the lines of code that they came through
            raise dg.Failure(str(refused), allow_retries=False) from refused
        context.log.info(summary(outcome))
        now = figures(settings)
        for key in (spec.key for spec in rollup_specs(settings)):  # Dagster wants them in the order of their lineage
            if key in context.selected_asset_keys:
                judged = [
                    result(devices_speak(settings), each.asset_key, each.name)
                    for each in context.selected_asset_check_keys
                    if each.asset_key == key
                ]
                made = _metadata(settings, key, outcome, now)
                yield dg.MaterializeResult(asset_key=key, metadata=made, check_results=judged)
        _report_other_days(context, settings, outcome, days)

    return rollups


def devices_speak(settings: Settings) -> Verdict:
    """Who is silent beyond the longest silence that is usual for it. Raises `LakeError`."""
    from edge_assets.warehouse import silence

    devices = silence.look(settings)
    silent = [one for one in devices if one.is_silent]
    figures = {"devices": len(devices), "silent": len(silent)}
    look = f'edge sql "{" ".join(silence.QUERY.split())}"'
    if silence.nothing_comes(devices):
        words = (
            "nothing comes from any device: what do broker/mqtt and bronze/events say? No device is judged meanwhile"
        )
        return Verdict(True, words, figures, look=look)
    words = f"none of {len(devices):,} devices and rooms is silent for longer than is usual for it"
    if silent:
        named = ", ".join(one.device_name for one in silent[:10])
        words = f"of {len(devices):,} devices and rooms {len(silent):,} are silent for longer than is usual: {named}"
    rows = [
        {
            "device": one.device_name,
            "last heard": one.last_seen,
            "silent, hours": one.silent_seconds / 3600,
            "usually at most, hours": one.usually_at_most_seconds / 3600,
            "its network says": {True: "available", False: "offline", None: ""}[one.available],
            "battery, %": one.battery_percent,
        }
        for one in silent
    ]
    return Verdict(not silent, words, figures, rows=rows, look=look)


def summary(outcome: "Outcome") -> str:
    """One line for a person."""
    again = f"; all made anew: {outcome.rebuilt}" if outcome.rebuilt else ""
    return (
        f"{outcome.buckets:,} minute buckets of {len(outcome.days)} days recomputed, "
        f"{outcome.bytes_written / 1e3:,.0f} KB written, {outcome.seconds:.1f} s{again}"
    )


def _report_other_days(
    context: dg.AssetExecutionContext, settings: Settings, outcome: "Outcome", selected: Sequence[date]
) -> None:
    """Days besides the run's own that late rows, or a first build, have changed."""
    first = settings.rollups.first_day
    others = sorted(day for day in outcome.days - set(selected) if first <= day <= datetime.now(UTC).date())
    for rollup in ROLLUPS:
        if rollup is not DEVICE_HEALTH and rollup_key(rollup.name) in context.selected_asset_keys:
            for day in others:
                context.log_event(dg.AssetMaterialization(rollup_key(rollup.name), partition=day.isoformat()))


def _metadata(settings: Settings, key: dg.AssetKey, outcome: "Outcome", now: dict[str, "Figures"]) -> dict[str, Any]:
    name = key.path[-1]
    if key == FILE:
        return {"views": len(views()), "bytes written": outcome.published_bytes}
    written = outcome.written.get(name)
    found: dict[str, Any] = {
        "rows written": written.rows if written else 0,
        "bytes written": written.bytes if written else 0,
        "files written": written.files if written else 0,
        "seconds": round(outcome.seconds, 2),
    }
    if figures := now.get(name):
        found |= {"dagster/row_count": figures.rows, "bytes": figures.bytes, "files": figures.files}
        if figures.latest is not None:
            found["last bucket"] = str(figures.latest)
    return found


def rollup_job(settings: Settings, also: Sequence[dg.AssetKey] = ()) -> tuple[dg.JobDefinition, dg.ScheduleDefinition]:
    """The incremental run for all, every few minutes; and for assets that are `also` made of what it brings."""
    speak = dg.AssetCheckKey(rollup_key(DEVICE_HEALTH.name), DEVICES_SPEAK)
    made = dg.AssetSelection.groups(groups.ROLLUPS) - dg.AssetSelection.all_asset_checks()
    rollups = made | dg.AssetSelection.checks(speak)
    job = dg.define_asset_job(
        JOB,
        selection=rollups | dg.AssetSelection.assets(*also) if also else rollups,
        executor_def=dg.in_process_executor,
        description="Brings rollups, views and `edge.duckdb` up to what silver holds now.",
    )
    minutes = settings.rollups.update_minutes

    def answer(context: dg.ScheduleEvaluationContext) -> Answer:
        if holder := lock_holder(settings, LOCK):
            return dg.SkipReason(
                f"process {holder} works on the rollups: it brings them up to date, compares them, or makes days anew; "
                "the next tick looks again"
            )
        today = context.scheduled_execution_time.astimezone(UTC).date()
        if today < settings.rollups.first_day:
            return dg.SkipReason(f"the clock says {today}, which is before EDGE_ROLLUPS__FIRST_DAY: is it set?")
        config = {"ops": {"bring_rollups_up_to_date": {"config": {"recompute_selected_days": False}}}}
        return dg.RunRequest(partition_key=today.isoformat(), run_config=config)

    cron = "0 * * * *" if minutes == 60 else f"*/{minutes} * * * *"
    words = f"Every {minutes} minutes (EDGE_ROLLUPS__UPDATE_MINUTES), for today's partition."
    schedule = regularly(job, "rollups_regularly", cron, words, answer=answer, patience=STARTING)
    return job, schedule  # type: ignore[return-value]


def rollup_check(settings: Settings) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=rollup_key(READINGS_1M.name),
        name=CHECK,
        description="Sampled buckets of minutes, hours and days are what a recompute from silver gives. Else: select "
        "the day that is named among the partitions of this asset and materialize it.",
    )
    def check() -> dg.AssetCheckResult:
        from edge_assets.warehouse.rollups.compare import compare

        found = compare(settings)
        words = f"{found.buckets:,} sampled buckets are what silver gives"
        if not found.holds:
            words = (
                f"{found.differing:,} of {found.buckets:,} sampled buckets differ from silver, one is {found.example}; "
                "select its day in this asset's partitions and materialize it"
            )
        figures = {"buckets": found.buckets, "differing": found.differing}
        rows = [{"differs": found.example}] if found.example else []
        look = f'edge sql "from {READINGS_1M.name} order by bucket desc limit 100"'
        return result(Verdict(found.holds, words, figures, dg.AssetCheckSeverity.ERROR, rows, look))

    return check


def rollup_check_job() -> tuple[dg.JobDefinition, dg.ScheduleDefinition]:
    check = dg.AssetCheckKey(rollup_key(READINGS_1M.name), CHECK)
    return check_job([check], "check_rollups", "47 */6 * * *", "Compares sampled buckets with a recompute from silver.")


def _rollup(settings: Settings, rollup: Rollup) -> dg.AssetSpec:
    return dg.AssetSpec(
        rollup_key(rollup.name),
        deps=_sources(rollup),
        group_name=groups.ROLLUPS,
        description=told(
            WORDS[rollup.name], row=rollup.row, by=rollups_job(settings), stale=rollups_stale(settings) + MADE_ANEW
        ),
        kinds={"duckdb", "parquet"},
        owners=[owner(settings)],
        freshness_policy=freshness(settings),
        partitions_def=None if rollup is DEVICE_HEALTH else partitions(settings),
        metadata={
            addresses.URI: str(folder(settings) / "rollups"),
            "dagster/table_name": rollup.name,
            **columns.derived(rollup.name),
            "asked with": f'edge sql "from {rollup.name} limit 10"',
        },
    )


def _sources(rollup: Rollup) -> list[dg.AssetKey]:
    if source := SOURCES.get(rollup.name):
        return [rollup_key(source.name)]
    tables: tuple[Table, ...] = (READINGS, ROOM_TELEMETRY)
    if rollup in (DEVICE_HEALTH, DOOR_ACTIVITY):
        tables = (DEVICE_STATES,) if rollup is DEVICE_HEALTH else (READINGS,)
    return [
        *(table_key(table.full_name) for table in tables),
        *(rollup_key(other.name) for other in ALSO.get(rollup.name, ())),
    ]


def _file(settings: Settings) -> dg.AssetSpec:
    return dg.AssetSpec(
        FILE,
        deps=[rollup_key(rollup.name) for rollup in ROLLUPS],
        group_name=groups.ROLLUPS,
        description=told(
            "The file `edge.duckdb`, which readers open: all rollups by name, and the views. It is built aside and "
            "swapped in, so that any number of readers may have it open at any moment.",
            by=rollups_job(settings),
            stale=rollups_stale(settings),
        ),
        kinds={"duckdb"},
        owners=[owner(settings)],
        freshness_policy=freshness(settings),
        metadata={addresses.URI: str(database_path(settings)), "written by": "the job rollups"},
    )


def freshness(settings: Settings) -> dg.FreshnessPolicy:
    """One run missed, and a run may take its time; or an hour without any."""
    every = timedelta(minutes=settings.rollups.update_minutes)
    return dg.FreshnessPolicy.time_window(
        warn_window=every * 2 + timedelta(minutes=5), fail_window=every * 3 + timedelta(minutes=30)
    )
