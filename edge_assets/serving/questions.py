"""One view asked: what it reads, which rows are wanted, and into what buckets they go. It makes SQL, and asks none.

All that comes from outside is a parameter of the query; what stands in its text are names of the catalogue, and numbers
that were worked out here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from edge_assets.serving import tiers
from edge_assets.serving.answers import Made, TimeFormat, listed, newest, row
from edge_assets.serving.catalogue import WINDOWS, Known, chain
from edge_assets.serving.refusals import Misasked
from edge_assets.serving.relations import Relation
from edge_assets.serving.tiers import TIERS, Buckets
from edge_assets.serving.times import LAST, Span
from edge_assets.settings import Settings
from edge_assets.tables import window_table
from edge_assets.warehouse.duck_types import quoted
from edge_assets.warehouse.lake import TableName
from edge_assets.warehouse.rollups.layout import read_state
from edge_assets.warehouse.rollups.times import day_start
from edge_assets.warehouse.views import LAKE, View

WINDOWS_SPAN = timedelta(days=1)
"""of windows so much is shown where nobody says from when"""
MOST_WINDOWS = 20_000
"""of a room: in a range that holds more of them, wider windows are read (5-s windows: 27 hours)"""

KEYS = {
    *(
        "kind",
        "site",
        "device",
        "device_id",
        "device_name",
        "door",
        "room",
        "room_id",
        "room_name",
        "floor",
        "room_type",
    ),
    *("series", "measurement", "unit", "currency", "rule", "severity", "type"),
}
"""columns that tell one series from another; any other text of a bucket is its last"""
SUMS = {
    *("energy_kwh", "cost", "openings", "closings", "open_minutes", "resets", "motion_events"),
    *("alerts", "cleared", "anomalies"),
}
LOWEST = re.compile(r"min|min_.*|.*_min|battery_percent")
HIGHEST = re.compile(r"max|max_.*|.*_max|longest_.*|open|resets")

Reads = Callable[[TableName, Span], Relation]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a view, besides its name."""

    span: Span
    points: int | None = None
    limit: int = 10_000
    time: TimeFormat = "iso"
    filters: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """One query that gives one text of JSON a row."""

    sql: str
    parameters: dict[str, Any]
    versions: tuple[str, ...] = ()
    """of the lake's tables that it reads"""
    of_now: bool = False
    """its answer changes with the clock"""
    of_rollups: bool = True
    """it needs edge.duckdb"""
    made: Made = listed
    """of its rows"""


def question(settings: Settings, known: Known, wanted: Wanted, reads: Reads) -> Question:
    """The query for a view. Raises `Misasked` where the view has no such columns, `LakeError` from `reads`."""
    _refuse_odd(known, wanted)
    if known.windows and wanted.span.begin is None:
        wanted = replace(wanted, span=Span(wanted.span.end - WINDOWS_SPAN, wanted.span.end))
    buckets = _buckets(settings, known, wanted)
    span = _whole(known, wanted, buckets)
    versions, source = _source(known, span, buckets, reads)
    where, parameters = _conditions(known, wanted, span)
    chosen = f"SELECT * FROM {quoted(known.name)}{where}"
    if buckets is not None and wanted.points is not None:
        chosen = _downsampled(known, chosen, buckets.seconds)
    most = f"LIMIT {wanted.limit + 1}"
    if known.time:
        chosen = f"SELECT * FROM ({chosen}) ORDER BY {quoted(known.time)} DESC {most}"
    sql = f"{source}SELECT {row(known.columns, wanted.time)} FROM (SELECT * FROM ({chosen}) ORDER BY ALL {most})"
    of_rollups = known.view.group != LAKE
    return Question(sql, parameters, versions, known.time is None, of_rollups, newest(wanted.limit))


def unfiltered(settings: Settings, view: View, reads: Reads) -> str:
    """A query with all columns of a view, to be described and not run. Raises `LakeError` from `reads`."""
    known, span = Known(view, {}), Span(LAST, LAST)
    _, source = _source(known, span, _windows(settings, Wanted(span)) if known.windows else None, reads)
    return f"{source}SELECT * FROM {quoted(view.name)}"


def _refuse_odd(known: Known, wanted: Wanted) -> None:
    for name in wanted.filters:
        if name not in known.filters:
            can = ", ".join(known.filters) or "nothing"
            raise Misasked(f"the view {known.name} cannot be cut by {name}; it can by: {can}")
    if wanted.points is not None and known.time and known.step and wanted.span.begin is None and not known.windows:
        raise Misasked("points: say `from` too, so that there is a range to divide")


def _buckets(settings: Settings, known: Known, wanted: Wanted) -> Buckets | None:
    """What to read and how wide; None: the view as it stands."""
    if known.windows:
        return _windows(settings, wanted)
    if wanted.points is None or known.step is None or wanted.span.begin is None:
        return None
    sources = there(settings, wanted.span) if known.tier else [(known.name, known.step)]
    return tiers.pick(sources, wanted.span.seconds, wanted.points)


