"""Whether the windows in gold are what their messages say: a recompute from silver by DuckDB, compared with Spark's.

A different engine over the tables as they are now, so it finds what the stream's own bookkeeping may have missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_assets.decoding import contract
from edge_assets.settings import Settings, Window
from edge_assets.tables import FIGURES, ROOM_TELEMETRY, window_table
from edge_assets.warehouse.lake import connection, show, snapshot

CLOSE_ENOUGH = 1e-9
"""of a mean, whose sum is taken in another order"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of the windows of a span of event time."""

    windows: int
    differing: int
    """in their figures"""
    missing: int
    """of which there are messages, and that are not in gold"""
    unfounded: int
    """that are in gold, and of which there are no messages"""

    @property
    def equal(self) -> bool:
        return not (self.differing or self.missing or self.unfounded)


def compare(settings: Settings, window: Window, begin: datetime, end: datetime) -> Comparison:
    """Compare the windows that begin from `begin` to before `end`; they must have been closed. Raises `LakeError`."""
    table = window_table(window)
    behind = end + timedelta(seconds=window.size_seconds)
    with connection(settings) as opened:
        show(opened, settings, (table.layer, table.name))
        silver = snapshot(settings, (ROOM_TELEMETRY.layer, ROOM_TELEMETRY.name))
        silver = silver.only(lambda file: file.may_be_between(begin, behind))
        opened.execute(f"CREATE TEMP VIEW messages AS {silver.select()}")
        row = opened.execute(_COMPARED.format(recomputed=recomputed(window), table=table.full_name), [begin, end])
        counts = row.fetchone() or (0, 0, 0, 0)
        return Comparison(*map(int, counts))


def rooms_heard(settings: Settings, window: Window, since: datetime) -> list[str]:
    """The rooms that have windows since then, in order. Raises `LakeError`."""
    table = window_table(window)
    with connection(settings) as opened:
        show(opened, settings, (table.layer, table.name))
        days = (
            f"SELECT room_id FROM {table.full_name} WHERE date >= CAST($1 AS TIMESTAMPTZ)::DATE AND window_start >= $1"
        )
        return [
            row[0] for row in opened.execute(f"SELECT DISTINCT room_id FROM ({days}) ORDER BY 1", [since]).fetchall()
        ]


def recomputed(window: Window) -> str:
    """The windows of the relation `messages`, which holds rows of silver.room_telemetry."""
    plausible = ", ".join(f"{_plausible(field)} AS {field}" for field in contract.ROOM_FIELDS)
    figures = ", ".join(f"{expression} AS {name}" for name, expression in FIGURES.items())
    step, size = window.step_seconds * 1_000_000, window.size_seconds * 1_000_000
    starts = f"range(epoch_us(event_time) // {step} * {step} - {size - step}, epoch_us(event_time) + 1, {step})"
    return (
        f"SELECT room_id, make_timestamptz(start) AS window_start, {figures} FROM "
        f"(SELECT room_id, unnest({starts}) AS start, {plausible} FROM messages) GROUP BY ALL"
    )


def _plausible(field: str) -> str:
    unit = contract.ROOM_FIELDS[field][1]
    if unit is None:
        return field
    low, high = contract.RANGE_BY_UNIT[unit]
    return f"CASE WHEN {field} BETWEEN {low} AND {high} THEN {field} END"


def _differs(name: str) -> str:
    near = f"abs(n.{name} - o.{name}) <= {CLOSE_ENOUGH} * greatest(abs(n.{name}), abs(o.{name}))"
    return f"NOT (n.{name} IS NOT DISTINCT FROM o.{name} OR coalesce({near}, false))"


_COMPARED = (
    "WITH span AS (SELECT CAST($1 AS TIMESTAMPTZ) AS begin, CAST($2 AS TIMESTAMPTZ) AS until), "
    "n AS (SELECT r.* FROM ({recomputed}) r, span WHERE window_start >= begin AND window_start < until), "
    "o AS (SELECT t.* FROM {table} t, span WHERE window_start >= begin AND window_start < until) "
    "SELECT count(*), count(*) FILTER (n.room_id IS NOT NULL AND o.room_id IS NOT NULL AND ("
    + " OR ".join(map(_differs, FIGURES))
    + ")), count(*) FILTER (o.room_id IS NULL), count(*) FILTER (n.room_id IS NULL) "
    "FROM n FULL OUTER JOIN o ON n.room_id = o.room_id AND n.window_start = o.window_start"
)
