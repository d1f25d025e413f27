"""gold.anomalies as an asset: found in the run that brings the rollups up to date, right after them.

Its two checks are evaluated with it: they read the few rows of the table and what the run knows. The work itself knows
no Dagster: `edge_assets.anomalies`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from edge_assets.defs import addresses, groups
from edge_assets.defs.assets import owner, table_key
from edge_assets.defs.checks import result
from edge_assets.defs.columns import SCHEMA, column_schema
from edge_assets.defs.judges import Verdict
from edge_assets.defs.rollups import freshness, rollup_key
from edge_assets.defs.words import rollups_job, rollups_stale, told
from edge_assets.settings import Settings
from edge_assets.tables import ANOMALIES
from edge_assets.warehouse.rollups.model import READINGS_1M

if TYPE_CHECKING:
    from edge_assets.anomalies.judgement import Judgement
    from edge_assets.anomalies.run import Outcome

KEY = table_key(ANOMALIES.full_name)

WORDS = """What is unusual: a minute, an hour or a day of a measurement that is unlike its own past, without anything to
configure. An event is one row. Empty is good: fresh means that the closed minutes have been looked at. Devices that
are silent, and values that are stuck, are no business of it."""

LOOK = f'edge sql "from {ANOMALIES.full_name} where window_end >= now() - interval 1 day order by window_start desc"'

CHECKS = {
    "few_alarm": "Few of the series alarm in one day. Else something happened to the whole place, or to the data: see "
    "which with the query in the metadata.",
    "told_once": "No event is there twice: a series' next anomaly comes after a quiet day. Else another process has "
    "written to the table, or two homes to one lake.",
}


def anomaly_asset(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=KEY,
        deps=[rollup_key(READINGS_1M.name)],
        group_name=groups.GOLD,
        description=told(
            WORDS, row=ANOMALIES.row, by=f"{rollups_job(settings)}, after them", stale=rollups_stale(settings)
        ),
        kinds={"delta", "numpy"},
        owners=[owner(settings)],
        freshness_policy=freshness(settings),
        check_specs=[dg.AssetCheckSpec(name, asset=KEY, description=words) for name, words in CHECKS.items()],
        metadata={
            addresses.URI: str(settings.lake_path / ANOMALIES.layer / ANOMALIES.name),
            "dagster/table_name": ANOMALIES.full_name,
            SCHEMA: column_schema(ANOMALIES.columns),
            "partitioned by": "nothing",
            "written by": "the job rollups",
            "asked with": f'edge sql "from {ANOMALIES.full_name} order by window_start desc limit 10"',
        },
    )
    def anomalies(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        from edge_assets.anomalies.judgement import judgements
        from edge_assets.anomalies.run import run

        outcome = run(settings, context.log.info)
        context.log.info(summary(outcome))
        results = [_result(name, one) for name, one in judgements(settings, outcome).items()]
        yield dg.MaterializeResult(metadata=_metadata(outcome), check_results=results)

    return anomalies


def summary(outcome: "Outcome") -> str:
    """One line for a person."""
    return (
        f"{outcome.found:,} anomalies in {outcome.minutes:,} minutes of {outcome.series:,} series "
        f"({outcome.judged:,} known for long enough), {outcome.seconds:.1f} s"
    )


def _metadata(outcome: "Outcome") -> dict[str, Any]:
    found: dict[str, Any] = {
        "anomalies found": outcome.found,
        "minutes scored": outcome.minutes,
        "series": outcome.series,
        "series known for long enough": outcome.judged,
        "seconds": round(outcome.seconds, 2),
    }
    if outcome.until is not None:
        found["scored until"] = dg.MetadataValue.timestamp(datetime.fromtimestamp(outcome.until, UTC))
    if outcome.rows is not None:
        found["dagster/row_count"] = outcome.rows
    return found


def _result(name: str, one: "Judgement") -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.ERROR if name == "told_once" else dg.AssetCheckSeverity.WARN
    return result(Verdict(one.passed, one.words, one.figures, severity, look=LOOK), name=name)
