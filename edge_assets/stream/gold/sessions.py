"""Occupancy sessions: when people came into a room, when the last was seen, how many there were at most.

A session is a run of messages that see somebody (`occupancy_count > 0`), no two neighbours further apart than the gap.
Spark folds a slice of messages into runs; `fold` joins these to the sessions that were open before the slice. What is
open is small (one a room) and kept in the commit's own note, so a session may last for weeks and costs no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from edge_assets.stream.gold import windows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True, slots=True)
class Session:
    """Times in µs since 1970; `co2_sum` over the `co2_count` messages that said it."""

    room_id: str
    start: int
    end: int
    """the last message that saw somebody"""
    peak: int
    co2_sum: float
    co2_count: int
    messages: int

    def joined(self, later: Session) -> Session:
        return replace(
            self,
            end=max(self.end, later.end),
            peak=max(self.peak, later.peak),
            co2_sum=self.co2_sum + later.co2_sum,
            co2_count=self.co2_count + later.co2_count,
            messages=self.messages + later.messages,
        )

    @property
    def avg_co2(self) -> float | None:
        return self.co2_sum / self.co2_count if self.co2_count else None


def runs(messages: DataFrame, begin: int, end: int, gap_seconds: int) -> list[Session]:
    """The sessions within a slice of event time, as if nothing were before and after it."""
    seen = windows.between(messages, begin, end).where("occupancy_count > 0")
    span = F.expr(f"session_window(event_time, '{gap_seconds} seconds')")
    figures = (
        "unix_micros(min(event_time)) AS start",
        "unix_micros(max(event_time)) AS end",
        "max(occupancy_count) AS peak",
        "coalesce(sum(co2_ppm), 0D) AS co2_sum",
        "count(co2_ppm) AS co2_count",
        "count(1) AS messages",
    )
    rows = seen.groupBy("room_id", span).agg(*map(F.expr, figures)).drop("session_window").collect()
    return sorted((Session(**row.asDict()) for row in rows), key=lambda run: (run.room_id, run.start))


def fold(
    opened: Mapping[str, Session], found: Iterable[Session], gap: int, until: int
) -> tuple[list[Session], dict[str, Session]]:
    """(sessions that are over, those still open by room), when all messages before `until` have been seen.

    `found`: the runs since, of each room in order of time. `gap` in µs; neighbours exactly so far apart are one.
    """
    over: list[Session] = []
    still = dict(opened)
    for run in found:
        before = still.get(run.room_id)
        if before is None:
            still[run.room_id] = run
        elif run.start - before.end <= gap:
            still[run.room_id] = before.joined(run)
        else:
            over.append(before)
            still[run.room_id] = run
    ended = [session for session in still.values() if session.end + gap < until]
    return over + ended, {room: session for room, session in still.items() if session not in ended}
