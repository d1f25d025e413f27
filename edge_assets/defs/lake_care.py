"""The care of the lake: joining small files, dropping what is replaced, cutting logs, and letting go what is too old.

The work is the stream writer's, as nobody else may commit to its tables; the runs here ask it, and show what came of
it. Minutes that are too old leave the rollups in the same run as the raw rows. Checks of each table look at the files
themselves, so that they fail when the work is not done, whatever the reason.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from edge_assets.defs import addresses, groups
from edge_assets.defs.assets import owner, table_key
from edge_assets.defs.checks import result
from edge_assets.defs.judges import Verdict
from edge_assets.defs.schedules import regularly
from edge_assets.defs.words import told
from edge_assets.settings import Settings
from edge_assets.tables import TABLES, Table, gold_tables

if TYPE_CHECKING:
    from edge_assets.warehouse.tidiness import Tidiness

MAINTENANCE = dg.AssetKey(["lake", "maintenance"])
RETENTION = dg.AssetKey(["lake", "retention"])
FEW_FILES = "few_files"
SHORT_LOG = "short_log"
COLUMNS = "columns_as_told"

MAINTAINED = dg.FreshnessPolicy.cron("14 */3 * * *", timedelta(hours=3))
"""one of three hourly rounds at least: one that is missed harms nobody"""

RETAINED = dg.FreshnessPolicy.cron("13 8 * * *", timedelta(hours=24))
"""each night's round, by the morning: it may have to wait for the stream writer, and the machine may have slept"""


def tables(settings: Settings) -> tuple[Table, ...]:
    """The tables that the stream writer looks after."""
    return (*TABLES, *gold_tables(settings))


def care_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    return [_maintenance(settings), _retention(settings)]


def _maintenance(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=MAINTENANCE,
        deps=[table_key(table.full_name) for table in tables(settings)],
        group_name=groups.CARE,
        kinds={"delta"},
        owners=[owner(settings)],
        freshness_policy=MAINTAINED,
        metadata={addresses.URI: str(settings.lake_path)},
        description=told(
            "Small files are joined, replaced ones dropped, logs cut. The stream writer does it between two batches, "
            "in slices; each run shows what it made of each table.",
            by="the job `lake_maintenance`, each hour: it asks the stream writer",
            stale="what does the job's latest run say, and does the service `stream_writer` run?",
        ),
    )
    def maintenance(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from edge_assets.stream.requests import maintain

        answer = maintain(settings)
        rows = [_row(name, told) for name, told in answer["tables"].items()]
        metadata = {"tables": _table(rows), **_turns(answer)}
        for name in ("files before", "files after", "bytes before", "bytes after"):
            metadata[name] = sum(row[name] for row in rows)
        return dg.MaterializeResult(metadata=metadata)

    return maintenance


def _retention(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=RETENTION,
        deps=[table_key(table.full_name) for table in tables(settings)],
        group_name=groups.CARE,
        kinds={"delta"},
        owners=[owner(settings)],
        freshness_policy=RETAINED,
        metadata={addresses.URI: str(settings.lake_path)},
        description=told(
            "What is older than EDGE_RETENTION__… says leaves the tables; what was rolled up of it stays. Rollups are "
            "brought up to date first, so that nothing goes unseen.",
            by="the job `lake_retention`, each night: it asks the stream writer",
            stale="what does the job's latest run say, and does the service `stream_writer` run?",
        ),
    )
    def retention(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from edge_assets.stream.requests import expire
        from edge_assets.warehouse.rollups.expiry import expire_minutes
        from edge_assets.warehouse.rollups.update import update

        update(settings, context.log.info)
        answer = expire(settings)
        minutes = expire_minutes(settings)
        rows = [
            {"table": name, "days": told["days"], "rows": told["rows"], "postponed": ", ".join(told["postponed"])}
            for name, told in answer["tables"].items()
        ]
        metadata = {"tables": _table(rows), **_turns(answer), "rows": sum(row["rows"] for row in rows)}
        return dg.MaterializeResult(metadata={**metadata, "minutes": minutes})

    return retention


def _row(name: str, told: dict[str, Any]) -> dict[str, Any]:
    before, after = told["before"], told["after"]
    figures = (
        ("files", "files"),
        ("bytes", "bytes"),
        ("most files a day", "most_files_a_day"),
        ("commits in the log", "log"),
    )
    pairs = (
        (f"{words} {when}", of[key]) for words, key in figures for when, of in (("before", before), ("after", after))
    )
    return {"table": name, **dict(pairs)}


def _table(rows: list[dict[str, Any]]) -> dg.MetadataValue:
    if not rows:
        return dg.MetadataValue.text("none")
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows])


def _turns(answer: dict[str, Any]) -> dict[str, Any]:
    """How long batches were kept waiting."""
    turns = answer["turns"]
    return {
        "slices": turns["slices"],
        "longest slice (s)": turns["longest_seconds"],
        "longest slice": turns["longest"],
    }


