"""A dashboard as Grafana's classic JSON, schema 42."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from edge_assets.dashboards.model import (
    API,
    EVERYTHING,
    GREEN,
    PROMETHEUS,
    Dashboard,
    Panel,
    Prometheus,
    Query,
    Row,
    Variable,
)

SCHEMA = 42
GRID = 24
LIVE, DAGSTER = "http://localhost:8090", "http://localhost:3000"

Json = dict[str, Any]


def render(dashboard: Dashboard) -> Json:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.words,
        "tags": list(dashboard.tags),
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "weekStart": "",
        "refresh": dashboard.refresh,
        "time": {"from": dashboard.since, "to": "now"},
        "timepicker": {"refresh_intervals": ["5s", "15s", "30s", "1m", "5m", "15m", "1h"]},
        "fiscalYearStartMonth": 0,
        "links": _links(dashboard),
        "annotations": {"list": [_firing()]},
        "templating": {
            "list": [
                *map(_variable, dashboard.variables),
                _address("live_url", "Live page", LIVE),
                _address("dagster_url", "Dagster", DAGSTER),
            ]
        },
        "panels": list(_rows(dashboard.rows)),
    }


def _links(dashboard: Dashboard) -> list[Json]:
    other, uid = dashboard.other
    places = ((other, f"/d/{uid}", False), ("Live page", "${live_url}", True), ("Dagster", "${dagster_url}", True))
    return [
        {
            "title": title,
            "type": "link",
            "icon": "external link" if outside else "dashboard",
            "url": url,
            "targetBlank": outside,
            "keepTime": not outside,
            "includeVars": False,
            "asDropdown": False,
            "tags": [],
            "tooltip": "",
        }
        for title, url, outside in places
    ]


def _firing() -> Json:
    """Alerts of Prometheus as marks in every graph."""
    return {
        "name": "Platform alerts",
        "datasource": PROMETHEUS,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing", severity="critical"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{service}}{{part}}{{device}}{{asset}}",
        "step": "60s",
    }


# --- variables -------------------------------------------------------------------------------------------------------


def _variable(variable: Variable) -> Json:
    shared: Json = {
        "name": variable.name,
        "label": variable.label,
        "description": variable.words,
        "type": "query",
        "multi": True,
        "includeAll": True,
        "allValue": EVERYTHING,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "refresh": 1,
        "sort": 5,
        "regex": "",
        "hide": 0,
        "skipUrlSync": False,
    }
    if isinstance(variable.query, str):
        query: Json = {"qryType": 1, "query": variable.query, "refId": "variable"}
        return {**shared, "datasource": PROMETHEUS, "definition": variable.query, "query": query}
    target = {**_target(variable.query, "variable", GRID), "format": "table"}
    query = {"queryType": "infinity", "query": "", "infinityQuery": target}
    return {**shared, "datasource": API, "definition": target["url"], "query": query}


def _address(name: str, label: str, url: str) -> Json:
    """Where a link leads, for the browser; to be set in the dashboard's settings where it is another one."""
    return {
        "name": name,
        "label": label,
        "type": "constant",
        "query": url,
        "current": {"text": url, "value": url},
        "options": [],
        "hide": 2,
        "skipUrlSync": True,
    }


# --- the grid --------------------------------------------------------------------------------------------------------


def _rows(rows: Sequence[Row]) -> Iterator[Json]:
    numbers = count(1)
    y = 0
    for row in rows:
        yield {
            "id": next(numbers),
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": GRID, "h": 1},
            "panels": [],
        }
        y += 1
        for panel, x, top in list(_placed(row.panels, y)):
            yield _panel(panel, next(numbers), x, top)
            y = max(y, top + panel.height)


def _placed(panels: Sequence[Panel], y: int) -> Iterator[tuple[Panel, int, int]]:
    """From left to right, then below."""
    x = tallest = 0
    for panel in panels:
        if x + panel.width > GRID:
            x, y, tallest = 0, y + tallest, 0
        yield panel, x, y
        x, tallest = x + panel.width, max(tallest, panel.height)


# --- panels ----------------------------------------------------------------------------------------------------------


def _panel(panel: Panel, number: int, x: int, y: int) -> Json:
    sources = {str(_source(query)["uid"]): _source(query) for query in panel.queries}
    (source,) = sources.values() if len(sources) == 1 else [{"type": "datasource", "uid": "-- Mixed --"}]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.words,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "datasource": source,
        "targets": [_target(query, chr(ord("A") + n), panel.width, panel) for n, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": list(_overrides(panel))},
        "options": _options(panel),
        **({"transformations": list(_transformations(panel))} if panel.kind == "table" else {}),
    }


def _source(query: Query) -> Json:
    return PROMETHEUS if isinstance(query, Prometheus) else API


def _target(query: Query, name: str, width: int, panel: Panel | None = None) -> Json:
    if isinstance(query, Prometheus):
        table = panel is not None and panel.kind == "table"
        return {
            "refId": name,
            "datasource": PROMETHEUS,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "instant": query.instant,
            "range": not query.instant,
            "format": "table" if table else "time_series",
        }
    return {
        "refId": name,
        "datasource": API,
        "type": "json",
        "source": "url",
        "parser": "backend",
        "format": "timeseries" if query.series else "table",
        "url": query.url(width),
        "url_options": {"method": "GET", "data": ""},
        "root_selector": "",
        "columns": [
            {"selector": selector.partition("=")[2] or selector, "text": selector.partition("=")[0], "type": kind}
            for selector, kind in query.columns.items()
        ],
        "filters": [],
        "global_query_id": "",
    }


