"""The table of occupancy sessions: folded slice by slice, each written when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from edge_assets.stream.decode import text
from edge_assets.stream.gold import sessions
from edge_assets.stream.gold.sessions import Session
from edge_assets.stream.gold.silver import State
from edge_assets.stream.gold.table import GoldTable, micros, span_of
from edge_assets.stream.gold.windows import SECOND
from edge_assets.stream.registry import small_frame
from edge_assets.tables import SESSIONS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from edge_assets.stream.gold.tables import Gold

STEP_SECONDS = 60
"""they are looked at each minute of event time"""
COMMIT_SECONDS = 600
"""and the table's newest commit says at least each so much event time what is open"""


class Sessions(GoldTable):
    """Occupancy sessions. They are folded slice by slice of event time."""

    def __init__(self, gold: Gold, gap_seconds: int) -> None:
        self._gap_seconds = gap_seconds
        super().__init__(gold, SESSIONS)
        # Up to when the table's own note says. What is only in memory is folded again after a start.
        self._committed = self.state.until

    @property
    def _step(self) -> int:
        return STEP_SECONDS * SECOND

    @property
    def _reach(self) -> int:
        return self._gap + self._step

    @property
    def _gap(self) -> int:
        return self._gap_seconds * SECOND

    def _emit(self, begin: int, until: int, state: State) -> int:
        found = sessions.runs(self._gold.silver.messages(), begin, until, self._gap_seconds)
        opened = {session.room_id: session for session in self.state.open}
        over, still = sessions.fold(opened, found, self._gap, until)
        state = replace(state, open=tuple(still.values()))
        committed = self._committed if self._committed is not None else begin
        if over or until - committed >= COMMIT_SECONDS * SECOND:
            self._lake.append(self.table, self._rows(over), state)
            self._committed = until
        self.state = state
        self.counts.rows += len(over)
        return len(found)

    def _before_merge(self, rows: list[Any]) -> None:
        """Nobody else hears of sessions."""

    def _rows(self, over: Sequence[Session]) -> DataFrame:
        columns = "room_id string, start bigint, end bigint, peak bigint, co2 double, messages bigint"
        told = [(s.room_id, s.start, s.end, s.peak, s.avg_co2, s.messages) for s in over]
        made = small_frame(self._gold.spark, told, columns).selectExpr(
            "room_id",
            "timestamp_micros(start) AS session_start",
            "timestamp_micros(end) AS session_end",
            "peak AS peak_occupancy",
            "co2 AS avg_co2",
            "messages",
            "to_date(timestamp_micros(start)) AS date",
        )
        return self._gold.described(made)

    def _repair(self, event_times: DataFrame, state: State) -> int:
        past = event_times.where(f"event_time < timestamp_micros({state.until}L)")
        spans = past.selectExpr("room_id", "unix_micros(event_time) AS begin", "unix_micros(event_time) AS end")
        rows = spans.groupBy("room_id").agg(*span_of()).collect()
        return sum(self._again(row.room_id, row.first, row.last) for row in rows)

    def recompute(self, begin: int, until: int, batch: int) -> int:
        self.state = replace(self.state, batch=batch)
        rooms_there = self._gold.silver.messages().select("room_id").distinct().collect()
        end = min(until, self.state.until or 0)
        return sum(self._again(row.room_id, begin, end) for row in rooms_there)

    def _again(self, room_id: str, first: int, last: int) -> int:
        """One room's sessions that a span of event time touches: made anew, from the first one's begin on."""
        until = self.state.until or 0
        mine = f"room_id = {text(room_id)}"
        there = self._lake.read(self.table).where(mine)
        reaches = f"session_end >= timestamp_micros({first - self._gap}L)"
        near = there.where(f"{reaches} AND session_start <= timestamp_micros({last + self._gap}L)")
        known = micros(near).select("session_start", "session_end").collect()
        opened = next((session for session in self.state.open if session.room_id == room_id), None)
        first = min([first, *(row.session_start for row in known)])
        last = max([last, *(row.session_end for row in known)])
        if self._gold.silver.expired().holds(datetime.fromtimestamp(first / SECOND, UTC).date()):
            return 0  # part of its messages is gone
        if opened and opened.start <= last + self._gap:
            first, last = min(first, opened.start), until
        if last + self._gap >= until:
            last = until
        messages = self._gold.silver.messages().where(mine)
        found = sessions.runs(messages, first, min(last + 1, until), self._gap_seconds)
        over, still = sessions.fold({}, found, self._gap, until)
        others = tuple(session for session in self.state.open if session.room_id != room_id)
        keeps = opened is not None and opened.start > last + self._gap
        state = replace(self.state, open=(*others, opened) if keeps and opened else (*others, *still.values()))
        inside = f"session_start BETWEEN timestamp_micros({first}L) AND timestamp_micros({last}L)"
        changed = self._correct(self._rows(over), ("room_id", "session_start"), there.where(inside), state)
        self.state = state
        return len(changed)
