"""The end of the lineage: which tables and views each screen shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_assets.defs.screens import screen_specs
from edge_assets.settings import Settings, load_settings
from edge_assets.warehouse.views import lake_views
from edge_assets_tests.unit.test_dagster_assets import picture

SCREENS = """
views    views/lake            <- gold/anomalies, gold/sessions, gold/telemetry_5s_agg, silver/alerts
screens  screens/edge_sensors  <- views/grafana, views/lake
screens  screens/edge_platform
screens  screens/live_page     <- broker/mqtt, views/people
"""


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return load_settings(_env_file=None, home=tmp_path)


def test_each_screen_names_what_it_shows(own: Settings) -> None:
    assert picture(screen_specs(own)) == SCREENS.strip()


def test_every_view_over_the_lake_is_told_in_words(own: Settings) -> None:
    (lake,) = [spec for spec in screen_specs(own) if spec.key.to_user_string() == "views/lake"]
    for view in lake_views():
        assert view.description and view.description in (lake.description or "")


def test_a_page_that_is_not_served_is_no_asset(own: Settings) -> None:
    hidden = own.model_copy(update={"live": own.live.model_copy(update={"enabled": False})})
    assert not any("live" in spec.key.to_user_string() for spec in screen_specs(hidden))
