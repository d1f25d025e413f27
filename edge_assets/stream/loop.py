"""The stream writer's life: mend, recover, read the log from where the tables stand, until told to stop.

Spark's checkpoint is made anew at each start and never read: the positions in `bronze.events` decide where reading
resumes, in one way, whether the last writer stopped, was killed, or lost its checkpoint.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from edge_assets import lake_claim, object_store
from edge_assets.errors import DiskFull
from edge_assets.platform import disk, jars, java
from edge_assets.service import Report
from edge_assets.settings import Settings
from edge_assets.stream import java_references, losses, requests, source
from edge_assets.stream.reading import Reading
from edge_assets.stream.source import Begin
from edge_assets.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

    from edge_assets.stream.batch import BatchWriter
    from edge_assets.stream.lake import Lake

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
LOOK_SECONDS = 5.0
"""between two looks for room on the disk"""


def run(settings: Settings, stop: threading.Event, report: Report) -> None:
    """Run until `stop`. Raises what Spark raises, and `DiskFull`: the keep-alive starts it anew, and then it waits for
    room."""
    wait_for_room(settings, stop, report)
    if stop.is_set():
        return
    try:
        _write(settings, stop, report)
    except DiskFull:
        raise
    except Exception as error:
        if full := disk.explained(settings, error):
            raise full from error
        raise


def wait_for_room(settings: Settings, stop: threading.Event, report: Report) -> None:
    """Wait until the reserve is free again, and a quarter more: before the JVM, which is the dear part of a start."""
    waited = False
    while not stop.is_set():
        try:
            disk.require(settings, disk.RESUME)
        except DiskFull as error:
            if not waited:
                log.error("%s", error)
            waited = True
            report({"problem": str(error)})
            stop.wait(LOOK_SECONDS)
        else:
            if waited:
                log.info("there is room again: going on")
                report({"problem": None})
            return


def _write(settings: Settings, stop: threading.Event, report: Report) -> None:
    from edge_assets.stream import durability, session

    lake_claim.ensure(settings)
    if durability.is_wanted(settings):
        durability.mend(settings.lake_path)
    if object_store.is_bucket(settings.lake_path):
        object_store.race(settings)
    with session.spark_session(settings, jars.ensure_spark(settings), java.java_home(settings)) as spark:
        _Writer(spark, settings, report).run(stop)


@dataclass
class _Writer:
    spark: SparkSession
    settings: Settings
    report: Report
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """held by whoever commits: a batch, a request, a slice of a chore"""
    _generation: int = 0
    """of the query; a batch of an earlier one writes nothing"""
    _begun: int = 0
    """the generation that the query was begun with: behind a batch that was not written, others would leave a gap"""
    _unfinished: bool = False
    """a batch has begun to commit and has not ended: nobody else may until a start has finished it"""
    _work: dict[str, Any] = field(default_factory=dict)
    """how far a request is that takes several steps"""
    _looked_at: float = field(default_factory=time.monotonic)
    """at the lake's claim"""
    _released: float = field(default_factory=time.monotonic)
    """what Java holds for us"""

    def run(self, stop: threading.Event) -> None:
        from edge_assets.stream import durability
        from edge_assets.stream.batch import BatchWriter
        from edge_assets.stream.chores import Chores
        from edge_assets.stream.expiry import Expiry
        from edge_assets.stream.gold.closing import Closing
        from edge_assets.stream.gold.tables import Gold
        from edge_assets.stream.lake import Lake
        from edge_assets.stream.maintenance import Maintenance
        from edge_assets.stream.reprocess import Reprocessing
        from edge_assets.stream.rollback import Rollbacks

        self.lake: Lake = Lake(self.spark, self.settings.lake_path)
        self.durability = durability.of(self.settings, TABLES)  # before it: the first commits are forced too
        self.lake.create_tables()
        self._force()
        self.batches: BatchWriter = BatchWriter(self.spark, self.lake, self.settings)
        self.batches.recover()
        self.closing = Closing(Gold(self.spark, self.settings), self.batches, self._turn, self.settings)
        self.maintenance = Maintenance(self.spark, self.lake, self.settings)
        self.reading = Reading(self.spark, self.settings)
        self.reprocessing = Reprocessing(self.spark, self.lake, self.batches, self.settings, self._force)
        self.rollbacks = Rollbacks(self.lake, self.batches, self.reprocessing, self.settings, self._force)
        chores = {
            "maintain": self.maintenance.maintain,
            "join": self.maintenance.join,
            "expire": Expiry(self.lake, self.settings).expire,
        }
        self.chores = Chores(self._turn, chores, self._force)
        query = self._start()
        log.info("reading the log from batch %d on", self.batches.note.batch + 1)
        java_references.settle()
        try:
            while not stop.wait(POLL_SECONDS):
                disk.require(self.settings)
                self._look_at_claim()
                why = self.reading.outdated(query.lastProgress)
                if why or self._generation != self._begun:
                    log.info("%s", why or "a batch was not written: reading it again")
                    self._stop(query)
                    query = self._start()
                if not query.isActive:
                    query.awaitTermination(1)  # raises what ended it
                    raise RuntimeError("the streaming query ended by itself")
                self.closing.step()
                self._serve_requests()
                self._maintain()
                self._report(query)
                self._release()
        finally:
            self._stop(query)

    def _release(self) -> None:
        if time.monotonic() - self._released >= java_references.RELEASE_SECONDS:
            java_references.release()
            self._released = time.monotonic()

    def _look_at_claim(self) -> None:
        """Raises `LakeTaken` where another platform has taken the lake over; a bucket that is away is no reason."""
        if time.monotonic() - self._looked_at < lake_claim.LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        lake_claim.ensure_where_reached(self.settings, log.warning)

    def _stop(self, query: StreamingQuery) -> None:
        """A batch that waits for its turn meanwhile is not written: the next query reads it again."""
        with self._turn:
            self._generation += 1
        try:
            query.stop()  # without the turn, for which that batch waits
        except Exception as error:  # it took too long; nothing can be written by it any more
            log.warning("stopping the query: %s", str(error).splitlines()[0])

    def _start(self) -> StreamingQuery:
        begin = self.reading.begin(self.batches.note.positions)
        self.batches.give_up(begin.lost)
        self._begun = self._generation
        return self.reading.start(begin, partial(self._batch, self._generation, begin))

    def _batch(self, generation: int, begin: Begin, frame: DataFrame, batch_id: int) -> None:
        with self._turn:
            if generation != self._generation:
                return
            self._unfinished = True
            # Without room nothing is written; the main loop says so, and ends the query.
            if self.reading.replaced or not disk.has_room(self.settings) or not self._write(begin, frame):
                self._generation += 1
            self._unfinished = False

    def _write(self, begin: Begin, frame: DataFrame) -> bool:
        """Write a batch; False where what was read is not of the logs that it seems to be of."""
        records = source.records(frame, begin.log_ids)
        self.batches.catching_up = self.reading.catching_up
        summary = self.batches.write(records, begin.expected, partial(self.reading.confirm, begin))
        if summary is None:
            return False
        self._force()
        self.closing.heard(summary)
        return True

    def _force(self) -> None:
        if self.durability:
            self.durability.sync()

    def _serve_requests(self) -> None:
        """One step of each request that waits; between two steps the stream has its turn."""
        self._work = {}
        for request in requests.waiting(self.settings):
            if self.chores.takes(request):
                continue
            # Gold is no batch's: it is computed again beside them.
            with nullcontext() if _is_of_gold(request) else self._turn:
                if self._unfinished:
                    return
                try:
                    answer = self._carry_out(request)
                    self._force()
                except ValueError as error:
                    answer = {"error": str(error)}
                if answer is None:
                    self._work[request.kind] = request.progress
                else:
                    request.answer(**answer)

    def _carry_out(self, request: requests.Request) -> dict[str, Any] | None:
        """The answer; None: a step was done, and there are more."""
        if request.kind == "redrive":
            reason = request.arguments.get("reason")
            return self.batches.redrive(f"reason = '{reason}'" if reason else "true")
        if _is_of_gold(request):
            return self.closing.recompute(request)
        if request.kind == "reprocess":
            return self.reprocessing.step(request)
        if request.kind == "rollback":
            return self.rollbacks.step(request)
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
                "tables": {**self.batches.tables(), **self.closing.gold.report()},
                "published": self.closing.gold.publisher.published,
                "watermark": _iso(self.batches.note.watermark),
                "positions": {
                    f"{topic}/{partition}": offset
                    for (log_id, topic, partition), offset in self.batches.note.positions.items()
                    if self.reading.is_read(log_id, topic)
                },
                "state_rows": self._state_rows(),
                "lost": losses.told(self.batches.note.lost),
                "free_mb": {space.what: space.free_mb for space in disk.spaces(self.settings)},
                "progress": _progress(query),
                "work": self._work,
                "java_objects": java_references.held(),
                "maintenance": {"turns": self.chores.held.as_dict(), **self.chores.last},
            }
        )

    def _state_rows(self) -> dict[str, int]:
        """What is kept from batch to batch. Spark's own state store is not used: commits' notes and tables hold it."""
        note = self.batches.note
        return {
            "devices": len(self.batches.registry.entries),
            "pending_devices": len(note.pending),
            "open_sessions": sum(len(table.state.open) for table in self.closing.gold.tables),
            "barriers": len(note.knowledge.fences),
        }


def _is_of_gold(request: requests.Request) -> bool:
    return request.kind == "reprocess" and str(request.arguments["table"]).split(".")[0] == "gold"


def _iso(micros: int | None) -> str | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="milliseconds")


def _progress(query: StreamingQuery) -> dict[str, Any]:
    last = query.lastProgress
    if not last:
        return {}
    unread = source.unread(last)
    return {
        "batch_duration_ms": last["batchDuration"],
        "input_rows": last["numInputRows"],
        "input_rows_per_second": last.get("inputRowsPerSecond"),
        "processed_rows_per_second": last.get("processedRowsPerSecond"),
        "lag": sum(unread.values()),
        "unread": {f"{topic}/{partition}": records for (topic, partition), records in unread.items()},
        "at": last["timestamp"],
    }
