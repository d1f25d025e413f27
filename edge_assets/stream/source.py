"""Kafka as Spark reads it: where to begin, and a record in the columns that decoding takes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edge_assets import log_record
from edge_assets.log_record import Place
from edge_assets.platform import log as kafka_log
from edge_assets.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

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
