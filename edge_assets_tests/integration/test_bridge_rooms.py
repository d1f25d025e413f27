"""Rooms: each has a Kafka topic of its own, which the bridge opens when the room speaks for the first time."""

from __future__ import annotations

import time

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from edge_assets.platform.log import client_options, ensure_topic, topics, topics_of
from edge_assets_tests.bridge_rig import (
    Publisher,
    RunningBridge,
    keys_and_values,
    records,
    wait_for,
    with_settings,
)

pytestmark = [pytest.mark.broker, pytest.mark.java]

ROOMS = [f"room {number}" for number in range(8)]


def said(count: int) -> list[tuple[str, bytes]]:
    return [(f"building/{ROOMS[n % len(ROOMS)]}/telemetry", b"%d" % n) for n in range(count)]


def of_room(settings, name: str) -> str:
    return str(settings.bridge.routes[2].topic).replace("<room>", name)


def publish(settings, messages) -> None:
    with Publisher(settings) as publisher:
        for topic, payload in messages:
            publisher.publish(topic, payload)


def test_eight_rooms_that_speak_at_once_have_a_topic_each(settings, mosquitto, kafka):
    sent = said(400)
    with RunningBridge(settings) as bridge:
        publish(settings, [*sent, ("zigbee2mqtt/plug", b"x"), ("pico/temperature/dht22", b"21.5")])
        wait_for(lambda: len(records(settings)), lambda count: count >= len(sent) + 2)
        time.sleep(0.3)
        for number, room in enumerate(ROOMS):
            found = keys_and_values(records(settings, [of_room(settings, f"room-{number}")]))
            assert found == [one for one in sent if room in one[0]]
        status = wait_for(bridge.status, lambda status: status.get("in_flight") == 0)
        assert status["routes"] == {
            "zigbee2mqtt/#": 1,
            "pico/+/+": 1,
            "building/+/telemetry": len(sent),
            "edge/alerts/#": 0,
        }
        assert status["maybe_repeat"] == 0
    resource = ConfigResource(ConfigResource.Type.TOPIC, of_room(settings, "room-0"))
    admin = AdminClient(client_options(settings))  # held until the answer is there
    (answer,) = admin.describe_configs([resource]).values()
    assert answer.result(10)["retention.ms"].value == str(72 * 3_600_000)


def test_what_comes_back_downsampled_is_no_room(settings, mosquitto, kafka):
    ensure_topic(settings, downsampled := of_room(settings, "kitchen.downsampled"))
    with RunningBridge(settings):
        names = ["kitchen", "kitchen.downsampled", "kitchen_downsampled"]
        publish(settings, [(f"building/{name}/telemetry", b"x") for name in names])
        wait_for(lambda: len(records(settings)), lambda count: count >= 3)
    assert keys_and_values(records(settings, [downsampled])) == []
    assert len(records(settings, [of_room(settings, "kitchen-downsampled")])) == 1
    # Kafka takes no name that differs from another's by dots and underscores alone.
    assert len(records(settings, [of_room(settings, "other")])) == 1


@pytest.mark.slow  # the rule is in a unit test
def test_rooms_without_end_share_one_topic(settings, mosquitto, kafka):
    few = with_settings(settings, bridge={"max_topics": 3})
    sent = said(80)
    with RunningBridge(few):
        publish(few, sent)
        wait_for(lambda: len(records(few)), lambda count: count >= len(sent))
        time.sleep(0.3)
        assert sorted(keys_and_values(records(few))) == sorted(sent)
    made = topics_of(few.bridge.routes[2:3], topics(few))
    assert of_room(few, "other") in made
    assert len(made) <= 4
