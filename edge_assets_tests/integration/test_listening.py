"""The listeners' connection to a real broker: descriptions first, all that is routed, and what was not acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from edge_assets.listening.heard import Message
from edge_assets.listening.subscription import Subscription
from edge_assets.settings import Settings
from edge_assets_tests.bridge_rig import Publisher, wait_for

pytestmark = [pytest.mark.broker]


class Ear:
    """Keeps what is heard, in order."""

    def __init__(self, settings: Settings, identifier: str = "ear", **options: Any) -> None:
        self.messages: list[Message] = []
        self.connections: list[bool] = []
        self.subscription = Subscription(settings, identifier, self.messages.append, self.connections.append, **options)

    @property
    def topics(self) -> list[str]:
        return [message.topic for message in self.messages]


@contextmanager
def listening(settings: Settings, identifier: str = "ear", **options: Any) -> Iterator[Ear]:
    ear = Ear(settings, identifier, **options)
    ear.subscription.start()
    try:
        yield ear
    finally:
        ear.subscription.stop()


def test_descriptions_come_first_and_then_all_that_is_routed(settings, mosquitto):
    with Publisher(settings) as sent:
        for name in ("a lamp", "0x01", "zz"):
            sent.publish(f"zigbee2mqtt/{name}/availability", b'{"state":"online"}', retain=True)
        sent.publish("zigbee2mqtt/bridge/devices", b"[]", retain=True)
        sent.publish("zigbee2mqtt/bridge/state", b'{"state":"online"}', retain=True)
        sent.settle()
        with listening(settings) as ear:
            wait_for(lambda: ear.topics, lambda topics: len(set(topics)) == 5)
            assert ear.topics[0] == "zigbee2mqtt/bridge/devices"
            assert all(message.retained for message in ear.messages)
            sent.publish("zigbee2mqtt/a lamp", b'{"state":"ON"}')
            sent.publish("pico/temperature/dht22", b"21.5")
            sent.publish("building/lab/telemetry", b"{}")
            sent.publish("edge/alerts/door-open", b"{}")
            sent.publish("other/topic", b"5")
            wait_for(lambda: ear.topics, lambda topics: "edge/alerts/door-open" in topics)
    news = [message.topic for message in ear.messages if not message.retained]
    assert news == ["zigbee2mqtt/a lamp", "pico/temperature/dht22", "building/lab/telemetry", "edge/alerts/door-open"]


def test_a_broker_without_descriptions_is_waited_for_only_a_moment(settings, mosquitto):
    with listening(settings) as ear, Publisher(settings) as sent:

        def speak() -> list[str]:
            sent.publish("pico/temperature/dht22", b"21.5")
            return ear.topics

        wait_for(speak, lambda topics: "pico/temperature/dht22" in topics, 10)


def test_it_comes_back_by_itself_and_says_so(settings, mosquitto):
    with listening(settings) as ear:
        wait_for(lambda: ear.subscription.connected, bool)
        mosquitto.kill()
        wait_for(lambda: ear.connections, lambda seen: seen == [True, False])
        assert ear.subscription.problem
        mosquitto.start()
        wait_for(lambda: ear.connections, lambda seen: seen == [True, False, True], 20)
        assert not ear.subscription.problem
        with Publisher(settings) as sent:

            def speak() -> list[str]:
                sent.publish("zigbee2mqtt/door", b'{"contact":true}')
                return ear.topics

            wait_for(speak, lambda topics: "zigbee2mqtt/door" in topics, 10)


def test_a_broker_that_is_not_there_yet_is_waited_for(settings):
    with listening(settings) as ear:
        wait_for(lambda: ear.subscription.problem, lambda problem: "refused" in problem.lower())
        assert not ear.connections and not ear.subscription.connected


def test_a_persistent_session_brings_again_what_was_not_acknowledged(settings, mosquitto):
    with listening(settings, "keeper", persistent=True) as first, Publisher(settings) as sent:
        wait_for(lambda: first.subscription.connected, bool)

        def speak() -> list[str]:
            sent.publish("zigbee2mqtt/door", b"warming up")
            return first.topics

        wait_for(speak, lambda topics: "zigbee2mqtt/door" in topics, 10)
        for number in range(3):
            sent.publish("zigbee2mqtt/door", str(number).encode())
        sent.settle()
        wait_for(lambda: first.messages, lambda seen: bool(seen) and seen[-1].payload == b"2")
        first.subscription.acknowledge(first.messages[:-2])
        # Once the broker answers a publication over the same connection, it has read what was said before.
        first.subscription.publish("edge/alerts/x", b"{}").wait_for_publish(10)
        first.subscription.acknowledge([])
    with Publisher(settings) as sent:
        sent.publish("zigbee2mqtt/door", b"while away")
        sent.settle()
        with listening(settings, "keeper", persistent=True) as second:
            wait_for(lambda: second.messages, lambda seen: any(m.payload == b"while away" for m in seen))
    doors = [message.payload for message in second.messages if message.topic == "zigbee2mqtt/door"]
    assert doors[-3:] == [b"1", b"2", b"while away"] and b"0" not in doors
