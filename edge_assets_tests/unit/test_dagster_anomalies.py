"""gold.anomalies as Dagster shows and makes it."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from edge_assets.definitions import build
from edge_assets.defs.anomalies import CHECKS, KEY, anomaly_asset
from edge_assets.defs.rollups import DEVICES_SPEAK, JOB
from edge_assets.settings import Settings
from edge_assets.tables import ANOMALIES
from edge_assets_tests.anomaly_lake import heard
from edge_assets_tests.lake_tables import AT


def test_it_comes_from_the_minutes_and_says_what_it_is(settings: Settings) -> None:
    (spec,) = anomaly_asset(settings).specs
    assert [dep.asset_key.to_user_string() for dep in spec.deps] == ["rollups/readings_1m"]
    assert spec.group_name == "7_gold" and spec.description and spec.kinds and spec.freshness_policy and spec.owners
    columns = spec.metadata["dagster/column_schema"].columns
    assert [(c.name, c.type, c.description) for c in columns] == [
        (c.name, c.type, c.description) for c in ANOMALIES.columns
    ]


def test_the_rollups_run_looks_for_anomalies_and_evaluates_the_checks(settings: Settings) -> None:
    heard(settings, AT, AT + timedelta(hours=6))
    job = build(settings, held=[]).resolve_job_def(JOB)
    config = {"ops": {"bring_rollups_up_to_date": {"config": {"recompute_selected_days": False}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance, partition_key=AT.date().isoformat(), run_config=config, raise_on_error=True
        )
        order = [event.asset_key for event in result.get_asset_materialization_events()]
        assert order[-1] == KEY
        (made,) = [event for event in result.get_asset_materialization_events() if event.asset_key == KEY]
        metadata = made.materialization.metadata
        assert metadata["series"].value == 2 and metadata["dagster/row_count"].value == 0
        assert metadata["minutes scored"].value == 11
        checks = {one.check_name: one.passed for one in result.get_asset_check_evaluations()}
        assert checks == dict.fromkeys((*CHECKS, DEVICES_SPEAK), True)


def test_it_can_be_left_out(settings: Settings) -> None:
    without = settings.model_copy(update={"anomalies": settings.anomalies.model_copy(update={"enabled": False})})
    graph = build(without, held=[]).resolve_asset_graph()
    assert KEY not in graph.get_all_asset_keys()
