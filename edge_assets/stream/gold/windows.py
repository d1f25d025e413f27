"""Windows over the rooms' messages: which messages are in which, and what a window says of them. Spark's own functions.

A window `[start, end)` holds the messages whose event time is in it. All windows of one kind begin at multiples of its
step since 1970 (UTC), as `window()` has it. Values beyond what their unit allows are in no figure, and the figure of a
field that was never said in a window is null. Names of rooms are put beside the figures, after they are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from edge_assets.decoding import contract
from edge_assets.settings import Window
from edge_assets.stream.decode import text
from edge_assets.tables import FIGURES, WINDOW

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SECOND = 1_000_000
DAY = 86_400 * SECOND
"""Times are µs since 1970 here."""

KEYS = ("room_id", "window_start")
COLUMNS = [column.name for column in WINDOW]


def between(messages: DataFrame, begin: int, end: int) -> DataFrame:
    """The messages with an event time from `begin` to before `end`, implausible values taken out."""
    spoken = messages.where(f"event_time >= timestamp_micros({begin}L) AND event_time < timestamp_micros({end}L)")
    return spoken.selectExpr("room_id", "kafka_topic", "event_time", *map(_plausible, contract.ROOM_FIELDS))


def _plausible(field: str) -> str:
    unit = contract.ROOM_FIELDS[field][1]
    if unit is None:
        return field
    low, high = contract.RANGE_BY_UNIT[unit]
    return f"CASE WHEN {field} BETWEEN {low}D AND {high}D THEN {field} END AS {field}"


def closed(messages: DataFrame, window: Window, begin: int, until: int) -> DataFrame:
    """The windows that end after `begin` and by `until`: room_id, kafka_topic (of the room), and the columns of
    `tables.WINDOW` but for the place and the room's description."""
    size, step = window.size_seconds * SECOND, window.step_seconds * SECOND
    spoken = between(messages, begin // step * step + step - size, until)
    made = of(spoken, window)
    return made.where(f"window_end > timestamp_micros({begin}L) AND window_end <= timestamp_micros({until}L)")


def of(spoken: DataFrame, window: Window) -> DataFrame:
    """All windows that some of these messages are in."""
    span = f"window(event_time, '{window.size_seconds} seconds', '{window.step_seconds} seconds')"
    figures = [F.expr(f"{expression} AS {name}") for name, expression in FIGURES.items()]
    grouped = spoken.groupBy("room_id", F.expr(f"{span} AS span"))
    made = grouped.agg(F.expr("max(kafka_topic) AS kafka_topic"), *figures)
    return made.selectExpr(
        "room_id",
        "kafka_topic",
        "span.start AS window_start",
        "span.end AS window_end",
        *FIGURES,
        "to_date(span.start) AS date",
    )


def starts(event_times: DataFrame, window: Window) -> DataFrame:
    """(room_id, event_time) → the windows that these are in, each once: room_id, window_start, window_end."""
    span = f"window(event_time, '{window.size_seconds} seconds', '{window.step_seconds} seconds')"
    return (
        event_times.selectExpr("room_id", f"{span} AS span")
        .selectExpr("room_id", "span.start AS window_start", "span.end AS window_end")
        .distinct()
    )


def described(made: DataFrame, rooms: DataFrame, site: str) -> DataFrame:
    """With the place and the rooms' names; a room that nobody has described keeps its windows, with nulls."""
    return made.join(F.broadcast(rooms), "room_id", "left").selectExpr("*", f"{text(site)} AS site")