def _defaults(panel: Panel) -> Json:
    found: Json = {
        "unit": panel.unit,
        "color": {"mode": "thresholds" if _by_value(panel) else "palette-classic"},
        "thresholds": _thresholds(panel.steps, panel.below),
        "mappings": _mappings(panel.shows),
        "custom": _custom(panel),
        "noValue": "nothing",
    }
    named = {"displayName": panel.name, "min": panel.low, "max": panel.high, "decimals": panel.decimals}
    found |= {key: value for key, value in named.items() if value not in (None, "")}
    if panel.link:
        title, url = panel.link
        found["links"] = [{"title": title, "url": url, "targetBlank": True}]
    return found


def _by_value(panel: Panel) -> bool:
    return panel.kind in ("stat", "bargauge", "table", "state-timeline") and bool(panel.steps or panel.shows)


def _thresholds(steps: Sequence[tuple[float, str]], below: str) -> Json:
    first: Json = {"color": below, "value": None}
    return {"mode": "absolute", "steps": [first, *({"color": color, "value": value} for value, color in steps)]}


def _mappings(shows: Mapping[str, tuple[str, str]]) -> list[Json]:
    if not shows:
        return []
    options = {
        value: {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(shows.items())
    }
    return [{"type": "value", "options": options}]


def _custom(panel: Panel) -> Json:
    if panel.kind == "timeseries":
        bars = panel.bars
        return {
            "drawStyle": "bars" if bars else "line",
            "lineInterpolation": "linear",
            "lineWidth": 1,
            "fillOpacity": 60 if bars else 25 if panel.stacked else 8,
            "showPoints": "never",
            "pointSize": 4,
            # A gap of Prometheus' is an outage; rows of the API have as many times as all their series together.
            "spanNulls": 300_000 if all(isinstance(query, Prometheus) for query in panel.queries) else True,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
            "axisPlacement": "auto",
        }
    if panel.kind == "state-timeline":
        return {"fillOpacity": 75, "lineWidth": 0, "spanNulls": False}
    return {"align": "auto", "filterable": True} if panel.kind == "table" else {}


def _overrides(panel: Panel) -> Iterator[Json]:
    for name, given in panel.columns.items():
        properties: list[Json] = []
        for key, value in given.items():
            properties += _property(key, value)
        yield {"matcher": {"id": "byName", "options": name}, "properties": properties}
    for pattern, unit in panel.right.items():
        properties = [{"id": "unit", "value": unit}, {"id": "custom.axisPlacement", "value": "right"}]
        yield {"matcher": {"id": "byRegexp", "options": pattern}, "properties": properties}


def _property(key: str, value: Any) -> list[Json]:
    if key == "shows":
        return [
            {"id": "mappings", "value": _mappings(value)},
            {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        ]
    if key == "steps":
        return [
            {"id": "thresholds", "value": _thresholds(value, GREEN)},
            {"id": "color", "value": {"mode": "thresholds"}},
            {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        ]
    names = {"title": "displayName", "width": "custom.width", "unit": "unit", "decimals": "decimals", "link": "links"}
    if key == "link":
        title, url = value
        value = [{"title": title, "url": url, "targetBlank": True}]
    return [{"id": names[key], "value": value}]


def _options(panel: Panel) -> Json:
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    calculated = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match panel.kind:
        case "timeseries":
            calcs = ["sum"] if panel.bars else ["lastNotNull", "max"]
            table = {**legend, "displayMode": "table", "placement": "right" if panel.width > 12 else "bottom"}
            return {
                "legend": {**table, "calcs": calcs},
                "tooltip": {"mode": "multi", "sort": "desc", "hideZeros": False},
            }
        case "stat":
            coloured = "background" if panel.steps or panel.shows else "none"
            return {
                "reduceOptions": calculated,
                "colorMode": coloured,
                "graphMode": "none",
                "justifyMode": "auto",
                "textMode": "auto",
                "wideLayout": True,
            }
        case "bargauge":
            return {
                "reduceOptions": calculated,
                "displayMode": "basic",
                "orientation": "horizontal",
                "valueMode": "color",
                "showUnfilled": True,
                "namePlacement": "left",
                "sizing": "auto",
            }
        case "state-timeline":
            return {
                "legend": {**legend, "showLegend": False},
                "mergeValues": True,
                "showValue": "never",
                "rowHeight": 0.85,
                "alignValue": "left",
                "tooltip": {"mode": "single", "sort": "none"},
            }
        case _:
            column, descending = panel.sort.removeprefix("-"), panel.sort.startswith("-")
            by = [{"displayName": column, "desc": descending}] if column else []
            return {"showHeader": True, "cellHeight": "sm", "sortBy": by, "footer": {"show": False}}


def _transformations(panel: Panel) -> Iterator[Json]:
    """Of several Prometheus queries one table, a column each, without what Prometheus adds."""
    of_prometheus = [query for query in panel.queries if isinstance(query, Prometheus)]
    if len(of_prometheus) > 1:
        yield {"id": "merge", "options": {}}
    gone = [*panel.hidden, *(("Time", "__name__", "instance", "job") if of_prometheus else ())]
    if gone:
        options = {"excludeByName": dict.fromkeys(gone, True), "indexByName": {}, "renameByName": {}}
        yield {"id": "organize", "options": options}
