"""All of gold's tables, what they share, and the order in which they are looked at."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from edge_assets import object_store, rooms
from edge_assets.errors import LogError
from edge_assets.settings import Settings, Window
from edge_assets.stream import durability
from edge_assets.stream.gold import windows
from edge_assets.stream.gold.publisher import Publisher
from edge_assets.stream.gold.session_table import Sessions
from edge_assets.stream.gold.silver import Silver
from edge_assets.stream.gold.table import GoldTable, micros
from edge_assets.stream.gold.window_table import Windows
from edge_assets.stream.gold.windows import SECOND
from edge_assets.stream.lake import Lake
from edge_assets.stream.registry import small_frame
from edge_assets.tables import ROOM, Table, gold_tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)


class Gold:
    """All of gold's tables, and what they share. They are made when the first room has spoken."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        # A session of its own: what is set for a commit here must not be on a commit of the batches.
        self.spark = spark.newSession()
        self.lake = Lake(self.spark, settings.lake_path)
        self.silver = Silver(self.lake)
        self.publisher = Publisher(settings)
        self.tables: list[GoldTable] = []
        self._settings = settings
        self._rooms: tuple[list[rooms.Room], DataFrame] | None = None
        self._publishing = True
        self.newest = 0
        """the latest event time that a room has told, µs since 1970"""

    def begin(self, watermark: int) -> None:
        """Make the tables, or find where they stand."""
        self.lake.create_tables(gold_tables(self._settings))
        kinds = [Windows(self, window) for window in self._settings.windows.tables]
        self.newest = max(self.newest, self.silver.last_time(watermark))
        self.tables = [*kinds, Sessions(self, self._settings.windows.session_gap_seconds)]

    def written(self) -> int | None:
        """The latest time up to which any table is written, as their notes say. No table need be made for it."""
        folders = map(self.lake.folder, gold_tables(self._settings))
        notes = filter(None, map(durability.note_before, folders))
        return max((note["until"] for note in notes if note["until"] is not None), default=None)

    def advance(self, watermark: int, batch: int) -> bool:
        """Let each table take a step. Whether any did: there may be more to write then."""
        steps = [self._step(table, watermark, batch) for table in self.tables]  # of each, also behind one that did
        return any(steps)

    def _step(self, table: GoldTable, watermark: int, batch: int) -> bool:
        try:
            stepped = table.advance(watermark, batch)
            if not self._publishing and isinstance(table, Windows):
                log.info("%s goes to Kafka again", table.name)
                self._publishing = True
            return stepped
        except LogError as error:  # said once; until then its windows wait
            if self._publishing:
                log.warning("%s: %s; tried again", table.name, error)
            self._publishing = False
            return False

    def repair(self, batch: int) -> dict[str, int]:
        """Compute again what late messages belong to. Returns how many rows of each table have changed."""
        version = self.silver.version()
        found: dict[int, list[Path] | None] = {}
        changed = {}
        for table in self.tables:
            since = table.state.repaired
            if since not in found:
                found[since] = self.silver.rewritten(since, version)
            try:
                changed[table.name] = table.repair(version, found[since], batch)
            except LogError as error:
                log.warning("correcting %s: %s; tried again", table.name, error)
        if told := ", ".join(f"{count} rows of {name}" for name, count in changed.items() if count):
            log.info("corrected %s", told)
        return changed

    def recompute(self, name: str, begin: int, until: int, batch: int) -> int:
        """Compute a table again, over a range of event time in µs since 1970. Returns how many rows have changed."""
        (table,) = [table for table in self.tables if table.name == name]
        return table.recompute(begin, until, batch)

    def described(self, made: DataFrame) -> DataFrame:
        """Rows of rooms with the place, and with what is said of the rooms now."""
        return windows.described(made, self._described_rooms(), self._settings.site)

    def _described_rooms(self) -> DataFrame:
        known = rooms.known(self._settings)
        if self._rooms is None or self._rooms[0] != known:
            told = [(room.room_id, room.room_name, room.floor, room.room_type) for room in known]
            columns = ", ".join(f"{column.name} {column.type}" for column in ROOM)
            if self._rooms:
                self._rooms[1].unpersist()
            self._rooms = known, small_frame(self.spark, told, columns).persist()
        return self._rooms[1]

    def event_times(self, files: Sequence[Path]) -> DataFrame:
        """(room_id, event_time) of the rows of these files of silver."""
        places = [object_store.spark_uri(file) for file in files]
        reader = self.spark.read.schema("room_id string, event_time timestamp").option("ignoreMissingFiles", "true")
        return reader.parquet(*places)

    def published_rows(self, table: Table, files: Sequence[str]) -> list[Any]:
        """A commit's windows, as they were published: with the Kafka topic of their room."""
        schema = ", ".join(f"{column.name} {column.type}" for column in table.columns if column.name != "date")
        # A commit from before the last joining may have lost its files; it was published a day ago.
        reader = self.spark.read.schema(schema).option("ignoreMissingFiles", "true")
        rows = reader.parquet(*map(object_store.spark_uri, files))
        first = rows.selectExpr("unix_micros(min(window_start)) AS first").collect()[0].first
        if first is None:
            return []
        spoken = self.silver.messages().where(f"event_time >= timestamp_micros({first}L)")
        topics = spoken.groupBy("room_id").agg(F.expr("max(kafka_topic) AS kafka_topic"))
        return micros(rows.join(topics, "room_id").orderBy("window_start", "room_id")).collect()

    def with_topics(self, rows: Sequence[Any], window: Window) -> list[dict[str, Any]]:
        """Windows of which only the keys are left, with what a message about them needs."""
        spoken = self.silver.messages().groupBy("room_id").agg(F.expr("max(kafka_topic) AS kafka_topic"))
        topics = {row.room_id: row.kafka_topic for row in spoken.collect()}
        if unknown := sorted({row.room_id for row in rows} - topics.keys()):
            log.warning("windows of %s are no more, and no message says which topic to tell it in", ", ".join(unknown))
        return [
            {
                "kafka_topic": topics[row.room_id],
                "room_id": row.room_id,
                "window_start": row.window_start,
                "window_end": row.window_start + window.size_seconds * SECOND,
            }
            for row in sorted(rows, key=lambda row: (row.window_start, row.room_id))
            if row.room_id in topics
        ]

    def report(self) -> dict[str, dict[str, Any]]:
        """For the status: each table's version, rows written and corrected since the start, and how far it has come."""
        return {
            table.name: {
                "version": self.lake.version(table.table),
                "rows": table.counts.rows,
                "corrected": table.counts.corrected,
                "last_event_at": _iso(table.state.until),
            }
            for table in self.tables
        }


def _iso(micros: int | None) -> str | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC).isoformat()
