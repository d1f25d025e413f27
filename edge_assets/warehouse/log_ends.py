"""Where the log begins and ends, as Kafka itself says: what the tables are measured against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edge_assets.errors import LogError
from edge_assets.log_record import Place
from edge_assets.platform import log
from edge_assets.settings import Settings

ASK_SECONDS = 15


@dataclass(frozen=True, slots=True)
class LogEnds:
    """`begins` is the first offset that the log still holds, `ends` the one after the last."""

    begins: Mapping[Place, int] = field(default_factory=dict)
    ends: Mapping[Place, int] = field(default_factory=dict)
    problem: str | None = None
    """why Kafka could not be asked; then there are no places"""


def ask(settings: Settings, topics: Iterable[str] | None = None) -> LogEnds:
    """Ask Kafka for the ends of the topics' partitions; without `topics`, of all that the stream writer reads. Those
    that Kafka does not have are left out."""
    try:
        partitions = log.topics(settings)
        wanted = log.read_topics(settings, partitions) if topics is None else topics
        there = sorted(set(wanted) & set(partitions))
        ids = log.log_ids(settings, there) if there else {}
        places = {(ids[topic], topic, number) for topic in there for number in range(partitions[topic])}
        return LogEnds(*_offsets(settings, places))
    except LogError as error:
        return LogEnds(problem=str(error))


def _offsets(settings: Settings, places: Iterable[Place]) -> tuple[dict[Place, int], dict[Place, int]]:
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    begins, ends = {}, {}
    options = {"log_level": 0, "group.id": "edge-verify", "enable.auto.commit": False}
    consumer = Consumer({**options, **log.client_options(settings)})
    try:
        for place in places:
            partition = TopicPartition(place[1], place[2])
            begins[place], ends[place] = consumer.get_watermark_offsets(partition, timeout=ASK_SECONDS)
    except KafkaException as error:
        raise LogError(
            f"asking Kafka at {log.bootstrap(settings)} for the ends of its log: {error.args[0].str()}; "
            "does it run? `edge status` shows it"
        ) from error
    finally:
        consumer.close()
    return begins, ends
