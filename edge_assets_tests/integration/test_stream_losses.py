"""What the log gives up before the stream writer has read it, on a real Kafka: announced, counted, gone on with."""

from __future__ import annotations

import psutil
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from edge_assets.defs.judges import judge_expired
from edge_assets.defs.samples import take_sample
from edge_assets.platform import log as kafka_log
from edge_assets.platform.process import wait_until
from edge_assets.platform.status import lines, status
from edge_assets.service import read_status
from edge_assets.settings import Settings
from edge_assets.warehouse.verify import verify
from edge_assets_tests.stream_rig import Log, records, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(900)]


def put(log: Log, count: int) -> None:
    for number in range(count):
        log.put("zigbee2mqtt/door", {"voltage": number})
    log.flush()


def expire(settings: Settings, topic: str, first_kept: int) -> None:
    """What retention does, at once: the log begins at that offset."""
    admin = AdminClient(kafka_log.client_options(settings))
    for future in admin.delete_records([TopicPartition(topic, 0, first_kept)]).values():
        future.result(30)


def make_anew(settings: Settings, topic: str) -> None:
    admin = AdminClient(kafka_log.client_options(settings))
    admin.delete_topics([topic])[topic].result(30)
    assert wait_until(lambda: topic not in kafka_log.topics(settings), 30)
    kafka_log.ensure_topic(settings, topic)


def lost(settings: Settings) -> int:
    return (read_status(settings, "stream_writer").get("lost") or {}).get("records", 0)


def test_what_expired_is_announced_counted_and_gone_on_from(settings: Settings, kafka: Settings) -> None:
    log = Log(settings)
    put(log, 100)
    with writer(settings) as process:
        until(lambda: len(records(settings)) == 100, "the first records", process, 300)
    put(log, 100)
    expire(settings, log.topic, 150)
    with writer(settings) as process:
        until(lambda: len(records(settings)) == 150, "what is left of the second hundred", process, 300)
        until(lambda: lost(settings) == 50, "the first loss", process, 300)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for each in family:
            each.suspend()
        put(log, 1_000)
        expire(settings, log.topic, 900)
        for each in family:
            each.resume()
        until(lambda: len(records(settings)) == 450, "what retention has left while it ran", process, 300)
        until(lambda: lost(settings) == 750, "the second loss", process, 300)
        former = kafka_log.log_ids(settings, [log.topic])[log.topic]
        before_anew(settings, log)
        make_anew(settings, log.topic)
        put(log, 5)
        anew = kafka_log.log_ids(settings, [log.topic])[log.topic]
        until(
            lambda: [r for r in records(settings) if r["log_id"] == anew], "the topic that was made anew", process, 300
        )
    rows = records(settings)
    assert sorted(r["kafka_offset"] for r in rows if r["log_id"] == former) == [
        *range(100),
        *range(150, 200),
        *range(900, 1_200),
    ]
    assert sorted(r["kafka_offset"] for r in rows if r["log_id"] == anew) == list(range(5))


def before_anew(settings: Settings, log: Log) -> None:
    """Everyone says what is lost, and none takes it for something else."""
    report = verify(settings)
    (problem,) = report.problems
    assert (problem.kind, problem.count, report.holds, report.expired_alone) == ("expired", 750, False, True)
    assert "offsets 100 to 149" in problem.says and "offsets 200 to 899" in problem.says
    verdict = judge_expired([take_sample(settings)])
    assert not verdict.passed and f"{log.topic}/0 offsets 200 to 899 (700 records" in verdict.words
    assert any("LOST: 750 records expired" in line for line in lines(status(settings)))
    said = (settings.home / "writer.log").read_text()
    assert said.count("LOST: ") == 2
