"""A table of windows: each is written once, handed to Kafka where the settings say so, and corrected when need be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from edge_assets import delta_log
from edge_assets.settings import Window
from edge_assets.stream import durability
from edge_assets.stream.gold import windows
from edge_assets.stream.gold.silver import State
from edge_assets.stream.gold.table import GoldTable, micros, span_of
from edge_assets.stream.gold.windows import DAY, SECOND
from edge_assets.tables import window_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from edge_assets.stream.gold.tables import Gold


class Windows(GoldTable):
    """One kind of window."""

    def __init__(self, gold: Gold, window: Window) -> None:
        self._window = window
        super().__init__(gold, window_table(window))
        self._unpublished: Callable[[], list[Any]] | None = self._of_newest_commit if window.publish else None

    @property
    def _step(self) -> int:
        return self._window.step_seconds * SECOND

    @property
    def _reach(self) -> int:
        return self._window.size_seconds * SECOND

    def advance(self, watermark: int, batch: int) -> bool:
        self._publish()
        return super().advance(watermark, batch)

    def _emit(self, begin: int, until: int, state: State) -> int:
        made = windows.closed(self._gold.silver.messages(), self._window, begin, until)
        rows = self._gold.described(made).persist()
        try:
            count = rows.count()
            if count:
                self._lake.append(self.table, rows, state)
                if self._window.publish:
                    sent = micros(rows.orderBy("window_start", "room_id")).collect()
                    self._unpublished = lambda: sent
            self.state = state
        finally:
            rows.unpersist()
        self.counts.rows += count
        self._publish()
        return count

    def _publish(self) -> None:
        """Send what was committed last. Raises `LogError` where Kafka does not take it: it stays to be sent."""
        if self._unpublished is not None:
            self._gold.publisher.publish(self._unpublished())
            self._unpublished = None

    def _of_newest_commit(self) -> list[Any]:
        """What the last writer may not have got rid of: its newest commit, unless that was a correction."""
        folder = self._lake.folder(self.table)
        newest = next((commit for commit in reversed(delta_log.commits(folder)) if durability.note_of(commit)), None)
        actions = newest.actions() if newest else []
        files = [str(folder / unquote(action["add"]["path"])) for action in actions if "add" in action]
        if not files or any("remove" in action for action in actions):
            return []
        return self._gold.published_rows(self.table, files)

    def _repair(self, event_times: DataFrame, state: State) -> int:
        touched = windows.starts(event_times, self._window)
        touched = touched.where(f"window_end <= timestamp_micros({state.until}L)").persist()
        try:
            spans = touched.selectExpr("to_date(window_start) AS date", *_SPAN)
            days = spans.groupBy("date").agg(*span_of()).collect()
            return sum(self._again(row.first, row.last, state, touched) for row in sorted(days, key=lambda r: r.first))
        finally:
            touched.unpersist()

    def recompute(self, begin: int, until: int, batch: int) -> int:
        state = replace(self.state, batch=batch)
        end = min(until, self.state.until or 0)
        first = self._aligned(begin) - self._reach
        days = range(first // DAY * DAY, end, DAY)
        return sum(self._again(max(day, first), min(day + DAY + self._reach, end), state) for day in days)

    def _again(self, first: int, last: int, state: State, touched: DataFrame | None = None) -> int:
        """The windows that begin at `first` or later and end by `last`, all or those that were touched."""
        spoken = windows.between(self._gold.silver.messages(), first, last)
        bounds = f"window_start >= timestamp_micros({first}L) AND window_end <= timestamp_micros({last}L)"
        for begin, end in self._gold.silver.expired().spans:
            bounds += f" AND NOT date BETWEEN DATE'{begin}' AND DATE'{end}'"
        made = windows.of(spoken, self._window).where(bounds)
        there = self._lake.read(self.table).where(bounds)
        if touched is not None:
            which, keys = touched.select(*windows.KEYS), [*windows.KEYS]
            made, there = made.join(which, keys, "left_semi"), there.join(which, keys, "left_semi")
        return len(self._correct(self._gold.described(made), windows.KEYS, there, state))

    def _before_merge(self, rows: list[Any]) -> None:
        if not self._window.publish:
            return
        publisher = self._gold.publisher
        publisher.publish((row for row in rows if not row["gone"]), correction=True)
        if gone := [row for row in rows if row["gone"]]:
            publisher.withdraw(self._gold.with_topics(gone, self._window))


_SPAN = ("unix_micros(window_start) AS begin", "unix_micros(window_end) AS end")
