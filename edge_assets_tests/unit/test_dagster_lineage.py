"""The whole of what Dagster shows: held against the page that pictures it, and what every asset tells about itself."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetNode

from edge_assets.definitions import build
from edge_assets.defs.columns import LINEAGE, SCHEMA
from edge_assets.defs.groups import CARE, GOLD, GROUPS, ROLLUPS, SCREENS, VIEWS
from edge_assets.defs.picture import PAGE, default_page
from edge_assets.errors import SettingsError
from edge_assets.settings import load_settings


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AssetNode]:
    settings = load_settings(_env_file=None, home=tmp_path_factory.mktemp("home"))
    graph = build(settings).get_repository_def().asset_graph
    return {key.to_user_string(): graph.get(key) for key in graph.toposorted_asset_keys}


def test_the_graph_is_as_the_page_pictures_it() -> None:
    expected = default_page()
    assert PAGE.read_text() == expected, "run `python -m edge_assets.defs.picture`, and read what has changed"


def test_data_flows_through_the_groups_in_their_order(nodes: dict[str, AssetNode]) -> None:
    """Dagster lists groups by name: an edge never leads to a group that is listed before."""
    assert {node.group_name for node in nodes.values()} == set(GROUPS) and sorted(GROUPS) == list(GROUPS)
    for node in nodes.values():
        for parent in node.parent_keys:
            assert nodes[parent.to_user_string()].group_name <= node.group_name, (parent, node.key)


def test_every_asset_tells_what_it_is_who_writes_it_and_what_to_do(nodes: dict[str, AssetNode]) -> None:
    for name, node in nodes.items():
        words = node.description or ""
        assert "**Written by**" in words and node.kinds and list(node.owners) == ["team:home"], name
        asked = node.freshness_policy is not None or node.group_name in (VIEWS, SCREENS)
        assert ("**When it is stale:**" in words) == asked, name


def test_whatever_has_rows_says_what_one_is(nodes: dict[str, AssetNode]) -> None:
    rows = {name for name, node in nodes.items() if "One row is " in (node.description or "")}
    tables = {name for name in nodes if name.split("/")[0] in ("bronze", "silver", "gold", "rollups", "log")}
    assert tables - rows == {"rollups/edge_duckdb"}


def test_every_asset_says_where_it_is(nodes: dict[str, AssetNode]) -> None:
    places = {name: node.metadata.get("dagster/uri") or node.metadata.get("page") for name, node in nodes.items()}
    over_lake = {name for name in nodes if name.startswith("views/") and "API" in nodes[name].metadata}
    assert {name for name, place in places.items() if not place} <= over_lake | {"repairs/reprocessed_days"}
    assert str(places["devices/zigbee2mqtt"]) == "mqtt://127.0.0.1:1883/zigbee2mqtt/#"
    assert str(places["log/sensor-events"]) == "kafka://127.0.0.1:9092/sensor-events"
    for name in ("views/climate", "screens/live_page"):
        assert isinstance(nodes[name].metadata["API"], dg.UrlMetadataValue), "a person clicks it"


def test_every_table_rollup_and_view_shows_its_columns_in_words(nodes: dict[str, AssetNode]) -> None:
    shown = {name for name, node in nodes.items() if SCHEMA in node.metadata}
    layers = {name for name in nodes if name.split("/")[0] in ("bronze", "silver", "gold", "rollups", "views")}
    assert shown >= layers - {"rollups/edge_duckdb"} and "dimensions/rooms" in shown
    for name in shown:
        for column in nodes[name].metadata[SCHEMA].columns:
            assert column.type and column.description, (name, column.name)


def test_columns_come_from_columns_that_are_there(nodes: dict[str, AssetNode]) -> None:
    """Both ends of each line exist, and the asset is known to be made of the one that the line comes from."""
    columns = {name: {c.name for c in n.metadata[SCHEMA].columns} for name, n in nodes.items() if SCHEMA in n.metadata}
    told = {name for name, node in nodes.items() if LINEAGE in node.metadata}
    for name in told:
        parents = {key.to_user_string() for key in nodes[name].parent_keys}
        for column, sources in nodes[name].metadata[LINEAGE].deps_by_column.items():
            assert column in columns[name], (name, column)
            for source in sources:
                assert source.column_name in columns[source.asset_key.to_user_string()], (name, source)
                assert source.asset_key.to_user_string() in parents, (name, source)
    derived = {name for name in nodes if name.split("/")[0] in ("rollups", "views")} - {"rollups/edge_duckdb"}
    assert told > derived | {"silver/readings", "gold/telemetry_5s_agg"}


def test_a_reading_s_column_can_be_followed_to_a_panel(nodes: dict[str, AssetNode]) -> None:
    def sources(name: str, column: str) -> set[str]:
        found = nodes[name].metadata[LINEAGE].deps_by_column[column]
        return {f"{dep.asset_key.to_user_string()}.{dep.column_name}" for dep in found}

    assert sources("views/grafana_climate", "value") == {"views/climate.avg"}
    assert sources("views/climate", "avg") == {"rollups/readings_1h.avg"}
    assert sources("rollups/readings_1h", "avg") == {"rollups/readings_1m.sum", "rollups/readings_1m.n"}
    assert "silver/readings.value" in sources("rollups/readings_1m", "sum")
    assert sources("silver/readings", "kafka_offset") == {"bronze/events.kafka_offset"}


def test_a_dashboard_names_its_views_and_a_view_its_tables(nodes: dict[str, AssetNode]) -> None:
    def parents(name: str) -> set[str]:
        return {key.to_user_string() for key in nodes[name].parent_keys}

    grafana = {name for name in nodes if name.startswith("views/grafana_")}
    unseen = {"views/grafana_latest"}  # for who asks the API: no panel shows it
    assert parents("screens/edge_sensors") == (grafana - unseen) | {"alerts/events", "screens/metrics"}
    assert parents("views/grafana_doors") == {"rollups/edge_duckdb", "rollups/device_health", "views/latest_readings"}
    assert parents("views/grafana_alerts") == {"silver/alerts"}


def test_what_a_person_materializes_is_what_dagster_makes(nodes: dict[str, AssetNode]) -> None:
    made = {name for name, node in nodes.items() if node.is_executable}
    assert {nodes[name].group_name for name in made} == {ROLLUPS, GOLD, CARE}


@pytest.mark.parametrize("owner", ["team:facilities", "anna@example.org"])
def test_the_owner_is_who_the_settings_name(owner: str, tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, home=tmp_path, dagster={"owner": owner, "grafana_url": "http://nas:3001/"})
    graph = build(settings).get_repository_def().asset_graph
    assert {tuple(graph.get(key).owners) for key in graph.get_all_asset_keys()} == {(owner,)}
    page = graph.get(dg.AssetKey(["screens", "edge_sensors"])).metadata["page"]
    assert page == dg.MetadataValue.url("http://nas:3001/d/edge-sensors")


def test_an_owner_that_dagster_would_refuse_is_refused_before(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="EDGE_DAGSTER__OWNER"):
        load_settings(_env_file=None, home=tmp_path, dagster={"owner": "anna"})
