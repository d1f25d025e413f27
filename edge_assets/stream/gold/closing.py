"""When gold takes its steps: behind each batch, on the clock where rooms are silent, and backward for what was late.

All of it in the writer's main thread, between whatever else that does; batches go on beside it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from edge_assets.settings import Settings
from edge_assets.stream import durability
from edge_assets.stream.gold.windows import DAY
from edge_assets.stream.requests import Request
from edge_assets.tables import gold_tables

if TYPE_CHECKING:
    from edge_assets.stream.batch import BatchWriter, Summary
    from edge_assets.stream.gold.tables import Gold


class Closing:
    """`turn`: held by who commits to bronze and silver."""

    def __init__(self, gold: Gold, batches: BatchWriter, turn: threading.Lock, settings: Settings) -> None:
        self.gold = gold
        self._batches = batches
        self._turn = turn
        self._settings = settings.windows
        self._durability = durability.of(settings, gold_tables(settings))
        self._reached: tuple[int, int] | None = None
        """watermark and number of the last batch that is written whole"""
        self._heard = time.monotonic()
        self._next_repair = time.monotonic()
        """at once after a start: what the last writer did not come to"""
        # What gold has written is closed, also where the clock closed it and no batch has told so since.
        if (written := gold.written()) is not None:
            batches.raise_watermark(written)

    def heard(self, summary: Summary) -> None:
        """A batch is written whole, and on the disk: gold may go on to its watermark."""
        if summary.rooms:
            self._heard = time.monotonic()
            self.gold.newest = max(self.gold.newest, summary.room_newest_us or 0)
        if self._batches.note.watermark is not None:
            self._reached = self._batches.note.watermark, self._batches.note.batch

    @property
    def _is_silent(self) -> bool:
        return time.monotonic() - self._heard > self._settings.idle_seconds

    def step(self) -> None:
        """One step forward of each table, and backward where it is time to."""
        if self._is_silent:
            self._follow_the_clock()
        if self._reached is None:
            return
        if not self.gold.tables:
            self.gold.begin(self._reached[0])
        worked = self.gold.advance(*self._reached)
        if time.monotonic() > self._next_repair:
            self._next_repair = time.monotonic() + self._settings.repair_minutes * 60
            worked = any(self.gold.repair(self._reached[1]).values()) or worked
        if worked and self._durability:
            self._durability.sync()

    def recompute(self, request: Request) -> dict[str, Any] | None:
        """Compute a table of gold again, or all of them, a day of event time each time this is called. The answer when
        that was the last. Raises `ValueError` with what cannot be done."""
        if self._reached is None:
            raise ValueError("no room has spoken since the start of the stream writer: gold has nothing to recompute")
        if not self.gold.tables:
            self.gold.begin(self._reached[0])
        progress = request.progress or {"steps": self._days(request.arguments), "done": 0, "rewritten": {}}
        if progress["done"] < len(progress["steps"]):
            name, begin, until = progress["steps"][progress["done"]]
            changed = self.gold.recompute(name, begin, until, self._reached[1])
            written = {**progress["rewritten"], name: progress["rewritten"].get(name, 0) + changed}
            progress = {**progress, "done": progress["done"] + 1, "rewritten": written}
            if self._durability:
                self._durability.sync()
            request.remember(progress)
        if progress["done"] < len(progress["steps"]):
            return None
        return {"rewritten": {name: rows for name, rows in progress["rewritten"].items() if rows}}

    def _days(self, wanted: Mapping[str, Any]) -> list[tuple[str, int, int]]:
        """(table, from, to) of event time, by UTC day."""
        names = [table.name for table in self.gold.tables if wanted["table"] in ("gold", table.name)]
        first = self.gold.silver.first_time(wanted["from_us"])
        end = self.gold.newest + 1 if wanted["to_us"] is None else min(wanted["to_us"], self.gold.newest + 1)
        if first is None or not names:
            return []
        bounds = [first, *range(first // DAY * DAY + DAY, end, DAY), end]
        return [(name, begin, until) for name in names for begin, until in pairwise(bounds) if begin < until]

    def _follow_the_clock(self) -> None:
        """No room has spoken for long. Between two batches, so that what the next brings is late, and known to be."""
        with self._turn:
            if not self._is_silent or self._batches.catching_up or self._batches.note.watermark is None:
                return  # a batch was under way, or much is unread: rooms may have spoken that were not heard yet
            self._heard = time.monotonic()  # in so many seconds again
            self._batches.raise_watermark(int((time.time() - self._settings.idle_seconds) * 1e6))
            self._reached = self._batches.note.watermark or 0, self._batches.note.batch
