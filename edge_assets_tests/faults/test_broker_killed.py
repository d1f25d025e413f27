"""The one kill that can cost messages: the broker's own. What Mosquitto had acknowledged and not saved is gone.

Nothing of ours can mend that, so it is measured here, and docs/failures.md says which setting bounds it at what cost.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_assets.platform import broker
from edge_assets.platform.process import wait_until
from edge_assets.settings import Settings
from edge_assets_tests.conftest import Mosquitto

pytestmark = pytest.mark.broker

AUTOSAVE_SECONDS = 2
EACH = 500
DEADLINE_SECONDS = 60


@pytest.fixture
def queueing(settings: Settings) -> Iterator[Mosquitto]:
    """A broker that saves often, and queues for a reader that is away."""
    if broker.ensure(settings).mosquitto is None:
        pytest.skip("no Mosquitto: amqtt saves nothing")
    mqtt = settings.mqtt.model_copy(update={"autosave_seconds": AUTOSAVE_SECONDS})
    running = Mosquitto(settings.model_copy(update={"mqtt": mqtt}))
    read(running, 0)
    yield running
    running.stop()


def test_a_killed_broker_loses_what_it_had_not_saved(queueing: Mosquitto) -> None:
    publish(queueing, range(EACH))
    await_save(queueing)
    publish(queueing, range(EACH, 2 * EACH))
    queueing.kill()
    queueing.start()
    found = read(queueing, EACH)
    print(f"\nacknowledged {2 * EACH}, lost {2 * EACH - len(found)}, saved each {AUTOSAVE_SECONDS} s")
    assert found[:EACH] == list(range(EACH)), "what was saved is there, in order"
    assert found == list(range(len(found))), "what is lost is the end, without holes"


def test_a_broker_that_is_stopped_loses_nothing(queueing: Mosquitto) -> None:
    publish(queueing, range(EACH))
    queueing.stop()
    queueing.start()
    assert read(queueing, EACH) == list(range(EACH))


def await_save(running: Mosquitto) -> None:
    """Wait until the broker has saved what it has now: until its file was replaced twice."""
    file = running.settings.home / "mosquitto" / "mosquitto.db"
    for _ in range(2):
        before = stamp(file)
        assert wait_until(partial(differs, file, before), DEADLINE_SECONDS), f"{file} is not saved"


def differs(file: Path, before: int) -> bool:
    return stamp(file) != before


def stamp(file: Path) -> int:
    return file.stat().st_mtime_ns if file.exists() else 0


def publish(running: Mosquitto, numbers: range) -> None:
    """Publish with QoS 1, and wait for every acknowledgement."""
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect(running.host, running.port)
    client.loop_start()
    sent = [client.publish("zigbee2mqtt/counter", str(number), qos=1) for number in numbers]
    for message in sent:
        message.wait_for_publish(DEADLINE_SECONDS)
    assert all(message.is_published() for message in sent)
    client.disconnect()
    client.loop_stop()


def read(running: Mosquitto, at_least: int) -> list[int]:
    """What the broker has for its persistent session, which stays. A message of our own ends it."""
    end = uuid.uuid4().hex.encode()
    found: list[bytes | bytearray] = []

    def subscribe(client: Client, *_: Any) -> None:
        client.subscribe("zigbee2mqtt/#", 1)

    def ask_for_the_end(client: Client, *_: Any) -> None:
        client.publish("zigbee2mqtt/counter", end, qos=1)

    client = Client(CallbackAPIVersion.VERSION2, client_id="reader", clean_session=False)
    client.on_connect, client.on_subscribe = subscribe, ask_for_the_end
    client.on_message = lambda _client, _data, message: found.append(message.payload)
    client.connect(running.host, running.port)
    client.loop_start()
    assert wait_until(lambda: end in found, DEADLINE_SECONDS), "the broker has not sent all it has"
    client.disconnect()
    client.loop_stop()
    numbers = [int(payload) for payload in found if payload.isdigit() and len(payload) < len(end)]
    assert len(numbers) >= at_least
    return numbers
