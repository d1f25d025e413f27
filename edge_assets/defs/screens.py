"""What people look at, at the end of the lineage: the dashboards, the live page, the metrics for Prometheus.

All of them are external and have nothing to materialize: they answer when somebody looks. A dashboard names what its
panels read: views, the metrics, open alerts; so who changes a table sees which screens show it.
"""

from __future__ import annotations

import dagster as dg

from edge_assets.dashboards.model import Api, Dashboard, Prometheus
from edge_assets.dashboards.platform import PLATFORM
from edge_assets.dashboards.sensors import SENSORS
from edge_assets.defs import addresses, groups
from edge_assets.defs.assets import ALERT_EVENTS, BROKER, owner
from edge_assets.defs.rollups import FILE, rollup_key
from edge_assets.defs.views import readers, view_key
from edge_assets.defs.words import service_stale, told
from edge_assets.serving.tiers import TIERS
from edge_assets.settings import Settings

LIVE_PAGE = dg.AssetKey(["screens", "live_page"])
METRICS = dg.AssetKey(["screens", "metrics"])
OPEN_ALERTS = "/api/v1/alerts"

FILES = {SENSORS.uid: "sensors.json", PLATFORM.uid: "platform.json"}


def screen_specs(settings: Settings) -> list[dg.AssetSpec]:
    """Dashboards; and what the live server shows, where it runs."""
    served = [_live_page(settings), _metrics(settings)] if settings.live.enabled else []
    return [*served, *(_dashboard(settings, dashboard) for dashboard in (SENSORS, PLATFORM))]


def _dashboard(settings: Settings, dashboard: Dashboard) -> dg.AssetSpec:
    panels = [panel for row in dashboard.rows for panel in row.panels]
    queries = [*(query for panel in panels for query in panel.queries), *(each.query for each in dashboard.variables)]
    paths = {query.path for query in queries if isinstance(query, Api)}
    views = readers(paths)
    asks_prometheus = any(isinstance(query, Prometheus | str) for query in queries)
    lines = "\n".join(f"- {row.title}: {', '.join(panel.title for panel in row.panels)}" for row in dashboard.rows)
    url = settings.dagster.grafana_url
    return dg.AssetSpec(
        dg.AssetKey(["screens", dashboard.uid.replace("-", "_")]),
        deps=[
            *views,
            *([ALERT_EVENTS] if OPEN_ALERTS in paths else []),
            *([METRICS] if asks_prometheus and settings.live.enabled else []),
        ],
        group_name=groups.SCREENS,
        description=told(
            f"The Grafana dashboard *{dashboard.title}*. {dashboard.words}\n\n{lines}",
            by="nobody: Grafana asks whenever somebody looks",
            stale="look at what it reads, which is before it in the lineage. A panel's *i* says what it shows. Where "
            "all panels are empty, does Grafana reach the live server and Prometheus (docs/dashboards.md)?",
        ),
        kinds={"grafana"},
        owners=[owner(settings)],
        metadata={
            **({"page": dg.MetadataValue.url(f"{url.rstrip('/')}/d/{dashboard.uid}")} if url else {}),
            addresses.URI: f"deploy/grafana/dashboards/{FILES[dashboard.uid]}",
            "panels": len(panels),
            "views": ", ".join(key.path[-1] for key in views) or "none: it asks Prometheus",
        },
    )


def _live_page(settings: Settings) -> dg.AssetSpec:
    return dg.AssetSpec(
        LIVE_PAGE,
        deps=[
            *(BROKER, ALERT_EVENTS, FILE, view_key("latest_readings")),
            *map(rollup_key, (*TIERS, "device_health")),
        ],
        group_name=groups.SCREENS,
        description=told(
            "The live page: what devices say as they say it, straight from the broker; open alerts; and a device's "
            "history, from the rollups.",
            by="the service `live`, as devices speak: nothing of it is kept",
            stale=service_stale("live"),
        ),
        kinds={"mqtt", "html"},
        owners=[owner(settings)],
        metadata={
            "page": addresses.live(settings),
            "API": addresses.live(settings, "/api/v1/views"),
            "written by": "live",
        },
    )


def _metrics(settings: Settings) -> dg.AssetSpec:
    return dg.AssetSpec(
        METRICS,
        deps=[BROKER],
        group_name=groups.SCREENS,
        description=told(
            "Metrics for Prometheus: each device's latest values, as the broker hands them on, and how each part of "
            "the platform is, these assets among them. docs/metrics.md lists them.",
            row="one metric with its labels, at this moment",
            by="the service `live`, whenever Prometheus asks",
            stale=service_stale("live"),
        ),
        kinds={"prometheus"},
        owners=[owner(settings)],
        metadata={"page": addresses.metrics(settings), "written by": "live"},
    )
