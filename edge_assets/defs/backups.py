"""The nightly backup as an asset, and the restore drill as a check on it, each week.

Both do what `edge backup` does (`edge_assets.backup`), and both are skipped, with a word why, as long as nobody has
said where backups go.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from edge_assets.defs import addresses, groups
from edge_assets.defs.assets import owner, table_key
from edge_assets.defs.checks import carry_forward
from edge_assets.defs.schedules import regularly
from edge_assets.defs.words import told
from edge_assets.errors import EdgeError
from edge_assets.settings import Settings
from edge_assets.tables import TABLES, gold_tables

if TYPE_CHECKING:
    from edge_assets.backup.drill import Drill
    from edge_assets.backup.making import Done
    from edge_assets.backup.manifest import TableState

BACKUP = dg.AssetKey(["platform", "backup"])
RESTORABLE = "restorable"
SAY_SECONDS = 30.0
"""between two lines of progress: each is kept for two weeks"""

NOWHERE = "nowhere: EDGE_BACKUP__DESTINATION is not set"
NO_DESTINATION = (
    "no backups are made: set EDGE_BACKUP__DESTINATION to a folder on another disk, or to s3://bucket/prefix"
)

WORDS = """The lake at one moment, rollups, rules, rooms, settings without secrets, and Dagster's history, at
EDGE_BACKUP__DESTINATION. Only what is new is copied; the stream goes on meanwhile. `edge restore` makes a platform of
it again: docs/backup.md."""


def backup_asset(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=BACKUP,
        deps=[table_key(table.full_name) for table in (*TABLES, *gold_tables(settings))],
        group_name=groups.CARE,
        kinds={"delta", "sqlite", "s3" if (settings.backup.destination or "").startswith("s3://") else "parquet"},
        owners=[owner(settings)],
        description=told(
            WORDS if settings.backup.destination else f"{WORDS}\n\nNot in use: {NO_DESTINATION}.",
            by="the job `backup`, each night",
            stale="what does the latest run of the job `backup` say, and is the destination there?",
        ),
        freshness_policy=_freshness(),
        metadata={addresses.URI: settings.backup.destination or NOWHERE},
    )
    def backup(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        from edge_assets.backup.making import backup as make

        done = make(settings, None, _now_and_then(context.log.info))
        yield dg.MaterializeResult(metadata=_metadata(done))
        carry_forward(context.instance, BACKUP, [RESTORABLE])

    return backup


def restorable(settings: Settings) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=BACKUP,
        name=RESTORABLE,
        description="The restore drill: the newest backup is restored into EDGE_HOME/tmp, the rows of its tables are "
        "compared with its manifest, and it is removed again. Each week. Else: make another backup now, and run this "
        "again; `edge backup --verify` tells which older ones are whole.",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from edge_assets.backup.drill import drill

        if settings.backup.destination is None:
            return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=NO_DESTINATION)
        try:
            found = drill(settings, settings.backup.destination, _now_and_then(context.log.info))
        except EdgeError as error:  # no backup, no room for it, or nobody there
            return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.ERROR, description=str(error))
        return _verdict(found)

    return check


def _verdict(found: "Drill") -> dg.AssetCheckResult:
    rows = sum(table.rows for table in found.tables.values())
    words = (
        f"backup {found.id} can be restored: {len(found.tables)} tables with {rows:,} rows are equal by count and hash"
    )
    if found.differing:
        words = (
            f"backup {found.id} CANNOT be restored: {'; '.join(found.differing)}. Make another one now (materialize "
            "this asset) and run this check again; `edge backup --verify` tells which older ones are whole"
        )
    metadata: dict[str, Any] = {"seconds": found.seconds, "bytes": found.bytes, "rows": rows}
    metadata["tables"] = _tables(found.tables)
    return dg.AssetCheckResult(passed=not found.differing, description=words, metadata={"backup": found.id, **metadata})


def backup_jobs(settings: Settings) -> list[tuple[dg.JobDefinition, dg.ScheduleDefinition]]:
    """The backup each night, before retention takes rows away; the drill on Sundays."""
    check = dg.AssetSelection.checks(dg.AssetCheckKey(BACKUP, RESTORABLE))
    return [
        _job(settings, "backup", dg.AssetSelection.assets(BACKUP) - check, "23 1 * * *", "Backs the platform up."),
        _job(settings, "restore_drill", check, "11 4 * * 0", "Restores the newest backup, and compares its rows."),
    ]


def _job(
    settings: Settings, name: str, selection: dg.AssetSelection, cron: str, words: str
) -> tuple[dg.JobDefinition, dg.ScheduleDefinition]:
    job = dg.define_asset_job(name, selection=selection, executor_def=dg.in_process_executor, description=words)

    def answer(_: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return dg.RunRequest() if settings.backup.destination else dg.SkipReason(NO_DESTINATION)

    return job, regularly(job, f"{name}_regularly", cron, words, answer=answer)  # type: ignore[return-value]


def _freshness() -> dg.FreshnessPolicy:
    """One night missed; two."""
    return dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=30), fail_window=timedelta(hours=54))


def _now_and_then(say: Callable[[str], None]) -> Callable[[str], None]:
    said = -SAY_SECONDS

    def progress(line: str) -> None:
        nonlocal said
        if (now := time.monotonic()) - said >= SAY_SECONDS:
            said = now
            say(line)

    return progress


def _metadata(done: "Done") -> dict[str, Any]:
    return {
        "backup": done.id,
        "destination": done.destination,
        "rows": sum(table.rows for table in done.tables.values()),
        "bytes": done.bytes,
        "bytes copied": done.bytes_copied,
        "files": done.files,
        "files copied": done.files_copied,
        "seconds": done.seconds,
        "older ones deleted": len(done.deleted),
        "tables": _tables(done.tables),
    }


def _tables(tables: "Mapping[str, TableState]") -> dg.MetadataValue:
    rows: list[dict[str, Any]] = [
        {"table": name, "version": each.version, "rows": each.rows, "hash": each.hash, "bytes": each.bytes}
        for name, each in sorted(tables.items())
    ]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows]) if rows else dg.MetadataValue.text("none")
