"""All that Dagster sees, put together: `dagster dev` in a checkout, and `edge up`, load this module.

It imports neither Spark nor a client of broker or log: those are imported where they run. `build` is the seam for
tests: other settings, other loops.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from edge_assets.defs import (
    anomalies,
    assets,
    backups,
    checks,
    freshness,
    gold,
    housekeeping,
    lake_care,
    notices,
    reprocessing,
    rollups,
    screens,
    sensors,
    services,
    views,
)
from edge_assets.settings import Settings, load_settings


def build(settings: Settings, held: Sequence[services.Service] | None = None) -> dg.Definitions:
    """The definitions that these settings describe; `held` replaces the services that they ask for."""
    wanted = services.services(settings) if held is None else held
    pairs = [(service, services.service_job(service, settings)) for service in wanted]
    verify_job, verify_schedule = checks.complete_job()
    found = [anomalies.anomaly_asset(settings)] if settings.anomalies.enabled else []
    rollup_job, rollup_schedule = rollups.rollup_job(settings, also=[asset.key for asset in found])
    compare_job, compare_schedule = rollups.rollup_check_job()
    gold_job, gold_schedule = gold.check_gold_job(settings)
    house_job, house_schedule = housekeeping.housekeeping_job(settings)
    care = [*lake_care.care_jobs(settings), *backups.backup_jobs(settings)]
    return dg.Definitions(
        assets=freshness.with_limits(
            [
                *assets.asset_specs(settings),
                *gold.gold_specs(settings),
                rollups.rollup_assets(settings),
                *found,
                reprocessing.reprocessed_days(settings),
                *lake_care.care_assets(settings),
                backups.backup_asset(settings),
                *views.view_specs(settings),
                *screens.screen_specs(settings),
            ],
            settings,
        ),
        asset_checks=[
            *checks.asset_checks(settings),
            *gold.gold_checks(settings),
            rollups.rollup_check(settings),
            lake_care.tidiness_checks(settings),
            backups.restorable(settings),
        ],
        jobs=[
            *(job for _, job in pairs),
            *(verify_job, gold_job, rollup_job, compare_job, reprocessing.reprocess_job(), house_job),
            *(job for job, _ in care),
        ],
        sensors=[
            *sensors.keep_alive_sensors(pairs, settings),
            *(checks.check_sensor(settings), notices.notice_sensor(settings)),
        ],
        schedules=[
            *(verify_schedule, gold_schedule, rollup_schedule, compare_schedule, house_schedule),
            *(schedule for _, schedule in care),
        ],
    )


defs = build(load_settings())
