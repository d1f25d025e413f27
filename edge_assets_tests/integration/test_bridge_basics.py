"""The bridge on a real Mosquitto and a real Kafka: byte for byte, in order, acknowledged when the log has it."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter

import pytest

from edge_assets.bridge.dead_letters import HEADER as PIECE_HEADER
from edge_assets.bridge.dead_letters import Piece
from edge_assets.log_record import HEADER
from edge_assets.settings import Route
from edge_assets_tests.bridge_rig import (
    BridgeProcess,
    Publisher,
    RunningBridge,
    header_of,
    keys_and_values,
    read_records,
    records,
    wait_for,
    with_settings,
)
from edge_assets_tests.conftest import Mosquitto

pytestmark = [pytest.mark.broker, pytest.mark.java]


@pytest.fixture
def mosquitto_factory():
    """Real Mosquittos with settings of their own."""
    running = []

    def start(settings):
        running.append(Mosquitto(settings))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def logged(settings, count):
    """Wait for so many records; a moment longer, so that one too many would show."""
    wait_for(lambda: len(records(settings)), lambda found: found >= count)
    time.sleep(0.3)
    return records(settings)


def test_values_and_keys_arrive_byte_for_byte_and_in_order(settings, mosquitto, kafka):
    sent = [(f"zigbee2mqtt/türe/{n % 3} {n}", bytes([n % 256]) * (n % 700)) for n in range(500)]
    sent += [("zigbee2mqtt/bytes", bytes(range(256))), ("zigbee2mqtt/large", b"{" * 300_000)]
    with RunningBridge(settings) as bridge:
        with Publisher(settings) as publisher:
            for topic, payload in sent:
                publisher.publish(topic, payload)
        assert keys_and_values(logged(settings, len(sent))) == sent
    status = bridge.status()
    assert (status["received"], status["logged"], status["in_flight"]) == (len(sent), len(sent), 0)
    assert (status["connected"], status["alarm"]) == (False, None)


def test_the_header_says_what_the_bridge_knows(settings, mosquitto, kafka):
    before = time.time_ns() // 1_000
    with RunningBridge(settings) as bridge, Publisher(settings) as publisher:
        for qos in (0, 1, 2):
            publisher.publish("zigbee2mqtt/a", b"x", qos=qos)
            publisher.settle()
        headers = [header_of(one) for one in logged(settings, 3)]
        status = bridge.status()
    # The embedded broker upgrades QoS 0, and the subscription grants no more than 1.
    assert [(one.qos, one.dup, one.retain, one.rep) for one in headers] == [(1, False, False, False)] * 3
    assert [one.mid for one in headers] == [1, 2, 3]
    assert {(one.by, one.inc, one.epoch) for one in headers} == {
        (settings.bridge.id, status["incarnation"], status["session_epoch"])
    }
    assert all(before <= one.at <= time.time_ns() // 1_000 for one in headers)
    monos = [one.mono for one in headers]
    assert monos == sorted(set(monos))


def test_an_empty_payload_is_empty_and_no_kafka_tombstone(settings, mosquitto, kafka):
    with RunningBridge(settings), Publisher(settings) as publisher:
        publisher.publish("zigbee2mqtt/gone", b"", retain=True)
        assert keys_and_values(logged(settings, 1)) == [("zigbee2mqtt/gone", b"")]


def test_routes_first_match_wins_and_what_none_wants_is_counted_and_acknowledged(settings, mosquitto, kafka):
    mark = settings.bridge.id
    routes = (
        Route(filter="zigbee2mqtt/quiet", topic=None),
        Route(filter="zigbee2mqtt/room/+", topic=f"telemetry-{mark}"),
        Route(filter="zigbee2mqtt/+", topic=f"events-{mark}"),
        Route(filter="zigbee2mqtt/room/deep/#", topic=f"events-{mark}"),
    )
    own = with_settings(settings, bridge={"routes": routes})
    wanted = {
        f"telemetry-{mark}": ["zigbee2mqtt/room/a"],
        f"events-{mark}": ["zigbee2mqtt/b", "zigbee2mqtt/room/deep/c"],
    }
    with RunningBridge(own) as bridge, Publisher(own) as publisher:
        for topic in ("zigbee2mqtt/quiet", "zigbee2mqtt/room/no/route", *(t for each in wanted.values() for t in each)):
            publisher.publish(topic, b"1")
        publisher.settle()
        logged(own, 3)
        status = wait_for(bridge.status, lambda status: status["received"] == 5 and status["in_flight"] == 0)
        assert status["unrouted"] == {"null_route": 1, "no_route": 1}
    for name, topics in wanted.items():
        assert [one.key().decode() for one in records(own, [name])] == topics
    with RunningBridge(own) as bridge:  # nothing was left unacknowledged
        time.sleep(0.5)
        assert bridge.status()["received"] == 0


def test_retained_messages_come_once_per_session_and_once_for_a_new_filter(settings, mosquitto, kafka):
    with Publisher(settings) as publisher:
        publisher.publish("zigbee2mqtt/bridge/state", b"online", retain=True)
        publisher.publish("pico/a", b"1", retain=True)
    for _ in range(2):
        with RunningBridge(settings):
            found = logged(settings, 1)
            assert [(one.key(), header_of(one).retain) for one in found] == [(b"zigbee2mqtt/bridge/state", True)]
    topic = settings.bridge.routes[0].topic
    both = with_settings(settings, bridge={"routes": (*settings.bridge.routes, Route(filter="pico/#", topic=topic))})
    with RunningBridge(both):
        assert [one.key() for one in logged(both, 2)] == [b"zigbee2mqtt/bridge/state", b"pico/a"]
    with RunningBridge(settings), Publisher(settings) as publisher:
        publisher.publish("pico/a", b"2")  # nobody asks for it any more
        publisher.publish("zigbee2mqtt/b", b"3")
        assert [one.key() for one in logged(settings, 3)][2:] == [b"zigbee2mqtt/b"]


def test_overlapping_routes_deliver_a_message_once(settings, mosquitto, kafka):
    topic = settings.bridge.routes[0].topic
    filters = ("zigbee2mqtt/+/a", "zigbee2mqtt/b/#", "zigbee2mqtt/b/a")
    own = with_settings(settings, bridge={"routes": tuple(Route(filter=one, topic=topic) for one in filters)})
    with RunningBridge(own), Publisher(own) as publisher:
        publisher.publish("zigbee2mqtt/b/a", b"1")
        assert keys_and_values(logged(own, 1)) == [("zigbee2mqtt/b/a", b"1")]


def test_a_message_over_the_logs_limit_becomes_a_dead_letter_in_pieces_and_blocks_nothing(settings, mosquitto, kafka):
    big = bytes(n * 7 % 256 for n in range(2_500_000))
    with RunningBridge(settings) as bridge, Publisher(settings) as publisher:
        publisher.publish("zigbee2mqtt/before", b"1")
        publisher.publish("zigbee2mqtt/big", big)
        publisher.publish("zigbee2mqtt/after", b"2")
        publisher.settle()
        found = logged(settings, 2)
        status = wait_for(bridge.status, lambda status: status["in_flight"] == 0 and status["dead_letters"] == 1)
    assert [one.key() for one in found] == [b"zigbee2mqtt/before", b"zigbee2mqtt/after"]
    assert status["kafka_connected"]
    letters = records(settings, [settings.bridge.dead_letter_topic])
    pieces = [Piece.decode(dict(one.headers())[PIECE_HEADER]) for one in letters]
    assert b"".join(one.value() for one in letters) == big
    assert {one.key() for one in letters} == {b"zigbee2mqtt/big"}
    assert {dict(one.headers())[HEADER] for one in letters} == {dict(letters[0].headers())[HEADER]}
    assert [(piece.reason, piece.topic, piece.index, piece.count, piece.size) for piece in pieces] == [
        ("too_large", settings.bridge.routes[0].topic, index, 3, len(big)) for index in range(3)
    ]
    assert {piece.sha256 for piece in pieces} == {hashlib.sha256(big).hexdigest()}


def test_a_record_just_under_the_limit_is_logged_and_just_over_is_not_lost(settings, mosquitto, kafka):
    sizes = range(settings.kafka.max_message_bytes - 1_000, settings.kafka.max_message_bytes + 1, 50)
    with RunningBridge(settings) as bridge, Publisher(settings) as publisher:
        for size in sizes:
            publisher.publish(f"zigbee2mqtt/{size}", b"x" * size)
        publisher.settle()
        status = wait_for(bridge.status, lambda s: s["received"] == len(sizes) and s["in_flight"] == 0)
    assert status["alarm"] is None
    whole = {one.key() for one in records(settings)}
    pieces = {one.key() for one in records(settings, [settings.bridge.dead_letter_topic])}
    assert whole and pieces and not whole & pieces
    assert len(whole | pieces) == len(sizes)


def test_a_start_writes_a_barrier_to_every_partition_with_a_higher_incarnation(settings, mosquitto, kafka):
    own = with_settings(settings, kafka={"partitions": 3})
    seen = []
    for _ in range(2):
        with RunningBridge(own) as bridge:
            seen.append(bridge.status())
    found = read_records(own, [str(own.bridge.routes[0].topic), own.bridge.dead_letter_topic])
    barriers = Counter(
        (one.topic(), one.partition(), json.loads(one.value())["incarnation"], json.loads(one.value())["epoch"])
        for one in found
    )
    first, second = seen
    assert first["session_epoch"] == second["session_epoch"]
    assert second["incarnation"] > first["incarnation"]
    for topic in (own.bridge.routes[0].topic, own.bridge.dead_letter_topic):
        for partition in range(3):
            assert (topic, partition, second["incarnation"], second["session_epoch"]) in barriers
    assert len(second["away"]) == 1


def test_a_new_session_at_the_broker_is_a_new_epoch(settings, mosquitto, kafka):
    with RunningBridge(settings) as bridge, Publisher(settings) as publisher:
        publisher.publish("zigbee2mqtt/a", b"1")
        publisher.settle()
        logged(settings, 1)
        before = bridge.status()["session_epoch"]
        mosquitto.stop()
        (settings.home / "mosquitto" / "mosquitto.db").unlink()
        mosquitto.start()
        after = wait_for(bridge.status, lambda status: status["connected"] and status["session_epoch"] != before)
    with RunningBridge(settings) as bridge, Publisher(settings) as publisher:
        publisher.publish("zigbee2mqtt/a", b"1")
        publisher.settle()
        found = [header_of(one) for one in logged(settings, 2)]
    assert [one.epoch for one in found] == [before, after["session_epoch"]]


def test_a_broker_that_was_restarted_is_found_again_and_nothing_is_lost(settings, mosquitto, kafka):
    with RunningBridge(settings) as bridge:
        for number in range(3):
            with Publisher(settings) as publisher:
                publisher.publish("zigbee2mqtt/a", b"%d" % number)
            logged(settings, number + 1)
            mosquitto.stop()
            status = wait_for(bridge.status, lambda status: not status["connected"])
            assert "connection was lost" in status["alarm"] or "refused" in status["alarm"].lower()
            mosquitto.start()
            wait_for(bridge.status, lambda status: status["connected"])
        assert bridge.status()["alarm"] is None
        assert len(bridge.status()["away"]) == 3
    assert [one.value() for one in records(settings)] == [b"0", b"1", b"2"]


def test_a_wrong_password_is_said_and_waited_for(settings, kafka, mosquitto_factory):
    own = with_settings(settings, mqtt={"username": "edge", "password": "right", "host": "127.0.0.1"})
    mosquitto_factory(own)
    process = BridgeProcess(with_settings(own, mqtt={"password": "wrong"}))
    process.start(connected=False)
    with process.keep():
        status = wait_for(process.status, lambda status: bool(status.get("alarm")))
        assert "Not authorized" in status["alarm"]
        time.sleep(2)
    assert process.log.read_text().count("Not authorized") == 1  # once an outage
    process = BridgeProcess(own)
    process.start()
    with process.keep():
        assert process.status()["alarm"] is None


def test_what_the_broker_threw_away_is_counted_with_an_alarm(settings, kafka, mosquitto_factory):
    own = with_settings(settings, mqtt={"queue_max_messages": 100, "max_inflight": 20, "host": "127.0.0.1"})
    mosquitto_factory(own)
    with RunningBridge(own) as bridge:
        wait_for(bridge.status, lambda status: status["dropped_by_broker"] is not None)
    with Publisher(own) as publisher:
        for number in range(1_000):
            publisher.publish("zigbee2mqtt/a", b"%d" % number)
    with RunningBridge(own) as bridge:
        status = wait_for(bridge.status, lambda status: bool(status["dropped_by_broker"]))
        assert "dropped" in status["alarm"]
    assert status["dropped_by_broker"] == 1_000 - len(records(own))
