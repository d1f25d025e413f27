"""What Dagster itself writes to its storage is what the platform's metrics read there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.instance.ref import InstanceRef
from dagster._daemon.types import DaemonHeartbeat

from edge_assets.definitions import build
from edge_assets.platform_metrics import dagster_word
from edge_assets.platform_metrics.dagster_word import Dagster
from edge_assets.settings import Settings

KEY = dg.AssetKey(["silver", "readings"])
WAITING = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    home = settings.home / "dagster"
    home.mkdir(parents=True)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        yield instance


def samples(settings: Settings, source: Dagster | None = None) -> dict[tuple[str, ...], float]:
    return {(name, *labels): value for name, labels, value in (source or Dagster())(settings)}


def test_before_dagsters_first_start(settings: Settings) -> None:
    assert samples(settings) == {}


def test_assets_checks_and_heartbeats(settings: Settings, instance: dg.DagsterInstance) -> None:
    before = time.time()
    instance.report_runless_asset_event(dg.AssetMaterialization(KEY))
    for passed in (True, False):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(KEY, "caught_up", passed=passed, metadata={}, severity=dg.AssetCheckSeverity.ERROR)
        )
    for old, new in (
        (FreshnessState.UNKNOWN, FreshnessState.PASS),
        (FreshnessState.PASS, FreshnessState.FAIL),
    ):
        instance.report_runless_asset_event(
            FreshnessStateChange(key=KEY, new_state=new, previous_state=old, state_change_timestamp=time.time())
        )
    instance.add_daemon_heartbeat(DaemonHeartbeat(1_772_366_400.0, "SENSOR", "here", []))
    found = samples(settings)
    assert before - 1 <= found["edge_asset_materialization_timestamp_seconds", "silver/readings"] <= time.time()
    assert found["edge_asset_check_passed", "silver/readings", "caught_up", "error"] == 0
    assert found["edge_asset_check_timestamp_seconds", "silver/readings", "caught_up"] >= before - 1
    assert found["edge_asset_freshness", "silver/readings"] == 2
    assert found["edge_dagster_heartbeat_timestamp_seconds", "SENSOR"] == 1_772_366_400


def test_what_comes_later_is_seen(settings: Settings, instance: dg.DagsterInstance) -> None:
    @dg.asset(key=KEY, check_specs=[dg.AssetCheckSpec("caught_up", asset=KEY)])
    def readings() -> dg.MaterializeResult:
        looked.append(samples(settings, source))  # while the check is planned
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=False)])

    looked: list[dict[tuple[str, ...], float]] = []
    source = Dagster()
    assert ("edge_asset_check_passed", "silver/readings", "caught_up", "error") not in samples(settings, source)
    assert dg.materialize([readings], instance=instance).success
    assert ("edge_asset_check_passed", "silver/readings", "caught_up", "error") not in looked[0]
    assert samples(settings, source)["edge_asset_check_passed", "silver/readings", "caught_up", "error"] == 0
    instance.report_runless_asset_event(dg.AssetCheckEvaluation(KEY, "caught_up", True, {}))
    assert samples(settings, source)["edge_asset_check_passed", "silver/readings", "caught_up", "error"] == 1


def test_runs_and_ticks(settings: Settings, instance: dg.DagsterInstance) -> None:
    @dg.job
    def rollups() -> None:
        @dg.op
        def nothing() -> None: ...

        nothing()

    assert rollups.execute_in_process(instance=instance).success
    sensor = next(s for s in build(settings).sensors or [] if s.name == "watch_checks")
    assert isinstance(sensor, dg.SensorDefinition)
    _tick(instance, sensor.name)
    found = samples(settings)
    assert found["edge_dagster_runs", "rollups", "success"] == 1
    assert found["edge_dagster_tick_timestamp_seconds", "sensor"] == pytest.approx(time.time(), abs=60)
    assert found["edge_dagster_storage_bytes",] > 10_000


def test_runs_that_wait_are_the_queue(settings: Settings, instance: dg.DagsterInstance) -> None:
    @dg.job
    def rollups() -> None: ...

    found = samples(settings)
    assert found["edge_dagster_queued_runs",] == 0
    assert ("edge_dagster_queued_runs_oldest_timestamp_seconds",) not in found
    waiting = [instance.create_run_for_job(rollups, status=status) for status in WAITING]
    found = samples(settings)
    assert found["edge_dagster_queued_runs",] == 2
    assert found["edge_dagster_queued_runs_oldest_timestamp_seconds",] == pytest.approx(time.time(), abs=60)
    for run in waiting:
        instance.report_run_failed(run)
    assert samples(settings)["edge_dagster_queued_runs",] == 0


def _tick(instance: dg.DagsterInstance, name: str) -> None:
    """A sensor's tick, as the daemon records it."""
    from dagster._core.scheduler.instigation import InstigatorType, TickData, TickStatus

    instance.create_tick(
        TickData("origin", name, InstigatorType.SENSOR, TickStatus.SKIPPED, time.time(), selector_id="selector")
    )


def test_windows_are_those_of_the_assets(settings: Settings, instance: dg.DagsterInstance) -> None:
    found = samples(settings)
    assert found["edge_asset_fail_window_seconds", "silver/readings"] == 9 * 3600, "without simulators: OWN_READINGS"
    limited = [spec for spec in build(settings).resolve_all_asset_specs() if spec.freshness_policy is not None]
    assert {"/".join(spec.key.path) for spec in limited} == {
        labels[0] for name, *labels in found if name == "edge_asset_fail_window_seconds"
    }


def test_the_window_of_a_schedule_is_the_longest_that_keeps_to_it() -> None:
    workdays = dg.FreshnessPolicy.cron("0 5 * * 1-5", timedelta(hours=2), "UTC")
    assert dagster_word.fail_window(workdays) == (3 * 24 + 2) * 3600, "from Friday to Monday"
    assert dagster_word.fail_window(None) is None


def test_what_the_definitions_no_longer_have_is_not_told(settings: Settings, instance: dg.DagsterInstance) -> None:
    gone = dg.AssetKey(["rollups", "of_a_former_version"])
    for key in (KEY, gone):
        instance.report_runless_asset_event(dg.AssetMaterialization(key))
        instance.report_runless_asset_event(dg.AssetCheckEvaluation(key, "caught_up", passed=False, metadata={}))
        instance.report_runless_asset_event(dg.AssetCheckEvaluation(key, "of_old", passed=False, metadata={}))
    told = {(name, *labels) for name, *labels in samples(settings) if "window" not in name and labels}
    assert {labels[0] for _, *labels in told} == {"silver/readings"}
    assert {labels[1] for name, *labels in told if name == "edge_asset_check_passed"} == {"caught_up"}


def test_the_storage_is_only_read(settings: Settings, instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(KEY))
    home = settings.home / "dagster"

    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in home.rglob("*.db")}

    before = state()
    samples(settings)
    assert state() == before
