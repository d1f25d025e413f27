"""What people look at, at the end of the lineage: views over the lake, the dashboards, the live page.

All of them are external and have nothing to materialize: they answer when somebody looks. A dashboard names the views
that its panels read, a view the tables; so who changes a table sees which screens show it.
"""

from __future__ import annotations

import re

import dagster as dg

from edge_assets.dashboards.model import Api, Dashboard
from edge_assets.dashboards.platform import PLATFORM
from edge_assets.dashboards.sensors import SENSORS
from edge_assets.defs.assets import BROKER, owner, table_key
from edge_assets.defs.rollups import view_key
from edge_assets.settings import Settings
from edge_assets.tables import ANOMALIES, all_tables
from edge_assets.warehouse.views import GROUPS, LAKE, lake_views, views

LIVE_PAGE = dg.AssetKey(["screens", "live_page"])
GROUP = "screens"


def screen_specs(settings: Settings) -> list[dg.AssetSpec]:
    """Views over the lake, dashboards, and the live page where it is served."""
    return [
        _lake_views(settings),
        *(_dashboard(settings, dashboard) for dashboard in (SENSORS, PLATFORM)),
        *([_live_page(settings)] if settings.live.enabled else []),
    ]


def _lake_views(settings: Settings) -> dg.AssetSpec:
    sql = " ".join(view.sql for view in lake_views())
    there = (table for table in all_tables(settings) if table is not ANOMALIES or settings.anomalies.enabled)
    named = [table for table in there if re.search(rf"\b{re.escape(table.full_name)}\b", sql)]
    lines = "\n".join(f"- `{view.name}`: {view.description}" for view in lake_views())
    return dg.AssetSpec(
        view_key(LAKE),
        deps=[table_key(table.full_name) for table in named],
        group_name="views",
        description="Views over tables of the lake, for panels that cannot wait for the rollups: they are asked for as "
        f"somebody looks.\n\n{lines}",
        kinds={"duckdb", "view"},
        owners=[owner(settings)],
        metadata={"views": ", ".join(view.name for view in lake_views())},
    )


def _dashboard(settings: Settings, dashboard: Dashboard) -> dg.AssetSpec:
    panels = [panel for row in dashboard.rows for panel in row.panels]
    paths = {query.path.rpartition("/")[2] for panel in panels for query in panel.queries if isinstance(query, Api)}
    groups = [group for group in GROUPS if paths & {view.name for view in views() if view.group == group}]
    over_lake = [LAKE] if paths & {view.name for view in lake_views()} else []
    lines = "\n".join(f"- {row.title}: {', '.join(panel.title for panel in row.panels)}" for row in dashboard.rows)
    return dg.AssetSpec(
        dg.AssetKey(["screens", dashboard.uid.replace("-", "_")]),
        deps=[view_key(group) for group in (*groups, *over_lake)],
        group_name=GROUP,
        description=f"The Grafana dashboard *{dashboard.title}*. {dashboard.words}\n\n{lines}",
        kinds={"grafana"},
        owners=[owner(settings)],
        metadata={"panels": len(panels), "file": "deploy/grafana/dashboards", "views": ", ".join(sorted(paths))},
    )


def _live_page(settings: Settings) -> dg.AssetSpec:
    return dg.AssetSpec(
        LIVE_PAGE,
        deps=[BROKER, view_key(GROUPS[0])],
        group_name=GROUP,
        description="The live page: what devices say as they say it, straight from the broker; open alerts; and a "
        "device's history, from the rollups.",
        kinds={"mqtt", "html"},
        owners=[owner(settings)],
        metadata={"where": f"port {settings.live.port or 'as `edge status` says'}", "written by": "live"},
    )
