"""Days recomputed from bronze, selected in the web page; each day is one request to the stream writer.

An asset rather than a bare job, because a backfill of a job starts a process for each day, all at once, and one of an
asset can be a single run. The work is the stream writer's (`edge_assets.stream.reprocess`): the run asks, and waits.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from edge_assets.defs import groups
from edge_assets.defs.assets import owner, table_key
from edge_assets.defs.rollups import partitions
from edge_assets.defs.words import told
from edge_assets.settings import Settings
from edge_assets.tables import BRONZE_EVENTS

JOB = "reprocess"
KEY = dg.AssetKey(["repairs", "reprocessed_days"])
STEP = "reprocess_days"


class What(dg.Config):
    """What is recomputed. `table`: silver (all of it), one table of silver, gold.NAME, or, with `from_log`, bronze;
    `from_log`: the records themselves are read again from what Kafka still has."""

    table: str = "silver"
    from_log: bool = False


def reprocessed_days(settings: Settings) -> dg.AssetsDefinition:
    """The days (UTC, of received time) that somebody has had recomputed, and what that has changed."""

    @dg.multi_asset(
        name=STEP,
        specs=[
            dg.AssetSpec(
                KEY,
                deps=[table_key(BRONZE_EVENTS.full_name)],
                group_name=groups.CARE,
                description=told(
                    "Select days and materialize them: what was received on them is recomputed from "
                    "`bronze.events` with today's decoder, registry and settings, while the stream goes on. Rows that "
                    "are right already are not written, so that a day can be selected again at will. The config says "
                    "which table, and whether the records themselves are read again from Kafka (`from_log`). The same "
                    "as `edge reprocess --from DAY --to NEXT_DAY`.",
                    by="the service `stream_writer`, when a person asks",
                ),
                kinds={"spark", "delta"},
                owners=[owner(settings)],
                partitions_def=partitions(settings),
            )
        ],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def reprocess_days(context: dg.AssetExecutionContext, config: What) -> dg.MaterializeResult:
        found = {key: _reprocess(context, settings, date.fromisoformat(key), config) for key in context.partition_keys}
        rewritten: dict[str, int] = {}
        for done in found.values():
            for name, rows in done.get("rewritten", {}).items():
                rewritten[name] = rewritten.get(name, 0) + rows
        records = sum(done.get("records", 0) for done in found.values())
        return dg.MaterializeResult(asset_key=KEY, metadata={"records": records, **rewritten})

    return reprocess_days


def reprocess_job() -> Any:
    """The same as a job, for who looks for it among the jobs."""
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(KEY),
        executor_def=dg.in_process_executor,
        description="Recomputes the selected days from bronze, in one run; see the asset `repairs/reprocessed_days`.",
    )


def _reprocess(context: dg.AssetExecutionContext, settings: Settings, day: date, config: What) -> dict[str, Any]:
    from edge_assets.stream import asking

    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)

    def progress(told: dict[str, Any]) -> None:
        context.log.info(f"{day}: step {told['done']} of {len(told['steps'])}, {told['records']:,} records")

    until = begin + timedelta(days=1)
    done = asking.recompute(settings, begin, until, config.table, config.from_log, progress)
    context.log.info(f"{day}: {asking.said(done)}")
    return done
