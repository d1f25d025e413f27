"""The end of the lineage: which tables and views each screen shows."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from edge_assets.defs.screens import screen_specs
from edge_assets.defs.views import view_specs
from edge_assets.live import past
from edge_assets.settings import Settings, load_settings
from edge_assets.warehouse.views import lake_views, views
from edge_assets_tests.unit.test_dagster_assets import picture

HISTORY = "rollups/device_health, rollups/edge_duckdb, rollups/readings_1d, rollups/readings_1h, rollups/readings_1m"
SCREENS = f"""
9_screens screens/live_page     <- alerts/events, broker/mqtt, {HISTORY}, views/latest_readings
9_screens screens/metrics       <- broker/mqtt
9_screens screens/edge_platform <- screens/metrics
"""


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return load_settings(_env_file=None, home=tmp_path)


def test_each_screen_names_what_it_shows(own: Settings) -> None:
    told = [line for line in picture(screen_specs(own)).splitlines() if "edge_sensors" not in line]
    assert told == SCREENS.strip().splitlines()


def test_the_live_page_names_what_its_code_reads() -> None:
    """Its history is asked of the API by tiers, its beginning by the queries of one module."""
    asked = set(re.findall(r"FROM (\w+)", inspect.getsource(past))) - {"minutes", "the"}
    assert asked == {"readings_1m", "latest_readings", "device_health"}


def test_every_view_is_an_asset_that_is_told_in_words(own: Settings) -> None:
    specs = {spec.key.path[-1]: spec for spec in view_specs(own)}
    assert specs.keys() == {view.name for view in (*views(), *lake_views())}
    for view in (*views(), *lake_views()):
        assert view.description and view.description in (specs[view.name].description or "")


def test_views_name_no_table_that_these_settings_do_not_have(own: Settings) -> None:
    without = own.model_copy(update={"anomalies": own.anomalies.model_copy(update={"enabled": False})})
    named = {dep.asset_key.to_user_string() for spec in view_specs(without) for dep in spec.deps}
    assert "gold/telemetry_5s_agg" in named and "gold/anomalies" not in named


def test_a_page_that_is_not_served_is_no_asset(own: Settings) -> None:
    hidden = own.model_copy(update={"live": own.live.model_copy(update={"enabled": False})})
    assert {spec.key.path[-1] for spec in screen_specs(hidden)} == {"edge_sensors", "edge_platform"}
    assert not any("API" in spec.metadata for spec in view_specs(hidden))
