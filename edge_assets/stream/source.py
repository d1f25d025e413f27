"""Kafka as Spark reads it: where to begin, and a record in the columns that decoding takes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from edge_assets import log_record
from edge_assets.errors import LogError
from edge_assets.log_record import Place
from edge_assets.platform import log as kafka_log
from edge_assets.settings import Settings
from edge_assets.stream import losses
from edge_assets.stream.backlog import Partition, Share
from edge_assets.stream.losses import Loss
from edge_assets.stream.ranges import Range

if TYPE_CHECKING:
    from confluent_kafka import Consumer
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30
RECORDS_PER_TASK = 25_000


@dataclass(frozen=True, slots=True)
class Begin:
    """Where to begin to read, of each partition of each topic in `log_ids`."""

    log_ids: Mapping[str, str]
    offsets: Mapping[Partition, int]
    """the first to read"""
    ends: Mapping[Partition, int]
    expected: Mapping[Place, int]
    """the offset after the last that the tables hold; of a place that they do not know, the first to read"""
    lost: tuple[Loss, ...]
    """what had expired by now"""

    @property
    def unread(self) -> dict[Partition, int]:
        return {partition: max(self.ends[partition] - offset, 0) for partition, offset in self.offsets.items()}

    @property
    def records(self) -> int:
        """How many are unread."""
        return sum(self.unread.values())


def begin(settings: Settings, log_ids: Mapping[str, str], positions: Mapping[Place, int]) -> Begin:
    """Begin at the positions that the tables hold in *these* logs, else at a log's beginning.

    What a log has already given up (retention) cannot be read any more, and is told as lost.
    """
    offsets, ends, expected, firsts = {}, {}, {}, {}
    for (topic, partition), (first, end) in _bounds(settings, log_ids).items():
        place = (log_ids[topic], topic, partition)
        firsts[place], ends[topic, partition] = first, end
        expected[place] = positions.get(place, first)
        offsets[topic, partition] = max(expected[place], first)
        if expected[place] > end:
            log.error(
                "%s/%d: the tables hold offset %d, the log ends at %d: was it cut?",
                topic,
                partition,
                expected[place] - 1,
                end,
            )
    return Begin(log_ids, offsets, ends, expected, losses.found(expected, firsts))


def _bounds(settings: Settings, topics: Iterable[str]) -> dict[Partition, tuple[int, int]]:
    """The first offset that Kafka holds, and the one after the last."""
    from confluent_kafka import Consumer, TopicPartition

    found = {}
    options = {**kafka_log.client_options(settings), "group.id": "edge-positions", "enable.auto.commit": False}
    consumer = Consumer(options)
    try:
        for topic in topics:
            for partition in consumer.list_topics(topic, TIMEOUT_SECONDS).topics[topic].partitions:
                place = TopicPartition(topic, partition)
                found[topic, partition] = consumer.get_watermark_offsets(place, TIMEOUT_SECONDS)
    finally:
        consumer.close()
    return found


def tell_of_new_logs(log_ids: Mapping[str, str], positions: Mapping[Place, int]) -> None:
    """Say so where the tables know a topic by another log only: it was made anew, or Kafka was."""
    for topic, log_id in sorted(log_ids.items()):
        known = {place[0] for place in positions if place[1] == topic}
        if known and log_id not in known:
            log.error(
                "%s is another log than the tables know (%s and not %s): it is read from its beginning; what they had "
                "not read of the former one is lost. Was the topic deleted, or is this another Kafka?",
                topic,
                log_id,
                ", ".join(sorted(known)),
            )


def are_the_same(settings: Settings, log_ids: Mapping[str, str], topics: Iterable[str]) -> bool:
    """Whether these topics still are the logs that they were; one that is gone is not. Raises `LogError` where Kafka
    is away.

    Spark does not ask: it goes on at the same number in a topic that was deleted and made anew.
    """
    from confluent_kafka import KafkaError, KafkaException

    wanted = {topic: log_ids[topic] for topic in topics}
    try:
        return kafka_log.log_ids(settings, wanted) == wanted
    except LogError as error:
        cause = error.__cause__
        if isinstance(cause, KafkaException) and cause.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return False
        raise


def stream(spark: SparkSession, settings: Settings, from_: Begin, shares: Sequence[Share]) -> DataFrame:
    """The streaming frame: of one source that reads everything, or of one for each share."""
    whole = Share((), settings.stream.max_records_per_batch)
    frames = [
        spark.readStream.format("kafka").options(**options(settings, from_, share)).load()
        for share in shares or [whole]
    ]
    return reduce(lambda one, other: one.unionAll(other), frames)


def options(settings: Settings, from_: Begin, share: Share) -> dict[str, Any]:
    """Options of one of Spark's Kafka sources. A share without partitions is all topics, with partitions to come."""
    read = share.partitions or tuple(from_.offsets)
    given = {
        **_common(settings),
        "startingOffsets": json.dumps(_nested({partition: from_.offsets[partition] for partition in read})),
        "maxOffsetsPerTrigger": share.records,
    }
    if share.partitions:
        given["assign"] = json.dumps(
            {topic: sorted(map(int, at)) for topic, at in _nested(dict.fromkeys(read, 0)).items()}
        )
    else:
        given["subscribe"] = ",".join(sorted(from_.log_ids))
    return given


def _common(settings: Settings) -> dict[str, Any]:
    return {
        # A backlog is split, so that every core has its part.
        "maxRecordsPerPartition": RECORDS_PER_TASK,
        "includeHeaders": "true",
        "failOnDataLoss": "false",
        "kafka.bootstrap.servers": kafka_log.bootstrap(settings),
        # Behind its last record a consumer has asked for the next, and Kafka answers the following batch's questions
        # only after that. With the default of 500 ms, ten quiet rooms cost a batch five seconds.
        "kafka.fetch.max.wait.ms": "10",
        **{f"kafka.{name}": value for name, value in settings.kafka.client.items()},
    }


