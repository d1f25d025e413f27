"""Kafka stops, freezes or dies under the bridge: nothing is acknowledged that it has not, the broker queues, and what
a dead bridge still lands late is fenced."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from edge_assets.bridge.tail import last_event, read_tail
from edge_assets.log_record import BARRIER_KEY, HEADER, Header
from edge_assets.platform import endpoints
from edge_assets.platform import log as kafka_log
from edge_assets.settings import Settings
from edge_assets_tests.bridge_rig import (
    BridgeProcess,
    CutWire,
    Publisher,
    header_of,
    read_records,
    records,
    wait_for,
    with_settings,
)

pytestmark = [pytest.mark.broker, pytest.mark.java]


class OwnKafka:
    """A Kafka of the test's own, that can be stopped, frozen and killed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = endpoints.resolve(with_settings(settings, kafka={"bootstrap": None}))
        self.process = kafka_log.start(self.settings)

    def stop(self) -> None:
        kafka_log.stop(self.process)

    def kill(self) -> None:
        self.process.kill()

    def start(self) -> None:
        self.process = kafka_log.start(self.settings)

    def freeze(self) -> None:
        self.process.ask_to_stop(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.ask_to_stop(signal.SIGCONT)


@pytest.fixture
def own_kafka(settings: Settings) -> Iterator[OwnKafka]:
    kafka = OwnKafka(settings)
    yield kafka
    kafka.thaw()
    kafka.stop()


def publish(settings: Settings, start: int, stop: int) -> None:
    with Publisher(settings) as publisher:
        for number in range(start, stop):
            publisher.publish(f"zigbee2mqtt/plug {number % 3}", b"%d" % number)


def in_the_log(settings: Settings, count: int) -> list[int]:
    """The numbers in the log, once there are so many; a repeat makes one too many."""
    wait_for(lambda: {int(one.value()) for one in records(settings)}, lambda found: len(found) >= count)
    time.sleep(0.5)
    return [int(one.value()) for one in records(settings)]


def wait_until_more_than(count: int, settings: Settings) -> None:
    wait_for(lambda: len(records(settings)), lambda found: found > count)


STOPPED = pytest.param("stop", marks=pytest.mark.slow)
"""A Kafka that ends in order is the easiest of its ends."""


@pytest.mark.parametrize("how", [STOPPED, "kill", "freeze"])
def test_while_kafka_is_away_nothing_is_acknowledged_and_all_arrives_in_order(settings, mosquitto, own_kafka, how):
    own = own_kafka.settings
    bridge = BridgeProcess(own)
    bridge.start()
    publish(own, 0, 100)
    assert in_the_log(own, 100) == list(range(100))
    getattr(own_kafka, how)()
    publish(own, 100, 6_000)
    status = wait_for(bridge.status, lambda status: status["in_flight"] > 0 and not status["kafka_connected"])
    assert status["connected"]  # a queue that is not read is no lost connection
    assert status["in_flight"] <= own.mqtt.max_inflight
    assert "Kafka" in status["alarm"]
    # What was acknowledged too early would be lost with the bridge.
    bridge.kill()
    own_kafka.thaw() if how == "freeze" else own_kafka.start()
    bridge.start()
    with bridge.keep():
        assert in_the_log(own, 6_000) == list(range(6_000))
        assert bridge.status()["maybe_repeat"] == 0


@pytest.mark.parametrize("how", [STOPPED, "freeze"])
def test_the_same_bridge_goes_on_when_kafka_is_back(settings, mosquitto, own_kafka, how):
    own = own_kafka.settings
    bridge = BridgeProcess(own)
    bridge.start()
    with bridge.keep():
        publish(own, 0, 100)
        in_the_log(own, 100)
        getattr(own_kafka, how)()
        publish(own, 100, 6_000)
        wait_for(bridge.status, lambda status: not status["kafka_connected"])
        own_kafka.thaw() if how == "freeze" else own_kafka.start()
        assert in_the_log(own, 6_000) == list(range(6_000))
        status = wait_for(bridge.status, lambda status: status["kafka_connected"] and status["in_flight"] == 0)
    assert (status["incarnation"], status["suppressed"], status["alarm"]) == (1, 0, None)


def test_a_bridge_that_starts_before_kafka_waits_for_it(settings, mosquitto, own_kafka):
    own = own_kafka.settings
    own_kafka.stop()
    bridge = BridgeProcess(own)
    bridge.start(connected=False)
    with bridge.keep():
        wait_for(bridge.status, lambda status: bool(status.get("alarm")))
        own_kafka.start()
        wait_for(bridge.status, lambda status: bool(status.get("connected")))
        publish(own, 0, 10)
        assert in_the_log(own, 10) == list(range(10))


def test_a_broker_that_comes_back_while_kafka_is_away_gets_no_acknowledgement(settings, mosquitto, own_kafka):
    with CutWire(mosquitto.host, mosquitto.port) as wire:
        own = with_settings(own_kafka.settings, mqtt={"port": wire.port})
        bridge = BridgeProcess(own)
        bridge.start()
        with bridge.keep():
            own_kafka.freeze()
            publish(own_kafka.settings, 0, 300)
            wait_for(bridge.status, lambda status: status["in_flight"] >= 300)
            for _ in range(3):
                wire.cut()
                wait_for(bridge.status, lambda status: status["suppressed"] >= 300 or status["in_flight"] >= 600)
            own_kafka.thaw()
            assert in_the_log(own, 300) == list(range(300))
            wait_for(bridge.status, lambda status: status["in_flight"] == 0)
            assert bridge.status()["maybe_repeat"] == 0


@pytest.mark.parametrize("partitions", [1, 3])
def test_writes_of_a_dead_bridge_that_land_after_the_barrier_are_fenced(settings, mosquitto, own_kafka, partitions):
    """The frozen Kafka holds the dead bridge's requests; its successor's barrier comes over another connection."""
    own = with_settings(own_kafka.settings, kafka={"partitions": partitions})
    bridge = BridgeProcess(own)
    bridge.start()
    sent = 0
    for _ in range(3):
        own_kafka.freeze()
        publish(own, sent, sent + 500)
        sent += 500
        wait_for(bridge.status, lambda status: status["in_flight"] > 0)
        bridge.kill()
        bridge.start(connected=False)
        time.sleep(0.5)  # it waits for Kafka, or is about to
        own_kafka.thaw()
        bridge.wait_until_connected()
    with bridge.keep():
        assert sorted(in_the_log(own, sent)) == list(range(sent))
    topic = str(own.bridge.routes[0].topic)
    everything = [one for one in read_records(own, [topic]) if not one.key().startswith(b"$edge/")]
    print(f"{len(everything) - sent} records were fenced")


def test_a_crash_loop_while_the_broker_has_a_long_queue(settings, mosquitto, own_kafka):
    """After such a crash Mosquitto 2.0 sends far more than its window with DUP=1, much of it for the first time."""
    own = with_settings(own_kafka.settings, mqtt={"max_inflight": 50})
    mosquitto.stop()
    mosquitto.settings = own
    mosquitto.start()
    bridge = BridgeProcess(own)
    bridge.start()
    bridge.kill(signal.SIGTERM)
    sent = 0
    for _ in range(6):
        before = len(records(own))
        if sent - before < 5_000:  # a quick machine's bridge may have emptied the queue before it was killed
            publish(own, sent, sent + 20_000)
            sent += 20_000
        bridge.start(connected=False)
        wait_until_more_than(before, own)
        bridge.kill()
    bridge.start()
    with bridge.keep():
        assert in_the_log(own, sent) == list(range(sent))
        status = bridge.status()
    again = sum(header_of(one).dup for one in records(own))
    print(f"{again} messages came with DUP=1 for the first time, {status['suppressed']} were repeats")
    assert status["maybe_repeat"] == 0


def late(topic: str, header: Header, value: bytes) -> dict[str, Any]:
    return {"topic": topic, "key": b"zigbee2mqtt/a", "value": value, "headers": [(HEADER, header.encode())]}


def test_the_tail_counts_no_fenced_record_and_finds_what_lies_far_back(settings, kafka):
    own = settings.bridge.id
    topic = settings.bridge.routes[0].topic
    kafka_log.ensure_topic(settings, topic)
    producer = Producer(kafka_log.client_options(settings))

    def write(inc: int, mono: int, by: str = own) -> None:
        header = Header(by, inc, "e", 1_000 + mono, True, mono, "boot", 1, False, False, mono)
        producer.produce(**late(topic, header, b"%d" % mono))

    def barrier(inc: int) -> None:
        value = {"bridge": own, "incarnation": inc, "epoch": "e", "away_since_us": 0, "mono": 0}
        producer.produce(topic, json.dumps(value), BARRIER_KEY)

    barrier(1)
    for mono in range(1, 11):
        write(1, mono)
    barrier(2)
    write(1, 11)  # too late
    write(2, 11)
    for mono in range(5_000):
        write(7, mono, by="another")
    producer.produce(topic, b"no record of ours", b"x")
    producer.flush()
    tail = read_tail(settings, {topic: 1}, 10)
    assert sorted((one.inc, one.mid) for one in tail.records) == [*((1, mono) for mono in range(1, 11)), (2, 11)]
    assert (tail.incarnation, tail.epoch, tail.whole, tail.cut_off) == (2, "e", True, False)
    last = last_event(settings, {topic: 1})
    assert last is not None and (last.inc, last.order) == (2, 11)
    assert len(read_tail(settings, {topic: 1}, 2).records) == 4