# --- checks ----------------------------------------------------------------------------------------------------------


def tidiness_checks(settings: Settings) -> dg.AssetChecksDefinition:
    """Of each table: the files of a day, the commits since the log's last checkpoint, and its columns."""
    most, longest = settings.stream.most_files_a_day, settings.stream.longest_log
    words = {
        FEW_FILES: f"No day lies in more than {most:,} files (EDGE_STREAM__MOST_FILES_A_DAY). Else small files are not "
        "joined: does lake/maintenance run, and what does it say? `edge maintain` asks for it now.",
        SHORT_LOG: f"At most {longest:,} commits since the last checkpoint (EDGE_STREAM__LONGEST_LOG). Else the stream "
        "writer makes none: its log lines say why.",
        COLUMNS: "The table has the columns, and types, that this version's contract gives it. Else: was it written by "
        "another version, or by another program? `edge history` says by which commit.",
    }
    specs = [
        dg.AssetCheckSpec(name, asset=table_key(table.full_name), description=description)
        for table in tables(settings)
        for name, description in words.items()
    ]

    @dg.multi_asset_check(name="lake_is_tidy", specs=specs, can_subset=True)
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        from edge_assets.warehouse.tidiness import look

        wanted = context.selected_asset_check_keys
        for table in tables(settings):
            key = table_key(table.full_name)
            if any(each.asset_key == key for each in wanted):
                found = look(settings, (table.layer, table.name))
                verdicts = {
                    FEW_FILES: few_files(settings, found),
                    SHORT_LOG: short_log(settings, found),
                    COLUMNS: columns_as_told(table, found),
                }
                for name, verdict in verdicts.items():
                    if dg.AssetCheckKey(key, name) in wanted:
                        yield result(verdict, key, name)

    return check


def few_files(settings: Settings, found: "Tidiness") -> Verdict:
    passed = found.most_files_a_day <= settings.stream.most_files_a_day
    words = f"{found.files:,} files, at most {found.most_files_a_day:,} of a day" + (
        f" ({found.day})" if found.day else ""
    )
    if not passed:
        words += (
            "; are small files joined? See lake/maintenance, and `edge status --json` for the stream writer's own word"
        )
    figures = {"files": found.files, "most files a day": found.most_files_a_day, "bytes": found.bytes}
    rows = [] if passed else [{"table": found.table, "day": found.day, "files": found.most_files_a_day}]
    return Verdict(passed, words, figures, rows=rows, look="edge maintain")


def short_log(settings: Settings, found: "Tidiness") -> Verdict:
    passed = found.log <= settings.stream.longest_log
    words = f"{found.log:,} commits since the last checkpoint of the table's log"
    if not passed:
        words += "; the stream writer makes one every 50: what does its log file say?"
    return Verdict(passed, words, {"commits": found.log}, look=f"edge history {found.table}")


def columns_as_told(table: Table, found: "Tidiness") -> Verdict:
    from edge_assets.warehouse.drift import drift

    differ = drift(table, found.columns)
    words = f"its {len(found.columns):,} columns are those of the contract"
    if differ:
        named = ", ".join(f"{one.column} (told {one.told}, found {one.found})" for one in differ[:5])
        words = f"{len(differ):,} columns are otherwise than they are told to be: {named}"
    rows = [{"column": one.column, "told": one.told, "found": one.found} for one in differ]
    figures = {"columns": len(found.columns), "otherwise": len(differ)}
    severity = dg.AssetCheckSeverity.ERROR
    return Verdict(not differ, words, figures, severity, rows, f'edge sql "describe {found.table}"')


# --- jobs ------------------------------------------------------------------------------------------------------------


def care_jobs(settings: Settings) -> list[tuple[dg.JobDefinition, dg.ScheduleDefinition]]:
    """Maintenance with the checks each hour, retention each night."""
    checks = dg.AssetSelection.checks(
        *(
            dg.AssetCheckKey(table_key(table.full_name), name)
            for table in tables(settings)
            for name in (FEW_FILES, SHORT_LOG, COLUMNS)
        )
    )
    return [
        _job(
            "lake_maintenance",
            dg.AssetSelection.assets(MAINTENANCE) | checks,
            "29 * * * *",
            "Asks the stream writer to join small files and drop replaced ones, and checks what the tables look like.",
        ),
        _job(
            "lake_retention",
            dg.AssetSelection.assets(RETENTION),
            "13 2 * * *",
            "Asks the stream writer to delete what is older than EDGE_RETENTION__… says.",
        ),
    ]


def _job(
    name: str, selection: dg.AssetSelection, cron: str, words: str
) -> tuple[dg.JobDefinition, dg.ScheduleDefinition]:
    job = dg.define_asset_job(name, selection=selection, executor_def=dg.in_process_executor, description=words)
    return job, regularly(job, f"{name}_regularly", cron, words)  # type: ignore[return-value]
