"""The stream writer's life: mend, recover, read the log from where the tables stand, until told to stop.

Spark's checkpoint is made anew at each start and never read: the positions in `bronze.events` decide where reading
resumes, in one way, whether the last writer stopped, was killed, or lost its checkpoint.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from edge_assets import object_store
from edge_assets.errors import LogError
from edge_assets.platform import jars, java
from edge_assets.platform import log as kafka_log
from edge_assets.service import Report
from edge_assets.settings import Settings
from edge_assets.stream import requests

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

    from edge_assets.stream.batch import BatchWriter
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
    """held by whoever commits: a batch, a request, a slice of a chore"""
    _generation: int = 0
    """of the query; a batch of an earlier one writes nothing"""
    _next_look: float = 0.0

    def run(self, stop: threading.Event) -> None:
        from edge_assets.stream.batch import BatchWriter
        from edge_assets.stream.chores import Chores
        from edge_assets.stream.durability import Durability
        from edge_assets.stream.expiry import Expiry
        from edge_assets.stream.lake import Lake
        from edge_assets.stream.maintenance import Maintenance

        self.lake: Lake = Lake(self.spark, self.settings.lake_path)
        self.lake.create_tables()
        self.durability = Durability(self.settings.lake_path) if _forces(self.settings) else None
        self.batches: BatchWriter = BatchWriter(self.spark, self.lake, self.settings)
        self.batches.recover()
        self.maintenance = Maintenance(self.spark, self.lake, self.settings)
        chores = {
            "maintain": self.maintenance.maintain,
            "join": self.maintenance.join,
            "expire": Expiry(self.lake, self.settings).expire,
        }
        self.chores = Chores(self._turn, chores, self._force)
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
                self._serve_requests()
                self._maintain()
                self._report(query)
        finally:
            self._stop(query)

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
            self.batches.write(source.records(frame, log_ids))
            self._force()

    def _force(self) -> None:
        if self.durability:
            self.durability.sync()

    def _serve_requests(self) -> None:
        for request in requests.waiting(self.settings):
            if self.chores.takes(request):
                continue
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
        """The next slice of what is under way; where nothing is, what is due of itself is begun."""
        if self.chores.idle and (due := self.maintenance.due()):
            self.chores.begin(*due)
        self.chores.step()

    def _report(self, query: StreamingQuery) -> None:
        self.report(
            {
                "batch": self.batches.note.batch,
                "written": dict(self.batches.written),
                "tables": self.batches.tables(),
                "positions": {
                    f"{topic}/{partition}": offset
                    for (_, topic, partition), offset in self.batches.note.positions.items()
                },
                "pending_devices": len(self.batches.note.pending),
                "progress": _progress(query),
                "maintenance": {"turns": self.chores.held.as_dict(), **self.chores.last},
            }
        )


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
