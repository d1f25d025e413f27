"""Verdicts of checks on assets that are materialized without pause, as Dagster's pages show them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from edge_assets.defs.checks import LOOKED_AT
from edge_assets.defs.reporting import Reporter
from edge_assets.settings import Settings

KEY = dg.AssetKey(["bronze", "events"])
CHECK = dg.AssetCheckKey(KEY, "complete")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        yield instance


def shown(instance: dg.DagsterInstance) -> AssetCheckExecutionRecord | None:
    """The verdict that the asset's page shows: the latest one, where it is on the latest materialization."""

    async def ask() -> AssetCheckExecutionRecord | None:
        context = LoadingContextForTest(instance)
        record = await AssetCheckExecutionRecord.gen(context, CHECK)
        return record if record and await record.targets_latest_materialization(context) else None

    return asyncio.run(ask())


def find_gaps(instance: dg.DagsterInstance) -> None:
    """What a look that finds something amiss leaves behind."""
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(KEY, "complete", passed=False, description="3 gaps", metadata={"gaps": 3})
    )


def rows(count: int) -> dict[str, object]:
    return {"tables": {"bronze.events": {"rows": count}}}


def test_a_failure_stays_in_sight_while_the_table_goes_on(instance: dg.DagsterInstance, settings: Settings) -> None:
    clock = iter(range(0, 10_000_000, 1_000))
    reporter = Reporter(settings, "stream_writer", lambda: next(clock))
    reporter.report(instance, rows(1))
    find_gaps(instance)
    found = shown(instance)
    assert found is not None
    for count in (2, 3):
        assert reporter.report(instance, rows(count)) == [KEY]
        verdict = shown(instance)
        assert verdict is not None and verdict.evaluation is not None
        assert not verdict.evaluation.passed and verdict.evaluation.description == "3 gaps"
        assert verdict.evaluation.metadata["gaps"].value == 3
        # From when it is, it says, too.
        assert verdict.evaluation.metadata[LOOKED_AT].value == found.create_timestamp


def test_a_verdict_that_is_just_being_found_is_not_hidden(instance: dg.DagsterInstance, settings: Settings) -> None:
    """The table advances in the middle of the check."""
    find_gaps(instance)
    clock = iter(range(0, 10_000_000, 1_000))
    reporter = Reporter(settings, "stream_writer", lambda: next(clock))

    @dg.asset_check(asset=KEY, name="complete")
    def complete() -> dg.AssetCheckResult:
        reporter.report(instance, rows(1))
        return dg.AssetCheckResult(passed=True)

    events = dg.AssetSpec(KEY)
    dg.materialize([events, complete], instance=instance, selection=dg.AssetSelection.checks(complete))
    reporter.report(instance, rows(2))
    verdict = shown(instance)
    assert verdict is not None and verdict.evaluation is not None and verdict.evaluation.passed