def there(settings: Settings, span: Span) -> list[tuple[str, int]]:
    """The tiers of readings that reach back so far: minutes may have gone for their age."""
    state = read_state(settings)
    if state and state.minutes_begin and span.begin and span.begin < day_start(date.fromisoformat(state.minutes_begin)):
        return [(name, seconds) for name, seconds in TIERS.items() if name != "readings_1m"]
    return list(TIERS.items())


def _windows(settings: Settings, wanted: Wanted) -> Buckets:
    steps = [(window_table(window).name, window.step_seconds) for window in settings.windows.tables] or [
        (WINDOWS[1], 5)
    ]
    if wanted.points is None:
        return tiers.finest(steps, wanted.span.seconds, MOST_WINDOWS)
    return tiers.pick(steps, wanted.span.seconds, wanted.points)


def _whole(known: Known, wanted: Wanted, buckets: Buckets | None) -> Span:
    """The span with its first and last bucket whole: a day that has begun before `from` is part of the chart."""
    if buckets is not None and wanted.points is not None:
        return buckets.aligned(wanted.span)
    if known.step is None or known.windows or wanted.span.begin is None:
        return wanted.span
    return Span(tiers.floor(wanted.span.begin, known.step), wanted.span.end)


def _source(known: Known, span: Span, buckets: Buckets | None, reads: Reads) -> tuple[tuple[str, ...], str]:
    """(versions of the lake's tables, WITH …) by which the view's name can be asked.

    Views stand in the query as their texts: in the place of a rollup another tier can be read, and a view that is new
    in this version need not wait for the next `edge.duckdb`.
    """
    versions, texts, renamed = [], [], {}
    for layer, name in known.tables:
        actual = buckets.source if buckets is not None and (layer, name) == WINDOWS else name
        relation = reads((layer, actual), span)
        versions.append(relation.version)
        texts.append((f"{layer}.{name}", relation.sql))
        renamed[f"{layer}.{name}"] = quoted(f"{layer}.{name}")
    if known.tier is not None and buckets is not None:
        renamed[known.tier] = buckets.source
    for view in chain(known.view):
        sql = view.sql
        for old, new in renamed.items():
            sql = _renamed(sql, old, new)
        texts.append((view.name, sql))
    return tuple(versions), "WITH " + ", ".join(
        f"{quoted(name)} AS NOT MATERIALIZED ({sql})" for name, sql in texts
    ) + " "


def _renamed(sql: str, old: str, new: str) -> str:
    return re.sub(rf"(?<![\w.]){re.escape(old)}(?!\w)", new, sql)


def _conditions(known: Known, wanted: Wanted, span: Span) -> tuple[str, dict[str, Any]]:
    """(WHERE …, its parameters)"""
    terms: list[str] = []
    parameters: dict[str, Any] = {}
    if known.time:
        day, column = known.columns[known.time] == "DATE", quoted(known.time)
        if span.begin is not None:
            terms.append(f"{column} >= CAST($begin AS {'DATE' if day else 'TIMESTAMPTZ'})")
            parameters["begin"] = span.begin.date() if day else span.begin
        terms.append(f"{column} {'<= CAST($end AS DATE)' if day else '< CAST($end AS TIMESTAMPTZ)'}")
        parameters["end"] = (span.end - timedelta(microseconds=1)).date() if day else span.end
    for name, values in wanted.filters.items():
        marks = [f"{name}_{number}" for number in range(len(values))]
        parameters.update(zip(marks, values, strict=True))
        among = ", ".join(f"${mark}" for mark in marks)
        terms.append("(" + " OR ".join(f"{quoted(column)} IN ({among})" for column in known.filters[name]) + ")")
    return (f" WHERE {' AND '.join(terms)}" if terms else ""), parameters


def _downsampled(known: Known, chosen: str, seconds: int) -> str:
    """One row a bucket and series."""
    assert known.time is not None
    time, size = quoted(known.time), seconds * 1_000_000
    begin = f"(epoch_us({time}) // {size}) * {size}"
    bucket = f"make_timestamptz({begin})" if known.columns[known.time] != "DATE" else f"make_timestamp({begin})::DATE"
    columns = [f"{bucket} AS {time}"]
    columns += [
        f"{_summary(name, kind, time)} AS {quoted(name)}" for name, kind in known.columns.items() if name != known.time
    ]
    return f"SELECT {', '.join(columns)} FROM ({chosen}) GROUP BY ALL"


def _summary(name: str, kind: str, time: str) -> str:
    column = quoted(name)
    if name in KEYS:
        return column
    if kind in ("VARCHAR", "BOOLEAN") or kind.startswith(("TIMESTAMP", "DATE")):
        return f"arg_max({column}, {time})"
    if name in SUMS:
        return f"CAST(sum({column}) AS {kind})"
    if LOWEST.fullmatch(name):
        return f"min({column})"
    return f"max({column})" if HIGHEST.fullmatch(name) else f"avg({column})"
