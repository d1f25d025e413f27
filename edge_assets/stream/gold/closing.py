"""When gold takes its steps: behind each batch, on the clock where rooms are silent, and backward for what was late.

All of it in the writer's main thread, between whatever else that does; batches go on beside it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from edge_assets import object_store
from edge_assets.settings import Settings
from edge_assets.stream.durability import Durability
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
        forces = settings.stream.fsync and not object_store.is_bucket(settings.lake_path)
        self._durability = Durability(settings.lake_path, gold_tables(settings)) if forces else None
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

    def step(self) -> None:
        """One step forward of each table, and backward where it is time to."""
        if time.monotonic() - self._heard > self._settings.idle_seconds:
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

    def _follow_the_clock(self) -> None:
        """No room has spoken for long. Between two batches, so that what the next brings is late, and known to be."""
        with self._turn:
            self._heard = time.monotonic()  # in so many seconds again
            if self._batches.note.watermark is None:
                return
            self._batches.raise_watermark(int((time.time() - self._settings.idle_seconds) * 1e6))
            self._reached = self._batches.note.watermark or 0, self._batches.note.batch
