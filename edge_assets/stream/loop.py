"""The stream writer's life: mend, recover, read the log from where the tables stand, until told to stop.

Spark's checkpoint is made anew at each start and never read: the positions in `bronze.events` decide where reading
resumes, in one way, whether the last writer stopped, was killed, or lost its checkpoint.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from edge_assets import object_store
from edge_assets.errors import LogError
from edge_assets.platform import jars, java
from edge_assets.platform import log as kafka_log
from edge_assets.service import Report
from edge_assets.settings import Settings
from edge_assets.stream import requests
from edge_assets.tables import TABLES, Table, gold_tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

    from edge_assets.stream.batch import BatchWriter, Summary
    from edge_assets.stream.durability import Durability
    from edge_assets.stream.lake import Lake

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
LOOK_SECONDS = 5.0
"""between two looks for new topics"""


def run(settings: Settings, stop: threading.Event, report: Report) -> None:
    """Run until `stop`. Raises what Spark raises: the keep-alive starts it anew."""
    from edge_assets.stream import durability, session

    if _forces(settings):
        durability.mend(settings.lake_path)
    if object_store.is_bucket(settings.lake_path):
        object_store.race(settings)
    with session.spark_session(settings, jars.ensure_spark(settings), java.java_home(settings)) as spark:
        _Writer(spark, settings, report).run(stop)


def _forces(settings: Settings) -> bool:
    """Whether the lake lies where a power cut can take what was written: a bucket has it once it has answered."""
    return settings.stream.fsync and not object_store.is_bucket(settings.lake_path)


@dataclass
class _Writer:
    spark: SparkSession
    settings: Settings
    report: Report
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """held by whoever commits: a batch, a request, maintenance"""
    _generation: int = 0
    """of the query; a batch of an earlier one writes nothing"""
    _next_look: float = 0.0
    _closed: tuple[int, int] | None = None
    """watermark and number of the last batch that is written whole"""
    _heard: float = field(default_factory=time.monotonic)
    """when a room's message was last written"""
    _next_repair: float = field(default_factory=time.monotonic)
    """at once after a start: what the last writer did not come to"""

    def run(self, stop: threading.Event) -> None:
        from edge_assets.stream.batch import BatchWriter
        from edge_assets.stream.gold.tables import Gold
        from edge_assets.stream.lake import Lake
        from edge_assets.stream.maintenance import Maintenance

        self.lake: Lake = Lake(self.spark, self.settings.lake_path)
        self.lake.create_tables()
        self.durability = self._durability(TABLES)
        self.durability_of_gold = self._durability(gold_tables(self.settings))
        self.gold = Gold(self.spark, self.settings)
        self.batches: BatchWriter = BatchWriter(self.spark, self.lake, self.settings)
        self.batches.recover()
        if (written := self.gold.written()) is not None:
            self.batches.raise_watermark(written)
        self.maintenance = Maintenance(self.spark, self.lake, self.settings)
        query = self._start()
        log.info("reading the log from batch %d on", self.batches.note.batch + 1)
        try:
            while not stop.wait(POLL_SECONDS):
                if new := self._new_topics():
                    log.info("reading %s too", ", ".join(sorted(new)))
                    self._stop(query)
                    query = self._start()
                if not query.isActive:
                    query.awaitTermination(1)  # raises what ended it
                    raise RuntimeError("the streaming query ended by itself")
                self._close_windows()
                self._serve_requests()
                self._maintain()
                self._report(query)
        finally:
            self._stop(query)

    def _durability(self, tables: Iterable[Table]) -> Durability | None:
        from edge_assets.stream.durability import Durability

        return Durability(self.settings.lake_path, tables) if _forces(self.settings) else None

    def _stop(self, query: StreamingQuery) -> None:
        """A batch that waits for its turn meanwhile is not written: the next query reads it again."""
        with self._turn:
            self._generation += 1
        try:
            query.stop()  # without the turn, for which that batch waits
        except Exception as error:  # it took too long; nothing can be written by it any more
            log.warning("stopping the query: %s", str(error).splitlines()[0])

    def _new_topics(self) -> set[str]:
        """Topics that have come up since the query began (a room's first message)."""
        now = time.monotonic()
        if now < self._next_look:
            return set()
        self._next_look = now + LOOK_SECONDS
        try:
            return set(kafka_log.read_topics(self.settings)) - set(self.log_ids)
        except LogError as error:  # the query waits for Kafka by itself
            log.debug("%s", error)
            return set()

    def _start(self) -> StreamingQuery:
        wanted = kafka_log.read_topics(self.settings)
        for topic, retention_hours in wanted.items():
            kafka_log.ensure_topic(self.settings, topic, retention_hours)
        topics = sorted(wanted)
        self.log_ids = kafka_log.log_ids(self.settings, topics)
        generation, log_ids = self._generation, self.log_ids
        checkpoint = self.settings.home / "stream" / "checkpoint"
        shutil.rmtree(checkpoint, ignore_errors=True)
        source = self.spark.readStream.format("kafka").options(**self._source_options(topics))
        batch = partial(self._batch, generation, log_ids)
        stream = source.load().writeStream.foreachBatch(batch).option("checkpointLocation", str(checkpoint))
        return stream.trigger(processingTime=f"{int(self.settings.stream.trigger_seconds * 1000)} milliseconds").start()

    def _source_options(self, topics: list[str]) -> dict[str, Any]:
        from edge_assets.stream import source

        starts = source.starting_offsets(self.settings, self.log_ids, self.batches.note.positions)
        return source.options(self.settings, topics, starts)

    def _batch(self, generation: int, log_ids: Mapping[str, str], frame: DataFrame, batch_id: int) -> None:
        from edge_assets.stream import source

        with self._turn:
            if generation != self._generation:
                return
            summary = self.batches.write(source.records(frame, log_ids))
            self._force()
            self._written(summary)

    def _written(self, summary: Summary) -> None:
        """Let gold go on to the watermark of a batch that is on the disk."""
        if summary.rooms:
            self._heard = time.monotonic()
            self.gold.newest = max(self.gold.newest, summary.room_newest_us or 0)
        if self.batches.note.watermark is not None:
            self._closed = self.batches.note.watermark, self.batches.note.batch

    def _close_windows(self) -> None:
        """One step of gold; a batch never waits for it."""
        if time.monotonic() - self._heard > self.settings.windows.idle_seconds:
            self._close_idle()
        if self._closed is None:
            return
        if not self.gold.tables:
            self.gold.begin(self._closed[0])
        worked = self.gold.advance(*self._closed)
        if time.monotonic() > self._next_repair:
            self._next_repair = time.monotonic() + self.settings.windows.repair_minutes * 60
            worked = any(self.gold.repair(self._closed[1]).values()) or worked
        if worked and self.durability_of_gold:
            self.durability_of_gold.sync()

    def _close_idle(self) -> None:
        """No room has spoken for long: the clock closes the windows. Between two batches: what comes then is late."""
        with self._turn:
            self._heard = time.monotonic()  # in so many seconds again
            if self.batches.note.watermark is None:
                return
            self.batches.raise_watermark(int((time.time() - self.settings.windows.idle_seconds) * 1e6))
            self._closed = self.batches.note.watermark, self.batches.note.batch

    def _force(self) -> None:
        if self.durability:
            self.durability.sync()

    def _serve_requests(self) -> None:
        for request in requests.waiting(self.settings):
            with self._turn:
                try:
                    request.answer(**self._carry_out(request))
                except ValueError as error:
                    request.answer(error=str(error))

    def _carry_out(self, request: requests.Request) -> dict[str, Any]:
        if request.kind == "redrive":
            reason = request.arguments.get("reason")
            return self.batches.redrive(f"reason = '{reason}'" if reason else "true")
        raise ValueError(f"this writer knows no request {request.kind!r}: is the platform older than the command?")

    def _maintain(self) -> None:
        if self.maintenance.due() and self._turn.acquire(blocking=False):
            try:
                self.maintenance.run()
                self._force()
            finally:
                self._turn.release()

    def _report(self, query: StreamingQuery) -> None:
        self.report(
            {
                "batch": self.batches.note.batch,
                "written": dict(self.batches.written),
                "tables": {**self.batches.tables(), **self.gold.report()},
                "published": self.gold.publisher.published,
                "watermark": _iso(self.batches.note.watermark),
                "positions": {
                    f"{topic}/{partition}": offset
                    for (_, topic, partition), offset in self.batches.note.positions.items()
                },
                "pending_devices": len(self.batches.note.pending),
                "progress": _progress(query),
            }
        )


def _iso(micros: int | None) -> str | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="milliseconds")


def _progress(query: StreamingQuery) -> dict[str, Any]:
    last = query.lastProgress
    if not last:
        return {}
    sources = last["sources"]
    behind = sources[0].get("metrics", {}).get("maxOffsetsBehindLatest") if sources else None
    return {
        "batch_duration_ms": last["batchDuration"],
        "input_rows": last["numInputRows"],
        "processed_rows_per_second": last.get("processedRowsPerSecond"),
        "lag": int(behind) if behind is not None else None,
        "at": last["timestamp"],
    }
