"""The bridge on a real Mosquitto and a real Kafka: byte for byte, in order, acknowledged when the log has it."""

from __future__ import annotations

import pytest

from edge_assets.log_record import Header
from edge_assets_tests.bridge_rig import Publisher, RunningBridge, keys_and_values, records, wait_for

pytestmark = [pytest.mark.broker, pytest.mark.java]


def test_values_and_keys_arrive_byte_for_byte_and_in_order(settings, mosquitto, kafka):
    sent = [(f"zigbee2mqtt/türe/{n % 3} {n}", bytes([n % 256]) * (n % 700)) for n in range(500)]
    sent.append(("zigbee2mqtt/bytes", bytes(range(256))))
    with RunningBridge(settings):
        with Publisher(settings) as publisher:
            for topic, payload in sent:
                publisher.publish(topic, payload)
        found = wait_for(lambda: records(settings), lambda got: len(got) >= len(sent))
    assert [(one.key().decode(), one.value()) for one in found] == sent