def _nested(numbers: Mapping[Partition, int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (topic, partition), number in numbers.items():
        found.setdefault(topic, {})[str(partition)] = number
    return found


def unread(progress: Mapping[str, Any]) -> dict[Partition, int]:
    """Records that each partition held and the tables did not, after the batch that Spark tells of."""
    found = {}
    for source in progress["sources"]:
        latest, reached = (json.loads(source[name] or "{}") or {} for name in ("latestOffset", "endOffset"))
        for topic, offsets in latest.items():
            for partition, end in offsets.items():
                at = reached.get(topic, {}).get(partition, end)
                found[topic, int(partition)] = max(end - at, 0)
    return found


def records(frame: DataFrame, log_ids: Mapping[str, str]) -> DataFrame:
    """A batch of the Kafka source in `decode.RECORD_COLUMNS`."""
    ids = ", ".join(f"'{part}'" for pair in sorted(log_ids.items()) for part in pair)
    # Kafka allows a header's name twice; a map does not, unless told that the last one wins (session option).
    headers = "map_from_entries(coalesce(headers, CAST(array() AS array<struct<key:string,value:binary>>)))"
    ours = f"try_element_at({headers}, '{log_record.HEADER}')"
    # A task for each core, not for each Kafka partition: ten rooms are ten, and each would write files of its own.
    return frame.coalesce(frame.sparkSession.sparkContext.defaultParallelism).selectExpr(
        f"try_element_at(map({ids}), topic) AS log_id",
        "topic AS kafka_topic",
        "partition AS kafka_partition",
        "offset AS kafka_offset",
        "timestamp AS kafka_time",
        "CAST(key AS string) AS key",
        "value AS payload",
        f"CASE WHEN is_valid_utf8({ours}) THEN CAST({ours} AS string) END AS header",
    )


# -- what the log still has of records that were read long ago ---------------------------------------------------------


def offsets_between(settings: Settings, positions: Mapping[Place, int], from_us: int, to_us: int | None) -> list[Range]:
    """For each place that is still in the log, the offsets of the records that it took then. Raises `LogError`."""
    found = []
    with _consumer(settings) as consumer:
        for place, (begin, end) in _kept(settings, consumer, positions).items():
            first = _offset_at(consumer, place, from_us, end)
            last = end - 1 if to_us is None else _offset_at(consumer, place, to_us, end) - 1
            if max(first, begin) <= last:
                found.append(Range(*place, max(first, begin), last))
    return found


def read_ranges(spark: SparkSession, settings: Settings, ranges: Sequence[Range]) -> DataFrame | None:
    """The records of these ranges that the log still has, in `decode.RECORD_COLUMNS`; None where it has none of them.

    Raises `LogError`. What leaves the log while it is read is not in the answer.
    """
    with _consumer(settings) as consumer:
        kept = _kept(settings, consumer, [each.place for each in ranges])
    there = [(each, *kept[each.place]) for each in ranges if each.place in kept]
    clamped = [replace(each, first=max(each.first, begin), last=min(each.last, end - 1)) for each, begin, end in there]
    wanted = [each for each in clamped if each.offsets > 0]
    if not wanted:
        return None
    frame = spark.read.format("kafka").options(**_options_of(settings, wanted)).load()
    return records(frame, {each.topic: each.log_id for each in wanted})


def _options_of(settings: Settings, ranges: Sequence[Range]) -> dict[str, Any]:
    partitions: dict[str, list[int]] = {}
    starts: dict[str, dict[str, int]] = {}
    ends: dict[str, dict[str, int]] = {}
    for each in ranges:
        partitions.setdefault(each.topic, []).append(each.partition)
        starts.setdefault(each.topic, {})[str(each.partition)] = each.first
        ends.setdefault(each.topic, {})[str(each.partition)] = each.last + 1
    bounds = {"startingOffsets": json.dumps(starts), "endingOffsets": json.dumps(ends)}
    return {**_common(settings), **bounds, "assign": json.dumps(partitions)}


@contextmanager
def _consumer(settings: Settings) -> Iterator[Consumer]:
    from confluent_kafka import Consumer, KafkaException

    own = {"group.id": "edge-positions", "enable.auto.commit": False, "log_level": 0}
    consumer = Consumer({**kafka_log.client_options(settings), **own})
    try:
        yield consumer
    except KafkaException as error:
        where = kafka_log.bootstrap(settings)
        raise LogError(f"asking Kafka at {where} for its offsets: {error.args[0].str()}; does it run?") from error
    finally:
        consumer.close()


def _kept(settings: Settings, consumer: Consumer, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
    """place → (first offset, the one after the last), of the places whose log is still there."""
    from confluent_kafka import TopicPartition

    there = kafka_log.topics(settings)
    wanted = sorted({place for place in places if place[1] in there})
    ids = kafka_log.log_ids(settings, sorted({topic for _, topic, _ in wanted})) if wanted else {}
    return {
        place: consumer.get_watermark_offsets(TopicPartition(place[1], place[2]), TIMEOUT_SECONDS)
        for place in wanted
        if ids[place[1]] == place[0]
    }


def _offset_at(consumer: Consumer, place: Place, micros: int, end: int) -> int:
    """The first offset whose record is of that time or later; `end` where there is none."""
    from confluent_kafka import TopicPartition

    asked = TopicPartition(place[1], place[2], max(micros // 1000, 0))
    offset: int = consumer.offsets_for_times([asked], TIMEOUT_SECONDS)[0].offset
    return offset if offset >= 0 else end
