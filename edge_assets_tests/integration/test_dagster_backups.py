"""The nightly backup and the restore drill, as Dagster runs them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from edge_assets.backup import manifest, place
from edge_assets.definitions import build
from edge_assets.defs.backups import BACKUP, RESTORABLE
from edge_assets.settings import BackupSettings, Settings
from edge_assets_tests.lake_tables import sound_lake


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    sound_lake(settings)
    return settings.model_copy(update={"backup": BackupSettings(destination=str(tmp_path / "backups"))})


def run(settings: Settings, job: str, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return build(settings, held=[]).resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False)


def verdict(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = result.get_asset_check_evaluations()
    return found


def test_a_backup_is_made_and_the_drill_holds_it_against_its_manifest(own: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert not verdict(run(own, "restore_drill", instance)).passed, "there is none yet"
        made = run(own, "backup", instance)
        assert made.success
        (told,) = made.asset_materializations_for_node("platform__backup")
        assert told.metadata["rows"].value == 20 + 2 + 32 + 1
        found = verdict(run(own, "restore_drill", instance))
        assert found.passed and "equal by count and hash" in str(found.description)
        there = place.Folder(Path(own.backup.destination or ""))
        files = manifest.newest(there).files.items()  # type: ignore[union-attr]
        for stored in {file.stored_as(name) for name, file in files if "readings" in name and file.rows}:
            there.delete(stored)
        found = verdict(run(own, "restore_drill", instance))
        assert not found.passed and "is missing" in str(found.description)
        assert run(own, "backup", instance).success
        key = dg.AssetCheckKey(BACKUP, RESTORABLE)
        latest = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        assert "is missing" in str(latest.evaluation.description), "a failure stays in sight behind the next backup"  # type: ignore[union-attr]
        assert verdict(run(own, "restore_drill", instance)).passed, "what was missing has been copied again"


def test_without_a_destination_both_are_skipped_and_say_so(settings: Settings, own: Settings, tmp_path: Path) -> None:
    at = datetime(2026, 3, 1, 2, tzinfo=UTC)
    for each, skips in ((settings, True), (own, False)):
        schedules = {schedule.name: schedule for schedule in build(each, held=[]).schedules or ()}
        for name in ("backup_regularly", "restore_drill_regularly"):
            schedule: Any = schedules[name]
            assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
            repository = build(each, held=[]).get_repository_def()
            with (
                dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance,
                dg.build_schedule_context(instance, scheduled_execution_time=at, repository_def=repository) as context,
            ):
                tick = schedule.evaluate_tick(context)
            assert bool(tick.run_requests) is not skips
            assert ("EDGE_BACKUP__DESTINATION" in str(tick.skip_message)) is skips
    with dg.DagsterInstance.ephemeral() as instance:
        failed = run(settings, "backup", instance)
        (failure,) = [each for each in failed.all_events if each.event_type is dg.DagsterEventType.STEP_FAILURE]
        assert "EDGE_BACKUP__DESTINATION" in str(failure.step_failure_data.error)
        assert "EDGE_BACKUP__DESTINATION" in str(verdict(run(settings, "restore_drill", instance)).description)
