"""The streaming query: what it reads, how much of each topic a batch takes, and when it has to begin anew.

It begins anew (at the positions of the tables, as at every start) when a topic has come up, when a topic was deleted
and made anew, and when shares of a batch are to be dealt out otherwise (`edge_assets.stream.backlog`).
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from edge_assets.errors import LogError
from edge_assets.log_record import Place
from edge_assets.platform import log as kafka_log
from edge_assets.settings import Settings
from edge_assets.stream import backlog, source
from edge_assets.stream.backlog import Plan
from edge_assets.stream.source import Begin

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""between two looks at Kafka's topics"""
ATTEMPTS = 3
"""at asking a Kafka that does not answer which log was read"""


class Reading:
    """One query after the other, each from where the tables stand."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self._spark = spark
        self._settings = settings
        self._batch_records = settings.stream.max_records_per_batch
        self._log_ids: Mapping[str, str] = {}
        self._plan = Plan()
        self._looked_after: int | None = None
        """the number of Spark's batch that was last looked at"""
        self._next_look = 0.0
        self.replaced = False
        """a topic is another log than it was when the query began: what the query reads counts no more"""

    @property
    def catching_up(self) -> bool:
        """Whether more is unread than one batch takes, so that topics may differ in how far they are."""
        return self._plan.catching_up

    def is_read(self, log_id: str, topic: str) -> bool:
        """Whether this log of a topic is the one that is read: the tables remember former ones, too."""
        return self._log_ids.get(topic) == log_id

    def begin(self, positions: Mapping[Place, int]) -> Begin:
        """Where to begin: all topics as they are now, at these positions. Raises `LogError`."""
        wanted = kafka_log.read_topics(self._settings)
        for topic, retention_hours in wanted.items():
            kafka_log.ensure_topic(self._settings, topic, retention_hours)
        self._log_ids = kafka_log.log_ids(self._settings, sorted(wanted))
        self.replaced = False
        source.tell_of_new_logs(self._log_ids, positions)
        return source.begin(self._settings, self._log_ids, positions)

    def start(self, begin: Begin, write: Callable[[DataFrame, int], None]) -> StreamingQuery:
        """Start the query; `write` gets each batch, as Kafka's source has it."""
        self._plan = backlog.plan(begin.unread, self._batch_records)
        self._looked_after = None
        if self._plan.catching_up:
            log.info("%s records to catch up with, in %d shares", f"{begin.records:,}", len(self._plan.shares))
        checkpoint = self._settings.home / "stream" / "checkpoint"
        shutil.rmtree(checkpoint, ignore_errors=True)
        frame = source.stream(self._spark, self._settings, begin, self._plan.shares)
        stream = frame.writeStream.foreachBatch(write).option("checkpointLocation", str(checkpoint))
        # Behind, the next batch begins at once.
        seconds = 0.0 if self._plan.catching_up else self._settings.stream.trigger_seconds
        return stream.trigger(processingTime=f"{int(seconds * 1000)} milliseconds").start()

    def outdated(self, progress: Mapping[str, Any] | None) -> str | None:
        """Why the query has to begin anew; None: it has not. `progress`: of its last batch."""
        new = self._new_topics()
        if self.replaced:
            return "a topic was deleted and made anew: beginning anew"
        if new:
            return f"reading {', '.join(sorted(new))} too"
        if progress and progress["batchId"] != self._looked_after:
            self._looked_after = progress["batchId"]
            unread = source.unread(progress)
            if self._plan.outdated(unread, self._batch_records):
                return f"{sum(unread.values()):,} records are unread: dealing out anew what a batch takes of each topic"
        return None

    def _new_topics(self) -> set[str]:
        """Topics that have come up since the query began (a room's first message)."""
        now = time.monotonic()
        if now < self._next_look:
            return set()
        self._next_look = now + LOOK_SECONDS
        try:
            self.replaced = self.replaced or not source.are_the_same(self._settings, self._log_ids, self._log_ids)
            return set(kafka_log.read_topics(self._settings)) - set(self._log_ids)
        except LogError as error:  # the query waits for Kafka by itself
            log.debug("%s", error)
            return set()

    def confirm(self, begin: Begin, topics: Iterable[str]) -> bool:
        """Whether what was read of these topics is of the logs that the query was begun with.

        Asked after the reading: what a topic holds that is deleted later is still of the former log. Raises `LogError`
        where Kafka stays away.
        """
        wanted = set(topics)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                same = not wanted or source.are_the_same(self._settings, begin.log_ids, wanted)
                self.replaced = self.replaced or not same
                break
            except LogError:
                if attempt == ATTEMPTS:
                    raise
        return not self.replaced
