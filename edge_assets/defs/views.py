"""Views as Dagster's assets: what each says, its columns with their sources, the tables that it reads, where to ask it.

A view has nothing to materialize: it answers when somebody asks, as fresh as what it reads. So views are external, and
what can be stale is `edge.duckdb`, which holds them, or the table that one reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import dagster as dg

from edge_assets.defs import addresses, columns, groups
from edge_assets.defs.assets import owner, table_key
from edge_assets.defs.rollups import FILE, rollup_key
from edge_assets.defs.words import told
from edge_assets.settings import Settings
from edge_assets.tables import ANOMALIES, DEVICE_STATES, all_tables
from edge_assets.warehouse.rollups.layout import database_path
from edge_assets.warehouse.rollups.model import ROLLUPS
from edge_assets.warehouse.views import LAKE, View, lake_views, views

STATES = "device_state"
"""the table in edge.duckdb that holds what silver.device_states says"""

KINDS = {
    "people": "For people, to be asked by name.",
    "grafana": "For one panel of a dashboard.",
    LAKE: "For one panel of a dashboard that cannot wait for the rollups: it reads the lake as somebody looks.",
}


def view_key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["views", name])


def view_specs(settings: Settings) -> list[dg.AssetSpec]:
    """One asset a view."""
    return [_spec(settings, view) for view in (*views(), *lake_views())]


def sources(settings: Settings, view: View) -> list[dg.AssetKey]:
    """What a view's text names: rollups, other views, tables of the lake."""
    tables = [t for t in all_tables(settings) if t is not ANOMALIES or settings.anomalies.enabled]
    return [
        *([] if view.group == LAKE else [FILE]),
        *(rollup_key(rollup.name) for rollup in ROLLUPS if _names(view, rollup.name)),
        *(view_key(other.name) for other in views() if other.name != view.name and _names(view, other.name)),
        *(table_key(table.full_name) for table in tables if _names(view, table.full_name)),
        *([table_key(DEVICE_STATES.full_name)] if _names(view, STATES) else []),
    ]


def readers(paths: Iterable[str]) -> list[dg.AssetKey]:
    """The views among paths of the API: `/api/v1/views/grafana_climate`."""
    names = {path.rpartition("/")[2] for path in paths}
    return [view_key(view.name) for view in (*views(), *lake_views()) if view.name in names]


def _names(view: View, what: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(what)}(?![\w.])", view.sql) is not None


def _spec(settings: Settings, view: View) -> dg.AssetSpec:
    over_lake = view.group == LAKE
    stale = "look at the tables that it reads, which are before it in the lineage."
    if not over_lake:
        stale = (
            "look at `rollups/edge_duckdb`, which holds it, and at what it reads: both are before it in the lineage."
        )
    return dg.AssetSpec(
        view_key(view.name),
        deps=sources(settings, view),
        group_name=groups.VIEWS,
        description=told(
            f"{view.description}\n\n{KINDS[view.group]}",
            by="nobody: it is worked out whenever somebody asks, from what it reads",
            stale=stale,
        ),
        kinds={"duckdb", "view"},
        owners=[owner(settings)],
        metadata={
            **({} if over_lake else {addresses.URI: str(database_path(settings))}),
            **(
                {"API": addresses.live(settings, f"/api/v1/views/{view.name}?limit=100")}
                if settings.live.enabled
                else {}
            ),
            "dagster/table_name": view.name,
            **columns.derived(view.name),
            "SQL": dg.MetadataValue.md(f"```sql\n{view.sql}\n```"),
            **({} if over_lake else {"asked with": f'edge sql "from {view.name} limit 10"'}),
        },
    )
