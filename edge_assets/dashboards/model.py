"""What a dashboard is made of, in few words: rows of panels, each with its queries, its unit and what it tells.

Two data sources: Prometheus, and the platform's own API through the Infinity plugin. Infinity asks a URL, takes the
rows of the answer, and of each row the columns that are named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

PROMETHEUS = {"type": "prometheus", "uid": "edge-prometheus"}
API = {"type": "yesoreyeram-infinity-datasource", "uid": "edge-api"}

Kind = Literal["timeseries", "stat", "table", "bargauge", "state-timeline"]
ColumnType = Literal["number", "string", "boolean", "timestamp_epoch"]

GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"
UP = {"0": ("down", RED), "1": ("up", GREEN)}


@dataclass(frozen=True, slots=True)
class Prometheus:
    expr: str
    legend: str = ""
    instant: bool = False
    """only the newest value: for stats and tables"""


@dataclass(frozen=True, slots=True)
class Api:
    """Rows of the serving API. Of a series (`series=True`) one column is a time, one a text that tells the series
    apart, one a number; rows come in the order of time, as Infinity wants them for it."""

    path: str
    columns: Mapping[str, ColumnType]
    parameters: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """besides time, from and to; a value may hold variables (`${device:percentencode}`), several stand side by side"""
    series: bool = True
    """it asks for as many points as the panel is wide"""

    def url(self, width: int) -> str:
        told = [("time", "ms"), ("from", "${__from}"), ("to", "${__to}")]
        if self.series:
            told.append(("points", str(width * PIXELS)))
        for name, value in self.parameters.items():
            told += [(name, each) for each in ((value,) if isinstance(value, str) else value)]
        return self.path + "?" + "&".join(f"{name}={quote(value, safe='${}:,_')}" for name, value in told)


PIXELS = 40
"""of a 24th of a screen's width, in round figures; a point for two of them is as much as anybody sees"""

Query = Prometheus | Api


def view(
    name: str, columns: Mapping[str, ColumnType], *, series: bool = True, **parameters: str | tuple[str, ...]
) -> Api:
    return Api(f"/api/v1/views/{name}", columns, parameters, series)


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    queries: Sequence[Query]
    words: str
    """what it tells, and what to make of it: the panel's description"""
    kind: Kind = "timeseries"
    unit: str = "short"
    width: int = 12
    height: int = 8
    name: str = ""
    """the series' name, where the query does not give it: `${__field.labels.device}`"""
    steps: Sequence[tuple[float, str]] = ()
    """colours from these values on; below the first it is green"""
    below: str = GREEN
    """the colour below the first step"""
    low: float | None = None
    high: float | None = None
    decimals: int | None = None
    stacked: bool = False
    bars: bool = False
    shows: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """value → (text, colour)"""
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """of a table: column → unit, width, title, shows, steps"""
    hidden: Sequence[str] = ()
    """of a table: columns that are not shown"""
    sort: str = ""
    """of a table: the column to sort by, `-` before it for the largest first"""
    link: tuple[str, str] | None = None
    """title and URL of a link on each value"""
    right: Mapping[str, str] = field(default_factory=dict)
    """series (a regular expression) whose axis is on the right → its unit"""


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of the dashboard: several values of it, or all."""

    name: str
    label: str
    query: Api | str
    """of the API, with the columns `__text` and `__value`; or Prometheus' `label_values(…)`"""
    words: str


EVERYTHING = "*"
"""what a variable stands for while all is chosen. The API takes it for no filter, so that a device is shown that has
come since the page was loaded; a Prometheus selector has before it what may then be repeated"""


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    words: str
    rows: Sequence[Row]
    variables: Sequence[Variable]
    since: str
    refresh: str
    other: tuple[str, str]
    """title and uid of the other dashboard"""
    tags: Sequence[str] = ("edge_assets",)
