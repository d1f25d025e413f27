"""The asset graph as a person reads it, and what each asset tells about itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.freshness import CronFreshnessPolicy

from edge_assets.definitions import build
from edge_assets.defs.assets import asset_specs, is_steady
from edge_assets.defs.services import services as all_services
from edge_assets.settings import Settings, load_settings
from edge_assets.tables import TABLES

LINEAGE = """
1_sources devices/zigbee2mqtt
1_sources devices/pico
1_sources devices/building
1_sources alerts/events         <- devices/building, devices/pico, devices/zigbee2mqtt
2_broker  broker/mqtt           <- alerts/events, devices/building, devices/pico, devices/zigbee2mqtt
3_log     log/sensor-events     <- broker/mqtt
3_log     log/telemetry         <- broker/mqtt
3_log     log/alerts            <- broker/mqtt
3_log     log/dead-letters      <- broker/mqtt
4_bronze  bronze/events         <- log/alerts, log/dead-letters, log/sensor-events, log/telemetry
4_bronze  bronze/dead_letters   <- log/alerts, log/dead-letters, log/sensor-events, log/telemetry
5_silver  silver/readings       <- bronze/events, silver/devices
5_silver  silver/room_telemetry <- bronze/events
5_silver  silver/device_states  <- bronze/events, silver/devices
5_silver  silver/alerts         <- bronze/events
5_silver  silver/devices        <- bronze/events
"""


@pytest.fixture
def simulated(tmp_path: Path) -> Settings:
    return load_settings(_env_file=None, home=tmp_path, site="the barn")


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    """Someone's own network, of two kinds of devices."""
    return load_settings(
        _env_file=None,
        home=tmp_path,
        simulators={"enabled": False},
        mqtt={"host": "broker.lan"},
        bridge={
            "routes": (
                {"filter": "zigbee2mqtt/#"},
                {"filter": "pico/+/+", "topic": "pico"},
                {"filter": "noise/#", "topic": None},
            )
        },
    )


def picture(specs: list[dg.AssetSpec]) -> str:
    lines = []
    for spec in specs:
        sources = ", ".join(sorted(dep.asset_key.to_user_string() for dep in spec.deps))
        lines.append(
            f"{spec.group_name:<9} {spec.key.to_user_string():<21} {'<- ' + sources if sources else ''}".strip()
        )
    return "\n".join(lines)


def test_the_lineage_is_the_way_of_a_reading(simulated: Settings) -> None:
    assert picture(asset_specs(simulated)) == LINEAGE.strip()


def test_each_route_that_is_kept_has_its_network_and_its_topic(own: Settings) -> None:
    lines = picture(asset_specs(own)).splitlines()
    assert "1_sources devices/pico" in lines
    assert "2_broker  broker/mqtt           <- alerts/events, devices/pico, devices/zigbee2mqtt" in lines
    assert "3_log     log/pico              <- broker/mqtt" in lines
    assert not any("noise" in line for line in lines)


def test_every_asset_says_what_it_is(simulated: Settings) -> None:
    for spec in asset_specs(simulated):
        assert spec.description and spec.kinds and spec.freshness_policy
        assert list(spec.owners) == ["team:the_barn"]


def test_everything_that_flows_or_is_scheduled_has_a_limit_of_freshness(simulated: Settings, own: Settings) -> None:
    for settings in (simulated, own):
        repository = build(settings).get_repository_def()
        graph = repository.asset_graph
        services = {service.name for service in all_services(settings)} - {"live"}  # which serves, and writes nothing
        flows = {node.key for node in graph.asset_nodes if node.metadata.get("written by") in services}
        scheduled = {
            key
            for schedule in repository.schedule_defs
            for key in repository.get_job(schedule.job_name).asset_layer.selected_asset_keys
        }
        assert len(flows) > 10 and len(scheduled) > 10
        limited = {node.key for node in graph.asset_nodes if node.freshness_policy}
        assert (flows | scheduled) - limited == set()
        without = {key.to_user_string() for key in graph.get_all_asset_keys() - limited}
        # What people ask for, and what answers only when somebody looks.
        assert {name for name in without if not name.startswith(("screens/", "views/"))} == {
            "dimensions/rooms",
            "repairs/reprocessed_days",
        }


