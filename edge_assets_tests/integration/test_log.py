"""The embedded Kafka: up, down, killed, moved to other ports."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from edge_assets.errors import LogError, PlatformError
from edge_assets.platform import endpoints, log
from edge_assets.settings import Settings, load_settings

pytestmark = pytest.mark.java


def test_a_written_record_survives_a_kill_and_other_ports(settings: Settings) -> None:
    running = log.start(settings)
    log.ensure_topic(settings, "t")
    identity = log.log_ids(settings, ["t"])
    write(settings, "t", b"first")
    running.kill()

    running = log.start(settings)
    write(settings, "t", b"second")
    log.stop(running)

    kafka = {"port": endpoints.free_port(), "controller_port": endpoints.free_port()}
    moved = load_settings(_env_file=None, home=settings.home, kafka=kafka)
    running = log.start(moved)
    try:
        assert read(moved, "t", 2) == [b"first", b"second"]
        assert log.log_ids(moved, ["t"]) == identity
    finally:
        log.stop(running)


def test_stop_leaves_no_process(settings: Settings) -> None:
    running = log.start(settings)
    assert log.answers(settings)
    log.stop(running)
    assert not running.alive
    assert not log.answers(settings)


def test_a_taken_port_is_told(settings: Settings, kafka: Settings, tmp_path: Path) -> None:
    taken = {"port": kafka.kafka.port, "controller_port": endpoints.free_port()}
    other = load_settings(_env_file=None, home=tmp_path / "other", kafka=taken)
    with pytest.raises(PlatformError, match=f"{kafka.kafka.port}: the port is taken"):
        log.start(other)


def test_topics_are_created_once(settings: Settings, kafka: Settings) -> None:
    name = f"t-{uuid.uuid4().hex[:8]}"
    log.ensure_topic(settings, name)
    identity = log.log_ids(settings, [name])[name]
    log.ensure_topic(settings, name)
    assert log.topics(settings)[name] == settings.kafka.partitions
    assert log.log_ids(settings, [name]) == {name: identity}
    assert str(uuid.UUID(identity)) == identity


def test_a_missing_topic_and_a_bad_name_are_told(settings: Settings, kafka: Settings) -> None:
    with pytest.raises(LogError, match="nowhere"):
        log.log_ids(settings, ["nowhere"])
    with pytest.raises(LogError, match="a/b"):
        log.ensure_topic(settings, "a/b")


def test_kafka_away_is_told(settings: Settings) -> None:
    with pytest.raises(LogError, match=str(settings.kafka.port)):
        log.topics(settings)


def write(settings: Settings, topic: str, value: bytes) -> None:
    producer = Producer({**log.client_options(settings), "acks": "all"})
    producer.produce(topic, value)
    assert producer.flush(30) == 0


def read(settings: Settings, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({**log.client_options(settings), "group.id": "test"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = [message.value() or b"" for message in consumer.consume(count, timeout=30)]
    consumer.close()
    return values
