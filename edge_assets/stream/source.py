"""Kafka as Spark reads it: where to begin, and a record in the columns that decoding takes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edge_assets import log_record
from edge_assets.errors import LogError
from edge_assets.log_record import Place
from edge_assets.platform import log as kafka_log
from edge_assets.settings import Settings
from edge_assets.stream.ranges import Range

if TYPE_CHECKING:
    from confluent_kafka import Consumer
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30
RECORDS_PER_TASK = 25_000


def starting_offsets(
    settings: Settings, log_ids: Mapping[str, str], positions: Mapping[Place, int]
) -> dict[str, dict[str, int]]:
    """topic → partition → offset to begin with: the position that the tables hold in *this* log, else its beginning.

    What the log has already given up (retention) cannot be read any more: it is logged as lost, and `edge verify`
    shows the gap.
    """
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {**kafka_log.client_options(settings), "group.id": "edge-positions", "enable.auto.commit": False}
    )
    starts: dict[str, dict[str, int]] = {}
    try:
        for topic, log_id in log_ids.items():
            partitions = consumer.list_topics(topic, TIMEOUT_SECONDS).topics[topic].partitions
            starts[topic] = {}
            for partition in partitions:
                first, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), TIMEOUT_SECONDS)
                position = positions.get((log_id, topic, partition), first)
                if position < first:
                    log.error(
                        "%s/%d: offsets %d to %d are lost: the log no longer has them",
                        topic,
                        partition,
                        position,
                        first - 1,
                    )
                if position > end:
                    log.error(
                        "%s/%d: the tables hold offset %d, the log ends at %d: was it cut?",
                        topic,
                        partition,
                        position - 1,
                        end,
                    )
                starts[topic][str(partition)] = max(position, first)
    finally:
        consumer.close()
    return starts


def options(settings: Settings, topics: list[str], starts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Options of Spark's Kafka source."""
    given = {
        "subscribe": ",".join(topics),
        "startingOffsets": json.dumps(starts),
        "maxOffsetsPerTrigger": settings.stream.max_records_per_batch,
        # A backlog is split, so that every core has its part.
        "maxRecordsPerPartition": RECORDS_PER_TASK,
        "includeHeaders": "true",
        "failOnDataLoss": "false",
        "kafka.bootstrap.servers": kafka_log.bootstrap(settings),
        # Behind its last record a consumer has asked for the next, and Kafka answers the following batch's questions
        # only after that. With the default of 500 ms, ten quiet rooms cost a batch five seconds.
        "kafka.fetch.max.wait.ms": "10",
    }
    for name, value in settings.kafka.client.items():
        given[f"kafka.{name}"] = value
    return given


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
    given = options(settings, [], starts)
    for of_a_stream in ("subscribe", "maxOffsetsPerTrigger"):
        del given[of_a_stream]
    return {**given, "assign": json.dumps(partitions), "endingOffsets": json.dumps(ends)}


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