def test_a_limit_that_follows_a_schedule_lets_one_run_be_missed_or_a_night_be_slept(simulated: Settings) -> None:
    policies = {
        node.key.to_user_string(): node.freshness_policy
        for node in build(simulated).get_repository_def().asset_graph.asset_nodes
    }
    maintained, retained = policies["lake/maintenance"], policies["lake/retention"]
    assert isinstance(maintained, CronFreshnessPolicy) and isinstance(retained, CronFreshnessPolicy)
    hourly, nightly = ([run for run in range(24 * 60) if ticks_at(cron, run)] for cron in ("29 * * * *", "13 2 * * *"))
    for policy, runs in ((maintained, hourly), (retained, nightly)):
        deadlines = [minute for minute in range(24 * 60) if ticks_at(policy.deadline_cron, minute)]
        window = policy.lower_bound_delta.total_seconds() / 60
        for deadline in deadlines:
            within = [run for run in (*(run - 24 * 60 for run in runs), *runs) if deadline - window <= run <= deadline]
            assert within and deadline - within[-1] >= 45, "a run within, which had time to end"


def ticks_at(cron: str, minute: int) -> bool:
    """Whether a schedule ticks at a minute of the day."""
    hour, rest = divmod(minute, 60)
    at, hours, *_ = cron.split()
    step = int(hours[2:]) if hours.startswith("*/") else 1
    return rest == int(at) and (hour % step == 0 if hours.startswith("*") else hour == int(hours))


def test_tables_show_their_columns_and_where_they_lie(simulated: Settings) -> None:
    specs = {spec.key.to_user_string(): spec for spec in asset_specs(simulated)}
    for table in TABLES:
        metadata = specs[f"{table.layer}/{table.name}"].metadata
        assert metadata["dagster/uri"] == str(simulated.lake_path / table.layer / table.name)
        schema = metadata["dagster/column_schema"]
        assert [(c.name, c.type, c.description) for c in schema.columns] == [
            (c.name, c.type, c.description) for c in table.columns
        ]


def test_one_s_own_network_is_given_the_time_that_battery_devices_take(simulated: Settings, own: Settings) -> None:
    assert is_steady(simulated) and not is_steady(own)
    readings = dg.AssetKey(["silver", "readings"])
    fail = {
        name: next(s.freshness_policy for s in asset_specs(which) if s.key == readings).fail_window.to_timedelta()  # type: ignore[union-attr]
        for name, which in (("simulated", simulated), ("own", own))
    }
    assert fail["simulated"].total_seconds() == 20 * 60
    assert fail["own"].total_seconds() == 9 * 3600


def test_services_follow_the_settings(simulated: Settings, own: Settings) -> None:
    def names(settings: Settings) -> tuple[set[str], set[str]]:
        repository = build(settings).get_repository_def()
        return {job.name for job in repository.get_all_jobs()}, {sensor.name for sensor in repository.sensor_defs}

    jobs, sensors = names(simulated)
    assert {"simulators", "bridge", "stream_writer"} <= jobs
    assert {"keep_simulators_alive", "keep_bridge_alive", "keep_stream_writer_alive"} <= sensors
    jobs, sensors = names(own)
    assert "simulators" not in jobs and "keep_simulators_alive" not in sensors


def test_loading_the_definitions_loads_no_client_of_anything(tmp_path: Path) -> None:
    """The code server and each run pay for what this imports."""
    heavy = ["pyspark", "pyarrow", "duckdb", "deltalake", "pandas", "confluent_kafka", "paho", "amqtt", "apprise"]
    script = f"import sys, edge_assets.definitions; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"EDGE_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]", done.stderr
    assert not (tmp_path / "home").exists(), "importing wrote something"


def test_the_checkout_s_workspace_and_instance_are_valid(tmp_path: Path) -> None:
    from dagster._core.instance.ref import InstanceRef
    from dagster._core.run_coordinator import DefaultRunCoordinator
    from dagster._core.workspace.load import location_origins_from_yaml_paths

    checkout = Path(__file__).parents[2]
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path), config_dir=str(checkout))) as instance:
        assert isinstance(instance.run_coordinator, DefaultRunCoordinator)
        assert type(instance.compute_log_manager).__name__ == "NoOpComputeLogManager"
    origins = location_origins_from_yaml_paths([str(checkout / "workspace.yaml")])
    assert [origin.location_name for origin in origins] == ["edge_assets.definitions"]


def test_the_platform_s_instance_is_configured_as_the_checkout_s() -> None:
    def settings_of(path: Path) -> list[str]:
        return [line for line in path.read_text().splitlines() if not line.startswith("#")]

    checkout = Path(__file__).parents[2]
    assert "\n".join(settings_of(checkout / "dagster.yaml")).strip() == (
        "\n".join(settings_of(checkout / "edge_assets" / "platform" / "dagster.yaml")).strip()
    )
