"""Closed minutes, from the files of the rollup readings_1m that may hold them, a few hours at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_assets.anomalies.detector import Floats, Numbers
from edge_assets.anomalies.memory import Memory, Series
from edge_assets.errors import LakeError
from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.rollups import files, times
from edge_assets.warehouse.rollups.layout import Layout, State
from edge_assets.warehouse.rollups.model import READINGS_1M

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MINUTE = 60
SLICE = timedelta(hours=6)
IDENTITY = ", ".join(Series._fields)


class Minute(NamedTuple):
    """One minute (seconds since 1970) of all series that were heard of in it."""

    at: int
    series: Numbers
    low: Floats
    high: Floats
    mean: Floats


def closed_until(settings: Settings, state: State) -> int | None:
    """Minutes that end by then (seconds since 1970) are closed: event times so much later have been rolled up.

    So an outage of any hop before closes nothing, and what comes after it is scored. None: there is nothing yet.
    """
    if state.latest is None or state.building_from:
        return None
    latest = min(datetime.fromisoformat(state.latest), datetime.now(UTC))
    return int(latest.timestamp()) // MINUTE * MINUTE - settings.anomalies.wait_minutes * MINUTE


def read(settings: Settings, state: State, memory: Memory, begin: int, end: int) -> Iterator[Minute]:
    """The minutes from `begin` to before `end`, in order; new series get their place in `memory`.

    Raises `LakeError`, where files went that maintenance has replaced.
    """
    import duckdb

    layout = Layout(settings, state)
    with lake.connection(settings) as opened:
        for low, high in _slices(layout, begin, end):
            try:
                yield from _slice(opened, layout, memory, low, high)
            except duckdb.IOException as error:
                raise LakeError(
                    f"reading minutes of {low:%Y-%m-%d %H:%M} UTC: {str(error).splitlines()[0]}; the next run does it "
                    "again"
                ) from error


def _slices(layout: Layout, begin: int, end: int) -> Iterator[tuple[datetime, datetime]]:
    """Spans of time, leaving out those before the first minute that there is."""
    low, high = datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end, UTC)
    for day, next_day in pairwise([*_midnights(low, high), high]):
        if layout.files(READINGS_1M, day, next_day):
            at = day
            while at < next_day:
                yield at, min(at + SLICE, next_day)
                at += SLICE


def _midnights(low: datetime, high: datetime) -> Iterator[datetime]:
    """`low`, and each midnight between."""
    at = low
    while at < high:
        yield at
        at = times.after(times.floor(at, "day"), "day")


def _slice(
    opened: DuckDBPyConnection, layout: Layout, memory: Memory, low: datetime, high: datetime
) -> Iterator[Minute]:
    rows = files.scan(READINGS_1M, layout.files(READINGS_1M, low, high))
    opened.execute(
        f"CREATE OR REPLACE TEMP TABLE minutes AS SELECT bucket, {IDENTITY}, device_name, min, max, avg FROM ({rows}) "
        f"WHERE bucket >= {times.literal(low)} AND bucket < {times.literal(high)}"
    )
    opened.execute(
        f"CREATE OR REPLACE TEMP TABLE heard AS SELECT {IDENTITY}, arg_max(device_name, bucket) AS device_name, "
        f"row_number() OVER (ORDER BY {IDENTITY}) - 1 AS place FROM minutes GROUP BY {IDENTITY}"
    )
    heard = opened.execute(f"SELECT {IDENTITY}, device_name FROM heard ORDER BY place").fetchall()
    numbers = np.array(memory.numbers([Series(*row[:-1]) for row in heard], [row[-1] for row in heard]), np.intp)
    same = " AND ".join(f"m.{name} IS NOT DISTINCT FROM h.{name}" for name in Series._fields)
    found = opened.execute(
        "SELECT epoch_us(bucket) // 1000000 AS begin_at, place, min AS low, max AS high, avg AS mean "
        f"FROM minutes m JOIN heard h ON {same} ORDER BY begin_at, place"
    ).fetchnumpy()
    columns = {name: np.ma.filled(column, np.nan) for name, column in found.items()}
    yield from _by_minute(columns, numbers)


def _by_minute(columns: dict[str, Floats], numbers: Numbers) -> Iterator[Minute]:
    at, series = columns["begin_at"], numbers[columns["place"]]
    starts = np.flatnonzero(np.diff(at, prepend=-1))
    for begin, end in pairwise([*starts.tolist(), len(at)]):
        low, high, mean = (columns[name][begin:end] for name in ("low", "high", "mean"))
        yield Minute(int(at[begin]), series[begin:end], low, high, mean)
