"""A backlog on a real Kafka: it is read to its end, and live readings do not wait for it."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer

from edge_assets.delta_log import commits
from edge_assets.log_record import Header, headers_of
from edge_assets.platform import log as kafka_log
from edge_assets.settings import Settings
from edge_assets.warehouse.verify import verify
from edge_assets_tests.stream_rig import Log, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(900)]

FEW_BATCHES = 3
LIVE = 40


def fill(settings: Settings, topic: str, records: int) -> None:
    kafka_log.ensure_topic(settings, topic)
    producer = Producer({**kafka_log.client_options(settings), "acks": "all", "linger.ms": 50})
    header = headers_of(Header("bridge", 1, "e", time.time_ns() // 1_000, True, 1, "b", 1, False, False, 1))
    for number in range(records):
        producer.produce(topic, b'{"energy": %d}' % number, b"zigbee2mqtt/meter", headers=header)
        if number % 10_000 == 0:
            producer.flush()
    assert producer.flush(60) == 0


def batches(settings: Settings) -> list[tuple[int, Path]]:
    """(number, commit) of each batch in bronze.events, in order; their order is their number, from 1 on."""
    there = commits(settings.lake_path / "bronze" / "events")[1:]
    return list(enumerate((commit.path for commit in there), 1))


def rows(settings: Settings, topic: str) -> dict[int, int]:
    """Offset → batch of a topic's records in bronze.events."""
    from deltalake import DeltaTable

    table = DeltaTable(settings.lake_path / "bronze" / "events")
    columns, where = ["kafka_offset", "batch"], [("kafka_topic", "=", topic)]
    found = table.to_pyarrow_table(columns=columns, filters=where).to_pydict()
    return dict(zip(found["kafka_offset"], found["batch"], strict=True))


def batch_of(settings: Settings, topic: str, offset: int) -> int | None:
    return rows(settings, topic).get(offset)


@pytest.mark.parametrize(("backlog", "batch"), [(30_000, 5_000), pytest.param(200_000, 20_000, marks=pytest.mark.slow)])
def test_live_readings_do_not_wait_for_a_backlog(settings: Settings, kafka: Settings, backlog: int, batch: int) -> None:
    stream = settings.stream.model_copy(update={"max_records_per_batch": batch})
    settings = settings.model_copy(update={"stream": stream})
    log = Log(settings)
    fill(settings, settings.history.topic, backlog)
    for number in range(LIVE):
        log.put("zigbee2mqtt/door", {"voltage": number})
    log.flush()
    waited = []
    with writer(settings) as process:

        def written() -> int:
            return len(batches(settings))

        until(lambda: written() >= 1, "the first batch", process, 300)
        assert len(rows(settings, log.topic)) == LIVE, "all that was new is in the first batch"
        while len(rows(settings, settings.history.topic)) < backlog:
            log.put("zigbee2mqtt/door", {"voltage": log.written})
            log.flush()
            before, newest = written(), log.written - 1
            waited.append(
                until(partial(batch_of, settings, log.topic, newest), "a live reading", process, 300) - before
            )
    assert len(batches(settings)) >= backlog / batch, "it was a backlog of many batches"
    assert len(waited) >= 3 and max(waited) <= FEW_BATCHES, waited
    assert verify(settings).holds
