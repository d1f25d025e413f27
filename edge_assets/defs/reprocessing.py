"""The job `reprocess`: days recomputed from bronze, selected in the web page; each day is one request.

The stream writer does the work (`edge_assets.stream.reprocess`), between its batches; the run only asks, and waits.
"""

from datetime import timedelta

import dagster as dg

from edge_assets.defs.rollups import partitions
from edge_assets.settings import Settings


class What(dg.Config):
    """What is recomputed."""

    table: str = "silver"
    """silver (all of it), one table of silver, gold.NAME, or, with `from_log`, bronze"""
    from_log: bool = False
    """read the records themselves again from what Kafka still has"""


def reprocess_job(settings: Settings) -> dg.JobDefinition:
    """A run of it is a day (UTC, of received time), and a backfill as many as are selected."""

    @dg.op(description="Asks the stream writer to recompute the day, and waits until it is done.")
    def recompute_day(context: dg.OpExecutionContext, config: What) -> None:
        from edge_assets.stream import asking

        begin = context.partition_time_window.start
        day = begin + timedelta(days=1)

        def progress(told: dict[str, object]) -> None:
            context.log.info(f"{told['done']} steps done, {told['records']} records")

        done = asking.recompute(settings, begin, day, config.table, config.from_log, progress)
        context.log.info(f"{context.partition_key}: {asking.said(done)}")
        context.add_output_metadata({"records": done.get("records", 0), **done.get("rewritten", {})})

    @dg.job(
        name="reprocess",
        partitions_def=partitions(settings),
        executor_def=dg.in_process_executor,
        description="Recomputes what was received on the selected days from `bronze.events`, with today's decoder, "
        "registry and settings, while the stream goes on. Rows that are right already are not written, so that a day "
        "can be selected again at will. The config says which table, and whether the records themselves are read again "
        "from Kafka (`from_log`). The same as `edge reprocess --from DAY --to NEXT_DAY`.",
    )
    def reprocess() -> None:
        recompute_day()

    return reprocess
