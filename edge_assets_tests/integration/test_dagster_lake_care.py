"""What Dagster sees of the lake's care: checks that fail when it is not done, and runs that say who should do it."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from edge_assets.definitions import build
from edge_assets.defs.assets import table_key
from edge_assets.defs.checks import carry_forward
from edge_assets.defs.lake_care import tables, tidiness_checks
from edge_assets.settings import Settings
from edge_assets_tests.lake_tables import sound_lake


def limited(settings: Settings, **limits: int) -> Settings:
    return settings.model_copy(update={"stream": settings.stream.model_copy(update=limits)})


def verdicts(settings: Settings) -> dict[tuple[str, str], bool]:
    """By table and check, from a run of Dagster's own."""
    job: Any = dg.define_asset_job("look", selection=dg.AssetSelection.all_asset_checks())
    defs = dg.Definitions(asset_checks=[tidiness_checks(settings)], jobs=[job])
    run = defs.resolve_job_def("look").execute_in_process(instance=dg.DagsterInstance.ephemeral())
    found = run.get_asset_check_evaluations()
    return {(each.asset_key.path[-1], each.check_name): each.passed for each in found}


def test_checks_look_at_the_tables_themselves(settings: Settings) -> None:
    for start in (0, 20, 40):
        sound_lake(settings, 20, start)
    usual = verdicts(settings)
    assert len(usual) == 3 * len(tables(settings)) and all(usual.values())
    few = verdicts(limited(settings, most_files_a_day=2))
    assert {key for key, passed in few.items() if not passed} == {
        (name, "few_files") for name in ("events", "dead_letters", "readings", "devices")
    }
    short = verdicts(limited(settings, longest_log=2))
    assert {key for key, passed in short.items() if not passed} == {
        (name, "short_log") for name in ("events", "dead_letters", "readings", "devices")
    }


def test_only_failures_are_said_again_with_each_report() -> None:
    key = table_key("silver.readings")
    with dg.DagsterInstance.ephemeral() as instance:
        for name, passed in (("few_files", False), ("short_log", True)):
            verdict = dg.AssetCheckEvaluation(asset_key=key, check_name=name, passed=passed, metadata={})
            instance.report_runless_asset_event(verdict)
        assert carry_forward(instance, key) == ["few_files"]


@pytest.mark.parametrize("job", ["lake_maintenance", "lake_retention"])
def test_without_a_stream_writer_a_run_fails_and_says_so(settings: Settings, job: str) -> None:
    defs = build(settings, held=[])
    run = defs.resolve_job_def(job).execute_in_process(instance=dg.DagsterInstance.ephemeral(), raise_on_error=False)
    assert not run.success
    failures = [event for event in run.all_events if event.event_type is dg.DagsterEventType.STEP_FAILURE]
    assert ["the stream writer of" in str(event.step_failure_data.error) for event in failures] == [True]


def test_both_are_scheduled(settings: Settings) -> None:
    schedules = {schedule.name: schedule for schedule in build(settings, held=[]).schedules or ()}
    for job in ("lake_maintenance", "lake_retention"):
        schedule = schedules[f"{job}_regularly"]
        assert isinstance(schedule, dg.ScheduleDefinition)
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
